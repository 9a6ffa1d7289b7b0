//! The handler of functions that answer requests of their own form: settings, one reading of the clock, an answer.

use std::fmt;

use aws::config::sdk_config;
use aws_config::SdkConfig;
use domain::location::Location;
use jiff::Timestamp;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use monitor::settings::{Environment, InvalidConfiguration};
use serde_json::Value;
use tokio::time::Instant;

use crate::handler::{location, monotonic, read_clock, time_left};
use crate::logging;

/// A function that answers requests.
pub trait Service: Sized {
    /// What a request can fail with.
    type Error: Into<Diagnostic> + fmt::Debug + From<InvalidConfiguration>;

    /// Reads its settings.
    ///
    /// # Errors
    /// One of them is missing or does not parse.
    fn new(environment: &Environment, config: SdkConfig) -> Result<Self, InvalidConfiguration>;

    /// Answers one request.
    fn answer(&self, request: Value, invocation: &RequestContext) -> impl Future<Output = Result<Value, Self::Error>>;
}

/// What Lambda says of an invocation.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Where the function runs.
    pub location: Location,
    /// What the invocation goes by.
    pub request_id: String,
    /// When it began.
    pub now: Timestamp,
    /// The same, on the clock that measures time.
    pub start: Instant,
    /// When Lambda ends it.
    pub ends_at: Timestamp,
    /// When its response has to be on its way.
    pub answered: Instant,
}

impl RequestContext {
    /// The present.
    pub fn now(&self) -> Timestamp {
        self.now
            .saturating_add(jiff::SignedDuration::try_from(self.start.elapsed()).unwrap_or_default())
            .unwrap_or(self.now)
    }
}

/// Serves requests until Lambda ends the process.
///
/// # Errors
/// The Lambda Runtime API is out of reach.
pub async fn serve_requests<S: Service>() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::of_process();
    logging::start(&environment);
    let config = sdk_config().load().await;
    let service = S::new(&environment, config.clone());
    let (service, config) = (&service, &config);
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        let (now, start) = (read_clock(), monotonic());
        // A wrong setting fails each invocation: Lambda shows an error of the start-up only in the log.
        let service = service.as_ref().map_err(|error| S::Error::from(error.clone()))?;
        let LambdaEvent { payload, context } = event;
        let ends_at = i64::try_from(context.deadline).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let invocation = RequestContext {
            location: location(&context, config),
            now,
            start,
            ends_at: ends_at.unwrap_or(now),
            answered: start + time_left(&context, now),
            request_id: context.request_id,
        };
        Box::pin(service.answer(payload, &invocation)).await
    }))
    .await
}
