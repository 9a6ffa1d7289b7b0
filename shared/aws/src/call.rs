//! One call: it waits for its slot in the quota, is sent, and is tried again after failures that may pass.
//!
//! Pacing and retries belong together: a retry is a request and takes a slot of the quota like any other. That is why the
//! SDK's own retries are off.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use domain::failure::{Cause, Failure};
use tokio::time::sleep;

use crate::failure::{failure, is_of_clock, is_of_key_store};
use crate::operation::{Operation, Repeat};
use crate::pace::{Paces, QuotaShare};

/// Tries of a throttled call, the first included: with the waits between them some 6 to 12 seconds, in which a quota
/// refills as many times.
const TRIES_WHEN_THROTTLED: usize = 6;

/// Tries after any other failure that may pass.
pub(crate) const TRIES: usize = 3;

/// The calls of one run to one Region.
#[derive(Debug)]
pub struct Calls {
    quota_share: QuotaShare,
    paces: Paces,
    counts: Arc<Counts>,
}

/// What the calls of one run to all Regions count together.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    throttled: AtomicU64,
}

impl Calls {
    /// Calls that use that share of each quota.
    pub fn new(quota_share: QuotaShare) -> Self {
        Self { quota_share, paces: Paces::new(quota_share), counts: Arc::default() }
    }

    /// Calls to another Region, which has quotas of its own. They count among these.
    #[must_use]
    pub fn to_another_region(&self) -> Self {
        Self { quota_share: self.quota_share, paces: Paces::new(self.quota_share), counts: Arc::clone(&self.counts) }
    }

    /// Requests sent so far, retries included.
    pub fn sent(&self) -> u64 {
        self.counts.sent.load(Ordering::Relaxed)
    }

    /// Requests that were throttled so far.
    pub fn throttled(&self) -> u64 {
        self.counts.throttled.load(Ordering::Relaxed)
    }

    /// Makes one call.
    ///
    /// # Errors
    /// What the last try ended with.
    pub async fn make<T, E>(
        &self,
        operation: Operation,
        request: impl AsyncFn() -> Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let mut tries = Tries::begin();
        loop {
            self.paces.wait(operation).await;
            self.counts.sent.fetch_add(1, Ordering::Relaxed);
            // The SDK's futures are large, and every caller's would be as large.
            let failure = match Box::pin(request()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => failure(operation, &error),
            };
            self.note(operation, &failure);
            match tries.wait_after(operation, &failure) {
                Some(wait) => sleep(wait).await,
                None => return Err(failure),
            }
        }
    }

    /// Counts and logs a try that failed.
    fn note(&self, operation: Operation, failure: &Failure) {
        // A key store's proxy that cannot keep up is no quota of KMS's.
        if failure.cause == Cause::Throttled && !is_of_key_store(operation, failure.code.as_deref()) {
            self.counts.throttled.fetch_add(1, Ordering::Relaxed);
        }
        tracing::debug!(
            service = operation.service(),
            operation = operation.name(),
            cause = ?failure.cause,
            message = %failure.message,
            "a try failed"
        );
    }
}

/// The tries of one call that have failed, and the waits to come.
struct Tries {
    failed: usize,
    waits: ExponentialBackoff,
}

impl Tries {
    fn begin() -> Self {
        let waits = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_jitter()
            .with_max_times(TRIES_WHEN_THROTTLED - 1);
        Self { failed: 0, waits: waits.build() }
    }

    /// How long to wait before the next try; `None` if there is none.
    fn wait_after(&mut self, operation: Operation, failure: &Failure) -> Option<Duration> {
        self.failed += 1;
        may_be_repeated(operation, failure, self.failed).then(|| self.waits.next()).flatten()
    }
}

/// May a call be made again that has failed after n tries?
fn may_be_repeated(operation: Operation, failure: &Failure, tries: usize) -> bool {
    let repeat = operation.repeat();
    match failure.cause {
        // AWS has refused it: nothing has happened.
        Cause::Throttled if !is_of_key_store(operation, failure.code.as_deref()) => true,
        Cause::Unexpected if is_of_clock(failure.code.as_deref()) => tries < TRIES,
        Cause::Throttled | Cause::Timeout | Cause::ServiceError => repeat == Repeat::Always && tries < TRIES,
        // An answer that cannot be read may have been cut off on the way.
        Cause::Unexpected => {
            let may_pass = failure.code.is_none() || is_of_key_store(operation, failure.code.as_deref());
            repeat == Repeat::Always && may_pass && tries < TRIES
        }
        Cause::AccessDenied | Cause::NotFound | Cause::Unsupported => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Cryptography, DESCRIBE_KEY, ENCRYPT};

    #[test]
    fn what_creates_is_not_repeated_after_a_lost_answer() {
        let creates = Operation::for_tests(Repeat::IfRefused);
        for (cause, code, always, if_refused) in [
            (Cause::Throttled, Some("ThrottlingException"), true, true),
            (Cause::Timeout, None, true, false),
            (Cause::ServiceError, None, true, false),
            (Cause::ServiceError, Some("KMSInternalException"), true, false),
            (Cause::Unexpected, None, true, false),
            (Cause::Unexpected, Some("KMSInvalidStateException"), false, false),
            (Cause::Unexpected, Some("InvalidSignatureException"), true, true),
            (Cause::Unexpected, Some("ExpiredTokenException"), false, false),
            (Cause::AccessDenied, Some("AccessDeniedException"), false, false),
            (Cause::NotFound, Some("NotFoundException"), false, false),
            (Cause::Unsupported, Some("UnsupportedOperationException"), false, false),
        ] {
            let failure = Failure { cause, code: code.map(str::to_owned), ..DESCRIBE_KEY.unreadable("") };
            let repeated = [DESCRIBE_KEY, creates].map(|operation| may_be_repeated(operation, &failure, 1));
            assert_eq!(repeated, [always, if_refused], "{cause:?} {code:?}");
            let after_three = may_be_repeated(DESCRIBE_KEY, &failure, TRIES);
            assert_eq!(after_three, cause == Cause::Throttled, "{cause:?} {code:?}");
        }
    }

    #[test]
    fn calls_that_fail_together_are_not_repeated_together() {
        let throttled = Failure { cause: Cause::Throttled, ..DESCRIBE_KEY.unreadable("") };
        let waits = || {
            let mut tries = Tries::begin();
            (0..).map_while(|_| tries.wait_after(DESCRIBE_KEY, &throttled)).collect::<Vec<_>>()
        };
        let (one, other) = (waits(), waits());
        assert_eq!((one.len(), other.len()), (TRIES_WHEN_THROTTLED - 1, TRIES_WHEN_THROTTLED - 1));
        assert!(one != other && one.iter().zip(&one[1..]).all(|(wait, next)| wait < next), "{one:?} {other:?}");
    }

    #[test]
    fn an_invalid_state_may_pass_in_a_custom_key_store_alone() {
        let code = Some("KMSInvalidStateException".to_owned());
        let failure = Failure { code, ..ENCRYPT.unreadable("") };
        for (key, repeated) in [(Cryptography::CustomKeyStore, true), (Cryptography::Symmetric, false)] {
            assert_eq!(may_be_repeated(ENCRYPT.with(key), &failure, 1), repeated, "{key:?}");
            assert!(!may_be_repeated(ENCRYPT.with(key), &failure, TRIES), "{key:?}");
        }
    }
}
