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
fn item(account_id: &str, n: u32, severity: &str) -> Value {
    let arn = format!("arn:aws:kms:eu-west-1:{account_id}:key/{n}");
    json!({
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
    })
}

fn put(fleet: &Fleet, account_id: &str, n: u32, severity: &str) {
    fleet.put_item(&item(account_id, n, severity)).unwrap();
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

/// The page of a daily check: what is open, from the ledger, and what was covered, from the checks' outcomes.
#[tokio::test]
async fn a_daily_check_writes_its_page_and_the_digest_links_it() {
    let (fleet, function) = started(&json!({}), &[WITH_BUCKET]);
    put_hostile(&fleet);
    put_pending(&fleet);
    put_outcomes(&fleet);
    let answer = ok(function.invoke(&json!({"id": "daily-1"})).await);
    assert_eq!(answer["alerts"]["messages_published"], 1, "{answer}");
    let objects = fleet.objects();
    assert_eq!(objects.keys().collect::<Vec<_>>(), ["reports/reports/daily-1.html"]);
    let page = String::from_utf8(objects.values().next().unwrap().clone()).unwrap();
    // The 57 and the one to be told beside them, the three, and one whose alias is none of ours.
    for said in [
        "62 open findings on 62 of 70 keys",
        "3\u{a0}critical",
        "open since 2026-11-01",
        "key-age-checker failed in account 222222222222, Region eu-west-1: LedgerUnavailable: the table is gone",
        "hold neither the settings",
        "&#60;script&#62;",
        ">7</td>",
    ] {
        assert!(page.contains(said), "{said}\n{page}");
    }
    assert!(!page.contains("alias/<script>"));
    let link =
        "https://us-east-1.console.aws.amazon.com/s3/object/reports?region=us-east-1&prefix=reports/daily-1.html";
    let message = fleet.published().remove(0).message;
    assert!(message.contains(link), "{message}");
}

#[tokio::test]
async fn a_page_that_cannot_be_written_is_said_to_the_operators_and_holds_up_nothing() {
    let operations = "arn:aws:sns:us-east-1:123456789012:operations";
    for (operation, fault, said) in [
        ("PutObject", "denied", "s3://reports/reports/daily-1.html was not written: AccessDenied"),
        ("PutObject", "server_error", "s3://reports/reports/daily-1.html was not written: "),
        ("Scan", "denied", "the findings ledger findings is out of reach: AccessDenied"),
    ] {
        let settings = [WITH_BUCKET, ("OPERATIONS_TOPIC_ARN", operations)];
        let (fleet, function) = started(&json!({operation: fault}), &settings);
        put_pending(&fleet);
        let answer = ok(function.invoke(&json!({"id": "daily-1"})).await);
        assert_eq!(answer["alerts"]["messages_published"], 1, "{answer}");
        assert!(fleet.objects().is_empty());
        let [digest, operators] = fleet.published().try_into().unwrap();
        assert!(!digest.message.contains("as a page"), "{}", digest.message);
        let text = operators.message;
        assert!(text.contains("There is no page of what is open: ") && text.contains(said), "{operation}: {text}");
        // It is told once all the same.
        assert_eq!(ok(function.invoke(&json!({"id": "daily-2"})).await)["alerts"]["messages_published"], 0);
    }
}

#[tokio::test]
async fn an_early_report_and_a_dry_run_write_no_page() {
    let (fleet, function) = started(&json!({}), &[WITH_BUCKET]);
    put_pending(&fleet);
    for detail in [json!({"min_severity": "CRITICAL"}), json!({"dry_run": true})] {
        ok(function.invoke(&json!({"id": "daily-1", "detail": detail})).await);
        assert!(fleet.objects().is_empty(), "{detail}");
    }
}

/// A finding that waits to be told.
fn put_pending(fleet: &Fleet) {
    let mut item = item("222222222222", 60, "MEDIUM");
    item["pending"] = json!("new");
    item["deferred"] = json!(true);
    item["waits"] = json!("pending#0");
    fleet.put_item(&item).unwrap();
    fleet.put_item(&outcome("rotation-checker", &json!({"pending": 1}))).unwrap();
}

fn put_hostile(fleet: &Fleet) {
    let mut item = item("333333333333", 61, "MEDIUM");
    item["aliases"] = json!(["alias/<script>alert(1)</script>\u{202e}"]);
    fleet.put_item(&item).unwrap();
}

fn outcome(function: &str, more: &Value) -> Value {
    let mut item = json!({
        "pk": "run#daily-1",
        "sk": format!("222222222222#eu-west-1#{function}"),
        "complete": true,
        "keys_listed": 70,
        "keys_not_reached": 0,
        "controls": {"rotation-enabled": {"COMPLIANT": 7, "NON_COMPLIANT": 63, "NOT_APPLICABLE": 0, "INSUFFICIENT_DATA": 0}},
    });
    item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    item
}

fn put_outcomes(fleet: &Fleet) {
    let failed = json!({
        "pk": "run#daily-1",
        "sk": "222222222222#eu-west-1#key-age-checker",
        "error": "LedgerUnavailable",
        "cause": "the table is gone",
    });
    fleet.put_item(&failed).unwrap();
}
