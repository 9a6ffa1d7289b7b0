//! The reporter: it looks at no key. It tells what waits in the ledger, in one digest over all functions, accounts and Regions, and
//! what came of the checks of one execution of the daily check.
//!
//! | `detail` | it tells |
//! |---|---|
//! | nothing | all that waits; and the operators, what failed |
//! | `min_severity` | what waits and is open and so bad, before the checks are through; nothing else |
//! | `dry_run` | nobody: it answers what it would tell |
//! | `report: "open"` | nobody: it answers what is open, and writes the whole list to the bucket |
//!
//! `targets` says how many there were to look at: one of which nothing is written failed as a whole. `notices` is what the plan says
//! of them: the operators hear of those that ask for something to be done.

mod bucket;
mod controls;
mod open;
mod page;
mod report;
mod settings;
mod units;

use aws_config::SdkConfig;
use domain::control::Severity;
use domain::plan::Notice;
use lambda::event::{self, InvalidEvent};
use lambda::{Function, HandlerError, Invocation};
use monitor::settings::{Environment, InvalidConfiguration};
use monitor::target::Home;
use outputs::metrics::DailyCheckMeasured;
use serde::Serialize;
use serde_json::Value;

pub use bucket::Bucket;
pub use controls::ACCOUNT_REACHABLE;
pub use report::{Answer, Reporting};
pub use settings::{SETTINGS, Settings};

/// Name of the function.
pub const FUNCTION: &str = "reporter";

/// What the sender of an event may choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Tell only what is open and so bad.
    pub min_severity: Option<Severity>,
    /// Publish nothing, write nothing.
    pub dry_run: bool,
    /// How many targets the daily check planned, if the sender says: what is missing of them failed without a word.
    pub targets: Option<usize>,
    /// What the plan says of its targets.
    pub notices: Vec<Notice>,
    /// Tell nothing, and answer what is open.
    pub is_about_open: bool,
}

impl Options {
    /// Reads the options of an event.
    ///
    /// # Errors
    /// The event is not understood; the error names the field.
    pub fn parse(event: &Value) -> Result<Self, InvalidEvent> {
        let mut options = Self::default();
        for (name, value) in event::details(event)? {
            let field = format!("detail.{name}");
            match name.as_str() {
                "min_severity" => options.min_severity = Some(severity(&field, &value)?),
                "dry_run" => options.dry_run = event::boolean(&field, &value)?,
                "targets" => options.targets = Some(count(&field, &value)?),
                "notices" => {
                    options.notices = serde_json::from_value(value)
                        .map_err(|error| InvalidEvent::new(field, format!("is no list of notices: {error}")))?;
                }
                "report" if value.as_str() == Some("open") => options.is_about_open = true,
                "report" => {
                    return Err(InvalidEvent::new(field, format!("{} is not `open`", event::shown(&value))));
                }
                _ => {
                    let problem = "is no option; there are `dry_run`, `min_severity`, `notices`, `report`, `targets`";
                    return Err(InvalidEvent::new(field, problem));
                }
            }
        }
        if options.is_about_open && options.min_severity.is_some() {
            return Err(InvalidEvent::new("detail.min_severity", "does not go with `report`"));
        }
        Ok(options)
    }
}

fn count(field: &str, value: &Value) -> Result<usize, InvalidEvent> {
    let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
    count.ok_or_else(|| InvalidEvent::new(field, format!("{} is no count", event::shown(value))))
}

fn severity(field: &str, value: &Value) -> Result<Severity, InvalidEvent> {
    let all = [Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
    let found = all.into_iter().find(|severity| value.as_str() == Some(severity.as_str()));
    let problem = || format!("{} is none of `LOW`, `MEDIUM`, `HIGH`, `CRITICAL`", event::shown(value));
    found.ok_or_else(|| InvalidEvent::new(field, problem()))
}

/// The function with its settings.
#[derive(Debug)]
pub struct Reporter {
    settings: Settings,
    home: Home,
    reports: Option<Bucket>,
    plans: Option<Bucket>,
}

/// What a run answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// What it told.
    Told(Answer),
    /// What is open: see [`outputs::digest::open_findings`].
    Open(Value),
}

impl Function for Reporter {
    type Response = Response;
    type Error = HandlerError;

    fn new(environment: &Environment, config: SdkConfig) -> Result<Self, InvalidConfiguration> {
        let (home, settings) = Settings::read(environment)?;
        let bucket = |name: &Option<String>| name.clone().map(|name| Bucket::new(&config, name));
        let (reports, plans) = (bucket(&settings.report_bucket), bucket(&settings.plan_bucket));
        Ok(Self { settings, home: Home::new(&config, home), reports, plans })
    }

    async fn answer(&self, invocation: Invocation<'_>) -> Result<Response, HandlerError> {
        let options = Options::parse(&invocation.event)?;
        let execution = invocation.event.as_object().and_then(event::id);
        if options.is_about_open {
            let bucket = self.reports.as_ref().filter(|_| !options.dry_run);
            let execution = execution.as_deref().unwrap_or(&invocation.request_id);
            return Ok(Response::Open(open::answer(&self.home, bucket, &invocation, execution).await?));
        }
        let reporting = Reporting {
            home: &self.home,
            settings: &self.settings,
            plans: self.plans.as_ref(),
            reports: self.reports.as_ref(),
            options: &options,
            location: &invocation.location,
            execution: execution.as_deref().unwrap_or(&invocation.request_id),
            // The same request comes again after a failure: the instant makes its attempts different.
            attempt: &format!("{} {}", invocation.request_id, invocation.now),
            now: invocation.now,
            ends_at: invocation.ends_at,
            deadlines: &invocation.deadlines,
        };
        let answer = reporting.run().await?;
        tracing::info!(
            function = FUNCTION,
            messages_published = answer.alerts.messages_published,
            parts_held = answer.parts_held,
            failed_checks = answer.failed_checks,
            "the run is done"
        );
        if !options.dry_run && options.min_severity.is_none() {
            let measured = DailyCheckMeasured {
                coverage_percent: answer.coverage_percent,
                targets_planned: answer.targets_planned,
                targets_reached: answer.targets_reached,
                failed_checks: answer.failed_checks,
                messages_published: answer.alerts.messages_published,
                held_back: answer.alerts.held_back,
                run_duration_ms: invocation.took_ms(),
            };
            invocation.emit(&invocation.emission.daily_check_line(FUNCTION, measured));
        }
        Ok(Response::Told(answer))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn options_are_read_and_what_is_none_is_named() {
        let critical = Options { min_severity: Some(Severity::Critical), ..Options::default() };
        for (event, expected) in [
            (json!({}), Ok(Options::default())),
            (json!({"id": "e", "detail": {}}), Ok(Options::default())),
            (json!({"id": "e", "detail": {"min_severity": "CRITICAL"}}), Ok(critical.clone())),
            (json!({"detail": "{\"min_severity\": \"CRITICAL\"}"}), Ok(critical)),
            (json!({"detail": {"dry_run": true}}), Ok(Options { dry_run: true, ..Options::default() })),
            (json!({"detail": {"targets": 6}}), Ok(Options { targets: Some(6), ..Options::default() })),
            (
                json!({"detail": {"notices": [
                    {"about": "a", "reason": "r", "detail": "d", "needs_action": true}
                ]}}),
                Ok(Options {
                    notices: vec![Notice {
                        about: "a".into(),
                        reason: "r".into(),
                        detail: "d".into(),
                        needs_action: true,
                    }],
                    ..Options::default()
                }),
            ),
            (json!({"detail": {"notices": ["a"]}}), Err("detail.notices: is no list of notices: ")),
            (json!({"detail": {"targets": -1}}), Err("detail.targets: `-1` is no count")),
            (json!([]), Err("event: an empty list is not an object")),
            (json!({"min_severity": "HIGH"}), Err("min_severity: is no field of an EventBridge event")),
            (json!({"detail": {"min_severity": "critical"}}), Err("detail.min_severity: `critical` is none of `LOW`")),
            (json!({"detail": {"min_severity": 4}}), Err("detail.min_severity: `4` is none of")),
            (json!({"detail": {"dry_run": "yes"}}), Err("detail.dry_run: `yes` is not true or false")),
            (json!({"detail": {"report": "open"}}), Ok(Options { is_about_open: true, ..Options::default() })),
            (json!({"detail": {"report": "all"}}), Err("detail.report: `all` is not `open`")),
            (
                json!({"detail": {"report": "open", "min_severity": "HIGH"}}),
                Err("detail.min_severity: does not go with `report`"),
            ),
            (json!({"detail": {"keys": ["k"]}}), Err("detail.keys: is no option; there are `dry_run`, `min_severity`")),
        ] {
            let read = Options::parse(&event).map_err(|error| error.to_string());
            match (&read, &expected) {
                (Err(error), Err(start)) => assert!(error.starts_with(start), "{event}: {error}"),
                _ => assert_eq!(read, expected.map_err(str::to_owned), "{event}"),
            }
        }
    }
}
