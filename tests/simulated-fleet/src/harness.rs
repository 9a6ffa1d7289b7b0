//! What the tests of all functions need: a function started against a fleet, and its answers taken apart.

#![expect(
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of tests fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{Fleet, FleetDescription, FunctionProcess, Outcome, generated_key_id};

/// The topic that functions under test publish to.
pub const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:alerts";

/// The table of the findings ledger in every fleet of [`fleet_of`].
pub const TABLE: &str = "findings";
/// The setting that gives a function under test its memory.
pub const WITH_LEDGER: (&str, &str) = ("FINDINGS_TABLE", TABLE);

/// Reads a fleet's description.
pub fn describe(fleet: Value) -> FleetDescription {
    FleetDescription::from_value(fleet).unwrap()
}

/// The description of a fleet of these keys, with nothing else out of the ordinary.
pub fn fleet_of(keys: impl Into<Value>) -> Value {
    json!({ "tables": [TABLE], "keys": keys.into() })
}

/// A key with its number for name, so that the others may come and go.
pub fn numbered_key(n: u32, facts: Value) -> Value {
    let Value::Object(mut key) = facts else { panic!("a key's facts are an object: {facts}") };
    key.insert("key_id".to_owned(), generated_key_id(n).into());
    key.into()
}

/// Serves the fleet and starts the binary against it, with the topic and these settings.
pub fn start(binary: impl AsRef<Path>, fleet: Value, settings: &[(&str, &str)]) -> (Fleet, FunctionProcess) {
    let fleet = Fleet::serve(describe(fleet)).unwrap();
    let settings: Vec<_> = [("SNS_TOPIC_ARN", TOPIC)].iter().chain(settings).copied().collect();
    let function = FunctionProcess::start(binary, &fleet, &settings).unwrap();
    (fleet, function)
}

/// An instant n days from now.
pub fn days_from_now(days: i64) -> String {
    seconds_from_now(days * 86_400)
}

/// An instant n seconds from now.
#[expect(clippy::disallowed_methods, reason = "the binary under test reads the real clock")]
pub fn seconds_from_now(seconds: i64) -> String {
    (Timestamp::now() + SignedDuration::from_secs(seconds)).to_string()
}

/// The event that asks for every evaluation.
pub fn verbose() -> Value {
    json!({"detail": {"verbose": true}})
}

/// The response of an invocation that went well.
pub fn ok(outcome: Outcome) -> Value {
    match outcome.result {
        Ok(response) => response,
        Err(error) => panic!("{error:?}\n{}", outcome.logs.join("\n")),
    }
}

/// The error type of an invocation that failed.
pub fn error_type(outcome: &Outcome) -> &str {
    &outcome.result.as_ref().unwrap_err().error_type
}

/// The error message of an invocation that failed.
pub fn error_message(outcome: &Outcome) -> &str {
    &outcome.result.as_ref().unwrap_err().error_message
}

/// Compliance and reason by key ID and control, out of a verbose response.
pub fn verdicts(response: &Value) -> BTreeMap<(String, String), (String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut verdicts = BTreeMap::new();
    for line in response["evaluations"].as_array().unwrap() {
        let id = text(&line["key_arn"]).rsplit_once('/').unwrap().1.to_owned();
        let old = verdicts.insert((id, text(&line["control"])), (text(&line["compliance"]), text(&line["reason"])));
        assert_eq!(old, None, "one evaluation for each key and control: {line}");
    }
    verdicts
}

/// The finding of one control about one key.
pub fn finding<'a>(response: &'a Value, key_id: &str, control: &str) -> &'a Value {
    let mut findings = response["findings"].as_array().unwrap().iter();
    findings.find(|it| it["key_id"] == key_id && it["control"] == control).unwrap()
}

/// For each control of the response the four counts add up to the keys listed.
pub fn assert_counts_add_up(response: &Value) {
    for (control, counts) in response["controls"].as_object().unwrap() {
        let counts = counts.as_object().unwrap();
        assert_eq!(counts.len(), 4);
        let sum: u64 = counts.values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(sum, response["keys_listed"].as_u64().unwrap(), "{control}");
    }
}

/// All controls of the response say the same about that key.
pub fn assert_all(response: &Value, id: &str, expected: (&str, &str)) {
    let verdicts = verdicts(response);
    for control in response["controls"].as_object().unwrap().keys() {
        let (compliance, reason) = &verdicts[&(id.to_owned(), control.clone())];
        assert_eq!((compliance.as_str(), reason.as_str()), expected, "{id} {control}");
    }
}

/// Each of these values of a variable fails every invocation, by an error that names both; nothing is called.
pub async fn assert_settings_are_refused(binary: impl AsRef<Path>, settings: &[(&str, &str)]) {
    let fleet = Fleet::serve(describe(fleet_of(json!([{}])))).unwrap();
    for (variable, value) in settings {
        let function = FunctionProcess::start(&binary, &fleet, &[("SNS_TOPIC_ARN", TOPIC), (variable, value)]).unwrap();
        for _ in 0..2 {
            let outcome = function.invoke(&json!({})).await;
            assert_eq!(error_type(&outcome), "InvalidConfiguration");
            let message = error_message(&outcome);
            let named = message.contains(variable) && message.contains(value) && message.contains("it must be");
            assert!(named, "{message}");
        }
    }
    assert_eq!(fleet.calls(), BTreeMap::new());
}

/// Every event in the function's folder is answered as its name says.
pub async fn assert_events_are_answered(binary: impl AsRef<Path>, function: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events").join(function);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 5);
    let (fleet, function) = start(binary, fleet_of(json!([{"aliases": ["alias/payments"]}])), &[]);
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let event: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        fleet.clear_calls();
        let outcome = function.invoke(&event).await;
        if name.starts_with("malformed") {
            assert_eq!(error_type(&outcome), "InvalidEvent", "{name}");
            assert_eq!(fleet.calls(), BTreeMap::new(), "{name}: nothing is called");
            assert!(outcome.logs.iter().any(|line| line.contains("InvalidEvent")), "{name}");
        } else {
            let response = ok(outcome);
            assert_counts_add_up(&response);
            let failures = response.get("batchItemFailures");
            assert_eq!(failures.is_some(), name.starts_with("sqs"), "{name}");
            let failures = failures.and_then(Value::as_array).map_or(0, Vec::len);
            assert_eq!(failures, usize::from(name.contains("one-malformed")), "{name}");
        }
    }
}

/// The function made exactly the calls that `calls.json` lists for it. Its role is held against the same list.
pub fn assert_calls_are_those_granted(fleet: &Fleet, function: &str) {
    let lists: Value = serde_json::from_str(include_str!("../../calls.json")).unwrap();
    // STS is asked where the keys are another account's: tests of targets see to that.
    let services = lists[function].as_object().unwrap().iter().filter(|(service, _)| *service != "sts");
    let listed = services.flat_map(|(_, calls)| calls.as_array().unwrap());
    let listed: BTreeSet<String> = listed.map(|call| call.as_str().unwrap().to_owned()).collect();
    assert_eq!(fleet.calls().into_keys().collect::<BTreeSet<_>>(), listed);
}
