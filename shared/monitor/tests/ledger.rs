//! The findings ledger, in runs against a simulated fleet with the time in the test's hand: day by day, and with a crash at
//! every step.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test binary")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::SdkConfig;
use common::{SmallCheck, config_for, exempting_tag, location};
use jiff::{SignedDuration, Timestamp};
use monitor::deadlines::Deadlines;
use monitor::run::{Options, Run, RunOutcome};
use monitor::settings::{Environment, EvaluationSettings, HomeSettings};
use monitor::target::{Home, Target};
use outputs::response::AlertCounts;
use serde_json::{Value, json};
use simulated_fleet::harness::{TOPIC, WITH_LEDGER, describe, fleet_of, numbered_key};
use simulated_fleet::{Fleet, When, generated_key_id as id};

/// What a team is told of a fleet.
struct Team {
    fleet: Fleet,
    home: Home,
    target: Target,
    settings: EvaluationSettings,
}

const INVOCATION: SignedDuration = SignedDuration::from_mins(1);

fn day(n: i64) -> Timestamp {
    "2026-11-23T06:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * n)
}

impl Team {
    async fn watching(fleet: Value) -> Self {
        Self::with(aws::config::sdk_config().load().await, fleet)
    }

    fn with(config: SdkConfig, fleet: Value) -> Self {
        let fleet = Fleet::serve(describe(fleet)).unwrap();
        let config = config_for(&fleet, config);
        let settings = [("SNS_TOPIC_ARN", TOPIC), WITH_LEDGER].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment: Environment = settings.into_iter().collect();
        Self {
            home: Home::new(&config, HomeSettings::read(&environment).unwrap()),
            target: Target { location: location(&fleet), config, is_in_home_account: true },
            settings: EvaluationSettings::read(&environment).unwrap(),
            fleet,
        }
    }

    /// One run. Each event goes by its name.
    async fn run(&self, event: &str, now: Timestamp) -> Result<AlertCounts, String> {
        #[expect(clippy::disallowed_methods, reason = "how much time there is does not matter here")]
        let start = tokio::time::Instant::now();
        let run = Run {
            check: &SmallCheck,
            settings: &self.settings,
            home: &self.home,
            target: &self.target,
            options: &Options::default(),
            is_of_key_events: false,
            owner: event,
            attempt: &format!("{event} {now}"),
            now,
            ends_at: now + INVOCATION,
            deadlines: &Deadlines::new(start, INVOCATION.unsigned_abs()),
        };
        let RunOutcome { alerts, .. } = Box::pin(run.run()).await.map_err(|error| error.to_string())?;
        Ok(alerts)
    }

    /// The daily run. What did the team hear?
    async fn hears(&self, n: i64) -> Vec<String> {
        self.fleet.clear_published();
        let alerts = self.run(&format!("day {n}"), day(n)).await.unwrap();
        let heard = self.heard();
        let counts = json!(alerts);
        for change in ["new", "worsened", "resolved", "reminder"] {
            let count = heard.iter().filter(|line| line.split(' ').next() == Some(change)).count();
            assert_eq!(counts[change], count, "{change} on day {n}");
        }
        assert_eq!(alerts.messages_published, usize::from(!heard.is_empty()));
        heard
    }

    /// What the published messages say: change, control, key (the last of its digits).
    fn heard(&self) -> Vec<String> {
        let mut heard = Vec::new();
        for message in self.fleet.published() {
            let message: Value = serde_json::from_str(&message.message).unwrap();
            let default: Value = serde_json::from_str(message["default"].as_str().unwrap()).unwrap();
            for list in ["new", "worsened", "resolved", "deleted", "reminder", "exemptions"] {
                for it in default[list].as_array().unwrap() {
                    let (control, key) = (it["control"].as_str().unwrap(), it["key_id"].as_str().unwrap());
                    let what = it["state"].as_str().unwrap_or(list);
                    heard.push(format!("{what} {control} {}", &key[key.len() - 1..]));
                }
            }
        }
        heard.sort();
        heard
    }

    /// Writes to items of findings since the last call.
    fn writes_to_findings(&self) -> usize {
        let writes = self.fleet.writes().into_iter().filter(|write| write.sk != "lease").count();
        self.fleet.clear_writes();
        writes
    }

    fn keys_are(&self, keys: Value) {
        self.fleet.replace(describe(fleet_of(keys))).unwrap();
    }
}

fn good(n: u32) -> Value {
    numbered_key(n, json!({"rotation": {"enabled": true}}))
}

fn off(n: u32) -> Value {
    numbered_key(n, json!({}))
}

fn unreadable(n: u32, fault: impl Into<Value>) -> Value {
    numbered_key(n, json!({"rotation": {"enabled": true}, "faults": {"GetKeyRotationStatus": fault.into()}}))
}

fn exempt(n: u32, until: &str) -> Value {
    numbered_key(
        n,
        json!({"tags": {exempting_tag("enabled"): format!("until={until} owner=ana reason=moves to a new key")}}),
    )
}

/// What is said of all three controls of a key.
fn of_all_controls(change: &str, n: u32) -> Vec<String> {
    ["enabled", "overdue", "period"].map(|control| format!("{change} {control} {n}")).to_vec()
}

#[tokio::test]
async fn ten_days() {
    let team =
        Team::watching(fleet_of(json!([off(0), good(1), exempt(2, "2026-11-27"), unreadable(3, "denied")]))).await;
    let first: Vec<_> =
        [vec!["in_effect enabled 2".to_owned(), "new enabled 0".into()], of_all_controls("new", 3)].concat();
    let mut first = first;
    first.sort();
    assert_eq!(team.hears(0).await, first);

    team.writes_to_findings();
    assert_eq!(team.hears(1).await, [""; 0]);
    assert_eq!(team.writes_to_findings(), 0, "an unchanged day writes nothing");

    team.keys_are(json!([off(0), off(1), exempt(2, "2026-11-27"), unreadable(3, "denied")]));
    assert_eq!(team.hears(2).await, ["new enabled 1"]);
    assert_eq!(team.writes_to_findings(), 2, "as pending, and as told");

    team.keys_are(json!([off(0), off(1), exempt(2, "2026-11-27"), unreadable(3, "server_error")]));
    assert_eq!(team.hears(3).await, of_all_controls("worsened", 3));

    team.keys_are(json!([off(0), off(1), exempt(2, "2026-11-27"), good(3)]));
    assert_eq!(team.hears(4).await, of_all_controls("resolved", 3));

    // The exemption's last day was yesterday.
    assert_eq!(team.hears(5).await, ["expired enabled 2", "new enabled 2"]);

    // What is known of key 0 is hidden, not gone.
    team.keys_are(json!([unreadable(0, "denied"), off(1), exempt(2, "2026-11-27"), good(3)]));
    assert_eq!(team.hears(6).await, of_all_controls("new", 0));

    team.keys_are(json!([off(0), off(1), exempt(2, "2026-11-27"), good(3)]));
    let expected = [vec!["reminder enabled 0".to_owned()], of_all_controls("resolved", 0)].concat();
    assert_eq!(team.hears(7).await, expected);

    // Key 0 is fixed, key 1 deleted.
    team.keys_are(json!([good(0), exempt(2, "2026-11-27"), good(3)]));
    assert_eq!(team.hears(8).await, ["resolved enabled 0", "resolved enabled 1"]);

    team.writes_to_findings();
    assert_eq!(team.hears(9).await, [""; 0]);
    assert_eq!(team.writes_to_findings(), 0);

    let items = team.fleet.items();
    let kept: BTreeMap<&str, usize> = items.iter().fold(BTreeMap::new(), |mut kept, item| {
        *kept.entry(item["sk"].as_str().unwrap().split('#').next().unwrap()).or_default() += 1;
        kept
    });
    assert_eq!(kept, BTreeMap::from([("open", 1), ("past", 8)]), "the lease is given back");
    let past = items.iter().find(|item| item["sk"].as_str().unwrap().starts_with("past#") && item["key_id"] == id(1));
    let past = past.unwrap();
    assert_eq!(past["pk"], "123456789012#us-east-1#small-check");
    assert_eq!(past["expires_at"], (day(8) + SignedDuration::from_hours(365 * 24)).as_second());
    assert_eq!(past["last_notified"]["change"], "resolved");
    let history: Vec<_> = past["history"].as_array().unwrap().iter().map(|it| (&it["event"], &it["reason"])).collect();
    assert_eq!(history, [(&json!("new"), &json!("rotation_disabled")), (&json!("resolved"), &json!("key_gone"))]);
}

/// Three days on which findings appear, worsen and are resolved.
fn days_that_change() -> [Value; 3] {
    let another_reason = json!({"kind": "error", "code": "BrandNewException"});
    [
        json!([off(0), unreadable(1, "denied"), exempt(2, "2026-12-31")]),
        json!([off(0), unreadable(1, another_reason), off(2)]),
        json!([good(0), good(1), off(2), off(3)]),
    ]
}

#[tokio::test]
async fn a_crash_at_any_step_loses_no_alert() {
    let days = days_that_change();
    // Reading the certificate store takes longer than a run.
    let config = aws::config::sdk_config().load().await;
    let smooth = Team::with(config.clone(), fleet_of(json!([])));
    let mut expected = Vec::new();
    let mut steps = Vec::new();
    for (n, keys) in (0..).zip(&days) {
        smooth.keys_are(keys.clone());
        smooth.fleet.resume();
        expected.push(smooth.hears(n).await);
        steps.push(smooth.fleet.mutations());
    }
    // Lease, its second half, pending, alert, told, and for what ends two more writes, lease.
    assert!(steps.iter().all(|steps| *steps >= 6), "{steps:?}");
    for (crash_on, steps) in (0..).zip(&steps) {
        for step in 1..=*steps {
            for when in [When::Before, When::After] {
                let team = Team::with(config.clone(), fleet_of(json!([])));
                for (n, keys) in (0..).zip(&days) {
                    team.keys_are(keys.clone());
                    team.fleet.clear_published();
                    if n == crash_on {
                        team.fleet.stop_at(step, when);
                        let stopped = team.fleet.stopped();
                        let event = format!("day {n}");
                        tokio::select! {
                            () = stopped => {}
                            done = team.run(&event, day(n)) => panic!("step {step}: {done:?}"),
                        }
                        team.fleet.resume();
                        // Lambda tries again; by then what the first attempt held of the lease is over.
                        let again = day(n) + INVOCATION;
                        team.run(&format!("day {n}"), again).await.unwrap();
                    } else {
                        team.run(&format!("day {n}"), day(n)).await.unwrap();
                    }
                    let mut heard = team.heard();
                    assert!(team.fleet.published().len() <= if n == crash_on { 2 } else { 1 });
                    heard.dedup();
                    assert_eq!(
                        heard,
                        expected[usize::try_from(n).unwrap()],
                        "day {n}, crash {when:?} {step} of day {crash_on}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_run_that_crashed_before_it_told_is_taken_over_at_once_and_one_that_may_have_told_is_not() {
    for (step, taken_over) in [(1, true), (2, false), (4, false)] {
        let team = Team::watching(fleet_of(json!([off(0)]))).await;
        team.fleet.stop_at(step, When::After);
        let stopped = team.fleet.stopped();
        tokio::select! {
            () = stopped => {}
            done = team.run("e", day(0)) => panic!("{done:?}"),
        }
        team.fleet.resume();
        let again = tokio::time::timeout(Duration::from_secs(1), team.run("e", day(0))).await;
        assert_eq!(again.is_ok_and(|done| done.is_ok()), taken_over, "step {step}");
        let other = team.run("other", day(0) + INVOCATION).await.unwrap();
        assert_eq!(other.new, usize::from(!taken_over), "step {step}");
    }
}
