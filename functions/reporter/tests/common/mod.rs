//! A fleet with a ledger, and who records and tells there: small checks with the engine around them, and the reporter.

#![allow(dead_code, reason = "each test binary uses its part")]
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

#[path = "../../../../shared/monitor/tests/common/mod.rs"]
pub mod engine;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_config::SdkConfig;
use domain::ledger::Notify;
use domain::location::KeyName;
use jiff::{SignedDuration, Timestamp};
use monitor::check::AnyCheck;
use monitor::deadlines::Deadlines;
use monitor::run::{Options, Run, RunOutcome};
use monitor::settings::{Environment, EvaluationSettings, HomeSettings};
use monitor::target::{Home, Target};
use outputs::response::AlertCounts;
use reporter::{Answer, Reporting, Settings};
use serde_json::{Value, json};
use simulated_fleet::harness::{TOPIC, WITH_LEDGER, describe, numbered_key};
use simulated_fleet::{Fleet, Published};

/// How long a run takes at most: so long it may hold a lease.
pub const INVOCATION: SignedDuration = SignedDuration::from_mins(1);

/// A fleet, and the home of those who look at it.
pub struct Team {
    pub fleet: Fleet,
    pub target: Target,
    home: Home,
    evaluation: EvaluationSettings,
}

/// What a run of a check is about.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub check: &'a dyn AnyCheck,
    pub notify: Notify,
    /// Set where it answers to an event about keys.
    pub keys: Option<&'a [String]>,
}

impl Team {
    /// The configuration takes longer to load than a run takes.
    pub fn with(config: SdkConfig, fleet: Value) -> Self {
        Self::around(config, Fleet::serve(describe(fleet)).unwrap())
    }

    pub fn around(config: SdkConfig, fleet: Fleet) -> Self {
        let config = engine::config_for(&fleet, config);
        let settings = [("SNS_TOPIC_ARN", TOPIC), WITH_LEDGER].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment: Environment = settings.into_iter().collect();
        Self {
            home: Home::new(&config, HomeSettings::read(&environment).unwrap()),
            target: Target { location: engine::location(&fleet), config, is_in_home_account: true },
            evaluation: EvaluationSettings::read(&environment).unwrap(),
            fleet,
        }
    }

    pub fn fleet_is(&self, fleet: Value) {
        self.fleet.replace(describe(fleet)).unwrap();
    }

    /// A run of a check; each event goes by its name.
    pub async fn check(&self, asked: Asked<'_>, event: &str, now: Timestamp) -> Result<AlertCounts, String> {
        let keys = asked.keys.map(|keys| keys.iter().map(|key| KeyName::parse(key).unwrap()).collect());
        let run = Run {
            check: asked.check,
            settings: &self.evaluation,
            home: &self.home,
            target: &self.target,
            options: &Options { notify: asked.notify, keys, ..Options::default() },
            is_of_key_events: asked.keys.is_some(),
            owner: event,
            attempt: &attempt(),
            now,
            ends_at: now + INVOCATION,
            deadlines: &deadlines(),
        };
        let RunOutcome { alerts, .. } = Box::pin(run.run()).await.map_err(|error| error.to_string())?;
        Ok(alerts)
    }

    /// A run of the reporter after an execution of the daily check.
    pub async fn report(&self, execution: &str, now: Timestamp) -> Result<Answer, String> {
        let reporting = Reporting {
            home: &self.home,
            settings: &Settings::default(),
            plans: None,
            reports: None,
            options: &reporter::Options::default(),
            location: &self.target.location,
            execution,
            attempt: &attempt(),
            now,
            ends_at: now + INVOCATION,
            deadlines: &deadlines(),
        };
        Box::pin(reporting.run()).await.map_err(|error| error.to_string())
    }

    /// What the published messages say, sorted: change, control, key (the last of its digits).
    pub fn heard(&self) -> Vec<String> {
        let mut heard: Vec<String> = self.fleet.published().iter().flat_map(told).collect();
        heard.sort();
        heard
    }

    /// Sort keys of the items that wait to be told, and the leases that somebody has.
    pub fn unfinished(&self) -> Vec<String> {
        let items = self.fleet.items().into_iter();
        let unfinished = items.filter(|item| item["sk"] == "lease" || item.get("waits").is_some());
        unfinished.map(|item| format!("{} {}", item["pk"], item["sk"])).collect()
    }
}

/// A name that no other attempt has.
fn attempt() -> String {
    static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
    ATTEMPTS.fetch_add(1, Ordering::Relaxed).to_string()
}

fn deadlines() -> Deadlines {
    #[expect(clippy::disallowed_methods, reason = "how much time there is does not matter here")]
    let start = tokio::time::Instant::now();
    Deadlines::new(start, Duration::from_mins(1))
}

/// What a message for programs says.
pub fn for_programs(message: &Published) -> Value {
    let message: Value = serde_json::from_str(&message.message).unwrap();
    serde_json::from_str(message["default"].as_str().unwrap()).unwrap()
}

/// What a message for people says.
pub fn for_people(message: &Published) -> String {
    let message: Value = serde_json::from_str(&message.message).unwrap();
    message["email"].as_str().unwrap().to_owned()
}

/// What one message says: change, control, key (the last of its digits).
pub fn told(message: &Published) -> Vec<String> {
    let message = for_programs(message);
    let mut told = Vec::new();
    for list in ["new", "worsened", "resolved", "deleted", "reminder", "exemptions"] {
        for it in message[list].as_array().unwrap() {
            let (control, key) = (it["control"].as_str().unwrap(), it["key_id"].as_str().unwrap());
            told.push(format!("{} {control} {}", it["state"].as_str().unwrap_or(list), &key[key.len() - 1..]));
        }
    }
    told.sort();
    told
}

/// A key that the small check has nothing against.
pub fn good(n: u32) -> Value {
    numbered_key(n, json!({"rotation": {"enabled": true}}))
}

/// A key that it has something against.
pub fn off(n: u32) -> Value {
    numbered_key(n, json!({}))
}

/// A key that it cannot judge.
pub fn unreadable(n: u32, fault: impl Into<Value>) -> Value {
    numbered_key(n, json!({"rotation": {"enabled": true}, "faults": {"GetKeyRotationStatus": fault.into()}}))
}

/// The nth day.
pub fn day(n: i64) -> Timestamp {
    "2026-11-23T06:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * n)
}
