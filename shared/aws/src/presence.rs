//! Which members an answer has at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_kms::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_kms::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kms::error::BoxError;
use serde_json::Value;

/// Looks whether an answer has a member at all that is true or false: the SDK reads an answer without it as `false`.
///
/// It is given to one call as its interceptor, and tells of that call's last answer.
#[derive(Clone, Debug)]
pub struct MemberPresence {
    member: &'static str,
    is_present: Arc<AtomicBool>,
}

impl MemberPresence {
    /// Looks for the member of that name.
    pub fn of(member: &'static str) -> Self {
        Self { member, is_present: Arc::default() }
    }

    /// Was it there?
    pub fn get(&self) -> bool {
        self.is_present.load(Ordering::Relaxed)
    }
}

impl Intercept for MemberPresence {
    fn name(&self) -> &'static str {
        "MemberPresence"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        let is_present = serde_json::from_slice::<Value>(body)
            .is_ok_and(|body| body.get(self.member).is_some_and(Value::is_boolean));
        self.is_present.store(is_present, Ordering::Relaxed);
        Ok(())
    }
}
