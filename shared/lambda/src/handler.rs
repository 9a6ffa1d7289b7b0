//! The one handler shape of all functions: it parses, calls, answers.

use std::time::Duration;

use aws::config::sdk_config;
use aws_config::SdkConfig;
use aws_lambda_events::event::sqs::BatchItemFailure;
use domain::location::Location;
use domain::report::Report;
use jiff::Timestamp;
use lambda_runtime::{Context, LambdaEvent, service_fn};
use monitor::check::{AnyCheck, Check};
use monitor::deadlines::Deadlines;
use monitor::error::RunError;
use monitor::run::{Options, Run, RunOutcome};
use monitor::settings::{Environment, EvaluationSettings, HomeSettings, InvalidConfiguration, Setting, Text};
use monitor::target::{Home, Target};
use outputs::metrics::{Emission, Measured, Trigger};
use outputs::response::AlertCounts;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::error::HandlerError;
use crate::event::Request;
use crate::logging;

/// Time that is kept for the way back of the response.
const FOR_THE_RESPONSE: Duration = Duration::from_millis(500);

static METRICS_NAMESPACE: Text<String> = Text {
    name: "METRICS_NAMESPACE",
    default: "KmsCompliance",
    is_required: false,
    allowed: "a CloudWatch namespace: 1 to 255 letters, digits or any of `.-_/#:`, not beginning with `AWS/` or `:`",
    parse: namespace,
    meaning: "namespace of the metrics; the template gives each stack its own",
};

/// The settings of the handler itself.
pub const SETTINGS: &[&dyn Setting] = &[&METRICS_NAMESPACE];

fn namespace(value: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_/#:".contains(c);
    let whole =
        value.len() <= 255 && value.chars().all(allowed) && !value.starts_with("AWS/") && !value.starts_with(':');
    whole.then(|| value.to_owned())
}

/// The answer to an invocation.
#[derive(Debug, Serialize)]
pub struct Response {
    #[serde(flatten)]
    run: outputs::response::Response,
    #[serde(rename = "batchItemFailures", skip_serializing_if = "Option::is_none")]
    batch_item_failures: Option<Vec<BatchItemFailure>>,
}

/// Serves invocations of one function until Lambda ends the process.
///
/// # Errors
/// The Lambda Runtime API is out of reach.
pub async fn serve<C: Check>() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::of_process();
    logging::start(&environment);
    let config = sdk_config().load().await;
    // A wrong setting fails each invocation: Lambda shows an error of the start-up only in the log.
    let handler = Handler::<C>::new(&environment, config);
    let handler = &handler;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        let handler = handler.as_ref().map_err(Clone::clone)?;
        // The runtime logs an error, once.
        Box::pin(handler.answer(event, read_clock())).await
    }))
    .await
}

/// A function with its settings.
#[derive(Debug)]
pub struct Handler<C> {
    check: C,
    settings: EvaluationSettings,
    home: Home,
    config: SdkConfig,
    metrics_namespace: String,
    log_level: String,
}

impl<C: Check> Handler<C> {
    /// Reads the settings.
    ///
    /// # Errors
    /// One of them is missing or does not parse.
    pub fn new(environment: &Environment, config: SdkConfig) -> Result<Self, InvalidConfiguration> {
        let home = HomeSettings::read(environment)?;
        Ok(Self {
            settings: EvaluationSettings::read(environment)?,
            check: C::read(environment)?,
            home: Home::new(&config, home),
            config,
            metrics_namespace: METRICS_NAMESPACE.require(environment)?,
            log_level: logging::level_name(environment),
        })
    }

    /// Answers one invocation that begins at the instant `now`.
    ///
    /// # Errors
    /// The event is not understood, or the run failed as a whole.
    pub async fn answer(&self, event: LambdaEvent<Value>, now: Timestamp) -> Result<Response, HandlerError> {
        let start = monotonic();
        let mut request = Request::parse(event.payload, C::TAKES_AS_OF)?;
        for (message_id, error) in request.batch.iter().flat_map(|batch| &batch.malformed) {
            tracing::error!(message_id, %error, "a message of the batch is malformed");
        }
        let target = Target { location: location(&self.config, &event.context), config: self.config.clone() };
        let nothing = || {
            let report = Report::new(C::FUNCTION, &target.location, now, &self.check.controls(), None);
            (report, AlertCounts::default())
        };
        let (report, alerts) = if let Some(options) = &request.options {
            match (self.run(&request, options, &target, &event.context, now, start).await, &mut request.batch) {
                (Ok(outcome), Some(batch)) => {
                    batch.give_back(&outcome.0);
                    outcome
                }
                // Nothing is wrong: a daily run takes longer than the events can wait here. They wait in the queue.
                (Err(HandlerError::Run(error @ RunError::LedgerBusy { .. })), Some(batch)) => {
                    tracing::warn!(%error, "the events go back to the queue");
                    batch.give_back_all();
                    nothing()
                }
                (outcome, _) => outcome?,
            }
        } else {
            nothing()
        };
        Ok(Response {
            run: outputs::response::Response::new(report, alerts),
            batch_item_failures: request.batch.map(|batch| batch.failures),
        })
    }

    async fn run(
        &self,
        request: &Request,
        options: &Options,
        target: &Target,
        context: &Context,
        now: Timestamp,
        start: Instant,
    ) -> Result<(Report, AlertCounts), HandlerError> {
        let deadlines = Deadlines::new(start, time_left(context, now));
        let deadline = i64::try_from(context.deadline).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let run = Run {
            check: &self.check,
            settings: &self.settings,
            home: &self.home,
            target,
            options,
            is_of_key_events: request.batch.is_some(),
            owner: request.id.as_ref().unwrap_or(&context.request_id),
            // The same request comes again after a failure: the instant makes its attempts different.
            attempt: &format!("{} {now}", context.request_id),
            now,
            ends_at: deadline.unwrap_or(now),
            deadlines: &deadlines,
        };
        let outcome = run.run().await?;
        self.emit_metrics(&outcome, run.trigger(), now, monotonic() - start);
        Ok((outcome.report, outcome.alerts))
    }

    fn emit_metrics(&self, outcome: &RunOutcome, trigger: Option<Trigger>, now: Timestamp, took: Duration) {
        let RunOutcome { report, alerts, samples, kms_calls, kms_throttles } = outcome;
        let run_duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            function = C::FUNCTION,
            complete = report.complete,
            keys_listed = report.keys_listed,
            keys_not_reached = report.keys_not_reached,
            findings = report.findings.len(),
            messages_published = alerts.messages_published,
            kms_calls,
            run_duration_ms,
            "the run is done"
        );
        let Some(trigger) = trigger else { return };
        let measured = Measured {
            kms_calls: *kms_calls,
            kms_throttles: *kms_throttles,
            messages_published: alerts.messages_published,
            held_back: alerts.held_back,
            run_duration_ms,
        };
        let emission = Emission { namespace: &self.metrics_namespace, level: &self.log_level, at: now };
        for line in emission.lines(report, measured, samples, trigger) {
            #[expect(clippy::print_stdout, reason = "Lambda takes metrics from standard output, as bare JSON lines")]
            {
                println!("{line}");
            }
        }
    }
}

/// Where a function runs. An emulator's function may have no real ARN: then the account is not known.
pub(crate) fn location(config: &SdkConfig, context: &Context) -> Location {
    Location::from_function_arn(&context.invoked_function_arn).unwrap_or_else(|| Location {
        partition: "aws".to_owned(),
        region: config.region().map_or("unknown", |region| region.as_ref()).to_owned(),
        account_id: "unknown".to_owned(),
    })
}

/// How long the run may take until its response has to be on its way.
pub(crate) fn time_left(context: &Context, now: Timestamp) -> Duration {
    let deadline = i64::try_from(context.deadline).unwrap_or(i64::MAX);
    let left = deadline.saturating_sub(now.as_millisecond());
    Duration::from_millis(u64::try_from(left).unwrap_or_default()).saturating_sub(FOR_THE_RESPONSE)
}

/// The one reading of the clock: the instant that everything is judged for.
#[expect(clippy::disallowed_methods, reason = "the one edge where the clock is read")]
pub(crate) fn read_clock() -> Timestamp {
    Timestamp::now()
}

/// Where the monotonic clock stands: for time left and time taken, never for a verdict.
#[expect(clippy::disallowed_methods, reason = "the monotonic half of the one edge")]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}
