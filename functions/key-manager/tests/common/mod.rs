//! The real binary against the simulated fleet: requests, records, the passing of time.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::needless_pass_by_value, reason = "a call site reads `json!(…)`, without a borrow")]
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of tests fails by panicking"
)]

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};
use simulated_fleet::harness::{describe, error_message, error_type, numbered_key};
use simulated_fleet::{Fleet, FunctionProcess, Invocation, KeyDescription, Outcome, generated_key_id};

pub const BINARY: &str = env!("CARGO_BIN_EXE_key-manager");
pub const ALL: &str = "create_key,rotate_key,enable_rotation,set_rotation_period,create_multi_region_key,cancel_deletion,\
                       retire_key,schedule_deletion,set_alias,audit_key,list_operations";
pub const TOKEN: &str = "token-1";
pub const CREATED: [&str; 2] = ["eu-west-1", "eu-central-1"];

/// A fleet of these keys with a table for the record.
pub fn fleet_of(keys: Value) -> Value {
    json!({ "tables": ["operations"], "keys": keys })
}

/// A managed key with that number.
pub fn managed(n: u32, facts: Value) -> Value {
    let mut key = numbered_key(n, facts);
    key["tags"]["kms-compliance/managed"] = json!("true");
    key
}

pub fn process(fleet: &Fleet, settings: &[(&str, &str)]) -> FunctionProcess {
    let settings: Vec<_> =
        [("OPERATIONS", ALL), ("OPERATIONS_TABLE", "operations")].iter().chain(settings).copied().collect();
    FunctionProcess::start(BINARY, fleet, &settings).unwrap()
}

pub fn start(fleet: Value) -> (Fleet, FunctionProcess) {
    let fleet = Fleet::serve(describe(fleet)).unwrap();
    let function = process(&fleet, &[]);
    (fleet, function)
}

/// A request that changes something, with these fields.
pub fn request(operation: &str, fields: Value) -> Value {
    let mut request = json!({"operation": operation, "requested_by": "ana", "client_token": TOKEN});
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    request
}

pub fn of_key(operation: &str, n: u32) -> Value {
    request(operation, json!({"key": generated_key_id(n)}))
}

pub fn new_key() -> Value {
    request(
        "create_key",
        json!({
            "purpose": "application",
            "principals": {
                "administrators": ["arn:aws:iam::123456789012:role/admin"],
                "users": ["arn:aws:iam::123456789012:role/app"]
            },
            "rotation_period_days": 180,
            "alias": "alias/new",
            "tags": {"team": "payments"}
        }),
    )
}

pub fn new_multi_region_key() -> Value {
    let mut request = new_key();
    request["operation"] = json!("create_multi_region_key");
    request["replica_regions"] = json!(CREATED);
    request
}

static ANSWERS: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema = include_str!("../../../../docs/key-manager-answers.schema.json");
    jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap()
});

/// The answer, if it is as the schema says.
#[track_caller]
pub fn answered(outcome: Outcome) -> Value {
    let answer = outcome.result.unwrap();
    if let Err(error) = ANSWERS.validate(&answer) {
        panic!("{error}: {answer:#}");
    }
    answer
}

/// An invocation that has n seconds.
pub fn seconds(n: u64) -> Invocation {
    Invocation { deadline: Duration::from_secs(n), ..Invocation::default() }
}

/// The error's type and message.
pub fn error(outcome: &Outcome) -> (String, String) {
    assert!(outcome.result.is_err(), "{outcome:?}");
    (error_type(outcome).to_owned(), error_message(outcome).to_owned())
}

/// The records, the newest write last.
pub fn records(fleet: &Fleet) -> Vec<Value> {
    fleet.items()
}

/// The record of the token.
pub fn record(fleet: &Fleet) -> Option<Value> {
    records(fleet).into_iter().find(|item| item["sk"] == format!("operation#{TOKEN}"))
}

/// Time passes: claims end, and searches were long ago.
pub fn let_time_pass(fleet: &Fleet) {
    for mut item in records(fleet) {
        item["owned_until"] = json!(0);
        if item.get("searched_at").is_some() {
            item["searched_at"] = json!("2020-01-01T00:00:00Z");
        }
        fleet.put_item(&item).unwrap();
    }
}

/// All keys of all Regions, with their Region.
pub fn keys(fleet: &Fleet) -> Vec<(String, KeyDescription)> {
    let description = fleet.description();
    let here = description.keys.into_iter().map(|key| (description.region.clone(), key));
    let elsewhere = description
        .regions
        .into_iter()
        .flat_map(|(region, it)| it.keys.into_iter().map(move |key| (region.clone(), key)));
    here.chain(elsewhere).collect()
}

/// The keys that carry the token.
pub fn made(fleet: &Fleet) -> Vec<(String, KeyDescription)> {
    let carries = |key: &KeyDescription| key.tags.get("kms-compliance/client-token").is_some_and(|it| it == TOKEN);
    keys(fleet).into_iter().filter(|(_, key)| carries(key)).collect()
}

/// Takes all faults away; the keys stay as they are.
pub fn heal(fleet: &Fleet) {
    let mut description = fleet.description();
    description.faults.clear();
    for region in description.regions.values_mut() {
        region.faults.clear();
    }
    fleet.replace(description).unwrap();
}

/// Sends the request until it has succeeded, while time passes in between.
pub async fn complete(fleet: &Fleet, function: &FunctionProcess, request: &Value) -> Value {
    let mut last = None;
    for _ in 0..6 {
        let outcome = function.invoke_with(request, seconds(30)).await;
        match &outcome.result {
            Ok(answer) if answer["state"] == "succeeded" => return answered(outcome),
            Ok(answer) => assert_eq!(answer["state"], "in_progress", "{answer}"),
            Err(error) => assert_eq!(error.error_type, "OperationFailed", "{error:?}"),
        }
        last = Some(outcome);
        let_time_pass(fleet);
    }
    panic!("the request does not come to its end: {last:?}");
}
