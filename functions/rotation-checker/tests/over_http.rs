//! The function's real binary, under the Lambda Runtime API, against a simulated fleet.

#![expect(clippy::indexing_slicing, clippy::needless_pass_by_value, clippy::unwrap_used, reason = "a test binary")]

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use simulated_fleet::harness::{
    self, TOPIC, WITH_LEDGER, assert_all, assert_calls_are_those_granted, assert_counts_add_up, days_from_now,
    describe, error_message, error_type, fleet_of, ok, verbose, verdicts,
};
use simulated_fleet::{Fleet, FunctionProcess, Invocation, Outcome, generated_key_id};

const BINARY: &str = env!("CARGO_BIN_EXE_rotation-checker");
const CONTROLS: [&str; 3] = ["rotation-enabled", "rotation-period", "rotation-overdue"];

fn start(fleet: Value, settings: &[(&str, &str)]) -> (Fleet, FunctionProcess) {
    harness::start(BINARY, fleet, settings)
}

/// A table row: what the fleet's key is, whether its rotation status may be asked for, and the three verdicts.
fn row(key: Value, asked: bool, enabled: &'static str, period: &'static str, overdue: &'static str) -> Row {
    Row { key, asked, expected: [enabled, period, overdue] }
}

struct Row {
    key: Value,
    asked: bool,
    expected: [&'static str; 3],
}

fn settled(key: Value, verdict: &'static str) -> Row {
    row(key, false, verdict, verdict, verdict)
}

fn failed(key: Value, verdict: &'static str) -> Row {
    row(key, true, verdict, verdict, verdict)
}

const UNEXPECTED: &str = "INSUFFICIENT_DATA unexpected_response";

fn fault(operation: &str, fault: Value) -> Value {
    json!({"faults": {operation: fault}})
}

fn rows_for_every_control() -> Vec<Row> {
    let replaced = |field: &str, value: Value| json!({"replace": {"DescribeKey": {"KeyMetadata": {field: value}}}});
    vec![
        failed_to_describe(fault("DescribeKey", json!("denied")), "INSUFFICIENT_DATA access_denied"),
        failed_to_describe(fault("DescribeKey", json!("server_error")), "INSUFFICIENT_DATA service_error"),
        failed_to_describe(fault("DescribeKey", json!("garbled")), UNEXPECTED),
        failed_to_describe(fault("DescribeKey", json!("truncated")), UNEXPECTED),
        failed_to_describe(
            fault("DescribeKey", json!({"kind": "error", "code": "BrandNewException", "status": 400})),
            UNEXPECTED,
        ),
        settled(json!({"key_manager": "AWS"}), "NOT_APPLICABLE aws_managed_key"),
        settled(json!({"key_state": "Creating"}), "INSUFFICIENT_DATA key_in_transition"),
        settled(json!({"key_state": "Updating"}), "INSUFFICIENT_DATA key_in_transition"),
        settled(json!({"omit": {"DescribeKey": ["KeyManager"]}}), UNEXPECTED),
        settled(json!({"omit": {"DescribeKey": ["KeySpec"]}}), UNEXPECTED),
        settled(json!({"omit": {"DescribeKey": ["Origin"]}}), UNEXPECTED),
        settled(json!({"omit": {"DescribeKey": ["KeyState"]}}), UNEXPECTED),
        settled(json!({"omit": {"DescribeKey": ["KeyUsage"]}}), UNEXPECTED),
        failed_to_describe(json!({"omit": {"DescribeKey": ["KeyMetadata"]}}), UNEXPECTED),
        settled(replaced("KeyManager", json!("PARTNER")), UNEXPECTED),
        settled(replaced("KeyState", json!("Zombie")), UNEXPECTED),
        settled(replaced("KeySpec", json!("QUANTUM_1")), UNEXPECTED),
        settled(replaced("KeyUsage", json!("DREAM")), UNEXPECTED),
        settled(replaced("Origin", json!("THE_MOON")), UNEXPECTED),
        failed_to_describe(replaced("KeyState", json!(7)), UNEXPECTED),
        failed_to_describe(replaced("CreationDate", json!("yesterday")), UNEXPECTED),
    ]
}

fn rows_of_eligibility() -> Vec<Row> {
    vec![
        settled(json!({"key_spec": "RSA_2048", "key_usage": "ENCRYPT_DECRYPT"}), "NOT_APPLICABLE asymmetric_key"),
        settled(json!({"key_spec": "ECC_NIST_P256", "key_usage": "SIGN_VERIFY"}), "NOT_APPLICABLE asymmetric_key"),
        settled(json!({"key_spec": "SM2", "key_usage": "SIGN_VERIFY"}), "NOT_APPLICABLE asymmetric_key"),
        settled(json!({"key_spec": "ML_DSA_65", "key_usage": "SIGN_VERIFY"}), "NOT_APPLICABLE asymmetric_key"),
        settled(
            json!({"key_spec": "ML_KEM_768", "key_usage": "ENCAPSULATE_DECAPSULATE"}),
            "NOT_APPLICABLE asymmetric_key",
        ),
        settled(json!({"key_spec": "HMAC_256", "key_usage": "GENERATE_VERIFY_MAC"}), "NOT_APPLICABLE hmac_key"),
        settled(json!({"origin": "EXTERNAL"}), "NOT_APPLICABLE imported_key_material"),
        settled(json!({"origin": "EXTERNAL", "key_state": "PendingImport"}), "NOT_APPLICABLE imported_key_material"),
        settled(json!({"origin": "AWS_CLOUDHSM", "custom_key_store_id": "cks-1"}), "NOT_APPLICABLE custom_key_store"),
        settled(
            json!({"origin": "EXTERNAL_KEY_STORE", "custom_key_store_id": "cks-2", "key_state": "Unavailable"}),
            "NOT_APPLICABLE custom_key_store",
        ),
        settled(
            json!({"key_state": "PendingDeletion", "deletion_date": days_from_now(7)}),
            "NOT_APPLICABLE pending_deletion",
        ),
        settled(
            json!({
                "key_id": "mrk-1", "key_state": "PendingReplicaDeletion", "pending_deletion_window_in_days": 7,
                "multi_region": {"type": "PRIMARY", "replica_regions": ["eu-west-1"]}
            }),
            "NOT_APPLICABLE pending_deletion",
        ),
        settled(json!({"key_state": "Disabled"}), "NOT_APPLICABLE key_disabled"),
    ]
}

fn rows_of_the_rotation_status() -> Vec<Row> {
    let on = |more: Value| {
        let mut rotation = json!({"enabled": true, "period_in_days": 365, "next_rotation_date": days_from_now(30)});
        rotation.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "rotation": rotation })
    };
    let status = |field: &str, value: Value| json!({"rotation": on(json!({}))["rotation"], "replace": {"GetKeyRotationStatus": {field: value}}});
    let enabled = "COMPLIANT rotation_enabled";
    let period = "COMPLIANT within_policy";
    let overdue = "COMPLIANT on_schedule";
    vec![
        row(
            json!({"rotation": {"enabled": false}}),
            true,
            "NON_COMPLIANT rotation_disabled",
            "NOT_APPLICABLE rotation_disabled",
            "NOT_APPLICABLE rotation_disabled",
        ),
        row(on(json!({})), true, enabled, period, overdue),
        row(on(json!({"period_in_days": 366})), true, enabled, "NON_COMPLIANT period_too_long", overdue),
        row(
            json!({"rotation": on(json!({}))["rotation"], "omit": {"GetKeyRotationStatus": ["RotationPeriodInDays"]}}),
            true,
            enabled,
            UNEXPECTED,
            overdue,
        ),
        row(
            on(json!({"next_rotation_date": days_from_now(-10), "on_demand_start_date": days_from_now(0)})),
            true,
            enabled,
            period,
            "COMPLIANT rotation_in_progress",
        ),
        row(
            json!({"rotation": on(json!({}))["rotation"], "omit": {"GetKeyRotationStatus": ["NextRotationDate"]}}),
            true,
            enabled,
            period,
            "NOT_APPLICABLE no_next_rotation_date",
        ),
        row(on(json!({"next_rotation_date": days_from_now(-1)})), true, enabled, period, overdue),
        row(
            on(json!({"next_rotation_date": days_from_now(-3)})),
            true,
            enabled,
            period,
            "NON_COMPLIANT rotation_overdue",
        ),
        row(
            json!({
                "key_id": "mrk-2", "rotation": on(json!({}))["rotation"],
                "multi_region": {"type": "REPLICA", "primary_region": "eu-west-1", "replica_regions": ["us-east-1"]}
            }),
            true,
            enabled,
            period,
            overdue,
        ),
        row(status("NextRotationDate", json!(1e15)), true, enabled, period, UNEXPECTED),
        failed(
            json!({"rotation": on(json!({}))["rotation"], "omit": {"GetKeyRotationStatus": ["KeyRotationEnabled"]}}),
            UNEXPECTED,
        ),
        failed(status("KeyRotationEnabled", json!("yes")), UNEXPECTED),
        failed(status("NextRotationDate", json!("soon")), UNEXPECTED),
        failed(fault("GetKeyRotationStatus", json!("denied")), "INSUFFICIENT_DATA access_denied"),
        failed(fault("GetKeyRotationStatus", json!("server_error")), "INSUFFICIENT_DATA service_error"),
        failed(fault("GetKeyRotationStatus", json!("garbled")), UNEXPECTED),
        failed(fault("GetKeyRotationStatus", json!("cut")), UNEXPECTED),
        failed(
            fault("GetKeyRotationStatus", json!({"kind": "error", "code": "KMSInvalidStateException", "status": 400})),
            UNEXPECTED,
        ),
        failed(
            fault(
                "GetKeyRotationStatus",
                json!({"kind": "error", "code": "UnsupportedOperationException", "status": 400}),
            ),
            "NOT_APPLICABLE rotation_unsupported",
        ),
        // Failures that pass.
        row(
            {
                let mut key = on(json!({}));
                key["faults"] = json!({
                    "DescribeKey": {"kind": "throttled", "times": 3},
                    "GetKeyRotationStatus": {"kind": "server_error", "times": 2}
                });
                key
            },
            true,
            enabled,
            period,
            overdue,
        ),
    ]
}

/// No verdict needs `GetKeyRotationStatus` once `DescribeKey` has failed.
fn failed_to_describe(key: Value, verdict: &'static str) -> Row {
    settled(key, verdict)
}

#[tokio::test]
async fn every_row_of_the_tables() {
    let rows: Vec<Row> = [rows_for_every_control(), rows_of_eligibility(), rows_of_the_rotation_status()]
        .into_iter()
        .flatten()
        .collect();
    let keys: Vec<Value> = rows.iter().map(|row| row.key.clone()).collect();
    let (fleet, function) = start(fleet_of(json!(keys)), &[WITH_LEDGER]);
    let response = ok(function.invoke(&verbose()).await);
    assert_eq!(response["keys_listed"], rows.len());
    assert_eq!(response["complete"], true);
    assert_counts_add_up(&response);
    let verdicts = verdicts(&response);
    let asked = fleet.calls_for("GetKeyRotationStatus");
    for (index, row) in (0..).zip(&rows) {
        let id = row.key["key_id"].as_str().map_or_else(|| generated_key_id(index), str::to_owned);
        for (control, expected) in CONTROLS.into_iter().zip(row.expected) {
            let (compliance, reason) = &verdicts[&(id.clone(), control.to_owned())];
            assert_eq!(format!("{compliance} {reason}"), expected, "{control} of {}", row.key);
        }
        assert_eq!(asked.contains_key(&id), row.asked, "GetKeyRotationStatus for {}", row.key);
    }
    assert_calls_are_those_granted(&fleet, "rotation-checker");
}

/// Rows that last as long as all their tries: each on its own key, all at the same time.
#[tokio::test]
async fn rows_of_calls_that_never_come_to_an_end() {
    let keys = json!([
        {"faults": {"DescribeKey": "hang"}},
        {"faults": {"GetKeyRotationStatus": "hang"}},
        {"faults": {"DescribeKey": "throttled"}},
        {"faults": {"GetKeyRotationStatus": "throttled"}},
        {"rotation": {"enabled": true, "period_in_days": 365, "next_rotation_date": days_from_now(30)}},
    ]);
    let (fleet, function) = start(fleet_of(keys), &[]);
    let deadline = Duration::from_mins(5);
    let response = ok(function.invoke_with(&verbose(), Invocation { deadline, ..Invocation::default() }).await);
    for (index, expected) in [
        (0, ("INSUFFICIENT_DATA", "timeout")),
        (1, ("INSUFFICIENT_DATA", "timeout")),
        (2, ("INSUFFICIENT_DATA", "throttled")),
        (3, ("INSUFFICIENT_DATA", "throttled")),
    ] {
        assert_all(&response, &generated_key_id(index), expected);
    }
    assert_eq!(response["controls"]["rotation-enabled"]["COMPLIANT"], 1);
    assert_eq!(response["complete"], true);
    assert_eq!(fleet.calls_for("DescribeKey")[&generated_key_id(2)], 6, "throttling is ridden out");
    assert_eq!(fleet.calls_for("DescribeKey")[&generated_key_id(0)], 3);
}

/// 940 healthy keys and 60 faulty ones, shuffled among each other by their ids.
#[tokio::test]
async fn a_thousand_keys_sixty_of_them_faulty() {
    let on = json!({"enabled": true, "period_in_days": 365, "next_rotation_date": days_from_now(30)});
    let entries = [
        (json!({"count": 400, "rotation": on}), "COMPLIANT rotation_enabled", true),
        (json!({"count": 200, "rotation": {"enabled": false}}), "NON_COMPLIANT rotation_disabled", true),
        (
            json!({"count": 100, "key_spec": "RSA_2048", "key_usage": "SIGN_VERIFY"}),
            "NOT_APPLICABLE asymmetric_key",
            false,
        ),
        (json!({"count": 60, "key_spec": "HMAC_256"}), "NOT_APPLICABLE hmac_key", false),
        (json!({"count": 60, "origin": "EXTERNAL"}), "NOT_APPLICABLE imported_key_material", false),
        (json!({"count": 60, "key_state": "Disabled"}), "NOT_APPLICABLE key_disabled", false),
        (json!({"count": 60, "key_manager": "AWS"}), "NOT_APPLICABLE aws_managed_key", false),
        (json!({"count": 6, "faults": {"DescribeKey": "denied"}}), "INSUFFICIENT_DATA access_denied", false),
        (json!({"count": 6, "faults": {"GetKeyRotationStatus": "denied"}}), "INSUFFICIENT_DATA access_denied", true),
        (
            json!({"count": 6, "rotation": on, "faults": {"DescribeKey": {"kind": "throttled", "times": 4}}}),
            "COMPLIANT rotation_enabled",
            true,
        ),
        (json!({"count": 6, "faults": {"GetKeyRotationStatus": "throttled"}}), "INSUFFICIENT_DATA throttled", true),
        (
            json!({"count": 6, "faults": {"GetKeyRotationStatus": "server_error"}}),
            "INSUFFICIENT_DATA service_error",
            true,
        ),
        (json!({"count": 6, "faults": {"GetKeyRotationStatus": "hang"}}), "INSUFFICIENT_DATA timeout", true),
        (json!({"count": 6, "faults": {"DescribeKey": "garbled"}}), "INSUFFICIENT_DATA unexpected_response", false),
        (
            json!({"count": 6, "faults": {"GetKeyRotationStatus": "truncated"}}),
            "INSUFFICIENT_DATA unexpected_response",
            true,
        ),
        (
            json!({"count": 6, "replace": {"DescribeKey": {"KeyMetadata": {"KeySpec": "QUANTUM_1"}}}}),
            "INSUFFICIENT_DATA unexpected_response",
            false,
        ),
        (
            json!({"count": 6, "replace": {"DescribeKey": {"KeyMetadata": {"KeyState": "Zombie"}}}}),
            "INSUFFICIENT_DATA unexpected_response",
            false,
        ),
    ];
    let keys: Vec<&Value> = entries.iter().map(|(key, _, _)| key).collect();
    let (fleet, function) =
        start(json!({"keys": keys, "page_size": 70}), &[("KMS_QUOTA_SHARE", "1"), ("KMS_QUOTA_CALLERS", "1")]);
    let deadline = Duration::from_mins(5);
    let response = ok(function.invoke_with(&verbose(), Invocation { deadline, ..Invocation::default() }).await);
    assert_eq!((&response["keys_listed"], &response["complete"]), (&json!(1_000), &json!(true)));
    assert_counts_add_up(&response);
    let verdicts = verdicts(&response);
    assert_eq!(verdicts.len(), 3_000);
    let (described, asked) = (fleet.calls_for("DescribeKey"), fleet.calls_for("GetKeyRotationStatus"));
    let mut index = 0_u32;
    for (key, expected, may_be_asked) in &entries {
        for _ in 0..key["count"].as_u64().unwrap() {
            let id = generated_key_id(index);
            index += 1;
            let (compliance, reason) = &verdicts[&(id.clone(), "rotation-enabled".to_owned())];
            assert_eq!(&format!("{compliance} {reason}"), expected, "{key}");
            assert_eq!(asked.contains_key(&id), *may_be_asked, "{key}");
            if key["faults"].is_null() {
                assert_eq!(described[&id], 1, "{key}");
                assert_eq!(asked.get(&id).copied().unwrap_or_default(), u64::from(*may_be_asked), "{key}");
            }
        }
    }
    assert_eq!(index, 1_000);
    assert_eq!(fleet.calls()["ListKeys"], 15);
}

#[tokio::test]
async fn events_from_the_files() {
    harness::assert_events_are_answered(BINARY, "rotation-checker").await;
}

#[tokio::test]
async fn a_payload_that_is_no_event_is_refused() {
    let (fleet, function) = start(fleet_of(json!([{}])), &[]);
    for payload in ["null", "[]", "5", "\"{}\"", "{\"detail\": 5}"] {
        assert_eq!(error_type(&function.invoke_raw(payload).await), "InvalidEvent", "{payload}");
    }
    assert_eq!(fleet.calls(), BTreeMap::new());
    assert_eq!(ok(function.invoke(&json!({})).await)["keys_listed"], 1, "the next event finds the function well");
}

#[tokio::test]
async fn wrong_settings_fail_every_invocation_and_are_named() {
    let refused = [
        ("SNS_TOPIC_ARN", ""),
        ("SNS_TOPIC_ARN", "alerts"),
        ("MAX_ROTATION_PERIOD_DAYS", "89"),
        ("MAX_ROTATION_PERIOD_DAYS", "2561"),
        ("MAX_ROTATION_PERIOD_DAYS", "0"),
        ("MAX_ROTATION_PERIOD_DAYS", "a year"),
        ("ROTATION_GRACE_DAYS", "-1"),
        ("ROTATION_GRACE_DAYS", "99999999999"),
        ("KMS_QUOTA_SHARE", "0"),
        ("KMS_QUOTA_SHARE", "1.5"),
        ("REMINDER_INTERVAL_DAYS", "-7"),
        ("MONITORED_KEYS", "arn:aws:s3:::bucket"),
        ("EXCLUDED_KEYS", "alias/"),
    ];
    harness::assert_settings_are_refused(BINARY, &refused).await;
}

#[tokio::test]
async fn settings_draw_the_lines() {
    let rotation = json!({"enabled": true, "period_in_days": 100, "next_rotation_date": days_from_now(-5)});
    let fleet = fleet_of(json!([{ "rotation": rotation }]));
    for (settings, period, overdue) in [
        (&[][..], "within_policy", "rotation_overdue"),
        (&[("MAX_ROTATION_PERIOD_DAYS", "90"), ("ROTATION_GRACE_DAYS", "10")], "period_too_long", "on_schedule"),
        (&[("MAX_ROTATION_PERIOD_DAYS", ""), ("ROTATION_GRACE_DAYS", "0")], "within_policy", "rotation_overdue"),
    ] {
        let (_fleet, function) = start(fleet.clone(), settings);
        let response = ok(function.invoke(&verbose()).await);
        let verdicts = verdicts(&response);
        let reason = |control: &str| verdicts[&(generated_key_id(0), control.to_owned())].1.clone();
        assert_eq!((reason("rotation-period").as_str(), reason("rotation-overdue").as_str()), (period, overdue));
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_had_fails_the_run() {
    for fault in ["denied", "server_error", "garbled"] {
        let (fleet, function) = start(json!({"keys": [{}], "faults": {"ListKeys": fault}}), &[]);
        let outcome = function.invoke(&json!({})).await;
        assert_eq!(error_type(&outcome), "ListKeysFailed", "{fault}");
        assert!(error_message(&outcome).contains("kms:ListKeys"), "{}", error_message(&outcome));
        assert!(!fleet.calls().contains_key("Publish"));
    }
}

#[tokio::test]
async fn a_list_that_breaks_off_is_worked_on_and_said_to_be_incomplete() {
    for fault in [
        json!({"kind": "denied", "after_calls": 2}),
        json!({"kind": "server_error", "after_calls": 2}),
        json!({"kind": "no_marker", "after_calls": 1}),
        json!({"kind": "same_marker", "after_calls": 0}),
    ] {
        let (fleet, function) =
            start(json!({"keys": [{"count": 50}], "page_size": 10, "faults": {"ListKeys": fault}}), &[]);
        let response = ok(function.invoke(&verbose()).await);
        assert_eq!(response["complete"], false, "{fault}");
        let listed = response["keys_listed"].as_u64().unwrap();
        assert!((1..50).contains(&listed), "{fault}: {listed}");
        assert_counts_add_up(&response);
        let alert: Value = serde_json::from_str(&fleet.published()[0].message).unwrap();
        assert!(alert["email"].as_str().unwrap().contains("did not see every key"));
    }
}

#[tokio::test]
async fn an_empty_page_in_between_does_not_end_the_list() {
    let fault = json!({"kind": "empty_page", "after_calls": 1});
    let (_fleet, function) =
        start(json!({"keys": [{"count": 35}], "page_size": 10, "faults": {"ListKeys": fault}}), &[]);
    let response = ok(function.invoke(&json!({})).await);
    assert_eq!((&response["keys_listed"], &response["complete"]), (&json!(35), &json!(true)));
}

#[tokio::test]
async fn a_key_that_is_gone_since_it_was_listed_is_dropped() {
    let keys = json!([
        {"gone": true},
        {"faults": {"GetKeyRotationStatus": "not_found"}},
        {"rotation": {"enabled": false}},
    ]);
    let (_fleet, function) = start(fleet_of(keys), &[]);
    let response = ok(function.invoke(&verbose()).await);
    assert_eq!((&response["keys_listed"], &response["keys_not_reached"]), (&json!(1), &json!(0)));
    assert_eq!(response["complete"], true);
    assert_counts_add_up(&response);
}

#[tokio::test]
async fn keys_are_chosen_by_id_arn_and_alias() {
    let keys = json!([
        {"aliases": ["alias/a"]}, {"aliases": ["alias/b"]}, {"aliases": ["alias/c"]}, {"unlisted": true}, {},
    ]);
    let id = generated_key_id;
    let arn = |id: &str| format!("arn:aws:kms:us-east-1:123456789012:key/{id}");
    let names = [id(0), arn(&id(1)), "alias/c".into(), "arn:aws:kms:us-east-1:123456789012:alias/a".into(), id(3)];
    let (fleet, function) = start(fleet_of(keys.clone()), &[]);
    let response = ok(function.invoke(&json!({"detail": {"keys": names, "verbose": true}})).await);
    assert_eq!(response["keys_listed"], 4, "a key named twice is one key");
    for index in 0..4 {
        assert_all_known(&response, &id(index));
    }
    assert!(!fleet.calls().contains_key("ListKeys"));

    let (fleet, function) = start(fleet_of(keys), &[("MONITORED_KEYS", &names.join(", "))]);
    let response = ok(function.invoke(&verbose()).await);
    assert_eq!(response["keys_listed"], 4);
    assert!(!fleet.calls().contains_key("ListKeys"));
    assert!(fleet.calls_for("DescribeKey").values().all(|calls| *calls == 1));
}

fn assert_all_known(response: &Value, id: &str) {
    for control in CONTROLS {
        assert_ne!(verdicts(response)[&(id.to_owned(), control.to_owned())].0, "INSUFFICIENT_DATA");
    }
}

#[tokio::test]
async fn names_of_no_key_are_said_and_the_others_checked() {
    let names = [
        generated_key_id(0),
        "00000000-dead-beef-0000-000000000000".to_owned(),
        "alias/nobody".to_owned(),
        "arn:aws:kms:eu-west-1:123456789012:key/k-abroad".to_owned(),
        "arn:aws:kms:us-east-1:999999999999:key/k-foreign".to_owned(),
        "arn:aws:kms:us-east-1:999999999999:alias/foreign".to_owned(),
    ];
    let (fleet, function) = start(fleet_of(json!([{}])), &[]);
    let response = ok(function.invoke(&json!({"detail": {"keys": names, "verbose": true}})).await);
    assert_eq!(response["keys_listed"], 6);
    assert_counts_add_up(&response);
    assert_all(&response, "00000000-dead-beef-0000-000000000000", ("INSUFFICIENT_DATA", "not_found"));
    assert_all(&response, "nobody", ("INSUFFICIENT_DATA", "not_found"));
    assert_all(&response, "k-abroad", ("INSUFFICIENT_DATA", "not_found"));
    assert_all(&response, "k-foreign", ("INSUFFICIENT_DATA", "not_found"));
    assert_all(&response, "foreign", ("INSUFFICIENT_DATA", "not_found"));
    assert_all_known(&response, &generated_key_id(0));
    assert_eq!(fleet.calls()["DescribeKey"], 3, "no call for what cannot be here");
    let findings = response["findings"].as_array().unwrap();
    assert!(findings.iter().any(|it| it["key_arn"] == "arn:aws:kms:eu-west-1:123456789012:key/k-abroad"));
}

#[tokio::test]
async fn excluded_keys_cost_no_call() {
    let keys = json!([{"aliases": ["alias/out"]}, {}, {}, {"key_manager": "AWS"}]);
    let id = generated_key_id;
    let excluded = format!("alias/out,{},arn:aws:kms:us-east-1:123456789012:key/{}", id(1), id(3));
    let (fleet, function) = start(fleet_of(keys), &[("EXCLUDED_KEYS", &excluded)]);
    for event in [verbose(), json!({"detail": {"keys": [id(0), id(1), id(2), id(3)], "verbose": true}})] {
        let response = ok(function.invoke(&event).await);
        assert_eq!(response["keys_listed"], 4);
        for index in [0, 1, 3] {
            assert_all(&response, &id(index), ("NOT_APPLICABLE", "excluded"));
        }
        assert_eq!(fleet.calls_for("DescribeKey").into_keys().collect::<Vec<_>>(), [id(2)]);
    }
}

#[tokio::test]
async fn the_events_keys_stay_within_the_monitored_ones() {
    let id = generated_key_id;
    let (fleet, function) = start(fleet_of(json!([{"count": 3}])), &[("MONITORED_KEYS", &id(0))]);
    let response = ok(function.invoke(&json!({"detail": {"keys": [id(0), id(1)], "verbose": true}})).await);
    assert_all(&response, &id(1), ("NOT_APPLICABLE", "excluded"));
    assert_eq!(fleet.calls_for("DescribeKey").into_keys().collect::<Vec<_>>(), [id(0)]);
}

#[tokio::test]
async fn without_the_list_of_aliases() {
    let keys = json!([{"aliases": ["alias/a"]}, {}]);
    let fleet = json!({"keys": keys, "faults": {"ListAliases": "denied"}});
    // Nobody asked by alias: the findings go without them.
    let (_fleet, function) = start(fleet.clone(), &[]);
    let response = ok(function.invoke(&json!({})).await);
    assert_eq!(response["controls"]["rotation-enabled"]["NON_COMPLIANT"], 2);
    assert_eq!(response["findings"][0]["aliases"], json!([]));
    // A key named by its alias is not known; the others are checked.
    let event = json!({"detail": {"keys": ["alias/a", generated_key_id(1)], "verbose": true}});
    let response = ok(function.invoke(&event).await);
    assert_all(&response, "a", ("INSUFFICIENT_DATA", "access_denied"));
    assert_all_known(&response, &generated_key_id(1));
    // A key left out by its alias is not known either, and must not be called for.
    let (fleet, function) = start(fleet, &[("EXCLUDED_KEYS", "alias/a")]);
    let outcome = function.invoke(&json!({})).await;
    assert_eq!(error_type(&outcome), "ListKeysFailed");
    assert!(error_message(&outcome).contains("EXCLUDED_KEYS names `alias/a`"));
    assert!(!fleet.calls().contains_key("DescribeKey"));
}

#[tokio::test]
async fn a_run_returns_before_its_deadline_with_what_it_has() {
    let keys = json!([{"count": 20, "rotation": {"enabled": false}}, {"count": 40, "faults": {"DescribeKey": "hang"}}]);
    let (fleet, function) = start(fleet_of(keys), &[]);
    let deadline = Duration::from_secs(4);
    let outcome = function.invoke_with(&json!({}), Invocation { deadline, ..Invocation::default() }).await;
    assert!(outcome.elapsed < deadline);
    let response = ok(outcome);
    let (listed, not_reached) =
        (response["keys_listed"].as_u64().unwrap(), response["keys_not_reached"].as_u64().unwrap());
    assert_eq!(listed + not_reached, 60);
    assert!(not_reached >= 40, "{not_reached}");
    assert_eq!(response["complete"], false);
    assert_counts_add_up(&response);
    assert_eq!(fleet.published().len(), usize::from(listed > 0));
}

/// The busiest second holds no more than 5 % of the quota: a second's calls, a burst of a tenth of a second's, and those of
/// up to a fifth of a second that arrive with them, since the first ones wait for their connections.
fn assert_peak_rate(fleet: &Fleet, operation: &str, per_second: u32) {
    let peak = fleet.peak_rate(operation);
    assert!(peak <= per_second * 13 / 10, "{operation}: {peak}");
}

#[tokio::test]
async fn the_calls_keep_to_their_share_of_the_quota() {
    let (fleet, function) =
        start(fleet_of(json!([{"count": 300}])), &[("KMS_QUOTA_SHARE", "0.05"), ("KMS_QUOTA_CALLERS", "1")]);
    ok(function.invoke(&json!({})).await);
    assert_peak_rate(&fleet, "DescribeKey", 100);
    assert_peak_rate(&fleet, "GetKeyRotationStatus", 50);
}

/// The benchmark's switch means nothing to a build without its feature.
#[tokio::test]
async fn no_variable_turns_the_pace_off() {
    let (fleet, function) = start(
        fleet_of(json!([{"count": 300}])),
        &[("KMS_QUOTA_SHARE", "0.05"), ("KMS_QUOTA_CALLERS", "1"), ("KMS_PACE", "off")],
    );
    ok(function.invoke(&json!({})).await);
    assert_peak_rate(&fleet, "DescribeKey", 100);
}

#[tokio::test]
async fn retries_keep_to_the_share_too() {
    let faults = json!({"GetKeyRotationStatus": {"kind": "throttled", "times": 2}});
    let (fleet, function) = start(
        fleet_of(json!([{"count": 60, "faults": faults}])),
        &[("KMS_QUOTA_SHARE", "0.05"), ("KMS_QUOTA_CALLERS", "1")],
    );
    let response = ok(function.invoke(&json!({})).await);
    assert_eq!(response["controls"]["rotation-enabled"]["NON_COMPLIANT"], 60);
    assert_eq!(fleet.calls()["GetKeyRotationStatus"], 180);
    assert_peak_rate(&fleet, "GetKeyRotationStatus", 50);
}

#[tokio::test]
async fn the_response_and_the_alert_follow_the_contract() {
    let primary = "eu-west-1";
    let keys = json!([
        {"aliases": ["alias/payments"], "creation_date": "2020-01-01T00:00:00Z", "rotation": {"enabled": false}},
        {
            "key_id": "mrk-0123456789abcdef0123456789abcdef", "rotation": {"enabled": false},
            "multi_region": {"type": "REPLICA", "primary_region": primary, "replica_regions": ["us-east-1"]}
        },
        {"rotation": {"enabled": true, "period_in_days": 365, "next_rotation_date": days_from_now(-30)}},
        {"key_state": "Creating"},
        {"faults": {"GetKeyRotationStatus": "denied"}},
    ]);
    let (fleet, function) = start(fleet_of(keys), &[]);
    let response = ok(function.invoke(&json!({})).await);
    let mut fields: Vec<_> = response.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let expected = [
        "account_id",
        "alerts",
        "complete",
        "controls",
        "evaluated_at",
        "findings",
        "findings_omitted",
        "function",
        "keys_listed",
        "keys_not_reached",
        "region",
    ];
    assert_eq!(fields, expected);
    assert_eq!(response["function"], "rotation-checker");
    assert_eq!((&response["account_id"], &response["region"]), (&json!("123456789012"), &json!("us-east-1")));
    let expected =
        json!({"new": 6, "worsened": 0, "resolved": 0, "reminder": 0, "held_back": 0, "messages_published": 1});
    assert_eq!(response["alerts"], expected);

    let findings = response["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 9, "three of the key in transition, which are not alerted");
    assert_eq!(findings[0]["severity"], "HIGH");
    assert_eq!(findings[0]["reason"], "rotation_overdue");
    let order: Vec<_> =
        findings[1..].iter().map(|it| (it["key_arn"].as_str().unwrap(), it["control"].as_str().unwrap())).collect();
    assert!(order.is_sorted() && findings[1..].iter().all(|it| it["severity"] == "MEDIUM"), "{order:?}");
    let payments = findings.iter().find(|it| it["aliases"] == json!(["alias/payments"])).unwrap();
    let mut fields: Vec<_> = payments.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let expected = [
        "aliases",
        "compliance",
        "control",
        "detail",
        "evidence",
        "key_arn",
        "key_id",
        "reason",
        "references",
        "remediation",
        "severity",
    ];
    assert_eq!(fields, expected);
    assert_eq!(payments["compliance"], "NON_COMPLIANT");
    assert_eq!(payments["evidence"], json!({"created_at": "2020-01-01T00:00:00Z"}));
    assert_eq!(payments["references"][0], "AWS Security Hub KMS.4");
    let replica = findings.iter().find(|it| it["key_id"] == "mrk-0123456789abcdef0123456789abcdef").unwrap();
    let primary = format!("arn:aws:kms:{primary}:123456789012:key/mrk-0123456789abcdef0123456789abcdef");
    assert!(replica["remediation"].as_str().unwrap().contains(&primary));

    let published = fleet.published();
    assert_eq!(published.len(), 1, "one message a run");
    let message = &published[0];
    assert_eq!(message.topic_arn, TOPIC);
    let subject = "HIGH: 6 new KMS findings - rotation-checker 123456789012 us-east-1";
    assert_eq!(message.subject.as_deref(), Some(subject));
    assert_eq!(message.message_structure.as_deref(), Some("json"));
    let attributes: Vec<_> = message.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        ("account_id", "123456789012"),
        ("function", "rotation-checker"),
        ("region", "us-east-1"),
        ("severity", "HIGH"),
    ];
    assert_eq!(attributes, expected);
    let parts: Value = serde_json::from_str(&message.message).unwrap();
    let default: Value = serde_json::from_str(parts["default"].as_str().unwrap()).unwrap();
    assert_eq!(default["schema"], "kms-compliance-alert/1");
    let alerted: Vec<&Value> = findings.iter().filter(|it| it["reason"] != "key_in_transition").collect();
    assert_eq!(default["new"], json!(alerted));
    assert_eq!(default["evaluated_at"], response["evaluated_at"]);
    let email = parts["email"].as_str().unwrap();
    assert!(email.contains("alias/payments") && email.contains("Could not evaluate 1 key"), "{email}");
}

#[tokio::test]
async fn nothing_to_say_publishes_nothing() {
    let keys = json!([
        {"rotation": {"enabled": true, "period_in_days": 365, "next_rotation_date": days_from_now(30)}},
        {"key_state": "Creating"},
    ]);
    let (fleet, function) = start(fleet_of(keys), &[]);
    let response = ok(function.invoke(&json!({})).await);
    assert_eq!((&response["alerts"]["new"], &response["alerts"]["messages_published"]), (&json!(0), &json!(0)));
    assert!(!fleet.calls().contains_key("Publish"));
    let (_empty, function) = start(fleet_of(json!([])), &[]);
    let response = ok(function.invoke(&json!({})).await);
    assert_eq!((&response["keys_listed"], &response["complete"]), (&json!(0), &json!(true)));
}

#[tokio::test]
async fn a_dry_run_publishes_nothing_and_as_of_judges_another_day() {
    let rotation = json!({"enabled": true, "period_in_days": 365, "next_rotation_date": days_from_now(30)});
    let (fleet, function) = start(fleet_of(json!([{ "rotation": rotation }, {}])), &[]);
    let response = ok(function.invoke(&json!({"detail": {"dry_run": true}})).await);
    assert_eq!((&response["alerts"]["new"], &response["alerts"]["messages_published"]), (&json!(1), &json!(0)));
    for (days, late) in [(31, 0), (33, 1)] {
        let instant = days_from_now(days);
        let response = ok(function.invoke(&json!({"detail": {"as_of": instant}})).await);
        assert_eq!(response["controls"]["rotation-overdue"]["NON_COMPLIANT"], late, "{days}");
        let evaluated_at: Timestamp = response["evaluated_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(evaluated_at.as_second(), instant.parse::<Timestamp>().unwrap().as_second());
    }
    assert!(!fleet.calls().contains_key("Publish"));
}

#[tokio::test]
async fn an_alert_that_is_not_delivered_fails_the_invocation() {
    for (fault, words) in
        [("denied", "AuthorizationError"), ("not_found", "NotFound"), ("server_error", "InternalError")]
    {
        let (_fleet, function) = start(json!({"keys": [{}], "faults": {"Publish": fault}}), &[]);
        let outcome = function.invoke(&json!({})).await;
        assert_eq!(error_type(&outcome), "AlertNotDelivered", "{fault}");
        assert!(error_message(&outcome).contains(words), "{}", error_message(&outcome));
        assert!(outcome.logs.iter().filter(|line| line.contains("AlertNotDelivered")).count() == 1);
    }
    let (fleet, function) = start(json!({"keys": [{}], "faults": {"Publish": "hang"}}), &[]);
    let deadline = Duration::from_secs(3);
    let outcome = function.invoke_with(&json!({}), Invocation { deadline, ..Invocation::default() }).await;
    assert_eq!(error_type(&outcome), "AlertNotDelivered");
    assert!(outcome.elapsed < deadline);
    // What passes is ridden out, and the next invocation finds the function well.
    let throttled = json!({"keys": [{}], "faults": {"Publish": {"kind": "throttled", "times": 2}}});
    fleet.replace(describe(throttled)).unwrap();
    assert_eq!(ok(function.invoke(&json!({})).await)["alerts"]["messages_published"], 1);
}

#[tokio::test]
async fn a_batch_answers_with_its_failures() {
    let (fleet, function) = start(fleet_of(json!([{"count": 4}])), &[]);
    let record = |id: &str, body: &str| json!({"messageId": id, "body": body, "eventSource": "aws:sqs"});
    let keys = |index: u32| json!({"detail": {"keys": [generated_key_id(index)]}}).to_string();
    let batch = json!({"Records": [record("m1", &keys(0)), record("m2", "{"), record("m3", &keys(2))]});
    let response = ok(function.invoke(&batch).await);
    assert_eq!(response["batchItemFailures"], json!([{"itemIdentifier": "m2"}]));
    assert_eq!(response["keys_listed"], 2);
    assert_eq!(fleet.published().len(), 1, "one mail for the batch");
    fleet.clear_calls();
    let response = ok(function.invoke(&json!({"Records": [record("m9", "no")]})).await);
    assert_eq!(response["batchItemFailures"], json!([{"itemIdentifier": "m9"}]));
    assert_eq!((&response["keys_listed"], fleet.calls()), (&json!(0), BTreeMap::new()));
}

fn json_lines(outcome: &Outcome) -> Vec<Value> {
    outcome.logs.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test]
async fn logs_and_metrics() {
    let fleet =
        json!({"keys": [{"faults": {"DescribeKey": {"kind": "throttled", "times": 1}}}, {"aliases": ["alias/a"]}]});
    for (settings, told) in [
        (&[][..], true),
        (&[("AWS_LAMBDA_LOG_LEVEL", "WARN")], false),
        (&[("AWS_LAMBDA_LOG_LEVEL", "FATAL")], false),
        (&[("AWS_LAMBDA_LOG_FORMAT", "JSON"), ("AWS_LAMBDA_LOG_LEVEL", "debug")], true),
    ] {
        let (_fleet, function) = start(fleet.clone(), settings);
        let request_id = Some("11111111-2222-3333-4444-555555555555".to_owned());
        let outcome = function.invoke_with(&json!({}), Invocation { request_id, ..Invocation::default() }).await;
        let lines = json_lines(&outcome);
        assert_eq!(lines.len(), outcome.logs.len(), "every line is JSON: {:?}", outcome.logs);
        for line in &lines {
            line["timestamp"].as_str().unwrap().parse::<Timestamp>().unwrap();
            assert!(line["level"].is_string());
        }
        let (metrics, logs): (Vec<&Value>, Vec<&Value>) = lines.iter().partition(|line| line["_aws"].is_object());
        assert_eq!(metrics.len(), 4, "survive level {settings:?}");
        assert_eq!((&metrics[0]["KeysListed"], &metrics[0]["KmsCalls"]), (&json!(2), &json!(9)));
        assert_eq!((&metrics[0]["KmsThrottles"], &metrics[0]["AlertsPublished"]), (&json!(1), &json!(1)));
        assert_eq!(logs.iter().any(|line| line["message"] == "the run is done"), told, "{settings:?}");
        for line in logs.into_iter().filter(|line| line["level"] != "DEBUG") {
            assert_eq!(line["span"]["requestId"], "11111111-2222-3333-4444-555555555555", "{line} with {settings:?}");
        }
    }
    let (_fleet, function) = start(fleet, &[("AWS_LAMBDA_LOG_FORMAT", "Text")]);
    let outcome = function.invoke(&json!({})).await;
    assert!(outcome.logs.iter().any(|line| line.contains("the run is done") && !line.starts_with('{')));
}

#[tokio::test]
async fn without_a_real_function_arn_the_account_is_not_made_up() {
    let (_fleet, function) = start(fleet_of(json!([{}])), &[]);
    let function_arn = Some("function-arn".to_owned());
    let response = ok(function.invoke_with(&json!({}), Invocation { function_arn, ..Invocation::default() }).await);
    assert_eq!((&response["account_id"], &response["region"]), (&json!("unknown"), &json!("us-east-1")));
    assert_eq!(response["keys_listed"], 1);
    let arn = format!("arn:aws:kms:us-east-1:123456789012:key/{}", generated_key_id(0));
    assert_eq!(response["findings"][0]["key_arn"], arn, "KMS tells the key's own");
}

/// The SDK builds and starts without an HTTPS client, and fails at its first call.
#[tokio::test]
async fn calls_go_out_over_tls() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let first_byte = std::thread::spawn(move || {
        let mut byte = [0];
        listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
        byte[0]
    });
    let (_fleet, function) = start(fleet_of(json!([{}])), &[("AWS_ENDPOINT_URL", &endpoint)]);
    assert_eq!(error_type(&function.invoke(&json!({})).await), "ListKeysFailed");
    assert_eq!(first_byte.join().unwrap(), 22, "a TLS handshake record");
}

#[tokio::test]
async fn each_service_may_have_an_endpoint_of_its_own() {
    let fleet = Fleet::serve(describe(fleet_of(json!([{}])))).unwrap();
    let endpoint = fleet.endpoint();
    let settings = [
        ("SNS_TOPIC_ARN", TOPIC),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_ENDPOINT_URL_KMS", endpoint.as_str()),
        ("AWS_ENDPOINT_URL_SNS", endpoint.as_str()),
    ];
    let function = FunctionProcess::start(BINARY, &fleet, &settings).unwrap();
    assert_eq!(ok(function.invoke(&json!({})).await)["alerts"]["messages_published"], 1);
}
