//! `audit_key` over a fleet in which every part of it is filled, in each form, and with what cannot be read.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test binary")]

mod common;

use std::collections::BTreeSet;

use common::{answered, fleet_of, process, seconds};
use futures::StreamExt;
use serde_json::{Value, json};
use simulated_fleet::harness::{days_from_now, describe, numbered_key};
use simulated_fleet::{Fleet, FunctionProcess, generated_key_id as id};

const CHECKS: [&str; 5] =
    ["access-checker", "health-prober", "key-age-checker", "rotation-checker", "usage-anomaly-scorer"];

fn arn(n: u32) -> String {
    format!("arn:aws:kms:us-east-1:123456789012:key/{}", id(n))
}

/// The beginning of an hour two days ago.
fn hour() -> String {
    format!("{}:00:00Z", &days_from_now(-2)[..13])
}

/// A key of which everything can be said, and two beside it.
fn keys(name: &str) -> Value {
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "kms:*", "Resource": "*"},
        {"Sid": "partner", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::222222222222:role/x"},
            "Action": "kms:Decrypt", "Resource": "*"},
        {"Sid": "open", "Effect": "Allow", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*"}
    ]});
    let audited = json!({
        "aliases": ["alias/payments"],
        "tags": {"owner": name},
        "rotation": {
            "enabled": true, "period_in_days": 180, "next_rotation_date": days_from_now(60),
            "on_demand_start_date": days_from_now(0)
        },
        "rotations": [{"date": days_from_now(-300), "type": "ON_DEMAND"}],
        "policy": policy,
        "grants": [{"name": name, "retiring": "arn:aws:iam::123456789012:role/retires"}],
        "last_usage": {"operation": "Decrypt", "timestamp": days_from_now(-2)},
        "events": [
            {"name": "DisableKey", "time": days_from_now(-1), "user": name, "count": 30},
            {"name": "CreateGrant", "time": days_from_now(-2), "user": "rds", "invoked_by": "rds.amazonaws.com", "count": 31}
        ],
        "usage": {
            "Decrypt": {"start": hour(), "hourly": [7.0]},
            "ReEncrypt": {"start": hour(), "hourly": [5.0], "source_key_id": id(1)}
        }
    });
    let of_it = |n: f64| json!({"usage": {"ReEncrypt": {"start": hour(), "hourly": [n], "source_key_id": id(0)}}});
    json!([numbered_key(0, audited), numbered_key(1, of_it(2.0)), numbered_key(2, of_it(1.0))])
}

/// What the ledger has of access-checker on the key, as the monitor writes it.
fn ledger(state: &str, control: &str, name: &str) -> Value {
    let entry = |event: &str, day: i64| {
        json!({
            "at": days_from_now(day), "event": event, "severity": "HIGH", "reason": "foreign_account", "detail": name
        })
    };
    let events = if state == "open" { vec![entry("new", -9)] } else { vec![entry("new", -9), entry("resolved", -4)] };
    json!({
        "pk": "123456789012#us-east-1#access-checker",
        "sk": format!("{state}#{}#{control}#NON_COMPLIANT", arn(0)),
        "key_arn": arn(0), "key_id": id(0), "aliases": ["alias/payments"], "control": control,
        "compliance": "NON_COMPLIANT", "first_seen": days_from_now(-9), "severity": "HIGH", "reason": "foreign_account",
        "detail": name, "evidence": {}, "remediation": "", "references": [],
        "last_notified": {"change": "new", "at": days_from_now(-9), "severity": "HIGH", "reason": "foreign_account"},
        "pending": null, "exemption": {"tag": "until=2020-01-01", "state": "expired", "pending": false}, "history": events,
        "function": "access-checker", "account_id": "123456789012", "region": "us-east-1"
    })
}

fn serve(keys: Value, faults: Value, name: &str) -> (Fleet, FunctionProcess) {
    let mut description = fleet_of(keys);
    description["tables"] = json!(["findings", "operations"]);
    description["faults"] = faults;
    let fleet = Fleet::serve(describe(description)).unwrap();
    fleet.put_item(&ledger("open", "foreign-access", name)).unwrap();
    fleet.put_item(&ledger("past", "public-access", name)).unwrap();
    // The finding of another key.
    let mut other = ledger("open", "foreign-access", name);
    other["sk"] = json!(format!("open#{}#foreign-access#NON_COMPLIANT", arn(1)));
    fleet.put_item(&other).unwrap();
    let function = process(&fleet, &[("FINDINGS_TABLE", "findings")]);
    (fleet, function)
}

fn audit(format: &str) -> Value {
    json!({"operation": "audit_key", "key": arn(0), "days": 30, "format": format})
}

/// The paths of what is not known.
fn unknown(path: &str, value: &Value, found: &mut Vec<String>) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(values) => values.iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect(),
        _ => return,
    };
    for (name, value) in members {
        if name == "not_known" && value.is_string() {
            found.push(path.to_owned());
        }
        unknown(&format!("{path}/{name}"), value, found);
    }
}

#[tokio::test]
async fn every_part_is_filled_and_as_the_schema_says() {
    let (fleet, function) = serve(keys("ana"), json!({}), "role/x of 222222222222 may decrypt");
    let answer = answered(function.invoke(&audit("json")).await);
    let mut not_known = Vec::new();
    unknown("", &answer, &mut not_known);
    assert_eq!(not_known, [""; 0], "{answer:#}");
    assert_eq!(answer["key"]["spec"], "SYMMETRIC_DEFAULT");
    assert_eq!((&answer["tags"], &answer["aliases"]), (&json!({"owner": "ana"}), &json!(["alias/payments"])));
    let rotation = &answer["rotation"];
    assert_eq!((&rotation["enabled"], &rotation["period_days"]), (&json!(true), &json!(180)));
    assert!(rotation["next_at"].is_string() && rotation["on_demand_since"].is_string(), "{rotation}");
    assert_eq!(rotation["history"][0]["type"], "ON_DEMAND");
    let policy = &answer["policy"];
    assert_eq!(policy["foreign"]["accounts"], json!(["222222222222"]));
    assert_eq!((&policy["public"]["public"], policy["public"]["by"].as_array().unwrap().len()), (&json!(true), 1));
    assert_eq!(answer["last_usage"]["operation"], "Decrypt");
    // Of ReEncrypt one key decrypts and another encrypts.
    let counted = json!({"Decrypt": 7.0, "ReEncryptFrom": 3.0, "ReEncryptTo": 5.0});
    assert_eq!((&answer["usage"]["successful_requests"], &answer["usage"]["not_known"]), (&counted, &json!({})));
    let events = &answer["management_events"];
    assert_eq!((&events["count"], &events["by_user"]), (&json!(61), &json!({"ana": 30, "rds": 31})));
    assert_eq!(events["latest"].as_array().unwrap().len(), 20);
    for check in CHECKS {
        assert!(!answer["verdicts"][check]["evaluations"].as_array().unwrap().is_empty(), "{check}");
    }
    let ledger = &answer["ledger"]["access-checker"]["listed"];
    let told: Vec<_> = ledger.as_array().unwrap().iter().map(|it| (&it["control"], &it["open"])).collect();
    assert_eq!(told, [(&json!("foreign-access"), &json!(true)), (&json!("public-access"), &json!(false))]);
    let changes = ledger[1]["history"].as_array().unwrap();
    assert_eq!(changes.iter().map(|it| &it["event"]).collect::<Vec<_>>(), ["new", "resolved"]);
    assert_eq!(answer["ledger"]["rotation-checker"]["listed"], json!([]));
    let recommendations = answer["recommendations"].as_array().unwrap();
    assert!(
        recommendations[0].as_str().unwrap().starts_with("public-access: "),
        "the worst first: {recommendations:?}"
    );
    assert!(
        recommendations.iter().all(|it| !it.as_str().unwrap().contains("schedule_deletion")),
        "{recommendations:?}"
    );
    assert!(fleet.peak_rate("LookupEvents") <= 2);
}

#[tokio::test]
async fn people_get_a_table_or_a_page_in_which_other_peoples_text_does_nothing() {
    let hostile = "</td><script>alert(1)</script>\u{1b}[2J\u{202e}";
    let mut keys = keys("ana");
    keys[0]["events"][0]["user"] = json!(hostile);
    keys[0]["grants"][0]["name"] = json!(hostile);
    keys[0]["policy"]["Statement"][2]["Sid"] = json!(hostile);
    let (_fleet, function) = serve(keys, json!({}), hostile);
    for (format, marks) in
        [("table", ["\nRecommendations\n", "\nLedger\n"]), ("page", ["<h2>Recommendations<", "<h2>Ledger<"])]
    {
        let answer = answered(function.invoke(&audit(format)).await);
        assert_eq!((&answer["operation"], &answer["format"]), (&json!("audit_key"), &json!(format)));
        let content = answer["content"].as_str().unwrap();
        for expected in marks.into_iter().chain([
            "Key alias/payments",
            "account 123456789012, us-east-1",
            "1 open finding.",
            "SYMMETRIC_DEFAULT",
            "222222222222",
            "foreign-access",
            "ReEncryptFrom",
            "DisableKey",
            "resolved",
            "alert(1)",
            "ON_DEMAND",
        ]) {
            assert!(content.contains(expected), "{format}: {expected}\n{content}");
        }
        assert!(!content.contains('\u{1b}') && !content.contains('\u{202e}'), "{format}");
        assert!(!content.contains("not known: "), "{format}\n{content}");
        assert!(format == "table" || !content.contains("<script"), "{content}");
        assert!(content.len() < 100_000, "{}", content.len());
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_said_as_that_and_the_rest_is_there() {
    let mut ways = Vec::new();
    for (call, part) in [
        ("GetKeyPolicy", "/policy"),
        ("ListGrants", "/grants"),
        ("LookupEvents", "/management_events"),
        ("GetKeyLastUsage", "/last_usage"),
        ("GetKeyRotationStatus", "/rotation"),
        ("ListKeyRotations", "/rotation"),
        ("ListResourceTags", "/tags"),
        ("ListAliases", "/aliases"),
        ("GetMetricData", "/usage"),
        ("Query", "/ledger"),
    ] {
        ways.extend(["denied", "throttled", "garbled", "hang"].map(|fault| unreadable(call, part, fault)));
    }
    futures::stream::iter(ways).buffer_unordered(8).collect::<Vec<_>>().await;
    let (_fleet, function) = serve(keys("ana"), json!({"ListMetrics": "denied"}), "d");
    let usage = &answered(function.invoke(&audit("json")).await)["usage"];
    assert_eq!(usage["successful_requests"], json!({"Decrypt": 7.0}));
    assert_eq!(usage["not_known"].as_object().unwrap().keys().collect::<Vec<_>>(), ["ReEncryptFrom", "ReEncryptTo"]);
    let mut unclear = keys("ana");
    unclear[0]["usage"]["Decrypt"]["status"] = json!({"code": "InternalError"});
    let (_fleet, function) = serve(unclear, json!({}), "d");
    let usage = &answered(function.invoke(&audit("json")).await)["usage"];
    assert_eq!(usage["not_known"].as_object().unwrap().keys().collect::<Vec<_>>(), ["Decrypt"]);
}

async fn unreadable(call: &str, part: &str, fault: &str) {
    let (_fleet, function) = serve(keys("ana"), json!({ call: fault }), "d");
    let answer = answered(function.invoke_with(&audit("json"), seconds(6)).await);
    let mut not_known = Vec::new();
    unknown("", &answer, &mut not_known);
    // The checks read some of it too. Of the ledger, each function has its own part.
    not_known.retain(|it| !it.starts_with("/verdicts"));
    let parts: BTreeSet<&str> =
        not_known.iter().map(|it| if it.starts_with("/ledger") { "/ledger" } else { it }).collect();
    assert_eq!(parts, BTreeSet::from([part]), "{call} {fault}: {answer:#}");
    assert_eq!(answer["key"]["state"], "Enabled");
    if fault == "denied" {
        assert!(answer.to_string().contains("AccessDenied"), "{call}");
        let table = answered(function.invoke_with(&audit("table"), seconds(6)).await);
        let content = table["content"].as_str().unwrap();
        assert!(content.contains("not known: ") && content.contains("AccessDenied"), "{call}: {content}");
    }
}

#[tokio::test]
async fn of_many_grants_an_answer_names_a_thousand() {
    let mut keys = keys("ana");
    keys[0]["grants"] = json!([{"count": 1_234}]);
    let (_fleet, function) = serve(keys, json!({}), "d");
    let answer = answered(function.invoke(&audit("json")).await);
    let grants = &answer["grants"];
    assert_eq!((grants["listed"].as_array().unwrap().len(), &grants["omitted"]), (1_000, &json!(234)));
    let table = answered(function.invoke(&audit("table")).await);
    assert!(table["content"].as_str().unwrap().contains("1134 more are not listed"));
}
