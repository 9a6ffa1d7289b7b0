//! The process is killed, a call fails, hangs or is throttled, an answer is lost: at each step of each operation. Afterwards
//! the record tells the truth, and the same request again ends well, with one key.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test binary")]

mod common;

use std::collections::BTreeSet;

use common::{
    CREATED, answered, complete, fleet_of, heal, keys, let_time_pass, made, managed, new_key, new_multi_region_key,
    of_key, process, record, request, seconds, start,
};
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use simulated_fleet::{Fleet, Invocation, When, generated_key_id};

/// An operation, the fleet that it is for, and what holds at its end.
struct Case {
    name: &'static str,
    fleet: Value,
    records: Vec<Value>,
    request: Value,
    holds: fn(&Fleet),
}

fn case(name: &'static str, keys: Value, request: Value, holds: fn(&Fleet)) -> Case {
    Case { name, fleet: fleet_of(keys), records: Vec::new(), request, holds }
}

fn key(fleet: &Fleet, n: u32) -> simulated_fleet::KeyDescription {
    let id = generated_key_id(n);
    keys(fleet).into_iter().find(|(_, key)| key.key_id.as_ref() == Some(&id)).unwrap().1
}

fn events(fleet: &Fleet, n: u32, name: &str) -> usize {
    key(fleet, n).event_names().iter().filter(|it| **it == name).count()
}

/// What `retire_key` left 40 days ago.
fn retired(n: u32) -> Value {
    let at = simulated_fleet::harness::days_from_now(-40);
    let id = generated_key_id(n);
    json!({
        "pk": "123456789012#us-east-1", "sk": "operation#retired", "client_token": "retired", "operation": "retire_key",
        "request": {"operation": "retire_key", "key": id}, "request_digest": "0", "claimed_by": "ana", "invocations": [],
        "state": "succeeded", "version": 5, "owner": "o", "owned_until": 0, "started_at": at, "updated_at": at,
        "key_arn": format!("arn:aws:kms:us-east-1:123456789012:key/{id}"), "made": [], "steps": [], "retired_at": at
    })
}

fn cases() -> Vec<Case> {
    let on = json!({"enabled": true, "period_in_days": 365});
    let one = generated_key_id(0);
    vec![
        case("create_key", json!([]), new_key(), |fleet| {
            let made = made(fleet);
            assert_eq!(made.len(), 1);
            let key = &made[0].1;
            assert_eq!(key.aliases, ["alias/new"]);
            assert_eq!(key.rotation.as_ref().and_then(|it| it.period_in_days), Some(180));
        }),
        case("create_multi_region_key", json!([]), new_multi_region_key(), |fleet| {
            let made = made(fleet);
            let regions: Vec<&str> = made.iter().map(|(region, _)| region.as_str()).collect();
            assert_eq!(regions, ["us-east-1", CREATED[1], CREATED[0]], "one key in each Region");
            assert!(made.iter().all(|(_, key)| key.key_state == "Enabled" && key.key_id == made[0].1.key_id));
        }),
        case("rotate_key", json!([managed(0, json!({}))]), of_key("rotate_key", 0), |fleet| {
            assert_eq!(events(fleet, 0, "RotateKeyOnDemand"), 1, "it counts against a limit");
            assert_eq!(key(fleet, 0).rotations.len(), 1);
        }),
        case("enable_rotation", json!([managed(0, json!({}))]), of_key("enable_rotation", 0), |fleet| {
            assert!(key(fleet, 0).rotation.unwrap().enabled);
        }),
        case(
            "set_rotation_period",
            json!([managed(0, json!({"rotation": on}))]),
            request("set_rotation_period", json!({"key": one, "rotation_period_days": 90})),
            |fleet| assert_eq!(key(fleet, 0).rotation.unwrap().period_in_days, Some(90)),
        ),
        case(
            "set_alias",
            json!([managed(0, json!({"aliases": ["alias/a"]})), managed(1, json!({}))]),
            request("set_alias", json!({"alias": "alias/a", "key": generated_key_id(1), "expected_current": one})),
            |fleet| assert_eq!((key(fleet, 0).aliases.len(), key(fleet, 1).aliases.len()), (0, 1)),
        ),
        case(
            "set_alias, new",
            json!([managed(0, json!({}))]),
            request("set_alias", json!({"alias": "alias/a", "key": one})),
            |fleet| assert_eq!(key(fleet, 0).aliases, ["alias/a"]),
        ),
        case("retire_key", json!([managed(0, json!({}))]), of_key("retire_key", 0), |fleet| {
            assert_eq!(key(fleet, 0).key_state, "Disabled");
            assert!(key(fleet, 0).tags.contains_key("kms-compliance/retired-at"));
            assert!(record(fleet).unwrap()["retired_at"].is_string());
        }),
        case(
            "cancel_deletion",
            json!([managed(0, json!({"key_state": "PendingDeletion", "deletion_date": "2099-01-01T00:00:00Z"}))]),
            request("cancel_deletion", json!({"key": one, "enable": true})),
            |fleet| assert_eq!(key(fleet, 0).key_state, "Enabled"),
        ),
        Case {
            records: vec![retired(0)],
            ..case(
                "schedule_deletion",
                json!([managed(0, json!({"key_state": "Disabled"}))]),
                request(
                    "schedule_deletion",
                    json!({"key": one, "confirm": format!("arn:aws:kms:us-east-1:123456789012:key/{one}")}),
                ),
                |fleet| assert_eq!(key(fleet, 0).key_state, "PendingDeletion"),
            )
        },
    ]
}

fn serve(case: &Case, faults: Value) -> (Fleet, simulated_fleet::FunctionProcess) {
    let mut fleet = case.fleet.clone();
    fleet["faults"] = faults;
    let (fleet, function) = start(fleet);
    case.records.iter().for_each(|item| fleet.put_item(item).unwrap());
    (fleet, function)
}

/// Every change to a key has its step in the record, begun at least; what the record says is done has happened.
fn assert_record_tells_the_truth(fleet: &Fleet, case: &Case, context: &str) {
    let record = record(fleet);
    let steps: Vec<(String, bool)> = record
        .iter()
        .flat_map(|record| record["steps"].as_array().unwrap().clone())
        .map(|step| (step["name"].as_str().unwrap().to_owned(), step["done_at"].is_string()))
        .collect();
    let is_begun = |name: &str| steps.iter().any(|(step, _)| step == name || step.split(' ').next() == Some(name));
    for (region, key) in keys(fleet) {
        for event in key.event_names() {
            let is_replica = event == "CreateKey" && region != "us-east-1";
            assert!(is_replica || is_begun(event), "{context}: {event} is not in the record: {record:?}");
        }
        if region != "us-east-1" {
            assert!(is_begun(&format!("ReplicateKey {region}")), "{context}: {record:?}");
        }
    }
    let Some(record) = record else {
        assert!(made(fleet).is_empty(), "{context}: a key without a record");
        return;
    };
    for (step, done) in &steps {
        if *done && step == "CreateKey" {
            assert_eq!(made(fleet).len().min(1), 1, "{context}: {record}");
            assert!(record["key_arn"].is_string(), "{context}: {record}");
        }
        if *done && (step == "CreateAlias" || step == "UpdateAlias") {
            let holder = keys(fleet).into_iter().any(|(_, key)| !key.aliases.is_empty());
            assert!(holder, "{context}: {record}");
        }
    }
    if record["state"] == "succeeded" {
        (case.holds)(fleet);
    } else {
        assert!(record.get("expires_at").is_none() || record["made"] == json!([]), "{context}: {record}");
    }
}

/// Walks all the ways, some at a time, and tells of all that went wrong.
async fn walk_all(ways: Vec<impl Future<Output = ()>>, at_a_time: usize) {
    assert!(ways.len() >= 60, "{} ways", ways.len());
    let walks = ways.into_iter().map(|way| std::panic::AssertUnwindSafe(way).catch_unwind());
    let ends = futures::stream::iter(walks).buffer_unordered(at_a_time).collect::<Vec<_>>().await;
    let failed = ends.iter().filter(|end| end.is_err()).count();
    assert_eq!(failed, 0, "of {} ways; each is told above", ends.len());
}

/// Ways that keep the machine busy, and ways that wait.
const BUSY: usize = 6;
const WAITING: usize = 24;

/// Every write of every operation, before it and after it.
async fn each_step() -> Vec<(usize, u64, When)> {
    let mut steps_of_all = Vec::new();
    for (n, case) in cases().into_iter().enumerate() {
        let (fleet, function) = serve(&case, json!({}));
        complete(&fleet, &function, &case.request).await;
        let steps = fleet.mutations();
        assert!(steps >= 4, "{}: the record before and after each step", case.name);
        (case.holds)(&fleet);
        for step in 1..=steps {
            steps_of_all.extend([When::Before, When::After].map(|when| (n, step, when)));
        }
    }
    steps_of_all
}

#[tokio::test]
async fn killed_at_each_step_the_same_request_again_ends_well() {
    let ways = each_step().await.into_iter().map(|(case, step, when)| killed(case, step, when));
    walk_all(ways.collect(), BUSY).await;
}

/// From a step on AWS answers nothing: the function does, before Lambda ends it.
#[tokio::test]
async fn unanswered_from_each_step_on_the_function_answers_and_the_same_request_again_ends_well() {
    let ways = each_step().await.into_iter().map(|(case, step, when)| unanswered(case, step, when));
    walk_all(ways.collect(), WAITING).await;
}

async fn unanswered(case: usize, step: u64, when: When) {
    let case = cases().swap_remove(case);
    let context = format!("{} unanswered {when:?} {step}", case.name);
    let (fleet, function) = serve(&case, json!({}));
    fleet.stop_at(step, when);
    let outcome = function.invoke_with(&case.request, seconds(8)).await;
    match &outcome.result {
        Ok(answer) => assert_eq!(answer["state"], "in_progress", "{context}: {answer}"),
        Err(error) => assert_eq!(error.error_type, "OperationFailed", "{context}: {error:?}"),
    }
    fleet.resume();
    assert_record_tells_the_truth(&fleet, &case, &context);
    let_time_pass(&fleet);
    complete(&fleet, &function, &case.request).await;
    (case.holds)(&fleet);
    assert_record_tells_the_truth(&fleet, &case, &context);
}

async fn killed(case: usize, step: u64, when: When) {
    let case = cases().swap_remove(case);
    let context = format!("{} killed {when:?} {step}", case.name);
    let (fleet, function) = serve(&case, json!({}));
    fleet.stop_at(step, when);
    let stopped = fleet.stopped();
    tokio::select! {
        outcome = function.invoke(&case.request) => panic!("{context}: {outcome:?}"),
        () = stopped => {}
    }
    drop(function);
    fleet.resume();
    assert_record_tells_the_truth(&fleet, &case, &context);
    let function = process(&fleet, &[]);
    if record(&fleet).is_some_and(|it| it["owned_until"].as_i64().unwrap() > 0) {
        let invocation = Invocation { request_id: Some("another".to_owned()), ..seconds(30) };
        let answer = answered(function.invoke_with(&case.request, invocation).await);
        assert_eq!(answer["state"], "in_progress", "{context}: the claim stands until its end");
        let_time_pass(&fleet);
    }
    complete(&fleet, &function, &case.request).await;
    (case.holds)(&fleet);
    assert_record_tells_the_truth(&fleet, &case, &context);
    assert_eq!(record(&fleet).unwrap()["state"], "succeeded", "{context}");
}

#[tokio::test]
async fn with_each_call_failed_or_its_answer_lost_the_same_request_again_ends_well() {
    let faults = ["denied", "server_error", "garbled"].map(|kind| json!({ "kind": kind }));
    walk_all(each_call(&faults).await, BUSY).await;
}

#[tokio::test]
async fn with_each_call_hanging_or_throttled_the_same_request_again_ends_well() {
    let faults = ["hang", "throttled"].map(|kind| json!({ "kind": kind }));
    walk_all(each_call(&faults).await, WAITING).await;
}

#[tokio::test]
async fn with_each_call_throttled_for_a_while_the_request_succeeds_at_once() {
    walk_all(each_call(&[json!({"kind": "throttled", "times": 2})]).await, BUSY).await;
}

/// Each fault at each call of each operation.
async fn each_call(faults: &[Value]) -> Vec<impl Future<Output = ()>> {
    let mut ways = Vec::new();
    for (n, case) in cases().into_iter().enumerate() {
        let (fleet, function) = serve(&case, json!({}));
        fleet.clear_calls();
        complete(&fleet, &function, &case.request).await;
        for call in fleet.calls().into_keys() {
            ways.extend(faults.iter().map(|fault| hindered(n, call.clone(), fault.clone())));
        }
    }
    ways
}

async fn hindered(case: usize, call: String, mut fault: Value) {
    let case = cases().swap_remove(case);
    let context = format!("{}: {call} {fault}", case.name);
    let passes = fault.get("times").is_some();
    // The claim itself may go well.
    fault["after_calls"] = json!(u64::from(call == "PutItem" || call == "GetItem"));
    let (fleet, function) = serve(&case, json!({ &call: fault }));
    let outcome = function.invoke_with(&case.request, seconds(14)).await;
    match &outcome.result {
        Ok(answer) => {
            let state = answer["state"].as_str().unwrap();
            assert!(state == "succeeded" || (state == "in_progress" && !passes), "{context}: {answer}");
        }
        Err(error) => {
            let is_refused = error.error_type == "NotAllowed";
            assert!(!passes && (is_refused || error.error_type == "OperationFailed"), "{context}: {error:?}");
            assert!(
                !is_refused || case.name == "schedule_deletion",
                "{context}: only a deletion is refused by that: {error:?}"
            );
        }
    }
    assert_record_tells_the_truth(&fleet, &case, &context);
    heal(&fleet);
    let_time_pass(&fleet);
    complete(&fleet, &function, &case.request).await;
    (case.holds)(&fleet);
    assert_record_tells_the_truth(&fleet, &case, &context);
}

#[tokio::test]
async fn after_a_lost_answer_a_key_is_not_created_again_before_a_search_has_settled() {
    let mut fleet = fleet_of(json!([]));
    fleet["faults"] = json!({"CreateKey": {"kind": "server_error", "times": 1}});
    let (fleet, function) = start(fleet);
    for _ in 0..2 {
        let (kind, message) = common::error(&function.invoke(&new_key()).await);
        assert_eq!(kind, "OperationFailed");
        assert!(message.contains("the same request decides from "), "{message}");
        assert_eq!(record(&fleet).unwrap()["state"], "outcome_unknown");
        assert_eq!(fleet.calls()["CreateKey"], 1);
    }
    let_time_pass(&fleet);
    let answer = complete(&fleet, &function, &new_key()).await;
    assert_eq!((fleet.calls()["CreateKey"], made(&fleet).len()), (2, 1));
    assert_eq!(answer["alias"], "alias/new");
}

#[tokio::test]
async fn two_keys_with_one_token_are_told_and_never_used() {
    let twin = |n| {
        managed(
            n,
            json!({"tags": {"kms-compliance/client-token": common::TOKEN}, "untagged_in_search": true,
        "creation_date": "2099-01-01T00:00:00Z"}),
        )
    };
    let mut fleet = fleet_of(json!([]));
    fleet["faults"] = json!({"CreateKey": {"kind": "server_error", "times": 1}});
    let (fleet, function) = start(fleet);
    common::error(&function.invoke(&new_key()).await);
    let mut description = fleet.description();
    description.keys = simulated_fleet::harness::describe(fleet_of(json!([twin(0), twin(1)]))).keys;
    fleet.replace(description).unwrap();
    let_time_pass(&fleet);
    let (kind, message) = common::error(&function.invoke(&new_key()).await);
    assert_eq!(kind, "OperationFailed");
    for n in 0..2 {
        assert!(message.contains(&format!("key/{}", generated_key_id(n))), "{message}");
    }
    assert_eq!(fleet.calls()["CreateKey"], 1);
}

#[tokio::test]
async fn a_lost_answer_is_found_while_the_search_by_tag_does_not_know_the_key_yet() {
    let mut fleet = fleet_of(json!([managed(7, json!({}))]));
    fleet["delays"] = json!({"search_ms": 600_000});
    fleet["faults"] = json!({"CreateKey": "garbled"});
    let (fleet, function) = start(fleet);
    let answer = answered(function.invoke(&new_key()).await);
    assert_eq!((&answer["state"], made(&fleet).len()), (&json!("succeeded"), 1));
}

#[tokio::test]
async fn the_calls_are_those_that_the_role_has() {
    let lists: Value = serde_json::from_str(include_str!("../../../tests/calls.json")).unwrap();
    let listed = lists["key-manager"].as_object().unwrap().values().flat_map(|calls| calls.as_array().unwrap());
    let listed: BTreeSet<String> = listed.map(|call| call.as_str().unwrap().to_owned()).collect();
    let mut made = BTreeSet::new();
    for (n, case) in cases().into_iter().enumerate() {
        // A lost answer leads to the search.
        let faults = if n == 0 { json!({"CreateKey": {"kind": "garbled", "times": 1}}) } else { json!({}) };
        let (fleet, function) = serve(&case, faults);
        complete(&fleet, &function, &case.request).await;
        let list = json!({"operation": "list_operations", "client_token": common::TOKEN});
        answered(function.invoke(&list).await);
        made.extend(fleet.calls().into_keys());
    }
    assert_eq!(made, listed);
}
