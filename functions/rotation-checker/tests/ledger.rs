//! The findings ledger, in runs of the function's binary against a simulated fleet: two runs at once, and everything that
//! can be out of reach. `shared/monitor/tests/ledger.rs` walks through days and crashes.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test binary")]

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use simulated_fleet::harness::{
    self, TOPIC, WITH_LEDGER, describe, error_message, error_type, fleet_of, numbered_key, ok,
};
use simulated_fleet::{Fleet, Invocation, generated_key_id as id};

const BINARY: &str = env!("CARGO_BIN_EXE_rotation-checker");
const SCHEDULED: &str = include_str!("../../../events/rotation-checker/scheduled.json");

fn start(fleet: Value, settings: &[(&str, &str)]) -> (Fleet, simulated_fleet::FunctionProcess) {
    let settings: Vec<_> = settings.iter().copied().chain([WITH_LEDGER]).collect();
    harness::start(BINARY, fleet, &settings)
}

fn good(n: u32) -> Value {
    numbered_key(n, json!({"rotation": {"enabled": true}}))
}

fn off(n: u32) -> Value {
    numbered_key(n, json!({}))
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
        let other = simulated_fleet::FunctionProcess::start(BINARY, &fleet, &settings).unwrap();
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
    // Nothing is wrong with events that find a daily run at work: they wait in their queue.
    let body = json!({"detail": {"keys": [id(0)]}}).to_string();
    let event = json!({"Records": [{"messageId": "m", "eventSource": "aws:sqs", "body": body}]});
    let invocation = Invocation { deadline: Duration::from_secs(2), ..Invocation::default() };
    let response = ok(function.invoke_with(&event, invocation).await);
    assert_eq!(response["batchItemFailures"], json!([{"itemIdentifier": "m"}]));
    assert_eq!((&response["keys_listed"], fleet.published().len()), (&json!(0), 0));
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
        assert!(!error_message(&outcome).contains("the alert went out"), "{operation} {fault}: {outcome:?}");
        assert_eq!(fleet.published().len(), 0, "{operation} {fault}");
        if fault == denied() {
            assert_eq!(fleet.calls()[operation], 1, "no retry helps against a denial");
        }
        fleet.replace(describe(fleet_of(json!([off(0), off(1)])))).unwrap();
        // The lease's own end is the deadline of the run that failed.
        let response = ok(function.invoke(&scheduled("daily again")).await);
        assert_eq!((&response["alerts"]["new"], fleet.published().len()), (&json!(2), 1), "{operation} {fault}");
    }))
    .await;
}

#[tokio::test]
async fn without_a_table_of_that_name_every_run_fails() {
    let (fleet, function) = harness::start(BINARY, json!({"keys": [off(0)]}), &[WITH_LEDGER]);
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
    let message = error_message(&outcome);
    assert!(message.ends_with("the alert went out before that, and comes once more"), "{message}");
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
    let told = |item: &Value| item["last_notified"]["change"] == "new" && item["pending"].is_null();
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
    // Key 0 is fixed; 1 is deleted; 2 is as it was. Which of that does a run see that does not see everything?
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
        let function = simulated_fleet::FunctionProcess::start(BINARY, &fleet, &settings).unwrap();
        let invocation = Invocation { deadline: Duration::from_millis(timeout_ms), ..Invocation::default() };
        let outcome = function.invoke_with(&json!({ "detail": detail }), invocation).await;
        let listed = fleet_then["faults"]["ListKeys"] != "denied";
        assert_eq!(outcome.result.is_ok(), listed, "{outcome:?}");
        let expected: Vec<_> = if detail == json!({ "keys": [id(1)] }) {
            // It no longer exists; that the name stands for nothing is a finding of its own.
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
async fn a_key_that_is_gone_after_an_event_about_it_resolves_its_findings_and_is_told_once() {
    let (fleet, function) = start(fleet_of(json!([off(0), good(1)])), &[]);
    ok(function.invoke(&scheduled("daily")).await);
    fleet.replace(describe(fleet_of(json!([good(1)])))).unwrap();
    fleet.clear_published();
    let body = json!({"detail": {"keys": [id(0)]}}).to_string();
    let event = json!({"Records": [{"messageId": "m", "eventSource": "aws:sqs", "body": body}]});
    let response = ok(function.invoke(&event).await);
    assert_eq!(
        response["alerts"],
        json!({"new": 0, "worsened": 0, "resolved": 1, "reminder": 0, "held_back": 0, "messages_published": 1})
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
    tag(&mut keys[0], &format!("until={} owner=ana reason=moves", &harness::days_from_now(20)[..10]));
    tag(&mut keys[1], "for ever");
    tag(&mut keys[2], "until=2020-01-01 owner=ana reason=moves");
    keys[3]["tags"] =
        json!({"kms-compliance/exempt/rotation-period": "until=2036-01-01 owner=ana reason=another control"});
    let (fleet, function) = start(fleet_of(json!([&keys[..], &[good(4)]].concat())), &[]);
    let response = ok(function.invoke(&scheduled("one")).await);
    assert_eq!(
        response["alerts"],
        json!({"new": 3, "worsened": 0, "resolved": 0, "reminder": 0, "held_back": 0, "messages_published": 1})
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

#[tokio::test]
async fn while_nobody_has_confirmed_a_subscription_alerts_wait_for_the_first_who_does() {
    let fleet_with = |confirmed: u32, keys: Value| {
        let mut fleet = fleet_of(keys);
        fleet["subscriptions_confirmed"] = json!(confirmed);
        fleet
    };
    let (fleet, function) = start(fleet_with(0, json!([off(0), good(1)])), &[]);
    for (event, keys, held_back) in [("one", json!([off(0), good(1)]), 1), ("two", json!([off(0), off(1)]), 2)] {
        fleet.replace(describe(fleet_with(0, keys))).unwrap();
        let outcome = function.invoke(&scheduled(event)).await;
        assert!(outcome.logs.iter().any(|line| line.contains("nobody has confirmed a subscription")));
        let metric = outcome.logs.iter().find(|line| line.contains("AlertsHeldBack")).unwrap();
        let metric: Value = serde_json::from_str(metric).unwrap();
        assert_eq!((&metric["AlertsHeldBack"], &metric["AlertsPublished"]), (&json!(held_back), &json!(0)));
        let alerts = ok(outcome)["alerts"].clone();
        assert_eq!((&alerts["held_back"], &alerts["messages_published"]), (&json!(held_back), &json!(0)), "{event}");
        assert_eq!(fleet.published().len(), 0);
        let items = fleet.items();
        assert!(items.iter().all(|item| item["pending"] == "new" && item["last_notified"].is_null()), "{items:?}");
    }
    fleet.replace(describe(fleet_with(1, json!([off(0), off(1)])))).unwrap();
    let alerts = ok(function.invoke(&scheduled("three")).await)["alerts"].clone();
    assert_eq!(
        (&alerts["new"], &alerts["held_back"], &alerts["messages_published"]),
        (&json!(2), &json!(0), &json!(1))
    );
    assert_eq!(ok(function.invoke(&scheduled("four")).await)["alerts"]["messages_published"], 0);
}

#[tokio::test]
async fn a_topic_that_does_not_say_who_listens_is_told() {
    join_all(["denied", "throttled", "not_found", "server_error", "garbled", "hang"].map(async |fault| {
        let mut faulty = fleet_of(json!([off(0)]));
        faulty["faults"] = json!({ "GetTopicAttributes": fault });
        let (fleet, function) = start(faulty, &[]);
        let response = ok(function.invoke(&scheduled("one")).await);
        assert_eq!((&response["alerts"]["messages_published"], fleet.published().len()), (&json!(1), 1), "{fault}");
    }))
    .await;
}

#[tokio::test]
async fn what_happens_to_the_topics_key_is_told_apart() {
    let with = |code: &str, times: u64| {
        let mut faulty = fleet_of(json!([off(0)]));
        let fault = json!({"kind": "error", "code": code, "message": "the topic's key", "times": times});
        faulty["faults"] = json!({ "Publish": fault });
        faulty
    };
    let (fleet, function) = start(with("KMSThrottling", 2), &[]);
    assert_eq!(ok(function.invoke(&scheduled("one")).await)["alerts"]["messages_published"], 1, "tried again");
    assert_eq!(fleet.calls()["Publish"], 3);
    for code in ["KMSDisabled", "KMSInvalidState", "KMSNotFound", "KMSAccessDenied", "KMSOptInRequired"] {
        let (fleet, function) = start(with(code, 1_000), &[]);
        let outcome = function.invoke(&scheduled("one")).await;
        assert_eq!((error_type(&outcome), fleet.calls()["Publish"]), ("AlertNotDelivered", 1), "{code}");
        let message = error_message(&outcome);
        assert!(message.contains(code) && message.contains("it is the topic's own key"), "{message}");
    }
}

#[tokio::test]
async fn only_a_daily_run_writes_the_metrics_of_a_daily_run() {
    let (_fleet, function) = start(fleet_of(json!([off(0), good(1)])), &[("METRICS_NAMESPACE", "KmsCompliance/prod")]);
    let body = json!({"detail": {"keys": [id(0)]}}).to_string();
    let key_event = json!({"Records": [{"messageId": "m", "eventSource": "aws:sqs", "body": body}]});
    let effort = ["AlertsPublished", "KmsCalls", "KmsThrottles", "RunDuration"];
    for (event, lines, dimensions) in [
        (json!({}), 4, json!([["Function"]])),
        (json!({"detail": {"verbose": true}}), 4, json!([["Function"]])),
        (json!({"detail": {"dry_run": true}}), 0, Value::Null),
        (json!({"detail": {"as_of": "2027-01-01T00:00:00Z"}}), 0, Value::Null),
        (json!({"detail": {"keys": [id(0)], "dry_run": true}}), 0, Value::Null),
        (json!({"detail": {"keys": [id(0)]}}), 1, json!([["Function", "Trigger"]])),
        (key_event, 1, json!([["Function", "Trigger"]])),
    ] {
        let outcome = function.invoke(&event).await;
        let metrics: Vec<Value> = outcome
            .logs
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|line: &Value| line["_aws"].is_object())
            .collect();
        assert_eq!(metrics.len(), lines, "{event}");
        let Some(first) = metrics.first() else { continue };
        let directive = &first["_aws"]["CloudWatchMetrics"][0];
        assert_eq!((&directive["Namespace"], &directive["Dimensions"]), (&json!("KmsCompliance/prod"), &dimensions));
        let names: Vec<&str> =
            directive["Metrics"].as_array().unwrap().iter().map(|it| it["Name"].as_str().unwrap()).collect();
        assert_eq!(names == effort, lines == 1, "{event}: {names:?}");
    }
}

#[tokio::test]
async fn events_about_keys_that_could_not_be_judged_for_a_reason_that_passes_come_again() {
    let transition = numbered_key(1, json!({"key_state": "Updating"}));
    let throttled = numbered_key(2, json!({"faults": {"GetKeyRotationStatus": "server_error"}}));
    let denied = numbered_key(3, json!({"faults": {"GetKeyRotationStatus": "denied"}}));
    let (_fleet, function) = start(fleet_of(json!([off(0), transition, throttled, denied])), &[]);
    let message = |n: u32| {
        let body = json!({"detail": {"keys": [id(n)]}}).to_string();
        json!({"messageId": format!("m{n}"), "eventSource": "aws:sqs", "body": body})
    };
    let event = json!({"Records": [message(0), message(1), message(2), message(3), message(4)]});
    let response = ok(function.invoke(&event).await);
    assert_eq!(response["batchItemFailures"], json!([{"itemIdentifier": "m1"}, {"itemIdentifier": "m2"}]));
}
