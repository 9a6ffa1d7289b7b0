//! The function's real binary, under the Lambda Runtime API, against a simulated fleet.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test binary")]

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use simulated_fleet::harness::{
    self, WITH_LEDGER, assert_all, assert_calls_are_those_granted, assert_counts_add_up, days_from_now, finding,
    fleet_of, ok, seconds_from_now, verbose, verdicts,
};
use simulated_fleet::{Fleet, FunctionProcess, Invocation, generated_key_id};

const BINARY: &str = env!("CARGO_BIN_EXE_key-age-checker");
const AGE: &str = "key-material-age";
const EXPIRY: &str = "imported-material-expiry";

const WITHIN: &str = "COMPLIANT within_policy";
const TOO_OLD: &str = "NON_COMPLIANT material_too_old";
const NOT_IMPORTED: &str = "NOT_APPLICABLE not_imported";
const UNEXPECTED: &str = "INSUFFICIENT_DATA unexpected_response";

fn start(fleet: Value, settings: &[(&str, &str)]) -> (Fleet, FunctionProcess) {
    harness::start(BINARY, fleet, settings)
}

/// A table row: what the fleet's key is, how often `ListKeyRotations` is asked for it, and the two verdicts.
struct Row {
    key: Value,
    asked: u64,
    age: &'static str,
    expiry: &'static str,
}

fn row(key: Value, asked: u64, age: &'static str, expiry: &'static str) -> Row {
    Row { key, asked, age, expiry }
}

/// A key that is older than a year, with more facts about it.
fn old(more: &Value) -> Value {
    let mut key = json!({"creation_date": days_from_now(-1_000)});
    key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    key
}

fn rows_of_age() -> Vec<Row> {
    let rotated = |days: i64| json!([{"date": days_from_now(days), "type": "AUTOMATIC"}]);
    let replica = json!({"type": "REPLICA", "primary_region": "eu-west-1", "replica_regions": ["us-east-1"]});
    vec![
        row(json!({"key_manager": "AWS"}), 0, "NOT_APPLICABLE aws_managed_key", "NOT_APPLICABLE aws_managed_key"),
        row(
            old(&json!({"key_state": "PendingDeletion", "deletion_date": days_from_now(7)})),
            0,
            "NOT_APPLICABLE pending_deletion",
            NOT_IMPORTED,
        ),
        row(old(&json!({"key_state": "Disabled"})), 0, "NOT_APPLICABLE key_disabled", NOT_IMPORTED),
        row(json!({"creation_date": days_from_now(0)}), 0, WITHIN, NOT_IMPORTED),
        row(json!({"creation_date": days_from_now(-365)}), 0, WITHIN, NOT_IMPORTED),
        row(json!({"creation_date": seconds_from_now(-366 * 86_400 + 60)}), 0, WITHIN, NOT_IMPORTED),
        row(json!({"creation_date": days_from_now(-366)}), 1, TOO_OLD, NOT_IMPORTED),
        row(json!({"creation_date": days_from_now(1)}), 0, WITHIN, NOT_IMPORTED),
        row(old(&json!({"rotations": rotated(-10)})), 1, WITHIN, NOT_IMPORTED),
        row(old(&json!({"rotations": rotated(1)})), 1, WITHIN, NOT_IMPORTED),
        row(old(&json!({"rotations": rotated(-400)})), 1, TOO_OLD, NOT_IMPORTED),
        row(old(&json!({"rotations": [{"date": days_from_now(-5), "type": "ON_DEMAND"}]})), 1, WITHIN, NOT_IMPORTED),
        row(
            old(&json!({"rotations": rotated(-5), "omit": {"ListKeyRotations": ["Rotations.0.RotationDate"]}})),
            1,
            TOO_OLD,
            NOT_IMPORTED,
        ),
        row(old(&json!({"key_spec": "RSA_2048", "key_usage": "SIGN_VERIFY"})), 0, TOO_OLD, NOT_IMPORTED),
        row(old(&json!({"key_spec": "HMAC_256"})), 0, TOO_OLD, NOT_IMPORTED),
        row(old(&json!({"origin": "AWS_CLOUDHSM", "custom_key_store_id": "cks-1"})), 0, TOO_OLD, NOT_IMPORTED),
        row(
            old(&json!({
                "origin": "EXTERNAL_KEY_STORE", "custom_key_store_id": "cks-2", "key_state": "Unavailable"
            })),
            0,
            TOO_OLD,
            NOT_IMPORTED,
        ),
        row(
            old(&json!({"key_id": "mrk-1", "multi_region": replica})),
            0,
            "NOT_APPLICABLE judged_at_primary",
            NOT_IMPORTED,
        ),
        row(
            old(&json!({"key_id": "mrk-2", "multi_region": {"type": "PRIMARY", "replica_regions": ["eu-west-1"]}})),
            1,
            TOO_OLD,
            NOT_IMPORTED,
        ),
        row(
            json!({"key_state": "Creating"}),
            0,
            "INSUFFICIENT_DATA key_in_transition",
            "INSUFFICIENT_DATA key_in_transition",
        ),
        row(json!({"omit": {"DescribeKey": ["CreationDate"]}}), 0, UNEXPECTED, NOT_IMPORTED),
        row(json!({"omit": {"DescribeKey": ["KeyState"]}}), 0, UNEXPECTED, NOT_IMPORTED),
        row(old(&json!({"omit": {"DescribeKey": ["Origin"]}})), 0, UNEXPECTED, UNEXPECTED),
    ]
}

fn rows_of_expiry() -> Vec<Row> {
    let imported = |more: Value| {
        let mut key = json!({"origin": "EXTERNAL", "creation_date": days_from_now(-10)});
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    };
    let expires = |days: i64| json!({"expiration_model": "KEY_MATERIAL_EXPIRES", "valid_to": days_from_now(days)});
    let forever = json!({"expiration_model": "KEY_MATERIAL_DOES_NOT_EXPIRE"});
    let expiring = "NON_COMPLIANT material_expiring";
    vec![
        row(imported(forever.clone()), 0, WITHIN, "COMPLIANT does_not_expire"),
        row(imported(expires(31)), 0, WITHIN, "COMPLIANT not_due"),
        row(imported(expires(29)), 0, WITHIN, expiring),
        row(imported(expires(3)), 0, WITHIN, expiring),
        row(imported(expires(-3)), 0, WITHIN, expiring),
        row(
            imported(json!({"key_state": "PendingImport"})),
            0,
            "NOT_APPLICABLE no_key_material",
            "NOT_APPLICABLE no_key_material",
        ),
        row(
            imported(json!({"key_state": "PendingDeletion", "deletion_date": days_from_now(7)})),
            0,
            "NOT_APPLICABLE pending_deletion",
            "NOT_APPLICABLE pending_deletion",
        ),
        row(
            imported(json!({
                "expiration_model": "KEY_MATERIAL_EXPIRES", "valid_to": days_from_now(99),
                "omit": {"DescribeKey": ["ValidTo"]}
            })),
            0,
            WITHIN,
            UNEXPECTED,
        ),
        // The import may be younger than the key; a rotation is known by its date.
        row(
            old(&json!({"origin": "EXTERNAL", "expiration_model": forever["expiration_model"]})),
            1,
            TOO_OLD,
            "COMPLIANT does_not_expire",
        ),
        row(
            old(&json!({
                "origin": "EXTERNAL", "expiration_model": forever["expiration_model"],
                "rotations": [
                    {"type": "ON_DEMAND", "date": days_from_now(-20)},
                    {"key_material_state": "PENDING_ROTATION"}
                ]
            })),
            1,
            WITHIN,
            "COMPLIANT does_not_expire",
        ),
    ]
}

fn rows_of_failure() -> Vec<Row> {
    let fault = |fault: Value| old(&json!({"faults": {"ListKeyRotations": fault}}));
    let both = |key: Value, verdict| row(key, 0, verdict, verdict);
    vec![
        both(json!({"faults": {"DescribeKey": "denied"}}), "INSUFFICIENT_DATA access_denied"),
        both(json!({"faults": {"DescribeKey": "server_error"}}), "INSUFFICIENT_DATA service_error"),
        both(json!({"faults": {"DescribeKey": "garbled"}}), UNEXPECTED),
        row(fault(json!("denied")), 1, "INSUFFICIENT_DATA access_denied", NOT_IMPORTED),
        row(fault(json!("server_error")), 3, "INSUFFICIENT_DATA service_error", NOT_IMPORTED),
        row(fault(json!("garbled")), 3, UNEXPECTED, NOT_IMPORTED),
        row(fault(json!("no_marker")), 1, UNEXPECTED, NOT_IMPORTED),
        row(
            fault(json!({"kind": "error", "code": "UnsupportedOperationException", "status": 400})),
            1,
            "NOT_APPLICABLE rotation_unsupported",
            NOT_IMPORTED,
        ),
        row(fault(json!({"kind": "throttled", "times": 2})), 3, TOO_OLD, NOT_IMPORTED),
    ]
}

#[tokio::test]
async fn every_row_of_the_tables() {
    let rows: Vec<Row> = [rows_of_age(), rows_of_expiry(), rows_of_failure()].into_iter().flatten().collect();
    let keys: Vec<Value> = rows.iter().map(|row| row.key.clone()).collect();
    let (fleet, function) = start(fleet_of(keys), &[WITH_LEDGER]);
    let response = ok(function.invoke(&verbose()).await);
    assert_eq!((&response["keys_listed"], &response["complete"]), (&json!(rows.len()), &json!(true)));
    assert_counts_add_up(&response);
    let verdicts = verdicts(&response);
    let asked = fleet.calls_for("ListKeyRotations");
    for (index, row) in (0..).zip(&rows) {
        let id = row.key["key_id"].as_str().map_or_else(|| generated_key_id(index), str::to_owned);
        for (control, expected) in [(AGE, row.age), (EXPIRY, row.expiry)] {
            let (compliance, reason) = &verdicts[&(id.clone(), control.to_owned())];
            assert_eq!(format!("{compliance} {reason}"), expected, "{control} of {}", row.key);
        }
        assert_eq!(asked.get(&id).copied().unwrap_or_default(), row.asked, "ListKeyRotations for {}", row.key);
    }
    assert_calls_are_those_granted(&fleet, "key-age-checker");
}

#[tokio::test]
async fn rows_of_calls_that_never_come_to_an_end() {
    let keys = json!([
        old(&json!({"faults": {"ListKeyRotations": "hang"}})),
        old(&json!({"faults": {"ListKeyRotations": "throttled"}})),
    ]);
    let (_fleet, function) = start(fleet_of(keys), &[]);
    let deadline = Duration::from_mins(5);
    let response = ok(function.invoke_with(&verbose(), Invocation { deadline, ..Invocation::default() }).await);
    for (index, reason) in [(0, "timeout"), (1, "throttled")] {
        let verdicts = verdicts(&response);
        assert_eq!(verdicts[&(generated_key_id(index), AGE.to_owned())].1, reason);
        assert_eq!(verdicts[&(generated_key_id(index), EXPIRY.to_owned())].1, "not_imported", "touches one control");
    }
}

/// 130 rotations, ten a page, none of them young; then the same with the youngest on the last page.
#[tokio::test]
async fn the_newest_of_many_rotations_on_many_pages() {
    let rotations = |newest: i64| {
        let mut rotations: Vec<Value> =
            (0..129).map(|n| json!({"date": days_from_now(-400 - 5 * n), "type": "AUTOMATIC"})).collect();
        rotations.push(json!({"date": days_from_now(newest), "type": "ON_DEMAND"}));
        rotations
    };
    let created = days_from_now(-2_000);
    let keys = json!([
        {"creation_date": created, "rotations": rotations(-380)},
        {"creation_date": created, "rotations": rotations(-3)},
    ]);
    let (fleet, function) = start(json!({"keys": keys, "page_size": 10}), &[]);
    let response = ok(function.invoke(&verbose()).await);
    let verdicts = verdicts(&response);
    assert_eq!(verdicts[&(generated_key_id(0), AGE.to_owned())].1, "material_too_old");
    assert_eq!(verdicts[&(generated_key_id(1), AGE.to_owned())].1, "within_policy");
    assert_eq!(finding(&response, &generated_key_id(0), AGE)["evidence"]["age_days"], 380);
    assert_eq!(fleet.calls_for("ListKeyRotations")[&generated_key_id(0)], 13);
}

#[tokio::test]
async fn findings_say_what_they_rest_on_and_what_to_do() {
    let created = days_from_now(-1_000);
    let keys = json!([
        {"creation_date": created, "rotations": [{"date": days_from_now(-500), "type": "AUTOMATIC"}]},
        {"creation_date": created, "origin": "EXTERNAL", "expiration_model": "KEY_MATERIAL_DOES_NOT_EXPIRE"},
        {"creation_date": created, "key_spec": "ECC_NIST_P256", "key_usage": "SIGN_VERIFY"},
        {"origin": "EXTERNAL", "creation_date": days_from_now(-10),
         "expiration_model": "KEY_MATERIAL_EXPIRES", "valid_to": seconds_from_now(20 * 86_400 + 600)},
        {"origin": "EXTERNAL", "creation_date": days_from_now(-10),
         "expiration_model": "KEY_MATERIAL_EXPIRES", "valid_to": seconds_from_now(5 * 86_400 + 600)},
    ]);
    let (fleet, function) = start(fleet_of(keys), &[]);
    let response = ok(function.invoke(&json!({})).await);
    let id = generated_key_id;
    let evidence = |index, control| finding(&response, &id(index), control)["evidence"].clone();
    assert_eq!((&evidence(0, AGE)["age_days"], &evidence(0, AGE)["age_basis"]), (&json!(500), &json!("last_rotation")));
    assert_eq!((&evidence(1, AGE)["age_days"], &evidence(1, AGE)["age_basis"]), (&json!(1_000), &json!("creation")));
    assert_eq!(evidence(1, AGE)["age_is_upper_bound"], true);
    assert_eq!(evidence(2, AGE)["last_rotation"], Value::Null);
    assert_eq!(evidence(3, EXPIRY)["days_left"], 20);
    let severities: Vec<_> = response["findings"].as_array().unwrap().iter().map(|it| &it["severity"]).collect();
    assert_eq!(severities, ["CRITICAL", "HIGH", "MEDIUM", "MEDIUM", "MEDIUM"]);
    let remedy = |index, control| finding(&response, &id(index), control)["remediation"].as_str().unwrap().to_owned();
    for (index, control, words) in [
        (0, AGE, "kms:EnableKeyRotation"),
        (1, AGE, "kms:ImportKeyMaterial"),
        (2, AGE, "successor"),
        (4, EXPIRY, "kms:ImportKeyMaterial"),
    ] {
        assert!(remedy(index, control).contains(words), "{}", remedy(index, control));
    }
    assert_eq!(fleet.published()[0].attributes["severity"], "CRITICAL");
}

#[tokio::test]
async fn as_of_tells_what_will_be_too_old() {
    let keys = json!([
        {"creation_date": days_from_now(-300)},
        {"creation_date": days_from_now(-1), "origin": "EXTERNAL",
         "expiration_model": "KEY_MATERIAL_EXPIRES", "valid_to": days_from_now(60)},
    ]);
    let (fleet, function) = start(fleet_of(keys), &[]);
    for (days, too_old, expiring) in [(0, 0, 0), (40, 0, 1), (70, 1, 1)] {
        let event = json!({"detail": {"as_of": days_from_now(days)}});
        let response = ok(function.invoke(&event).await);
        let count = |control: &str| &response["controls"][control]["NON_COMPLIANT"];
        assert_eq!((count(AGE), count(EXPIRY)), (&json!(too_old), &json!(expiring)), "{days}");
    }
    assert!(!fleet.calls().contains_key("Publish"));
}

#[tokio::test]
async fn settings() {
    let keys = json!([
        {"creation_date": days_from_now(-100)},
        {"creation_date": days_from_now(-1), "origin": "EXTERNAL",
         "expiration_model": "KEY_MATERIAL_EXPIRES", "valid_to": days_from_now(60)},
    ]);
    let (_fleet, function) = start(fleet_of(keys), &[("MAX_KEY_AGE_DAYS", "90"), ("EXPIRY_WARNING_DAYS", "90")]);
    let response = ok(function.invoke(&json!({})).await);
    assert_eq!(response["controls"][AGE]["NON_COMPLIANT"], 1);
    assert_eq!(response["controls"][EXPIRY]["NON_COMPLIANT"], 1);

    let refused = [
        ("MAX_KEY_AGE_DAYS", "0"),
        ("MAX_KEY_AGE_DAYS", "-5"),
        ("MAX_KEY_AGE_DAYS", "3651"),
        ("MAX_KEY_AGE_DAYS", "one year"),
        ("EXPIRY_WARNING_DAYS", "-1"),
        ("EXPIRY_WARNING_DAYS", "1e3"),
    ];
    harness::assert_settings_are_refused(BINARY, &refused).await;
}

#[tokio::test]
async fn events_from_the_files() {
    harness::assert_events_are_answered(BINARY, "key-age-checker").await;
}

#[tokio::test]
async fn a_key_named_twice_or_unknown_or_excluded() {
    let keys = json!([{"aliases": ["alias/a"]}, {}]);
    let (_fleet, function) = start(fleet_of(keys), &[("EXCLUDED_KEYS", "alias/a")]);
    let event = json!({"detail": {"keys": ["alias/a", generated_key_id(0), "alias/b"], "verbose": true}});
    let response = ok(function.invoke(&event).await);
    assert_eq!(response["keys_listed"], 2);
    assert_all(&response, &generated_key_id(0), ("NOT_APPLICABLE", "excluded"));
    assert_all(&response, "b", ("INSUFFICIENT_DATA", "not_found"));
}

/// Days that are too short for all keys: each run says how many it left, the next one begins with those, and after the
/// days that all keys take, and one more, each had its turn. A key that hangs is in nobody's way.
#[tokio::test]
async fn no_key_waits_longer_than_all_keys_take() {
    const KEYS: usize = 200;
    let mut keys: Vec<Value> = (0..KEYS).map(|_| old(&json!({}))).collect();
    keys[7]["faults"] = json!({"DescribeKey": "hang"});
    let slow = [("KMS_QUOTA_SHARE", "0.15"), ("KMS_QUOTA_CALLERS", "1"), WITH_LEDGER];
    let (_fleet, function) = start(json!({"keys": keys, "tables": [WITH_LEDGER.1]}), &slow);
    let mut seen = BTreeSet::new();
    let (mut days, mut fewest) = (0, KEYS);
    while seen.len() < KEYS - 1 {
        let deadline = Duration::from_secs(6);
        let response = ok(function.invoke_with(&verbose(), Invocation { deadline, ..Invocation::default() }).await);
        let judged: BTreeSet<String> = verdicts(&response).into_keys().map(|(key_id, _)| key_id).collect();
        let not_reached = usize::try_from(response["keys_not_reached"].as_u64().unwrap()).unwrap();
        assert_eq!((judged.len() + not_reached, &response["complete"]), (KEYS, &json!(false)));
        assert!((1..KEYS).contains(&judged.len()), "{not_reached} of {KEYS} not reached");
        days += 1;
        fewest = fewest.min(judged.len());
        seen.extend(judged);
        assert!(days <= KEYS.div_ceil(fewest) + 1, "{days} days, {fewest} keys a day at least, {} seen", seen.len());
    }
}
