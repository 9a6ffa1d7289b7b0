//! The function's real binary, under the Lambda Runtime API, against a simulated fleet of several Regions.

#![expect(clippy::indexing_slicing, clippy::needless_pass_by_value, clippy::unwrap_used, reason = "a test binary")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value, json};
use simulated_fleet::harness::{
    self, TABLE, WITH_LEDGER, assert_all, assert_calls_are_those_granted, assert_counts_add_up, days_from_now, finding,
    fleet_of, ok, verbose, verdicts,
};
use simulated_fleet::{Fleet, FunctionProcess, Invocation, Outcome, generated_key_id};

const BINARY: &str = env!("CARGO_BIN_EXE_health-prober");

const HOME: &str = "us-east-1";
const IRELAND: &str = "eu-west-1";
const OREGON: &str = "us-west-2";

const DELETION: &str = "pending-deletion";
const USABLE: &str = "key-usable";
const TRIP: &str = "round-trip";
const HEALTH: &str = "replica-health";
const COVERAGE: &str = "replica-coverage";
const DRIFT: &str = "replica-policy-drift";
const STORE: &str = "key-store-connected";

const UNEXPECTED: &str = "INSUFFICIENT_DATA unexpected_response";
const FAILED: &str = "NON_COMPLIANT round_trip_failed";
const TRIP_OK: &str = "COMPLIANT round_trip_ok";

/// The operations that use a key.
const USES: [&str; 6] = ["Decrypt", "Encrypt", "GenerateMac", "Sign", "Verify", "VerifyMac"];

fn start(fleet: Value, settings: &[(&str, &str)]) -> (Fleet, FunctionProcess) {
    harness::start(BINARY, fleet, settings)
}

/// Longer than a call takes that fails in all its tries.
async fn patiently(function: &FunctionProcess) -> Outcome {
    let deadline = Duration::from_mins(5);
    function.invoke_with(&verbose(), Invocation { deadline, ..Invocation::default() }).await
}

/// The object with these members besides.
fn and(mut object: Value, more: Value) -> Value {
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object
}

/// A key that opted in.
fn chosen(more: Value) -> Value {
    and(json!({"tags": {"kms-compliance/probe": "true"}}), more)
}

fn fault(operation: &str, fault: Value) -> Value {
    json!({"faults": {operation: fault}})
}

fn refused(operation: &str, code: &str) -> Value {
    fault(
        operation,
        json!({"kind": "error", "code": code, "status": if code == "KeyUnavailableException" { 500 } else { 400 }}),
    )
}

/// A table row: a key here, its replicas in other Regions, and what the verdicts are where they are not those of a healthy
/// single-Region key that nobody chose.
struct Row {
    key: Value,
    replicas: Vec<(&'static str, Value)>,
    expected: Vec<(&'static str, &'static str)>,
}

fn row(key: Value, expected: &[(&'static str, &'static str)]) -> Row {
    Row { key, replicas: Vec::new(), expected: expected.to_vec() }
}

/// A row that gives all controls the same verdict.
fn settled(key: Value, verdict: &'static str) -> Row {
    row(key, &[DELETION, USABLE, TRIP, HEALTH, COVERAGE, DRIFT, STORE].map(|control| (control, verdict)))
}

/// A primary with these replicas; in the Regions of `REPLICA_REGIONS`, which is Ireland, unless that is what the row is
/// about.
fn primary(key: Value, replicas: &[(&'static str, Value)], expected: &[(&'static str, &'static str)]) -> Row {
    let mut all =
        vec![(HEALTH, "COMPLIANT replicas_healthy"), (COVERAGE, "COMPLIANT covered"), (DRIFT, "COMPLIANT same_policy")];
    all.extend(expected);
    Row { key: and(json!({"multi_region": {"type": "PRIMARY"}}), key), replicas: replicas.to_vec(), expected: all }
}

impl Row {
    fn id(&self, number: usize) -> String {
        let prefix = if self.key.get("multi_region").is_some() { "mrk-" } else { "" };
        format!("{prefix}row-{number}")
    }

    fn expected(&self, control: &str) -> &'static str {
        let of_control = self.expected.iter().rev().find(|(name, _)| *name == control).map(|(_, verdict)| *verdict);
        of_control.unwrap_or(match control {
            DELETION => "COMPLIANT not_scheduled",
            USABLE => "COMPLIANT enabled",
            TRIP => "NOT_APPLICABLE not_selected",
            STORE => "NOT_APPLICABLE no_custom_key_store",
            _ => "NOT_APPLICABLE not_a_primary",
        })
    }

    /// Did the key opt in, in that Region?
    fn opted_in(&self, region: &str) -> bool {
        let there = self.replicas.iter().find(|(name, _)| *name == region).map(|(_, key)| key);
        let key = if region == HOME { Some(&self.key) } else { there };
        key.is_some_and(|key| key["tags"]["kms-compliance/probe"] == "true" || key["in_probe_keys"] == true)
    }
}

/// The fleet of the rows, and the value of `PROBE_KEYS`.
fn fleet_of_rows(rows: &[Row]) -> (Value, String) {
    let mut regions: BTreeMap<&str, Vec<Value>> = BTreeMap::from([(HOME, Vec::new())]);
    let mut probe_keys = Vec::new();
    let mut add = |region: &'static str, id: &str, key: &Value, related: Option<Value>| {
        let mut key = and(key.clone(), json!({"key_id": id}));
        if let Some(related) = related {
            key["multi_region"] = related;
        }
        if key.as_object_mut().unwrap().remove("in_probe_keys").is_some() {
            probe_keys.push(format!("arn:aws:kms:{region}:123456789012:key/{id}"));
        }
        regions.entry(region).or_default().push(key);
    };
    for (number, row) in rows.iter().enumerate() {
        let id = row.id(number);
        let names: Vec<&str> = row.replicas.iter().map(|(region, _)| *region).collect();
        let related = |kind: &str| json!({"type": kind, "primary_region": HOME, "replica_regions": names});
        let is_primary = row.key["multi_region"]["type"] == "PRIMARY";
        add(HOME, &id, &row.key, is_primary.then(|| related("PRIMARY")));
        for (region, replica) in &row.replicas {
            if !replica.is_null() {
                add(region, &id, replica, Some(related("REPLICA")));
            }
        }
    }
    let home = regions.remove(HOME).unwrap();
    let regions: Map<String, Value> =
        regions.into_iter().map(|(region, keys)| (region.to_owned(), json!({"keys": keys}))).collect();
    let stores = json!([
        {"id": "cks-fine"}, {"id": "cks-connecting", "connection_state": "CONNECTING"},
        {"id": "cks-failed", "connection_state": "FAILED", "connection_error_code": "USER_LOCKED_OUT"},
        {"id": "cks-disconnected", "connection_state": "DISCONNECTED"},
        {"id": "cks-odd", "connection_state": "DREAMING"}, {"id": "cks-silent", "connection_state": null},
    ]);
    let fleet =
        json!({"tables": [TABLE], "keys": home, "regions": regions, "custom_key_stores": stores, "page_size": 4});
    (fleet, probe_keys.join(","))
}

fn rows_for_every_control() -> Vec<Row> {
    vec![
        settled(json!({"key_manager": "AWS"}), "NOT_APPLICABLE aws_managed_key"),
        settled(json!({"key_state": "Creating"}), "INSUFFICIENT_DATA key_in_transition"),
        settled(json!({"key_state": "Updating"}), "INSUFFICIENT_DATA key_in_transition"),
        settled(fault("DescribeKey", json!("denied")), "INSUFFICIENT_DATA access_denied"),
        settled(fault("DescribeKey", json!("server_error")), "INSUFFICIENT_DATA service_error"),
        settled(fault("DescribeKey", json!("garbled")), UNEXPECTED),
    ]
}

fn rows_of_states() -> Vec<Row> {
    let scheduled = (DELETION, "NON_COMPLIANT scheduled_for_deletion");
    let not_usable = (USABLE, "NOT_APPLICABLE pending_deletion");
    let waits = json!({"key_state": "PendingReplicaDeletion", "pending_deletion_window_in_days": 7});
    vec![
        row(json!({}), &[]),
        row(json!({"key_state": "PendingDeletion", "deletion_date": days_from_now(7)}), &[scheduled, not_usable]),
        row(json!({"key_state": "PendingDeletion"}), &[scheduled, not_usable]),
        primary(waits, &[(IRELAND, json!({}))], &[scheduled, not_usable]),
        row(json!({"key_state": "Disabled"}), &[(USABLE, "NON_COMPLIANT key_disabled")]),
        row(json!({"key_state": "PendingImport", "origin": "EXTERNAL"}), &[(USABLE, "NON_COMPLIANT no_key_material")]),
        row(
            json!({"key_state": "Unavailable", "origin": "EXTERNAL_KEY_STORE", "custom_key_store_id": "cks-fine"}),
            &[(USABLE, "NON_COMPLIANT key_store_unavailable"), (STORE, "COMPLIANT connected")],
        ),
        row(json!({"key_state": "Hibernating"}), &[(DELETION, UNEXPECTED), (USABLE, UNEXPECTED)]),
        row(json!({"omit": {"DescribeKey": ["KeyState"]}}), &[(DELETION, UNEXPECTED), (USABLE, UNEXPECTED)]),
        // A replica is judged by its own state.
        row(
            json!({"key_state": "Disabled", "multi_region": {"type": "REPLICA", "primary_region": IRELAND}}),
            &[(USABLE, "NON_COMPLIANT key_disabled")],
        ),
    ]
}

fn rows_of_choice() -> Vec<Row> {
    let trip = |verdict| [(TRIP, verdict)];
    let not_enabled = trip("NOT_APPLICABLE not_enabled");
    vec![
        row(json!({"tags": {"kms-compliance/probe": "false"}}), &[]),
        row(json!({"tags": {"kms-compliance/probe": "TRUE", "probe": "true"}}), &[]),
        row(chosen(json!({})), &trip(TRIP_OK)),
        row(json!({"in_probe_keys": true}), &trip(TRIP_OK)),
        row(json!({"in_probe_keys": true, "faults": {"ListResourceTags": "denied"}}), &trip(TRIP_OK)),
        row(chosen(json!({"key_state": "Disabled"})), &[not_enabled[0], (USABLE, "NON_COMPLIANT key_disabled")]),
        row(
            json!({"in_probe_keys": true, "key_state": "Disabled"}),
            &[not_enabled[0], (USABLE, "NON_COMPLIANT key_disabled")],
        ),
        row(
            json!({"key_state": "Disabled", "faults": {"ListResourceTags": "denied"}}),
            &[not_enabled[0], (USABLE, "NON_COMPLIANT key_disabled")],
        ),
        row(
            chosen(json!({"key_state": "PendingDeletion", "deletion_date": days_from_now(9)})),
            &[
                not_enabled[0],
                (DELETION, "NON_COMPLIANT scheduled_for_deletion"),
                (USABLE, "NOT_APPLICABLE pending_deletion"),
            ],
        ),
        row(fault("ListResourceTags", json!("denied")), &trip("INSUFFICIENT_DATA access_denied")),
        row(fault("ListResourceTags", json!("no_marker")), &trip(UNEXPECTED)),
        // A tag on the second page of four.
        row(json!({"tags": {"a": "1", "b": "2", "c": "3", "d": "4", "kms-compliance/probe": "true"}}), &trip(TRIP_OK)),
    ]
}

fn rows_of_kinds() -> Vec<Row> {
    let kinds = [
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", TRIP_OK),
        ("RSA_2048", "ENCRYPT_DECRYPT", TRIP_OK),
        ("SM2", "ENCRYPT_DECRYPT", TRIP_OK),
        ("RSA_4096", "SIGN_VERIFY", TRIP_OK),
        ("ECC_NIST_P256", "SIGN_VERIFY", TRIP_OK),
        ("ECC_NIST_P384", "SIGN_VERIFY", TRIP_OK),
        ("ECC_NIST_P521", "SIGN_VERIFY", TRIP_OK),
        ("ECC_SECG_P256K1", "SIGN_VERIFY", TRIP_OK),
        ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", TRIP_OK),
        ("SM2", "SIGN_VERIFY", TRIP_OK),
        ("ML_DSA_65", "SIGN_VERIFY", TRIP_OK),
        ("HMAC_224", "GENERATE_VERIFY_MAC", TRIP_OK),
        ("HMAC_512", "GENERATE_VERIFY_MAC", TRIP_OK),
        ("ECC_NIST_P256", "KEY_AGREEMENT", "NOT_APPLICABLE no_round_trip"),
        ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE", "NOT_APPLICABLE no_round_trip"),
        ("SYMMETRIC_DEFAULT", "DANCE", UNEXPECTED),
    ];
    let of = |(spec, usage, verdict)| row(chosen(json!({"key_spec": spec, "key_usage": usage})), &[(TRIP, verdict)]);
    let mut rows: Vec<Row> = kinds.into_iter().map(of).collect();
    rows.push(row(chosen(json!({"omit": {"DescribeKey": ["EncryptionAlgorithms"]}})), &[(TRIP, UNEXPECTED)]));
    rows
}

fn another_key() -> Value {
    json!({"KeyId": format!("arn:aws:kms:{HOME}:123456789012:key/another")})
}

fn rows_of_round_trips() -> Vec<Row> {
    let trip = |more: Value, verdict| row(chosen(more), &[(TRIP, verdict)]);
    let signing = |more: Value| and(json!({"key_spec": "ECC_NIST_P256"}), more);
    let mac = |more: Value| and(json!({"key_spec": "HMAC_256"}), more);
    let answers = |operation: &str, answer: Value| json!({"replace": {operation: answer}});
    let lacks = |operation: &str, member: &str| json!({"omit": {operation: [member]}});
    vec![
        trip(answers("Decrypt", json!({"Plaintext": "c29tZXRoaW5nIGVsc2U="})), FAILED),
        trip(answers("Decrypt", json!({"Plaintext": ""})), FAILED),
        trip(signing(answers("Verify", json!({"SignatureValid": false}))), FAILED),
        trip(mac(answers("VerifyMac", json!({"MacValid": false}))), FAILED),
        // A ciphertext of something else than what the key made.
        trip(answers("Encrypt", json!({"CiphertextBlob": "Z2FyYmFnZQ=="})), FAILED),
        trip(refused("Encrypt", "KMSInvalidStateException"), FAILED),
        trip(refused("Encrypt", "DisabledException"), FAILED),
        trip(refused("Encrypt", "KeyUnavailableException"), FAILED),
        trip(refused("Encrypt", "InvalidKeyUsageException"), FAILED),
        trip(refused("Decrypt", "IncorrectKeyException"), FAILED),
        trip(refused("Decrypt", "InvalidCiphertextException"), FAILED),
        trip(signing(refused("Sign", "KMSInvalidStateException")), FAILED),
        trip(signing(refused("Verify", "KMSInvalidSignatureException")), FAILED),
        trip(mac(refused("GenerateMac", "KMSInvalidStateException")), FAILED),
        trip(mac(refused("VerifyMac", "KMSInvalidMacException")), FAILED),
        trip(lacks("Encrypt", "CiphertextBlob"), UNEXPECTED),
        trip(lacks("Decrypt", "Plaintext"), UNEXPECTED),
        trip(signing(lacks("Sign", "Signature")), UNEXPECTED),
        trip(signing(lacks("Verify", "SignatureValid")), UNEXPECTED),
        trip(mac(lacks("GenerateMac", "Mac")), UNEXPECTED),
        trip(mac(lacks("VerifyMac", "MacValid")), UNEXPECTED),
        // The answer names another key than the one that was asked.
        trip(answers("Encrypt", another_key()), FAILED),
        trip(answers("Decrypt", another_key()), FAILED),
        trip(signing(answers("Sign", another_key())), FAILED),
        trip(signing(answers("Verify", another_key())), FAILED),
        trip(mac(answers("GenerateMac", another_key())), FAILED),
        trip(mac(answers("VerifyMac", another_key())), FAILED),
        trip(lacks("Encrypt", "KeyId"), TRIP_OK),
        trip(fault("Encrypt", json!("denied")), "INSUFFICIENT_DATA access_denied"),
        trip(fault("Decrypt", json!("denied")), "INSUFFICIENT_DATA access_denied"),
        trip(fault("Encrypt", json!("server_error")), "INSUFFICIENT_DATA service_error"),
        trip(signing(fault("Verify", json!("garbled"))), UNEXPECTED),
        trip(mac(fault("VerifyMac", json!({"kind": "throttled", "times": 2}))), TRIP_OK),
        trip(refused("Encrypt", "BrandNewException"), UNEXPECTED),
    ]
}

fn rows_of_replicas() -> Vec<Row> {
    let health = |verdict| [(HEALTH, verdict)];
    let not_enabled = health("NON_COMPLIANT replica_not_enabled");
    let fine = || (OREGON, json!({}));
    let states = ["Disabled", "PendingDeletion", "PendingImport", "Unavailable"];
    let in_state = |state: &str| json!({"key_state": state});
    let mut rows: Vec<Row> =
        states.iter().map(|state| primary(json!({}), &[fine(), (IRELAND, in_state(state))], &not_enabled)).collect();
    rows.extend([
        primary(json!({}), &[(IRELAND, json!({})), fine()], &[]),
        primary(json!({}), &[], &[(COVERAGE, "NON_COMPLIANT replica_missing"), (DRIFT, "NOT_APPLICABLE no_replica")]),
        primary(json!({}), &[(IRELAND, in_state("Creating"))], &health("INSUFFICIENT_DATA key_in_transition")),
        primary(json!({}), &[(IRELAND, in_state("Hibernating"))], &health(UNEXPECTED)),
        primary(
            json!({}),
            &[(IRELAND, fault("DescribeKey", json!("denied")))],
            &health("INSUFFICIENT_DATA access_denied"),
        ),
        primary(
            json!({}),
            &[(IRELAND, fault("DescribeKey", json!("server_error")))],
            &health("INSUFFICIENT_DATA service_error"),
        ),
        // What is known to be wrong counts more than what is not known.
        primary(
            json!({}),
            &[(IRELAND, fault("DescribeKey", json!("denied"))), (OREGON, in_state("Disabled"))],
            &not_enabled,
        ),
        // The primary names a replica that its Region does not know.
        primary(json!({}), &[(IRELAND, Value::Null)], &[(HEALTH, UNEXPECTED), (DRIFT, UNEXPECTED)]),
        primary(
            json!({"omit": {"DescribeKey": ["Region"]}}),
            &[(IRELAND, json!({}))],
            &[(HEALTH, UNEXPECTED), (COVERAGE, UNEXPECTED), (DRIFT, UNEXPECTED)],
        ),
        // Coverage.
        primary(json!({}), &[fine()], &[(COVERAGE, "NON_COMPLIANT replica_missing")]),
    ]);
    rows
}

fn rows_of_crossings() -> Vec<Row> {
    let health = |verdict| [(TRIP, TRIP_OK), (HEALTH, verdict)];
    let crossed = |here: Value, there: Value, verdict| {
        primary(chosen(here), &[(IRELAND, chosen(there)), (OREGON, chosen(json!({})))], &health(verdict))
    };
    let failed = "NON_COMPLIANT replica_round_trip_failed";
    let healthy = "COMPLIANT replicas_healthy";
    let rsa = || json!({"key_spec": "RSA_2048"});
    let signing = || json!({"key_spec": "ECC_NIST_P384"});
    let mac = || json!({"key_spec": "HMAC_384"});
    let both = |kind: &dyn Fn() -> Value, more: Value, verdict| {
        primary(chosen(kind()), &[(IRELAND, and(chosen(kind()), more))], &health(verdict))
    };
    vec![
        crossed(json!({}), json!({}), healthy),
        both(&rsa, json!({}), healthy),
        both(&signing, json!({}), healthy),
        both(&mac, json!({}), healthy),
        crossed(json!({}), json!({"replace": {"Decrypt": {"Plaintext": "c29tZXRoaW5n"}}}), failed),
        crossed(json!({}), refused("Decrypt", "IncorrectKeyException"), failed),
        crossed(json!({}), refused("Encrypt", "DisabledException"), failed),
        both(&signing, refused("Verify", "KMSInvalidSignatureException"), failed),
        both(&mac, refused("VerifyMac", "KMSInvalidMacException"), failed),
        crossed(json!({}), fault("Decrypt", json!("denied")), "INSUFFICIENT_DATA access_denied"),
        crossed(json!({}), fault("Encrypt", json!("denied")), "INSUFFICIENT_DATA access_denied"),
        crossed(json!({}), fault("ListResourceTags", json!("denied")), "INSUFFICIENT_DATA access_denied"),
        crossed(json!({}), json!({"key_state": "Disabled"}), "NON_COMPLIANT replica_not_enabled"),
        crossed(json!({}), json!({"replace": {"Decrypt": another_key()}}), failed),
        crossed(json!({}), json!({"replace": {"Encrypt": another_key()}}), failed),
        // Whether the primary opted in is not known, and so not whether a replica takes what it makes.
        primary(
            fault("ListResourceTags", json!("denied")),
            &[(IRELAND, chosen(refused("Decrypt", "IncorrectKeyException")))],
            &[(TRIP, "INSUFFICIENT_DATA access_denied"), (HEALTH, "INSUFFICIENT_DATA access_denied")],
        ),
        primary(
            fault("ListResourceTags", json!("denied")),
            &[(IRELAND, json!({"key_state": "Disabled"}))],
            &[(TRIP, "INSUFFICIENT_DATA access_denied"), (HEALTH, "NON_COMPLIANT replica_not_enabled")],
        ),
        // PROBE_KEYS names the one in Ireland.
        primary(chosen(json!({})), &[(IRELAND, json!({"in_probe_keys": true}))], &health(healthy)),
        // Only one of the two opted in: neither is used for the other.
        primary(chosen(json!({})), &[(IRELAND, refused("Decrypt", "IncorrectKeyException"))], &health(healthy)),
        primary(json!({}), &[(IRELAND, chosen(refused("Encrypt", "DisabledException")))], &[]),
    ]
}

fn rows_of_policies() -> Vec<Row> {
    let policy = |statements: Value| json!({"policy": {"Version": "2012-10-17", "Statement": statements}});
    let via = |region: &str| {
        let via = format!("s3.{region}.amazonaws.com");
        let own = format!("arn:aws:kms:{region}:123456789012:alias/x");
        policy(json!([
            {"Sid": "Via", "Effect": "Allow", "Condition": {"StringEquals": {"kms:ViaService": via}}, "Resource": own}
        ]))
    };
    let app = |action: &str| json!({"Sid": "App", "Effect": "Allow", "Action": [action, "kms:Decrypt"]});
    let admin = || json!({"Sid": "Admin", "Effect": "Allow", "Action": "kms:*"});
    let drift = |verdict| [(DRIFT, verdict)];
    let differs = drift("NON_COMPLIANT policy_differs");
    let two = |here: Value, there: Value, expected: &[(&'static str, &'static str)]| {
        primary(here, &[(IRELAND, there)], expected)
    };
    let reordered = json!({"Sid": "App", "Action": ["kms:Decrypt", "kms:Encrypt"], "Effect": "Allow"});
    vec![
        two(via(HOME), via(IRELAND), &[]),
        two(policy(json!([app("kms:Encrypt"), admin()])), policy(json!([admin(), reordered])), &[]),
        two(policy(json!([admin()])), policy(admin()), &[]),
        two(policy(json!([app("kms:Encrypt")])), policy(json!([app("kms:Sign")])), &differs),
        two(policy(json!([admin(), app("kms:Encrypt")])), policy(json!([admin()])), &differs),
        // Equal as they stand, whatever Region they name.
        two(via(HOME), via(HOME), &[]),
        two(via(IRELAND), via(IRELAND), &[]),
        two(via(IRELAND), via(HOME), &differs),
        two(json!({}), json!({"policy": "not JSON"}), &drift(UNEXPECTED)),
        two(json!({"policy": "{\"Statement\": 1}"}), json!({}), &drift(UNEXPECTED)),
        two(json!({"omit": {"GetKeyPolicy": ["Policy"]}}), json!({}), &drift(UNEXPECTED)),
        two(json!({}), fault("GetKeyPolicy", json!("denied")), &drift("INSUFFICIENT_DATA access_denied")),
        two(fault("GetKeyPolicy", json!("denied")), json!({}), &drift("INSUFFICIENT_DATA access_denied")),
    ]
}

/// A key in a custom key store whose use ends so, in the words of the developer guide or not.
fn in_key_store(message: &str, times: Option<u64>, verdict: &'static str) -> Row {
    let invalid = json!({
        "kind": "error", "code": "KMSInvalidStateException", "message": message, "times": times.unwrap_or(u64::MAX)
    });
    let key =
        json!({"origin": "EXTERNAL_KEY_STORE", "custom_key_store_id": "cks-fine", "faults": {"Encrypt": invalid}});
    row(chosen(key), &[(STORE, "COMPLIANT connected"), (TRIP, verdict)])
}

fn rows_of_key_stores() -> Vec<Row> {
    const RATE: &str = "KMS rejected the request due to a very high request rate.";
    const SILENT: &str = "KMS rejected the request because the external key store proxy did not respond in time.";
    let mut rows = rows_of_key_store_states();
    rows.extend([
        in_key_store(RATE, None, "INSUFFICIENT_DATA throttled"),
        in_key_store(SILENT, None, "INSUFFICIENT_DATA timeout"),
        in_key_store("KMS cannot reach the external key store proxy.", None, FAILED),
        in_key_store("KMS cannot reach the external key store proxy.", Some(2), TRIP_OK),
        in_key_store(SILENT, Some(2), TRIP_OK),
    ]);
    rows
}

fn rows_of_key_store_states() -> Vec<Row> {
    let store =
        |id: &str, verdict| row(json!({"origin": "AWS_CLOUDHSM", "custom_key_store_id": id}), &[(STORE, verdict)]);
    vec![
        store("cks-fine", "COMPLIANT connected"),
        store("cks-connecting", "NON_COMPLIANT not_connected"),
        store("cks-failed", "NON_COMPLIANT not_connected"),
        store("cks-disconnected", "NON_COMPLIANT not_connected"),
        store("cks-odd", UNEXPECTED),
        store("cks-silent", UNEXPECTED),
        store("cks-missing", UNEXPECTED),
        row(
            json!({"origin": "EXTERNAL_KEY_STORE", "omit": {"DescribeKey": ["CustomKeyStoreId"]}}),
            &[(STORE, UNEXPECTED)],
        ),
        row(json!({"omit": {"DescribeKey": ["Origin"]}}), &[(STORE, UNEXPECTED)]),
        row(json!({"origin": "THE_MOON"}), &[(STORE, UNEXPECTED)]),
        row(
            chosen(json!({"origin": "AWS_CLOUDHSM", "custom_key_store_id": "cks-fine"})),
            &[(STORE, "COMPLIANT connected"), (TRIP, TRIP_OK)],
        ),
    ]
}

#[tokio::test]
async fn every_row_of_the_tables() {
    let rows: Vec<Row> = [
        rows_for_every_control(),
        rows_of_states(),
        rows_of_choice(),
        rows_of_kinds(),
        rows_of_round_trips(),
        rows_of_replicas(),
        rows_of_crossings(),
        rows_of_policies(),
        rows_of_key_stores(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let (fleet, probe_keys) = fleet_of_rows(&rows);
    let settings = [WITH_LEDGER, ("REPLICA_REGIONS", "us-east-1,eu-west-1"), ("PROBE_KEYS", &probe_keys)];
    let (fleet, function) = start(fleet, &settings);
    let response = ok(patiently(&function).await);
    assert_eq!((&response["keys_listed"], &response["complete"]), (&json!(rows.len()), &json!(true)));
    assert_counts_add_up(&response);
    let verdicts = verdicts(&response);
    for (number, row) in rows.iter().enumerate() {
        let id = row.id(number);
        for control in [DELETION, USABLE, TRIP, HEALTH, COVERAGE, DRIFT, STORE] {
            let (compliance, reason) = &verdicts[&(id.clone(), control.to_owned())];
            let (key, replicas) = (&row.key, &row.replicas);
            assert_eq!(format!("{compliance} {reason}"), row.expected(control), "{control} of {key} with {replicas:?}");
        }
        // Nobody's key is used that did not opt in, wherever it is.
        for region in [HOME, IRELAND, OREGON] {
            for operation in USES {
                let calls = fleet.calls_in_for(region, operation).get(&id).copied().unwrap_or_default();
                assert!(calls == 0 || row.opted_in(region), "{operation} in {region} for {}", row.key);
            }
        }
    }
    assert_calls_are_those_granted(&fleet, "health-prober");
    assert!(fleet.unknown_calls().is_empty());
    // All stores at once, on two pages of four.
    assert_eq!(fleet.calls()["DescribeCustomKeyStores"], 2);
    // In other Regions nothing is listed, and nothing but the replicas is looked at.
    let allowed: BTreeSet<&str> = USES.into_iter().chain(["DescribeKey", "GetKeyPolicy", "ListResourceTags"]).collect();
    for region in [IRELAND, OREGON] {
        let calls = fleet.calls_in(region);
        assert!(calls.keys().all(|call| allowed.contains(call.as_str())), "{calls:?}");
    }
}

/// Calls that never come to an end, of one key each in Regions that answer others.
#[tokio::test]
async fn rows_of_calls_that_never_come_to_an_end() {
    let fine = || (IRELAND, json!({}));
    let hangs = |operation: &str| fault(operation, json!("hang"));
    let throttled = |operation: &str| fault(operation, json!("throttled"));
    let rows = [
        row(chosen(hangs("Encrypt")), &[(TRIP, "INSUFFICIENT_DATA timeout")]),
        row(chosen(throttled("Decrypt")), &[(TRIP, "INSUFFICIENT_DATA throttled")]),
        row(hangs("ListResourceTags"), &[(TRIP, "INSUFFICIENT_DATA timeout")]),
        primary(hangs("GetKeyPolicy"), &[fine()], &[(DRIFT, "INSUFFICIENT_DATA timeout")]),
        primary(json!({}), &[(IRELAND, throttled("GetKeyPolicy"))], &[(DRIFT, "INSUFFICIENT_DATA throttled")]),
        primary(json!({}), &[(IRELAND, throttled("DescribeKey"))], &[(HEALTH, "INSUFFICIENT_DATA throttled")]),
        primary(json!({}), &[fine()], &[]),
    ];
    let (fleet, _) = fleet_of_rows(&rows);
    let (_fleet, function) = start(fleet, &[("REPLICA_REGIONS", IRELAND)]);
    let response = ok(patiently(&function).await);
    let verdicts = verdicts(&response);
    for (number, row) in rows.iter().enumerate() {
        for control in [DELETION, USABLE, TRIP, HEALTH, COVERAGE, DRIFT, STORE] {
            let (compliance, reason) = &verdicts[&(row.id(number), control.to_owned())];
            assert_eq!(format!("{compliance} {reason}"), row.expected(control), "{control} of {}", row.key);
        }
    }
}

/// Every operation that the function calls in other Regions.
fn everywhere(fault: &str) -> Value {
    let operations = USES.into_iter().chain(["DescribeKey", "GetKeyPolicy", "ListResourceTags"]);
    operations.map(|operation| (operation.to_owned(), json!(fault))).collect::<Map<_, _>>().into()
}

/// Sixty primaries with a replica in each of two Regions, of which one never answers.
#[tokio::test]
async fn a_region_that_hangs_costs_its_own_time_out_and_nobody_elses() {
    let related = |kind: &str| json!({"type": kind, "primary_region": HOME, "replica_regions": [IRELAND, OREGON]});
    let keys = |kind: &str| json!([chosen(json!({"count": 60, "multi_region": related(kind)}))]);
    let fleet = json!({
        "keys": keys("PRIMARY"),
        "regions": {IRELAND: {"keys": keys("REPLICA"), "faults": everywhere("hang")}, OREGON: {"keys": keys("REPLICA")}},
    });
    let (fleet, function) = start(fleet, &[]);
    let response = ok(patiently(&function).await);
    assert_eq!((&response["keys_listed"], &response["complete"]), (&json!(60), &json!(true)));
    // One call in its three tries, and never again.
    assert_eq!(fleet.calls_in(IRELAND).values().sum::<u64>(), 3);
    let counts = |control: &str, compliance: &str| response["controls"][control][compliance].as_u64().unwrap();
    assert_eq!((counts(TRIP, "COMPLIANT"), counts(HEALTH, "INSUFFICIENT_DATA")), (60, 60));
    assert_eq!(counts(DRIFT, "INSUFFICIENT_DATA"), 60);
    let findings = response["findings"].as_array().unwrap();
    assert!(findings.iter().all(|it| it["reason"] == "timeout"), "{findings:?}");
    for it in findings.iter().filter(|it| it["control"] == HEALTH) {
        assert_eq!(it["evidence"][OREGON], "Enabled", "the other Region was looked at");
        assert!(it["detail"].as_str().unwrap().contains(IRELAND), "{it}");
    }
    let said =
        |it: &&Value| it["evidence"]["error_message"].as_str().is_some_and(|text| text.contains("not asked again"));
    assert!(findings.iter().filter(said).count() >= 118, "all but the first call say why they were not made");
    // What the other Region encrypts is decrypted here, and the other way round.
    assert_eq!(fleet.calls_in(OREGON)["Encrypt"], 60);
    assert_eq!(fleet.calls_in(OREGON)["Decrypt"], 60);
    assert_eq!(fleet.calls_in(HOME)["Decrypt"], 120);
    // One alert that says it once.
    let published = fleet.published();
    assert_eq!(published.len(), 1);
    let message: Value = serde_json::from_str(&published[0].message).unwrap();
    assert!(message["email"].as_str().unwrap().contains("60 keys"), "{}", message["email"]);
}

#[tokio::test]
async fn the_whole_matrix_is_tried() {
    let replicas = [(IRELAND, chosen(json!({}))), (OREGON, chosen(json!({})))];
    let rows = [primary(chosen(json!({})), &replicas, &[])];
    let (fleet, _) = fleet_of_rows(&rows);
    let (fleet, function) = start(fleet, &[]);
    let response = ok(function.invoke(&verbose()).await);
    assert_eq!(verdicts(&response)[&("mrk-row-0".to_owned(), HEALTH.to_owned())].1, "replicas_healthy");
    // Each encrypts once; here also what was encrypted here is decrypted.
    for (region, decrypted) in [(HOME, 3), (IRELAND, 2), (OREGON, 2)] {
        let calls = fleet.calls_in(region);
        assert_eq!((calls["Encrypt"], calls["Decrypt"]), (1, decrypted), "{region}");
    }
}

#[tokio::test]
async fn findings_say_which_region_and_what_to_do() {
    let statement = |sid: &str| json!({"policy": {"Version": "2012-10-17", "Statement": [{"Sid": sid}]}});
    let rows = [
        primary(json!({}), &[(IRELAND, json!({"key_state": "Disabled"}))], &[]),
        primary(statement("Admin"), &[(IRELAND, statement("Visitor")), (OREGON, statement("Admin"))], &[]),
        row(json!({"key_state": "PendingDeletion", "deletion_date": "2099-01-31T12:00:00Z"}), &[]),
        primary(
            json!({"key_state": "PendingReplicaDeletion", "pending_deletion_window_in_days": 9}),
            &[(IRELAND, json!({"key_state": "PendingDeletion"}))],
            &[],
        ),
        row(chosen(refused("Decrypt", "KMSInvalidStateException")), &[]),
        primary(chosen(json!({})), &[(IRELAND, chosen(refused("Decrypt", "IncorrectKeyException")))], &[]),
        row(json!({"origin": "AWS_CLOUDHSM", "custom_key_store_id": "cks-failed"}), &[]),
        row(json!({"key_state": "Unavailable", "origin": "AWS_CLOUDHSM", "custom_key_store_id": "cks-fine"}), &[]),
    ];
    let (fleet, _) = fleet_of_rows(&rows);
    let (fleet, function) = start(fleet, &[("REPLICA_REGIONS", "us-west-2,sa-east-1")]);
    let response = ok(function.invoke(&verbose()).await);
    let of = |number: usize, control: &str| finding(&response, &rows[number].id(number), control).clone();
    for (number, control, severity, detail, evidence) in [
        (
            0,
            HEALTH,
            "HIGH",
            "a replica of this key cannot be used: in eu-west-1 it is Disabled",
            json!({IRELAND: "Disabled"}),
        ),
        (
            0,
            COVERAGE,
            "HIGH",
            "the key has no replica in sa-east-1, us-west-2",
            json!({"missing_regions": ["sa-east-1", "us-west-2"], "present_regions": [HOME, IRELAND]}),
        ),
        (
            1,
            DRIFT,
            "MEDIUM",
            "compared with us-east-1, statement `Admin` is missing in eu-west-1; statement `Visitor` stands in eu-west-1 only",
            json!({IRELAND: ["statement `Admin` is missing in eu-west-1", "statement `Visitor` stands in eu-west-1 only"]}),
        ),
        (
            2,
            DELETION,
            "CRITICAL",
            "the key in us-east-1 will be deleted on 2099-01-31",
            json!({"deletion_date": "2099-01-31T12:00:00Z"}),
        ),
        (
            3,
            DELETION,
            "CRITICAL",
            "the primary key in us-east-1 will be deleted some days after the last of its replicas",
            json!({"waiting_period_days": 9}),
        ),
        (
            5,
            HEALTH,
            "HIGH",
            "what one Region encrypts or signs, another one does not take: from us-east-1 to eu-west-1, kms:Decrypt was \
             refused (IncorrectKeyException)",
            json!({IRELAND: "Enabled", "us-east-1_to_eu-west-1": "kms:Decrypt was refused (IncorrectKeyException)"}),
        ),
        (
            6,
            STORE,
            "HIGH",
            "custom key store key-store in us-east-1 is FAILED: its keys cannot be used",
            json!({
                "custom_key_store_id": "cks-failed", "connection_state": "FAILED", "connection_error_code": "USER_LOCKED_OUT"
            }),
        ),
        (
            7,
            USABLE,
            "HIGH",
            "the key in us-east-1 cannot be used, because its custom key store is not available",
            json!({}),
        ),
    ] {
        let finding = of(number, control);
        assert_eq!((&finding["severity"], &finding["detail"]), (&json!(severity), &json!(detail)));
        assert_eq!(finding["evidence"], evidence, "{control}");
        assert!(!finding["remediation"].as_str().unwrap().is_empty());
    }
    let failed = of(4, TRIP);
    assert_eq!((&failed["severity"], &failed["evidence"]["step"]), (&json!("CRITICAL"), &json!("Decrypt")));
    assert_eq!(failed["evidence"]["error_code"], "KMSInvalidStateException");
    assert!(failed["evidence"]["encrypt_ms"].as_f64().unwrap() > 0.0);
    assert!(failed["evidence"].get("decrypt_ms").is_none(), "a step without an answer took no time");
    assert_eq!(of(7, USABLE)["severity"], "HIGH");
    assert_eq!(fleet.published()[0].attributes["severity"], "CRITICAL");
}

#[tokio::test]
async fn latencies_are_a_metric() {
    let keys = json!([chosen(json!({"count": 70})), {"count": 5}]);
    let (_fleet, function) = start(json!({"keys": keys, "latency_ms": 20}), &[]);
    let outcome = function.invoke(&json!({})).await;
    let lines: Vec<Value> = outcome.logs.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    ok(outcome);
    let lines: Vec<&Value> = lines.iter().filter(|line| line.get("ProbeLatency").is_some()).collect();
    let values: Vec<f64> = lines
        .iter()
        .flat_map(|line| line["ProbeLatency"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()))
        .collect();
    assert_eq!((values.len(), lines.len()), (140, 2), "two steps for each chosen key, at most a hundred on a line");
    assert!(values.iter().all(|value| *value >= 20.0), "{values:?}");
    let definition = &lines[0]["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(definition["Namespace"], "KmsCompliance");
    assert_eq!(definition["Metrics"], json!([{"Name": "ProbeLatency", "Unit": "Milliseconds"}]));
    assert_eq!((&definition["Dimensions"], &lines[0]["Function"]), (&json!([["Function"]]), &json!("health-prober")));
}

#[tokio::test]
async fn nothing_secret_is_logged_at_any_level() {
    let keys = json!([
        chosen(json!({})),
        chosen(json!({"key_spec": "ECC_NIST_P256"})),
        chosen(json!({"key_spec": "HMAC_256"}))
    ]);
    let (fleet, function) = start(fleet_of(keys), &[("AWS_LAMBDA_LOG_LEVEL", "TRACE"), WITH_LEDGER]);
    let outcome = function.invoke(&verbose()).await;
    assert!(outcome.logs.len() > 100, "everything that can be logged is");
    let secrets = fleet.secrets();
    assert_eq!(secrets.len(), 6, "a plaintext or message and what was made of it, for each of three keys");
    let answer = outcome.result.as_ref().unwrap().to_string();
    for secret in secrets {
        assert!(secret.len() > 40, "{secret}");
        assert!(!outcome.logs.iter().any(|line| line.contains(&secret)), "logged");
        assert!(!answer.contains(&secret), "answered");
    }
}

#[tokio::test]
async fn no_region_is_required_unless_a_setting_says_so() {
    let rows = [primary(json!({}), &[], &[]), row(json!({}), &[])];
    let (fleet, _) = fleet_of_rows(&rows);
    let (_fleet, function) = start(fleet, &[]);
    let verdicts = verdicts(&ok(function.invoke(&verbose()).await));
    assert_eq!(verdicts[&("mrk-row-0".to_owned(), COVERAGE.to_owned())].1, "not_required");
    assert_eq!(verdicts[&("row-1".to_owned(), COVERAGE.to_owned())].1, "not_a_primary");
}

#[tokio::test]
async fn key_stores_are_asked_for_only_if_a_key_is_in_one_and_their_failure_touches_one_control() {
    let (fleet, function) = start(fleet_of(json!([{"count": 20}])), &[]);
    ok(function.invoke(&json!({})).await);
    assert!(!fleet.calls().contains_key("DescribeCustomKeyStores"));

    let stored = json!({"count": 20, "origin": "AWS_CLOUDHSM"});
    for (fault, reason, calls) in [("denied", "access_denied", 1), ("garbled", "unexpected_response", 3)] {
        let fleet = json!({"keys": [stored], "faults": {"DescribeCustomKeyStores": fault}});
        let (fleet, function) = start(fleet, &[("KMS_QUOTA_SHARE", "1"), ("KMS_QUOTA_CALLERS", "1")]);
        let response = ok(function.invoke(&verbose()).await);
        let verdicts = verdicts(&response);
        for index in 0..20 {
            assert_eq!(verdicts[&(generated_key_id(index), STORE.to_owned())].1, reason);
            assert_eq!(verdicts[&(generated_key_id(index), USABLE.to_owned())].1, "enabled");
        }
        assert_eq!(fleet.calls()["DescribeCustomKeyStores"], calls, "once for all keys");
    }
}

#[tokio::test]
async fn a_key_that_is_gone_meanwhile_is_dropped() {
    let keys = json!([{}, {"gone": true}, fault("ListResourceTags", json!("not_found"))]);
    let (_fleet, function) = start(fleet_of(keys), &[]);
    let response = ok(function.invoke(&verbose()).await);
    assert_eq!((&response["keys_listed"], &response["complete"]), (&json!(1), &json!(true)));
    assert_counts_add_up(&response);
}

#[tokio::test]
async fn events_from_the_files() {
    harness::assert_events_are_answered(BINARY, "health-prober").await;
}

#[tokio::test]
async fn an_event_about_one_key_looks_at_that_key_alone() {
    let keys = json!([{"key_state": "Disabled"}, {"key_state": "Disabled"}]);
    let (fleet, function) = start(fleet_of(keys), &[]);
    let arn = format!("arn:aws:kms:us-east-1:123456789012:key/{}", generated_key_id(1));
    let body = json!({"detail": {"keys": [arn]}}).to_string();
    let event = json!({"Records": [{"messageId": "m-1", "body": body, "eventSource": "aws:sqs"}]});
    let response = ok(function.invoke(&event).await);
    assert_eq!((&response["keys_listed"], &response["batchItemFailures"]), (&json!(1), &json!([])));
    assert_eq!(finding(&response, &generated_key_id(1), USABLE)["reason"], "key_disabled");
    assert_eq!(fleet.calls_for("DescribeKey"), BTreeMap::from([(generated_key_id(1), 1)]));
}

#[tokio::test]
async fn excluded_and_unknown_keys() {
    let keys = json!([chosen(json!({"aliases": ["alias/a"]})), {}]);
    let (fleet, function) = start(fleet_of(keys), &[("EXCLUDED_KEYS", "alias/a")]);
    let event = json!({"detail": {"keys": ["alias/a", "alias/b"], "verbose": true}});
    let response = ok(function.invoke(&event).await);
    assert_all(&response, &generated_key_id(0), ("NOT_APPLICABLE", "excluded"));
    assert_all(&response, "b", ("INSUFFICIENT_DATA", "not_found"));
    assert!(!fleet.calls().contains_key("Encrypt"));
}

#[tokio::test]
async fn settings() {
    let refused = [
        ("PROBE_KEYS", "alias/payments"),
        ("PROBE_KEYS", "1234abcd-12ab-34cd-56ef-1234567890ab"),
        ("REPLICA_REGIONS", "Ireland"),
        ("REPLICA_REGIONS", "eu-west-1;us-east-1"),
    ];
    harness::assert_settings_are_refused(BINARY, &refused).await;
}

#[tokio::test]
async fn a_keys_tags_are_asked_for_once() {
    let keys = json!([
        {"key_id": "off", "key_state": "Disabled"}, {"key_id": "fine"}, chosen(json!({"key_id": "chosen"})),
        {"key_id": "in-probe-keys-and-off", "key_state": "Disabled"},
    ]);
    let probe_keys = "arn:aws:kms:us-east-1:123456789012:key/in-probe-keys-and-off";
    let (fleet, function) = start(fleet_of(keys), &[("PROBE_KEYS", probe_keys)]);
    ok(function.invoke(&json!({})).await);
    let asked = fleet.calls_for("ListResourceTags");
    assert_eq!(asked.into_values().collect::<Vec<_>>(), [1, 1, 1, 1]);
}

/// The lists of the last message that hold something, with the control and key of each entry.
fn told(fleet: &Fleet) -> Vec<String> {
    let Some(message) = fleet.published().pop() else { return Vec::new() };
    let message: Value = serde_json::from_str(&message.message).unwrap();
    let default: Value = serde_json::from_str(message["default"].as_str().unwrap()).unwrap();
    let lists = ["new", "worsened", "resolved", "deleted", "reminder", "exemptions"];
    let entries = lists.into_iter().flat_map(|list| {
        let entries = default[list].as_array().unwrap().clone();
        entries.into_iter().map(move |it| format!("{list} {} {}", it["control"], it["key_id"]).replace('"', ""))
    });
    entries.collect()
}

/// What a queue delivers about a key.
fn key_event(key: &str) -> Value {
    let body = json!({"detail": {"keys": [key]}}).to_string();
    json!({"Records": [{"messageId": "m", "eventSource": "aws:sqs", "body": body}]})
}

#[tokio::test]
async fn a_key_that_was_deleted_is_told_as_deleted_once_and_nothing_else_of_it() {
    let due = json!({"key_id": "doomed", "key_state": "PendingDeletion", "deletion_date": days_from_now(1)});
    let stays = json!({"key_id": "stays"});
    for by_event_first in [true, false] {
        let (fleet, function) = start(fleet_of(json!([due, stays])), &[WITH_LEDGER]);
        ok(function.invoke(&json!({})).await);
        assert_eq!(told(&fleet), ["new pending-deletion doomed"]);
        fleet.replace(harness::describe(fleet_of(json!([stays])))).unwrap();
        fleet.clear_published();
        let (first, second) = (key_event("doomed"), json!({}));
        let (first, second) = if by_event_first { (first, second) } else { (second, first) };
        let response = ok(function.invoke(&first).await);
        assert_eq!(told(&fleet), ["deleted pending-deletion doomed"]);
        assert_eq!((&response["alerts"]["deleted"], &response["alerts"]["resolved"]), (&json!(1), &json!(0)));
        let message = fleet.published().pop().unwrap();
        assert!(message.subject.unwrap().starts_with("CRITICAL: 1 deleted "));
        assert_eq!(message.attributes["severity"], "CRITICAL");
        fleet.clear_published();
        for event in [second, key_event("doomed"), json!({}), json!({})] {
            ok(function.invoke(&event).await);
            assert_eq!(told(&fleet), [""; 0], "{event}");
        }
    }
}

#[tokio::test]
async fn an_event_about_a_key_that_nobody_knew_and_that_is_gone_tells_that_it_was_deleted() {
    let (fleet, function) = start(fleet_of(json!([{"key_id": "stays"}])), &[WITH_LEDGER]);
    let response = ok(function.invoke(&key_event("gone")).await);
    assert_eq!(told(&fleet), ["deleted pending-deletion gone"]);
    let finding = finding(&response, "gone", USABLE);
    assert_eq!((&finding["reason"], &finding["detail"]), (&json!("not_found"), &json!("the key no longer exists")));
    assert!(!finding["remediation"].as_str().unwrap().contains("Correct the name"), "{finding}");
    // A name that somebody gave is another matter: it may be wrong.
    fleet.clear_published();
    let response = ok(function.invoke(&json!({"detail": {"keys": ["typo"]}})).await);
    let remediation = self::finding(&response, "typo", USABLE)["remediation"].as_str().unwrap().to_owned();
    assert!(remediation.contains("Correct the name"), "{remediation}");
    assert!(told(&fleet).iter().all(|line| line.starts_with("new ")));
}

#[tokio::test]
async fn a_tag_excludes_a_key_where_that_is_allowed_but_never_from_its_deletion() {
    let tags = json!({"kms-compliance/exclude": "true", "kms-compliance/probe": "true"});
    let keys = json!([
        {"key_id": "excluded", "key_state": "PendingDeletion", "deletion_date": days_from_now(9), "tags": tags},
        {"key_id": "excluded-and-fine", "tags": tags},
        {"key_id": "not-quite", "key_state": "Disabled", "tags": {"kms-compliance/exclude": "yes"}},
        {"key_id": "unread", "key_state": "Disabled", "faults": {"ListResourceTags": "denied"}},
    ]);
    let allowed = [WITH_LEDGER, ("ALLOW_EXCLUSION_BY_TAG", "true")];
    let (fleet, function) = start(fleet_of(keys.clone()), &allowed);
    let response = ok(function.invoke(&verbose()).await);
    let verdicts = verdicts(&response);
    let reason = |key: &str, control: &str| verdicts[&(key.to_owned(), control.to_owned())].1.as_str();
    for control in [USABLE, TRIP, HEALTH, COVERAGE, DRIFT, STORE] {
        assert_eq!((reason("excluded", control), reason("excluded-and-fine", control)), ("excluded", "excluded"));
    }
    assert_eq!(reason("excluded", DELETION), "scheduled_for_deletion");
    assert_eq!((reason("not-quite", USABLE), reason("unread", USABLE)), ("key_disabled", "key_disabled"));
    assert_eq!(fleet.calls().get("Encrypt"), None, "an excluded key is not used");
    let mut expected = vec![
        "exemptions exclusion excluded",
        "exemptions exclusion excluded-and-fine",
        "new key-usable not-quite",
        "new key-usable unread",
        "new pending-deletion excluded",
    ];
    expected.sort_unstable();
    let mut heard = told(&fleet);
    heard.sort();
    assert_eq!(heard, expected);
    fleet.clear_published();
    ok(function.invoke(&json!({})).await);
    assert_eq!(told(&fleet), [""; 0], "announced once");

    let (fleet, function) = start(fleet_of(keys), &[WITH_LEDGER]);
    let response = ok(function.invoke(&verbose()).await);
    assert_eq!(finding(&response, "excluded", DELETION)["reason"], "scheduled_for_deletion");
    assert!(told(&fleet).iter().all(|line| !line.contains("exclusion")));
    assert!(harness::verdicts(&response).values().all(|(_, reason)| reason != "excluded"), "off by default");
}

#[tokio::test]
async fn a_call_that_fails_for_a_day_neither_includes_an_excluded_key_nor_announces_it_again() {
    let key = |more: Value| {
        let tags = json!({"kms-compliance/exclude": "true"});
        fleet_of(json!([and(json!({"key_id": "k", "key_state": "Disabled", "tags": tags}), more)]))
    };
    for trouble in [
        fault("ListResourceTags", json!("denied")),
        fault("DescribeKey", json!("denied")),
        json!({"key_state": "Updating"}),
    ] {
        let allowed = [WITH_LEDGER, ("ALLOW_EXCLUSION_BY_TAG", "true")];
        let (fleet, function) = start(key(json!({})), &allowed);
        ok(function.invoke(&json!({})).await);
        assert_eq!(told(&fleet), ["exemptions exclusion k"]);
        for day in [key(trouble.clone()), key(json!({}))] {
            fleet.replace(harness::describe(day)).unwrap();
            fleet.clear_published();
            ok(function.invoke(&json!({})).await);
            let is_of_exclusion = |line: &String| !line.ends_with("access_denied k") && line.contains("exclusion");
            assert!(!told(&fleet).iter().any(is_of_exclusion), "{trouble}: {:?}", told(&fleet));
            assert!(
                !told(&fleet).contains(&"new key-usable k".to_owned()) || trouble["faults"]["DescribeKey"] == "denied"
            );
        }
    }
}

#[tokio::test]
async fn a_deleted_key_that_is_watched_by_name_is_told_as_deleted_and_nothing_else_of_it() {
    let due = json!({"key_id": "doomed", "key_state": "PendingDeletion", "deletion_date": days_from_now(1)});
    let (fleet, function) = start(fleet_of(json!([due])), &[WITH_LEDGER, ("MONITORED_KEYS", "doomed")]);
    ok(function.invoke(&json!({})).await);
    fleet.replace(harness::describe(fleet_of(json!([])))).unwrap();
    fleet.clear_published();
    ok(function.invoke(&json!({})).await);
    assert_eq!(told(&fleet), ["deleted pending-deletion doomed"]);
}

#[tokio::test]
async fn a_failure_that_lasts_is_not_hidden_by_one_that_passes() {
    let primary = json!({"key_id": "mrk-1", "multi_region": {
        "type": "PRIMARY", "primary_region": HOME, "replica_regions": [IRELAND, OREGON]
    }});
    let replica = |more: Value| {
        let related = json!({"type": "REPLICA", "primary_region": HOME, "replica_regions": [IRELAND, OREGON]});
        json!({"keys": [and(json!({"key_id": "mrk-1", "multi_region": related}), more)]})
    };
    let mut fleet = fleet_of(json!([primary]));
    fleet["regions"] = json!({
        IRELAND: replica(json!({"key_state": "Creating"})), OREGON: replica(fault("DescribeKey", json!("denied")))
    });
    let (_fleet, function) = start(fleet, &[]);
    let response = ok(function.invoke(&json!({})).await);
    assert_eq!(finding(&response, "mrk-1", HEALTH)["reason"], "access_denied");
}
