//! The findings ledger, in runs of the function against a simulated fleet: day by day with the time in the test's hand,
//! crashes at every step, two runs at once, and everything that can be out of reach.

#![expect(clippy::indexing_slicing, clippy::needless_pass_by_value, clippy::unwrap_used, reason = "a test binary")]

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_sdk_kms::config::{Credentials, SharedCredentialsProvider};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Context, LambdaEvent};
use rotation_checker::RotationChecker;
use serde_json::{Value, json};
use shared::serve::Function;
use simulated_fleet::trial::{self, TOPIC, WITH_LEDGER, describe, error_message, error_type, fleet_of, ok};
use simulated_fleet::{Fleet, Invocation, When, generated_key_id as id};

const BINARY: &str = env!("CARGO_BIN_EXE_rotation-checker");
const SCHEDULED: &str = include_str!("../../../events/rotation-checker/scheduled.json");

fn start(fleet: Value, settings: &[(&str, &str)]) -> (Fleet, simulated_fleet::Function) {
    let settings: Vec<_> = settings.iter().copied().chain([WITH_LEDGER]).collect();
    trial::start(BINARY, fleet, &settings)
}

/// The function within the test's own process, so that the test says what time it is.
struct Team {
    fleet: Fleet,
    function: Function<RotationChecker, 3>,
}

const INVOCATION: SignedDuration = SignedDuration::from_mins(1);

fn day(n: i64) -> Timestamp {
    "2026-11-23T06:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * n)
}

impl Team {
    async fn watching(fleet: Value) -> Self {
        Self::with(shared::client::sdk_config().load().await, fleet)
    }

    fn with(config: SdkConfig, fleet: Value) -> Self {
        let fleet = Fleet::serve(describe(fleet)).unwrap();
        let credentials = Credentials::new("id", "secret", None, None, "test");
        let config = config
            .into_builder()
            .endpoint_url(fleet.endpoint())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let settings = [("SNS_TOPIC_ARN", TOPIC), WITH_LEDGER].map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { fleet, function: Function::new(&settings.into_iter().collect(), config).unwrap() }
    }

    /// One invocation. Each event goes by its `id`.
    async fn invoke(&self, id: &str, detail: Value, now: Timestamp) -> Result<Value, String> {
        let mut context = Context::default();
        context.request_id = format!("request of {id}");
        context.invoked_function_arn = self.fleet.arn("lambda", "function:rotation-checker");
        context.deadline = u64::try_from((now + INVOCATION).as_millisecond()).unwrap();
        let event = LambdaEvent::new(json!({"source": "aws.events", "id": id, "detail": detail}), context);
        let response = Box::pin(self.function.answer(event, now)).await.map_err(|error| format!("{error:?}"))?;
        Ok(serde_json::to_value(response).unwrap())
    }

    /// The daily run. What did the team hear?
    async fn hears(&self, n: i64) -> Vec<String> {
        self.fleet.clear_published();
        let response = self.invoke(&format!("day {n}"), json!({}), day(n)).await.unwrap();
        let heard = self.heard();
        for change in ["new", "worsened", "resolved", "reminder"] {
            let count = heard.iter().filter(|line| line.split(' ').next() == Some(change)).count();
            assert_eq!(response["alerts"][change], count, "{change} on day {n}");
        }
        assert_eq!(response["alerts"]["messages_published"], usize::from(!heard.is_empty()));
        heard
    }

    /// What the published messages say: change, control, key (the last of its digits).
    fn heard(&self) -> Vec<String> {
        let mut heard = Vec::new();
        for message in self.fleet.published() {
            let message: Value = serde_json::from_str(&message.message).unwrap();
            let default: Value = serde_json::from_str(message["default"].as_str().unwrap()).unwrap();
            for list in ["new", "worsened", "resolved", "reminder", "exemptions"] {
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

/// A key with its number for name, so that the others may come and go.
fn key(n: u32, facts: Value) -> Value {
    let mut key = json!({ "key_id": id(n) });
    key.as_object_mut().unwrap().extend(facts.as_object().unwrap().clone());
    key
}

fn good(n: u32) -> Value {
    key(n, json!({"rotation": {"enabled": true}}))
}

fn off(n: u32) -> Value {
    key(n, json!({}))
}

fn unreadable(n: u32, fault: impl Into<Value>) -> Value {
    key(n, json!({"rotation": {"enabled": true}, "faults": {"GetKeyRotationStatus": fault.into()}}))
}

fn exempt(n: u32, until: &str) -> Value {
    let tag = format!("until={until} owner=ana reason=moves to a new key");
    key(n, json!({"tags": {"kms-compliance/exempt/rotation-enabled": tag}}))
}

/// What is said of all three controls of a key.
fn of_all_controls(change: &str, n: u32) -> Vec<String> {
    ["rotation-enabled", "rotation-overdue", "rotation-period"]
        .map(|control| format!("{change} {control} {n}"))
        .to_vec()
}

#[tokio::test]
async fn ten_days() {
    let team =
        Team::watching(fleet_of(json!([off(0), good(1), exempt(2, "2026-11-27"), unreadable(3, "denied")]))).await;
    let first: Vec<_> =
        [vec!["in_effect rotation-enabled 2".to_owned(), "new rotation-enabled 0".into()], of_all_controls("new", 3)]
            .concat();
    let mut first = first;
    first.sort();
    assert_eq!(team.hears(0).await, first);

    team.writes_to_findings();
    assert_eq!(team.hears(1).await, [""; 0]);
    assert_eq!(team.writes_to_findings(), 0, "an unchanged day writes nothing");

    team.keys_are(json!([off(0), off(1), exempt(2, "2026-11-27"), unreadable(3, "denied")]));
    assert_eq!(team.hears(2).await, ["new rotation-enabled 1"]);
    assert_eq!(team.writes_to_findings(), 2, "as pending, and as told");

    team.keys_are(json!([off(0), off(1), exempt(2, "2026-11-27"), unreadable(3, "server_error")]));
    assert_eq!(team.hears(3).await, of_all_controls("worsened", 3));

    team.keys_are(json!([off(0), off(1), exempt(2, "2026-11-27"), good(3)]));
    assert_eq!(team.hears(4).await, of_all_controls("resolved", 3));

    // The exemption's last day was yesterday.
    assert_eq!(team.hears(5).await, ["expired rotation-enabled 2", "new rotation-enabled 2"]);

    // What is known of key 0 is hidden, not gone.
    team.keys_are(json!([unreadable(0, "denied"), off(1), exempt(2, "2026-11-27"), good(3)]));
    assert_eq!(team.hears(6).await, of_all_controls("new", 0));

    team.keys_are(json!([off(0), off(1), exempt(2, "2026-11-27"), good(3)]));
    let expected = [vec!["reminder rotation-enabled 0".to_owned()], of_all_controls("resolved", 0)].concat();
    assert_eq!(team.hears(7).await, expected);

    // Key 0 is mended, key 1 deleted.
    team.keys_are(json!([good(0), exempt(2, "2026-11-27"), good(3)]));
    assert_eq!(team.hears(8).await, ["resolved rotation-enabled 0", "resolved rotation-enabled 1"]);

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
    assert_eq!(past["pk"], "123456789012#us-east-1#rotation-checker");
    assert_eq!(past["expires_at"], (day(8) + SignedDuration::from_hours(365 * 24)).as_second());
    assert_eq!(past["told"]["change"], "resolved");
    let story: Vec<_> = past["story"].as_array().unwrap().iter().map(|it| (&it["step"], &it["reason"])).collect();
    assert_eq!(story, [(&json!("new"), &json!("rotation_disabled")), (&json!("resolved"), &json!("key_gone"))]);
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
    let config = shared::client::sdk_config().load().await;
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
                            done = team.invoke(&event, json!({}), day(n)) => panic!("step {step}: {done:?}"),
                        }
                        team.fleet.resume();
                        // Lambda tries again; by then what the first attempt held of the lease is over.
                        let again = day(n) + INVOCATION;
                        team.invoke(&format!("day {n}"), json!({}), again).await.unwrap();
                    } else {
                        team.invoke(&format!("day {n}"), json!({}), day(n)).await.unwrap();
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
            done = team.invoke("e", json!({}), day(0)) => panic!("{done:?}"),
        }
        team.fleet.resume();
        let again = tokio::time::timeout(Duration::from_secs(1), team.invoke("e", json!({}), day(0))).await;
        assert_eq!(again.is_ok_and(|done| done.is_ok()), taken_over, "step {step}");
        let other = team.invoke("other", json!({}), day(0) + INVOCATION).await.unwrap();
        assert_eq!(other["alerts"]["new"], usize::from(!taken_over), "step {step}");
    }
}

fn scheduled(id: &str) -> Value {
    let mut event: Value = serde_json::from_str(SCHEDULED).unwrap();
    event["id"] = json!(id);
    event
}

#[tokio::test]
async fn two_runs_at_once_and_the_same_event_twice_alert_once() {
    for (first, second) in [("a", "b"), ("a", "a")] {
        let mut fleet = fleet_of(json!([{"count": 40}]));
        fleet["latency_ms"] = json!(20);
        let (fleet, one) = start(fleet, &[]);
        let settings = [("SNS_TOPIC_ARN", TOPIC), WITH_LEDGER];
        let other = simulated_fleet::Function::start(BINARY, &fleet, &settings).unwrap();
        let (first, second) = (scheduled(first), scheduled(second));
        let (one, other) = tokio::join!(one.invoke(&first), other.invoke(&second));
        let (one, other) = (ok(one), ok(other));
        assert_eq!(fleet.published().len(), 1);
        let told = |response: &Value| response["alerts"]["new"].as_u64().unwrap();
        assert_eq!(told(&one) + told(&other), 40, "{first} {second}");
        assert_eq!((&one["keys_listed"], &other["keys_listed"]), (&json!(40), &json!(40)));
        assert_eq!(fleet.items().len(), 40, "the lease is given back");
    }
}

#[tokio::test]
async fn a_run_that_finds_another_at_work_for_too_long_fails() {
    let (fleet, function) = start(fleet_of(json!([off(0)])), &[]);
    let lease = json!({
        "pk": "123456789012#us-east-1#rotation-checker", "sk": "lease", "owner": "another", "attempt": "its own",
        "ends_at": 4_102_444_800_000_u64, "telling": false
    });
    fleet.put_item(&lease).unwrap();
    let outcome = function
        .invoke_with(&scheduled("mine"), Invocation { deadline: Duration::from_secs(2), ..Invocation::default() })
        .await;
    assert_eq!(error_type(&outcome), "LedgerUnavailable");
    assert!(error_message(&outcome).contains("findings is out of reach: another run is at work"), "{outcome:?}");
    assert_eq!((fleet.published().len(), fleet.items()), (0, vec![lease]));
    // A lease that is over hinders nobody.
    let over = json!({
        "pk": "123456789012#us-east-1#rotation-checker", "sk": "lease", "owner": "another", "attempt": "its own",
        "ends_at": 1_000, "telling": true
    });
    fleet.put_item(&over).unwrap();
    assert_eq!(ok(function.invoke(&scheduled("mine")).await)["alerts"]["new"], 1);
}

#[tokio::test]
async fn without_its_table_a_run_fails_before_it_alerts_and_the_next_one_makes_up_for_it() {
    let denied = || json!("denied");
    let cases = [
        ("PutItem", denied(), "AccessDeniedException"),
        ("PutItem", json!("throttled"), "findings is out of reach"),
        ("PutItem", json!("server_error"), "findings is out of reach"),
        ("PutItem", json!("not_found"), "ResourceNotFoundException"),
        ("PutItem", json!("hang"), "time"),
        // The second half of the lease.
        ("PutItem", json!({"kind": "denied", "after_calls": 1}), "AccessDeniedException"),
        ("Query", denied(), "AccessDeniedException"),
        ("Query", json!("throttled"), "findings is out of reach"),
        ("Query", json!("garbled"), "findings is out of reach"),
        ("Query", json!("hang"), "time"),
        ("BatchWriteItem", denied(), "AccessDeniedException"),
        ("BatchWriteItem", json!("throttled"), "findings is out of reach"),
        ("BatchWriteItem", json!("unprocessed"), "the time of the invocation ran out"),
    ];
    // Most of their time goes into waits.
    join_all(cases.map(async |(operation, fault, says)| {
        let mut faulty = fleet_of(json!([off(0), off(1)]));
        faulty["faults"] = json!({ operation: fault });
        let (fleet, function) = start(faulty, &[]);
        let invocation = Invocation { deadline: Duration::from_secs(6), ..Invocation::default() };
        let outcome = function.invoke_with(&scheduled("daily"), invocation).await;
        assert_eq!(error_type(&outcome), "LedgerUnavailable", "{operation} {fault}");
        assert!(error_message(&outcome).contains(says), "{operation} {fault}: {outcome:?}");
        assert_eq!(fleet.published().len(), 0, "{operation} {fault}");
        fleet.replace(describe(fleet_of(json!([off(0), off(1)])))).unwrap();
        // The lease's own end is the deadline of the run that failed.
        let response = ok(function.invoke(&scheduled("daily again")).await);
        assert_eq!((&response["alerts"]["new"], fleet.published().len()), (&json!(2), 1), "{operation} {fault}");
    }))
    .await;
}

#[tokio::test]
async fn without_a_table_of_that_name_every_run_fails() {
    let (fleet, function) = trial::start(BINARY, json!({"keys": [off(0)]}), &[WITH_LEDGER]);
    let outcome = function.invoke(&json!({})).await;
    assert_eq!(error_type(&outcome), "LedgerUnavailable");
    assert_eq!(fleet.published().len(), 0);
}

#[tokio::test]
async fn an_alert_that_could_not_be_marked_as_told_comes_again() {
    let mut faulty = fleet_of(json!([off(0)]));
    faulty["faults"] = json!({"BatchWriteItem": {"kind": "denied", "after_calls": 1}});
    let (fleet, function) = start(faulty, &[]);
    let outcome = function.invoke(&scheduled("one")).await;
    assert_eq!((error_type(&outcome), fleet.published().len()), ("LedgerUnavailable", 1));
    fleet.replace(describe(fleet_of(json!([off(0)])))).unwrap();
    assert_eq!(ok(function.invoke(&scheduled("two")).await)["alerts"]["new"], 1);
    assert_eq!(ok(function.invoke(&scheduled("three")).await)["alerts"]["messages_published"], 0);
    assert_eq!(fleet.published().len(), 2);
}

#[tokio::test]
async fn what_dynamodb_leaves_out_of_a_batch_is_sent_again() {
    let mut faulty = fleet_of(json!([{"count": 60}]));
    faulty["faults"] = json!({"BatchWriteItem": {"kind": "unprocessed", "processed": 7, "times": 4}});
    faulty["table_page_size"] = json!(7);
    let (fleet, function) = start(faulty, &[]);
    assert_eq!(ok(function.invoke(&scheduled("one")).await)["alerts"]["new"], 60);
    let told = |item: &Value| item["told"]["change"] == "new" && item["pending"].is_null();
    assert_eq!(fleet.items().iter().filter(|item| told(item)).count(), 60);
    assert_eq!(ok(function.invoke(&scheduled("two")).await)["alerts"]["messages_published"], 0);
}

#[tokio::test]
async fn an_alert_that_the_topic_did_not_take_is_made_up_for() {
    join_all(["denied", "throttled", "not_found", "server_error", "hang"].map(async |fault| {
        let mut faulty = fleet_of(json!([off(0), good(1)]));
        faulty["faults"] = json!({ "Publish": fault });
        let (fleet, function) = start(faulty, &[]);
        let invocation = || Invocation { deadline: Duration::from_secs(5), ..Invocation::default() };
        let outcome = function.invoke_with(&scheduled("one"), invocation()).await;
        assert_eq!((error_type(&outcome), fleet.published().len()), ("AlertNotDelivered", 0), "{fault}");
        fleet.replace(describe(fleet_of(json!([off(0), off(1)])))).unwrap();
        let response = ok(function.invoke_with(&scheduled("two"), invocation()).await);
        assert_eq!(response["alerts"]["new"], 2, "{fault}: what was pending and what is new since");
        assert_eq!(ok(function.invoke(&scheduled("three")).await)["alerts"]["messages_published"], 0);
    }))
    .await;
}

/// The keys with an open finding.
fn open(fleet: &Fleet) -> Vec<String> {
    let items = fleet.items().into_iter().filter(|item| item["sk"].as_str().unwrap().starts_with("open#"));
    let mut open: Vec<_> = items.map(|item| item["key_id"].as_str().unwrap().to_owned()).collect();
    open.dedup();
    open
}

#[tokio::test]
async fn nothing_is_resolved_that_was_not_seen() {
    let all = [id(0), id(1), id(2)].to_vec();
    let (first, last) = (id(0), id(2));
    // Key 0 is mended; 1 is deleted; 2 is as it was. Which of that does a run see that does not see everything?
    let after = || json!([good(0), off(2)]);
    let with = |more: Value| {
        let mut fleet = fleet_of(after());
        fleet.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fleet
    };
    let nothing: &[(&str, &str)] = &[];
    let whole = 60_000;
    for (fleet_then, settings, detail, timeout_ms, still_open) in [
        (with(json!({})), nothing, json!({}), whole, vec![last.clone()]),
        (with(json!({})), &[("MONITORED_KEYS", last.as_str())], json!({}), whole, all.clone()),
        (with(json!({})), nothing, json!({ "keys": [id(2)] }), whole, all.clone()),
        (with(json!({})), nothing, json!({ "keys": [id(0)] }), whole, vec![id(1), id(2)]),
        (with(json!({})), nothing, json!({ "dry_run": true }), whole, all.clone()),
        // Outside of what is monitored, whatever an event asks for.
        (with(json!({})), &[("MONITORED_KEYS", last.as_str())], json!({ "keys": [id(0)] }), whole, all.clone()),
        // An answer that says so is as good as a listing.
        (with(json!({})), nothing, json!({ "keys": [id(1)] }), whole, all.clone()),
        (with(json!({"faults": {"DescribeKey": "denied"}})), nothing, json!({}), whole, vec![id(0), id(2)]),
        (with(json!({"faults": {"GetKeyRotationStatus": "hang"}})), nothing, json!({}), 5_000, all.clone()),
        (
            with(json!({"page_size": 1, "faults": {"ListKeys": {"kind": "no_marker", "after_calls": 1}}})),
            nothing,
            json!({}),
            whole,
            vec![id(1), id(2)],
        ),
        (with(json!({"faults": {"ListKeys": "denied"}})), nothing, json!({}), whole, all.clone()),
        (with(json!({})), &[("EXCLUDED_KEYS", first.as_str())], json!({}), whole, vec![last.clone()]),
    ] {
        let (fleet, function) = start(fleet_of(json!([off(0), off(1), off(2)])), &[]);
        assert_eq!(ok(function.invoke(&scheduled("before")).await)["alerts"]["new"], 3);
        fleet.replace(describe(fleet_then.clone())).unwrap();
        let settings: Vec<_> = settings.iter().copied().chain([("SNS_TOPIC_ARN", TOPIC), WITH_LEDGER]).collect();
        let function = simulated_fleet::Function::start(BINARY, &fleet, &settings).unwrap();
        let invocation = Invocation { deadline: Duration::from_millis(timeout_ms), ..Invocation::default() };
        let outcome = function.invoke_with(&json!({ "detail": detail }), invocation).await;
        let listed = fleet_then["faults"]["ListKeys"] != "denied";
        assert_eq!(outcome.result.is_ok(), listed, "{outcome:?}");
        let expected: Vec<_> = if detail == json!({ "keys": [id(1)] }) {
            // It is no more; that the name stands for nothing is a finding of its own.
            let past = |item: &&Value| item["sk"].as_str().unwrap().starts_with("past#") && item["key_id"] == id(1);
            assert_eq!(fleet.items().iter().filter(past).count(), 1);
            all.clone()
        } else {
            still_open
        };
        assert_eq!(open(&fleet), expected, "{fleet_then} {settings:?} {detail}");
    }
}

#[tokio::test]
async fn a_key_that_is_gone_after_an_event_about_it_resolves_its_findings_and_is_no_news() {
    let (fleet, function) = start(fleet_of(json!([off(0), good(1)])), &[]);
    ok(function.invoke(&scheduled("daily")).await);
    fleet.replace(describe(fleet_of(json!([good(1)])))).unwrap();
    fleet.clear_published();
    let body = json!({"detail": {"keys": [id(0)]}}).to_string();
    let event = json!({"Records": [{"messageId": "m", "eventSource": "aws:sqs", "body": body}]});
    let response = ok(function.invoke(&event).await);
    assert_eq!(
        response["alerts"],
        json!({"new": 0, "worsened": 0, "resolved": 1, "reminder": 0, "messages_published": 1})
    );
    assert_eq!(response["findings"][0]["reason"], "not_found", "it was asked for by name");
    assert_eq!(ok(function.invoke(&scheduled("the next day")).await)["alerts"]["messages_published"], 0);
    // A name that somebody gave is another matter: it may be wrong.
    let by_hand = ok(function.invoke(&json!({"detail": {"keys": [id(0)]}})).await);
    assert_eq!(by_hand["alerts"]["new"], 3);
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_tell_and_leaves_the_ledger_alone() {
    let (fleet, function) = start(fleet_of(json!([off(0)])), &[]);
    let dry = json!({"detail": {"dry_run": true}});
    for _ in 0..2 {
        let response = ok(function.invoke(&dry).await);
        assert_eq!((&response["alerts"]["new"], &response["alerts"]["messages_published"]), (&json!(1), &json!(0)));
    }
    assert_eq!((fleet.items(), fleet.writes().len(), fleet.published().len()), (vec![], 0, 0));
    ok(function.invoke(&scheduled("daily")).await);
    assert_eq!(ok(function.invoke(&dry).await)["alerts"]["new"], 0);
}

#[tokio::test]
async fn exemptions_by_tag() {
    let tag = |key: &mut Value, value: &str| key["tags"] = json!({"kms-compliance/exempt/rotation-enabled": value});
    let mut keys = [off(0), off(1), off(2), off(3)];
    tag(&mut keys[0], &format!("until={} owner=ana reason=moves", &trial::days_from_now(20)[..10]));
    tag(&mut keys[1], "for ever");
    tag(&mut keys[2], "until=2020-01-01 owner=ana reason=moves");
    keys[3]["tags"] =
        json!({"kms-compliance/exempt/rotation-period": "until=2036-01-01 owner=ana reason=another control"});
    let (fleet, function) = start(fleet_of(json!([&keys[..], &[good(4)]].concat())), &[]);
    let response = ok(function.invoke(&scheduled("one")).await);
    assert_eq!(
        response["alerts"],
        json!({"new": 3, "worsened": 0, "resolved": 0, "reminder": 0, "messages_published": 1})
    );
    assert_eq!(response["controls"]["rotation-enabled"]["NON_COMPLIANT"], 4, "exempt is not compliant");
    let findings = response["findings"].as_array().unwrap();
    let exempt: Vec<_> = findings.iter().filter_map(|finding| finding.get("exempt")).collect();
    assert_eq!(exempt.len(), 1);
    assert_eq!((&exempt[0]["owner"], &exempt[0]["reason"]), (&json!("ana"), &json!("moves")));
    let message: Value = serde_json::from_str(&fleet.published()[0].message).unwrap();
    let email = message["email"].as_str().unwrap();
    assert!(email.contains("3 new findings, 3 exemption notices on 4 KMS keys"), "{email}");
    for words in ["exempt until", "`for` stands before", "the exemption by ana ended with 2020-01-01"] {
        assert!(email.contains(words), "{email}");
    }
    let asked = fleet.calls_for("ListResourceTags");
    assert_eq!(asked.into_values().collect::<Vec<_>>(), [1, 1, 1, 1], "once for each key with a finding");
    // Tags that cannot be read end no exemption.
    let mut denied = fleet_of(json!([&keys[..], &[good(4)]].concat()));
    denied["faults"] = json!({"ListResourceTags": "denied"});
    fleet.replace(describe(denied)).unwrap();
    let response = ok(function.invoke(&scheduled("two")).await);
    assert_eq!(response["alerts"]["messages_published"], 0);
    let exempt = response["findings"].as_array().unwrap().iter().filter(|finding| finding.get("exempt").is_some());
    assert_eq!(exempt.count(), 1);
}

#[tokio::test]
async fn an_item_that_makes_no_sense_is_named_and_loses_nothing() {
    let (fleet, function) = start(fleet_of(json!([off(0), off(1)])), &[]);
    ok(function.invoke(&scheduled("one")).await);
    let mut item = fleet.items()[0].clone();
    item["first_seen"] = json!("the day before yesterday");
    fleet.put_item(&item).unwrap();
    let outcome = function.invoke(&scheduled("two")).await;
    assert!(
        outcome.logs.iter().any(|line| line.contains("makes no sense") && line.contains(item["sk"].as_str().unwrap()))
    );
    assert_eq!(ok(outcome)["alerts"]["new"], 1, "told again rather than never");
    assert_eq!(ok(function.invoke(&scheduled("three")).await)["alerts"]["new"], 0);
}
