//! How many messages the team gets of the ten days of the ledger's test: where each function tells at once, and where the
//! reporter tells for all of them.

#![expect(clippy::unwrap_used, reason = "a test binary")]

mod common;

use aws::kms::Kms;
use common::engine::{LateCheck, SmallCheck, exempting_tag};
use common::{Asked, Team, day, for_programs, good, off, told, unreadable};
use domain::control::{Control, Severity};
use domain::key::Key;
use domain::ledger::Notify;
use domain::verdict::Verdict;
use jiff::Timestamp;
use monitor::check::{AnyCheck, Check, KeyTags, Outcome, RunContext};
use monitor::settings::{Environment, InvalidConfiguration, Setting};
use serde_json::{Value, json};
use simulated_fleet::harness::{fleet_of, numbered_key};

static OWNED: Control =
    Control { id: "owned", title: "", severity: Severity::High, other_severities: "", references: &[] };

/// Does a tag say whose key it is?
struct OwnerCheck;

impl Check for OwnerCheck {
    const FUNCTION: &'static str = "owner-check";
    const CONTROLS: [&'static Control; 1] = [&OWNED];
    const SETTINGS: &'static [&'static dyn Setting] = &[];

    type Verdicts = [Verdict; 1];
    type Context = ();

    fn read(_: &Environment) -> Result<Self, InvalidConfiguration> {
        Ok(Self)
    }

    async fn begin(&self, _: &RunContext<'_>) {}

    async fn evaluate(&self, (): &(), _: &Kms, _: &Key, tags: &KeyTags<'_>, _: Timestamp) -> Outcome<[Verdict; 1]> {
        Outcome::Final(match tags.get().await {
            Err(failure) => Verdict::from(failure).for_all(),
            Ok(tags) if tags.contains_key("owner") => [Verdict::compliant("owned")],
            Ok(_) => [Verdict::non_compliant("nobodys")],
        })
    }
}

const CHECKS: [&dyn AnyCheck; 3] = [&SmallCheck, &OwnerCheck, &LateCheck];

fn owned(mut key: Value) -> Value {
    let key_fields = key.as_object_mut().unwrap();
    let tags = key_fields.entry("tags").or_insert_with(|| json!({})).as_object_mut().unwrap();
    tags.insert("owner".to_owned(), json!("ana"));
    key
}

/// Exempt until the fourth day.
fn exempt(n: u32) -> Value {
    let tag = "until=2026-11-27 owner=ana reason=moves to a new key";
    numbered_key(n, json!({"tags": {exempting_tag("enabled"): tag}}))
}

/// The keys of each day.
fn script() -> [Vec<Value>; 10] {
    let denied = |n| unreadable(n, "denied");
    [
        vec![owned(off(0)), good(1), owned(exempt(2)), owned(denied(3))],
        vec![owned(off(0)), good(1), owned(exempt(2)), owned(denied(3))],
        vec![owned(off(0)), owned(off(1)), owned(exempt(2)), owned(denied(3))],
        vec![owned(off(0)), owned(off(1)), owned(exempt(2)), owned(unreadable(3, "server_error"))],
        vec![owned(off(0)), owned(off(1)), owned(exempt(2)), good(3)],
        vec![owned(off(0)), owned(off(1)), owned(exempt(2)), good(3)],
        vec![owned(denied(0)), owned(off(1)), owned(exempt(2)), good(3)],
        vec![owned(off(0)), owned(off(1)), owned(exempt(2)), owned(good(3))],
        vec![owned(good(0)), owned(exempt(2)), owned(good(3))],
        vec![owned(good(0)), owned(exempt(2)), owned(good(3))],
    ]
}

/// What each message of each day says.
async fn days(notify: Notify) -> Vec<Vec<Vec<String>>> {
    let team = Team::with(aws::config::sdk_config().load().await, fleet_of(json!([])));
    let mut days = Vec::new();
    for (n, keys) in (0..).zip(script()) {
        team.fleet_is(fleet_of(keys));
        team.fleet.clear_published();
        let execution = format!("day {n}");
        for check in CHECKS {
            team.check(Asked { check, notify, keys: None }, &execution, day(n)).await.unwrap();
        }
        if notify == Notify::Later {
            assert_eq!(team.fleet.published(), [], "day {n}: the checks tell nobody");
            team.report(&execution, day(n)).await.unwrap();
        }
        let published = team.fleet.published();
        let digest = json!("kms-compliance-digest/1");
        assert!(
            published.iter().all(|it| (for_programs(it).get("schema") == Some(&digest)) == (notify == Notify::Later))
        );
        assert_eq!(team.unfinished(), [""; 0], "day {n}");
        days.push(published.iter().map(told).collect());
    }
    days
}

#[tokio::test]
async fn one_digest_a_day_says_what_the_functions_say_each_for_itself() {
    let (single, digests) = tokio::join!(days(Notify::Now), days(Notify::Later));
    let messages = |days: &[Vec<Vec<String>>]| days.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(messages(&single), [2, 0, 2, 1, 2, 1, 1, 2, 1, 0], "twelve");
    assert_eq!(messages(&digests), [1, 0, 1, 1, 1, 1, 1, 1, 1, 0], "eight");
    for (n, (single, digests)) in single.iter().zip(&digests).enumerate() {
        let sorted = |day: &[Vec<String>]| {
            let mut lines = day.concat();
            lines.sort();
            lines
        };
        assert_eq!(sorted(single), sorted(digests), "day {n}");
    }
    let first =
        ["in_effect enabled 2", "new enabled 0", "new enabled 3", "new overdue 3", "new owned 1", "new period 3"];
    assert_eq!(digests.first().unwrap().concat(), first, "in one message");
}
