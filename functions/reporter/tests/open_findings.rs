//! The function's real binary against a simulated ledger and bucket.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test binary")]

use serde_json::{Value, json};
use simulated_fleet::harness::{WITH_LEDGER, fleet_of, ok, start};
use simulated_fleet::{Fleet, FunctionProcess};

const BINARY: &str = env!("CARGO_BIN_EXE_reporter");
const WITH_BUCKET: (&str, &str) = ("REPORT_BUCKET", "reports");

fn open_event() -> Value {
    json!({"id": "ask-1", "detail": {"report": "open"}})
}

/// An open finding of one account, as the ledger has it.
fn put(fleet: &Fleet, account_id: &str, n: u32, severity: &str) {
    let arn = format!("arn:aws:kms:eu-west-1:{account_id}:key/{n}");
    let item = json!({
        "pk": format!("{account_id}#eu-west-1#rotation-checker"),
        "sk": format!("open#{arn}#rotation-enabled#NON_COMPLIANT"),
        "key_arn": arn,
        "key_id": n.to_string(),
        "aliases": [],
        "control": "rotation-enabled",
        "compliance": "NON_COMPLIANT",
        "first_seen": "2026-11-01T06:00:00Z",
        "severity": severity,
        "reason": "rotation_disabled",
        "last_notified": null,
        "pending": null,
        "exemption": null,
        "history": [],
    });
    fleet.put_item(&item).unwrap();
}

fn started(faults: &Value, settings: &[(&str, &str)]) -> (Fleet, FunctionProcess) {
    let mut fleet = fleet_of(json!([]));
    fleet["faults"] = faults.clone();
    let settings: Vec<_> = [WITH_LEDGER].iter().chain(settings).copied().collect();
    let (fleet, function) = start(BINARY, fleet, &settings);
    for n in 0..60 {
        let account_id = if n % 2 == 0 { "222222222222" } else { "333333333333" };
        put(&fleet, account_id, n, if n < 3 { "CRITICAL" } else { "MEDIUM" });
    }
    // Neither is a finding that is open.
    fleet.put_item(&json!({"pk": "run#daily-1", "sk": "222222222222#eu-west-1#rotation-checker"})).unwrap();
    fleet.put_item(&json!({"pk": "222222222222#eu-west-1#rotation-checker", "sk": "open#odd"})).unwrap();
    fleet.clear_writes();
    (fleet, function)
}

#[tokio::test]
async fn what_is_open_is_answered_and_the_whole_list_is_in_the_bucket() {
    let (fleet, function) = started(&json!({}), &[WITH_BUCKET]);
    let answer = ok(function.invoke(&open_event()).await);
    assert_eq!((&answer["open"], &answer["findings_omitted"]), (&json!(60), &json!(10)));
    assert_eq!(answer["severities"], json!({"CRITICAL": 3, "HIGH": 0, "MEDIUM": 57, "LOW": 0}));
    assert_eq!((&answer["accounts"], &answer["findings"][2]["severity"]), (&json!(2), &json!("CRITICAL")));
    assert_eq!(answer["whole_list"], "s3://reports/open/ask-1.json");
    assert_eq!(answer.get("whole_list_missing"), None);
    let objects = fleet.objects();
    assert_eq!(objects.keys().collect::<Vec<_>>(), ["reports/open/ask-1.json"]);
    let list: Value = serde_json::from_slice(&objects["reports/open/ask-1.json"]).unwrap();
    assert_eq!((&list["open"], &list["findings_omitted"]), (&json!(60), &json!(0)));
    assert_eq!(list["findings"].as_array().unwrap().len(), 60);
    // Nobody is told, and nothing is marked.
    assert_eq!((fleet.published().len(), fleet.writes().len()), (0, 0));
    let calls: Vec<String> = fleet.calls().into_keys().collect();
    assert_eq!(calls, ["PutObject", "Scan"]);
}

#[tokio::test]
async fn without_a_bucket_that_takes_it_the_answer_says_that_the_list_is_nowhere() {
    let denied = json!({"PutObject": {"kind": "denied"}});
    let dry = json!({"id": "ask-1", "detail": {"report": "open", "dry_run": true}});
    for (faults, settings, event, said) in [
        (json!({}), vec![], open_event(), "written nowhere"),
        (json!({}), vec![WITH_BUCKET], dry, "written nowhere"),
        (denied, vec![WITH_BUCKET], open_event(), "s3://reports/open/ask-1.json was not written: AccessDenied"),
    ] {
        let (fleet, function) = started(&faults, &settings);
        let answer = ok(function.invoke(&event).await);
        assert_eq!((&answer["open"], &answer["whole_list"]), (&json!(60), &Value::Null), "{said}");
        let missing = answer["whole_list_missing"].as_str().unwrap();
        assert!(missing.contains(said), "{missing}");
        assert!(fleet.objects().is_empty() && fleet.writes().is_empty() && fleet.published().is_empty());
    }
}

#[tokio::test]
async fn a_table_of_many_pages_is_read_whole() {
    let mut fleet = fleet_of(json!([]));
    fleet["table_page_size"] = json!(7);
    let (fleet, function) = start(BINARY, fleet, &[WITH_LEDGER]);
    for n in 0..20 {
        put(&fleet, "222222222222", n, "LOW");
    }
    assert_eq!(ok(function.invoke(&open_event()).await)["open"], 20);
    assert!(fleet.calls()["Scan"] > 1, "{:?}", fleet.calls());
}
