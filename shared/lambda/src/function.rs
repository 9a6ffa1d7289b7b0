//! Functions that are no check: their events, answers and errors are their own.

use std::fmt;

use aws::config::sdk_config;
use aws_config::SdkConfig;
use domain::location::Location;
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use monitor::deadlines::Deadlines;
use monitor::settings::{Environment, InvalidConfiguration};
use outputs::metrics::Emission;
use serde::Serialize;
use serde_json::Value;

use crate::handler::{METRICS_NAMESPACE, location, monotonic, read_clock, time_left};
use crate::logging;

/// A function that is no check.
pub trait Function: Sized {
    /// Its answer.
    type Response: Serialize;
    /// What an invocation can fail with.
    type Error: Into<Diagnostic> + fmt::Debug + From<InvalidConfiguration>;

    /// Reads its settings.
    ///
    /// # Errors
    /// One of them is missing or does not parse.
    fn new(environment: &Environment, config: SdkConfig) -> Result<Self, InvalidConfiguration>;

    /// Answers one invocation.
    fn answer(&self, invocation: Invocation<'_>) -> impl Future<Output = Result<Self::Response, Self::Error>>;
}

/// One invocation of such a function.
#[derive(Debug)]
pub struct Invocation<'a> {
    /// The event as it came.
    pub event: Value,
    /// Where the function runs.
    pub location: Location,
    /// Lambda's name for it; the same request comes again after a failure.
    pub request_id: String,
    /// When it began.
    pub now: Timestamp,
    /// When it will have ended, whatever happens.
    pub ends_at: Timestamp,
    /// Until when each of its parts has to be done.
    pub deadlines: Deadlines,
    /// What its metric lines have in common.
    pub emission: Emission<'a>,
}

impl Invocation<'_> {
    /// The present.
    pub fn present(&self) -> Timestamp {
        let took = SignedDuration::try_from(monotonic() - self.deadlines.start).unwrap_or_default();
        self.now.saturating_add(took).unwrap_or(self.now)
    }

    /// How long it has taken so far, in milliseconds.
    pub fn took_ms(&self) -> u64 {
        u64::try_from((monotonic() - self.deadlines.start).as_millis()).unwrap_or(u64::MAX)
    }

    /// Writes a metric line.
    pub fn emit(&self, line: &str) {
        #[expect(clippy::print_stdout, reason = "Lambda takes metrics from standard output, as bare JSON lines")]
        {
            println!("{line}");
        }
    }
}

/// Serves invocations of one such function until Lambda ends the process.
///
/// # Errors
/// The Lambda Runtime API is out of reach.
pub async fn serve_function<F: Function>() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::of_process();
    logging::start(&environment);
    let config = sdk_config().load().await;
    // A wrong setting fails each invocation: Lambda shows an error of the start-up only in the log.
    let namespace = METRICS_NAMESPACE.require(&environment);
    let function = namespace.and_then(|namespace| Ok((namespace, F::new(&environment, config.clone())?)));
    let level = logging::level_name(&environment);
    let (function, level, config) = (&function, &level, &config);
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        let (namespace, function) = function.as_ref().map_err(|error| F::Error::from(error.clone()))?;
        let (now, start) = (read_clock(), monotonic());
        let deadline = i64::try_from(event.context.deadline).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let invocation = Invocation {
            location: location(&event.context, config),
            now,
            ends_at: deadline.unwrap_or(now),
            deadlines: Deadlines::new(start, time_left(&event.context, now)),
            request_id: event.context.request_id,
            event: event.payload,
            emission: Emission { namespace, level, at: now },
        };
        // The runtime logs an error, once.
        Box::pin(function.answer(invocation)).await
    }))
    .await
}
