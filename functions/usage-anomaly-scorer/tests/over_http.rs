//! The function's real binary, under the Lambda Runtime API, against a simulated fleet.

#![expect(clippy::indexing_slicing, clippy::needless_pass_by_value, clippy::unwrap_used, reason = "a test binary")]

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use simulated_fleet::harness::{
    self, TOPIC, WITH_LEDGER, assert_all, assert_calls_are_those_granted, assert_counts_add_up, days_from_now,
    describe, finding, fleet_of, ok, verbose, verdicts,
};
use simulated_fleet::{Fleet, FunctionProcess, Invocation, generated_key_id};

const BINARY: &str = env!("CARGO_BIN_EXE_usage-anomaly-scorer");
const ANOMALY: &str = "usage-anomaly";
const UNUSED: &str = "key-unused";
const RATIO: &str = "decrypt-ratio";

/// The baseline, the day that is judged, and one before the baseline.
const HOURS: i64 = 30 * 24;

fn start(fleet: Value, settings: &[(&str, &str)]) -> (Fleet, FunctionProcess) {
    harness::start(BINARY, fleet, settings)
}

/// The beginning of the hour that began n hours before the present one.
#[expect(clippy::disallowed_methods, reason = "the binary under test reads the real clock")]
fn hours_ago(hours: i64) -> Timestamp {
    let hour = Timestamp::now().as_second().div_euclid(3600) * 3600;
    Timestamp::from_second(hour).unwrap() - SignedDuration::from_hours(hours)
}

/// A series that begins n hours ago. It goes on for two hours more, in case the hour ends during the test.
fn usage(since: i64, repeat: Value, at: Value) -> Value {
    json!({"start": hours_ago(since).to_string(), "repeat": repeat, "hours": since + 2, "jitter": 0.1, "at": at})
}

/// Some hundred requests an hour, with these values at hours that long ago.
fn busy(at: &[(i64, u32)]) -> Value {
    let at: BTreeMap<String, u32> = at.iter().map(|(ago, value)| ((HOURS - ago).to_string(), *value)).collect();
    usage(HOURS, json!([100]), json!(at))
}

/// A series of a key that is used as usual, whose reading ends like that.
fn with_status(status: Value) -> Value {
    let mut usage = busy(&[]);
    usage["status"] = status;
    json!({ "usage": {"Encrypt": usage} })
}

struct Row {
    key: Value,
    expected: [&'static str; 3],
}

fn row(key: Value, anomaly: &'static str, unused: &'static str, ratio: &'static str) -> Row {
    Row { key, expected: [anomaly, unused, ratio] }
}

fn all(key: Value, verdict: &'static str) -> Row {
    row(key, verdict, verdict, verdict)
}

const UNEXPECTED: &str = "INSUFFICIENT_DATA unexpected_response";
const NO_USAGE: &str = "NOT_APPLICABLE no_usage";
const USUAL: &str = "COMPLIANT usual";
const UNUSUAL: &str = "NON_COMPLIANT unusual_usage";
const FIRST_USE: &str = "NON_COMPLIANT first_use";
const USED: &str = "COMPLIANT used";
const IS_UNUSED: &str = "NON_COMPLIANT unused";
const TOO_FEW: &str = "NOT_APPLICABLE too_few";

fn rows_of_usage() -> Vec<Row> {
    let young = |days: i64, repeat: u32| json!({"creation_date": days_from_now(-days), "usage": {"Encrypt": usage(days * 24 - 1, json!([repeat]), json!({}))}});
    let heavy: Vec<(i64, u32)> = (1..=24).map(|ago| (ago, 3_000)).collect();
    vec![
        row(json!({"usage": {"Encrypt": busy(&[])}}), USUAL, USED, TOO_FEW),
        row(json!({"usage": {"Encrypt": busy(&[(4, 50_000)])}}), UNUSUAL, USED, TOO_FEW),
        // The worst operation decides.
        row(json!({"usage": {"Encrypt": busy(&[]), "Sign": busy(&[(4, 50_000)])}}), UNUSUAL, USED, TOO_FEW),
        // A key that sleeps, and wakes up.
        row(
            json!({"usage": {"Decrypt": usage(HOURS, json!([0]), json!({"716": 5_000})) }}),
            UNUSUAL,
            USED,
            "NON_COMPLIANT decrypt_heavy",
        ),
        // The first use after a silent baseline: two calls are enough, one is not.
        row(json!({"usage": {"Decrypt": usage(HOURS, json!([0]), json!({"716": 2})) }}), FIRST_USE, USED, TOO_FEW),
        row(json!({"usage": {"Decrypt": usage(HOURS, json!([0]), json!({"716": 1})) }}), USUAL, USED, TOO_FEW),
        // On a probed key, the prober's own calls do not count.
        row(
            json!({
                "tags": {"kms-compliance/probe": "true"},
                "usage": {"Decrypt": usage(HOURS, json!([0]), json!({"716": 3})) },
            }),
            USUAL,
            "NOT_APPLICABLE probed",
            TOO_FEW,
        ),
        row(young(2, 100), "INSUFFICIENT_DATA learning", "NOT_APPLICABLE too_young", TOO_FEW),
        row(young(20, 100), USUAL, "NOT_APPLICABLE too_young", TOO_FEW),
        row(json!({"usage": {"Decrypt": busy(&[])}}), USUAL, USED, USUAL),
        row(
            json!({"usage": {"Decrypt": busy(&heavy), "GenerateDataKey": busy(&[])}}),
            UNUSUAL,
            USED,
            "NON_COMPLIANT decrypt_heavy",
        ),
        // CloudWatch lists series of the last two weeks only.
        row(
            json!({
                "usage": {"Encrypt": {"start": hours_ago(HOURS).to_string(), "repeat": [9], "hours": 24}},
                "last_usage": {"operation": "Encrypt", "timestamp": days_from_now(-27)},
            }),
            NO_USAGE,
            USED,
            TOO_FEW,
        ),
    ]
}

fn rows_of_last_usage() -> Vec<Row> {
    let unused = |more: Value, verdict: &'static str| row(more, NO_USAGE, verdict, TOO_FEW);
    let last = |days: i64| json!({"last_usage": {"operation": "Decrypt", "timestamp": days_from_now(days)}});
    let disabled = json!({"key_state": "Disabled", "usage": {"Encrypt": busy(&[])}});
    let fault = |fault: Value| json!({"faults": {"GetKeyLastUsage": fault}});
    let answer = |answer: Value| json!({"replace": {"GetKeyLastUsage": answer}});
    vec![
        row(disabled, USUAL, "NOT_APPLICABLE not_enabled", TOO_FEW),
        unused(json!({"key_state": "PendingDeletion"}), "NOT_APPLICABLE not_enabled"),
        unused(json!({"creation_date": days_from_now(-89)}), "NOT_APPLICABLE too_young"),
        unused(json!({"tags": {"kms-compliance/probe": "true"}}), "NOT_APPLICABLE probed"),
        unused(json!({"tags": {"kms-compliance/probe": "false"}}), IS_UNUSED),
        row(
            json!({"tags": {"kms-compliance/probe": "true"}, "usage": {"Encrypt": busy(&[])}}),
            USUAL,
            "NOT_APPLICABLE probed",
            TOO_FEW,
        ),
        unused(last(-1), USED),
        unused(last(-89), USED),
        unused(last(-91), IS_UNUSED),
        unused(json!({}), IS_UNUSED),
        unused(json!({"usage_tracking_start": days_from_now(-91)}), IS_UNUSED),
        unused(json!({"usage_tracking_start": days_from_now(-89)}), "INSUFFICIENT_DATA usage_not_tracked"),
        unused(json!({"faults": {"ListResourceTags": "denied"}}), "INSUFFICIENT_DATA access_denied"),
        unused(fault(json!("denied")), "INSUFFICIENT_DATA access_denied"),
        unused(fault(json!("garbled")), UNEXPECTED),
        unused(fault(json!({"kind": "server_error", "times": 1})), IS_UNUSED),
        unused(json!({"omit": {"GetKeyLastUsage": ["KeyLastUsage"]}}), UNEXPECTED),
        unused(json!({"omit": {"GetKeyLastUsage": ["TrackingStartDate"]}}), UNEXPECTED),
        unused(answer(json!({"KeyLastUsage": {"Operation": "Decrypt"}})), UNEXPECTED),
        unused(answer(json!({"KeyLastUsage": {"Operation": "Dance", "Timestamp": 1.0}})), IS_UNUSED),
    ]
}

fn rows_of_failure() -> Vec<Row> {
    let service_error = "INSUFFICIENT_DATA service_error";
    let denied = "INSUFFICIENT_DATA access_denied";
    vec![
        all(json!({"key_manager": "AWS", "usage": {"Encrypt": busy(&[])}}), "NOT_APPLICABLE aws_managed_key"),
        all(json!({"key_state": "Creating"}), "INSUFFICIENT_DATA key_in_transition"),
        all(json!({"faults": {"DescribeKey": "denied"}}), denied),
        all(json!({"faults": {"DescribeKey": "garbled"}}), UNEXPECTED),
        row(json!({"omit": {"DescribeKey": ["KeyState"]}}), NO_USAGE, UNEXPECTED, TOO_FEW),
        row(
            json!({"omit": {"DescribeKey": ["CreationDate"]}, "usage": {"Encrypt": busy(&[])}}),
            UNEXPECTED,
            UNEXPECTED,
            UNEXPECTED,
        ),
        row(with_status(json!({"code": "InternalError"})), service_error, IS_UNUSED, service_error),
        row(with_status(json!({"code": "PartialData"})), service_error, IS_UNUSED, service_error),
        row(with_status(json!({"code": "Forbidden"})), denied, IS_UNUSED, denied),
        row(with_status(json!({"code": "InternalError", "times": 2})), USUAL, USED, TOO_FEW),
        row(with_status(json!({"code": "PartialData", "times": 1})), USUAL, USED, TOO_FEW),
    ]
}

#[tokio::test]
async fn every_row_of_the_tables() {
    let rows: Vec<Row> = [rows_of_usage(), rows_of_last_usage(), rows_of_failure()].into_iter().flatten().collect();
    let keys: Vec<Value> = rows.iter().map(|row| row.key.clone()).collect();
    let (fleet, function) = start(fleet_of(keys), &[WITH_LEDGER, ("KMS_QUOTA_SHARE", "1"), ("KMS_QUOTA_CALLERS", "1")]);
    let invocation = Invocation { deadline: Duration::from_mins(5), ..Invocation::default() };
    let response = ok(function.invoke_with(&verbose(), invocation).await);
    assert_eq!((&response["keys_listed"], &response["complete"]), (&json!(rows.len()), &json!(true)));
    assert_counts_add_up(&response);
    let verdicts = verdicts(&response);
    for (index, row) in (0..).zip(&rows) {
        for (control, expected) in [ANOMALY, UNUSED, RATIO].into_iter().zip(row.expected) {
            let (compliance, reason) = &verdicts[&(generated_key_id(index), control.to_owned())];
            assert_eq!(format!("{compliance} {reason}"), expected, "{control} of {}", row.key);
        }
        // It is asked for enabled keys alone, of which nothing else says whether they are used.
        let asked = fleet.calls_for("GetKeyLastUsage").contains_key(&generated_key_id(index));
        let unsettled = ["NOT_APPLICABLE not_enabled", "NOT_APPLICABLE too_young", "NOT_APPLICABLE probed"];
        assert!(!(asked && unsettled.contains(&row.expected[1])), "{}", row.key);
    }
    // No reading is made for its own sake: one for all, and again for those that came in part or not at all.
    assert_eq!((fleet.calls()["ListMetrics"], fleet.calls()["GetMetricData"]), (1, 3));

    // The next day, all is well with one key: the ledger is written to in all the ways that there are.
    let mut keys: Vec<Value> = rows.iter().map(|row| row.key.clone()).collect();
    keys[1] = json!({"usage": {"Encrypt": busy(&[])}});
    fleet.replace(describe(fleet_of(keys))).unwrap();
    let invocation = Invocation { deadline: Duration::from_mins(5), ..Invocation::default() };
    let response = ok(function.invoke_with(&json!({}), invocation).await);
    assert_eq!((&response["alerts"]["new"], &response["alerts"]["resolved"]), (&json!(0), &json!(1)));
    assert_calls_are_those_granted(&fleet, "usage-anomaly-scorer");
}

#[tokio::test]
async fn a_finding_explains_itself() {
    let keys = json!([
        {"aliases": ["alias/payments"], "usage": {"Decrypt": busy(&[(4, 48_210)]), "Encrypt": busy(&[]), "Sign": busy(&[(4, 9_000)])}},
        {"usage": {"Encrypt": busy(&[])}},
    ]);
    let (fleet, function) = start(fleet_of(keys), &[]);
    let response = ok(function.invoke(&json!({})).await);
    let found: Vec<_> =
        response["findings"].as_array().unwrap().iter().map(|it| (&it["key_id"], &it["control"])).collect();
    let burst = json!(generated_key_id(0));
    assert_eq!(found, [(&burst, &json!(ANOMALY)), (&burst, &json!(RATIO))]);
    let finding = finding(&response, &generated_key_id(0), ANOMALY);
    let hour = hours_ago(4);
    let (from, to) = (hour.strftime("%H:00"), hours_ago(3).strftime("%H:00"));
    let detail = finding["detail"].as_str().unwrap();
    assert!(detail.starts_with(&format!("Decrypt 48,210 between {from} and {to} UTC; usual there: ")), "{detail}");
    assert!(detail.contains(&format!("besides: Sign 9,000 between {from} and {to} UTC")), "{detail}");
    assert_eq!((&finding["severity"], &finding["aliases"]), (&json!("HIGH"), &json!(["alias/payments"])));
    let evidence = &finding["evidence"];
    assert_eq!((&evidence["operation"], &evidence["observed"]), (&json!("Decrypt"), &json!(48_210)));
    assert_eq!(evidence["hour"], hour.to_string());
    let (low, high) = (evidence["usual_low"].as_f64().unwrap(), evidence["usual_high"].as_f64().unwrap());
    assert!(low < 100.0 && 100.0 < high && high < 1_000.0, "{evidence}");
    assert!(evidence["graph"].as_str().unwrap().contains("cloudwatch/home?region=us-east-1#metricsV2:graph="));
    let email: Value = serde_json::from_str(&fleet.published()[0].message).unwrap();
    assert!(email["email"].as_str().unwrap().contains(detail), "{email}");
}

#[tokio::test]
async fn re_encryption_counts_for_both_keys() {
    let mut re_encrypt = busy(&[(4, 50_000)]);
    re_encrypt["source_key_id"] = json!("source");
    let keys = json!([
        {"key_id": "source", "usage": {"Encrypt": busy(&[])}},
        {"key_id": "destination", "usage": {"ReEncrypt": re_encrypt}},
        {"key_id": "bystander", "usage": {"Encrypt": busy(&[])}},
    ]);
    let (_fleet, function) = start(fleet_of(keys), &[]);
    let response = ok(function.invoke(&verbose()).await);
    for (key, reason) in [("source", "unusual_usage"), ("destination", "unusual_usage"), ("bystander", "usual")] {
        assert_eq!(verdicts(&response)[&(key.to_owned(), ANOMALY.to_owned())].1, reason, "{key}");
    }
    assert_eq!(finding(&response, "source", ANOMALY)["evidence"]["operation"], "ReEncrypt");
}

/// With CloudWatch out of order, nothing is "no usage" or "unused" for it; what KMS itself knows still holds.
#[tokio::test]
async fn without_cloudwatch_nothing_is_known_of_usage() {
    let keys = json!([
        {"usage": {"Encrypt": busy(&[(4, 50_000)])}, "last_usage": {"operation": "Encrypt", "timestamp": days_from_now(0)}},
        {},
    ]);
    let fleet = Fleet::serve(describe(fleet_of(keys.clone()))).unwrap();
    let function = FunctionProcess::start(
        BINARY,
        &fleet,
        &[("SNS_TOPIC_ARN", TOPIC), ("KMS_QUOTA_SHARE", "1"), ("KMS_QUOTA_CALLERS", "1")],
    )
    .unwrap();
    for (operation, fault, reason) in [
        ("ListMetrics", json!("denied"), "access_denied"),
        ("ListMetrics", json!("throttled"), "throttled"),
        ("ListMetrics", json!("server_error"), "service_error"),
        ("ListMetrics", json!("garbled"), "unexpected_response"),
        ("ListMetrics", json!("truncated"), "unexpected_response"),
        ("ListMetrics", json!("same_marker"), "unexpected_response"),
        ("ListMetrics", json!({"kind": "error", "code": "BrandNewException"}), "unexpected_response"),
        ("GetMetricData", json!("denied"), "access_denied"),
        ("GetMetricData", json!("throttled"), "throttled"),
        ("GetMetricData", json!("server_error"), "service_error"),
        ("GetMetricData", json!("garbled"), "unexpected_response"),
    ] {
        let mut description = fleet_of(keys.clone());
        description["page_size"] = json!(1);
        description["faults"] = json!({operation: fault});
        fleet.replace(describe(description)).unwrap();
        let invocation = Invocation { deadline: Duration::from_mins(3), ..Invocation::default() };
        let response = ok(function.invoke_with(&verbose(), invocation).await);
        let verdicts = verdicts(&response);
        for (index, unused, known_to_have_no_series) in
            [(0, "used", false), (1, "unused", operation == "GetMetricData")]
        {
            let reason_of = |control: &str| verdicts[&(generated_key_id(index), control.to_owned())].1.clone();
            assert_eq!(reason_of(UNUSED), unused, "{operation} {fault}");
            if known_to_have_no_series {
                assert_eq!((reason_of(ANOMALY), reason_of(RATIO)), ("no_usage".to_owned(), "too_few".to_owned()));
                continue;
            }
            // Endless pages of the same series leave that series readable.
            if fault == "same_marker" && index == 0 {
                assert_eq!(reason_of(ANOMALY), "unusual_usage");
                continue;
            }
            assert_eq!(reason_of(ANOMALY), reason, "{operation} {fault}");
            assert_eq!(reason_of(RATIO), reason, "{operation} {fault}");
        }
    }
}

#[tokio::test]
async fn a_fault_that_passes_leaves_no_trace() {
    let keys = json!([{"usage": {"Encrypt": busy(&[(4, 50_000)])}}]);
    let mut description = fleet_of(keys);
    description["faults"] = json!({
        "ListMetrics": {"kind": "throttled", "times": 1},
        "GetMetricData": {"kind": "server_error", "times": 1},
    });
    let (_fleet, function) = start(description, &[]);
    let response = ok(function
        .invoke_with(&verbose(), Invocation { deadline: Duration::from_mins(1), ..Invocation::default() })
        .await);
    assert_eq!(verdicts(&response)[&(generated_key_id(0), ANOMALY.to_owned())].1, "unusual_usage");
}

/// A call that hangs costs the time for reading; the keys are judged by what else is known.
#[tokio::test]
async fn cloudwatch_hangs() {
    for operation in ["ListMetrics", "GetMetricData"] {
        let keys = json!([{"usage": {"Encrypt": busy(&[])}, "key_state": "Disabled"}]);
        let mut description = fleet_of(keys);
        description["faults"] = json!({operation: "hang"});
        let (_fleet, function) = start(description, &[]);
        let deadline = Duration::from_secs(5);
        let response = ok(function.invoke_with(&verbose(), Invocation { deadline, ..Invocation::default() }).await);
        assert_eq!(response["complete"], true);
        for control in [ANOMALY, RATIO] {
            assert_eq!(verdicts(&response)[&(generated_key_id(0), control.to_owned())].1, "timeout", "{operation}");
        }
    }
}

#[tokio::test]
async fn many_series_on_many_pages() {
    let keys = json!([
        {"count": 1_100, "usage": {"Encrypt": usage(9 * 24, json!([100]), json!({}))}},
        {"usage": {"Encrypt": usage(9 * 24, json!([100]), json!({"212": 50_000}))}},
    ]);
    let mut description = fleet_of(keys);
    // 216 datapoints each: a batch of 500 has 108,000.
    description["metric_page_size"] = json!(50_000);
    let (fleet, function) =
        start(description, &[("KMS_QUOTA_SHARE", "1"), ("KMS_QUOTA_CALLERS", "1"), ("BASELINE_DAYS", "7")]);
    let invocation = Invocation { deadline: Duration::from_mins(5), ..Invocation::default() };
    let response = ok(function.invoke_with(&json!({}), invocation).await);
    assert_eq!(response["controls"][ANOMALY]["COMPLIANT"], 1_100);
    assert_eq!(finding(&response, &generated_key_id(1_100), ANOMALY)["reason"], "unusual_usage");
    // 500, 500 and 101 series: pages of 500, and of 50,000 datapoints.
    assert_eq!((fleet.calls()["ListMetrics"], fleet.calls()["GetMetricData"]), (3, 3 + 3 + 1));
}

/// `GetKeyLastUsage` has the smallest quota of all: what a run does not come to is said, and not alerted.
#[tokio::test]
async fn the_last_usage_is_asked_at_its_pace_and_as_far_as_time_allows() {
    let (fleet, function) = start(fleet_of(json!([{"count": 40}])), &[("KMS_QUOTA_SHARE", "0.2")]);
    let deadline = Duration::from_secs(10);
    let response = ok(function.invoke_with(&verbose(), Invocation { deadline, ..Invocation::default() }).await);
    let asked = fleet.calls_for("GetKeyLastUsage");
    // It alone makes the call, so all of the share is its: one a second. The alert and the names are left some of the ten seconds.
    assert!((5..=9).contains(&asked.len()), "{asked:?}");
    assert!(fleet.peak_rate("GetKeyLastUsage") <= 2);
    assert_eq!((&response["complete"], &response["keys_not_reached"]), (&json!(true), &json!(0)));
    let counts = &response["controls"][UNUSED];
    let (unused, not_asked) =
        (counts["NON_COMPLIANT"].as_u64().unwrap(), counts["INSUFFICIENT_DATA"].as_u64().unwrap());
    assert_eq!(unused + not_asked, 40);
    assert!(not_asked > 0 && unused > 0);
    for (index, (_, reason)) in verdicts(&response)
        .into_iter()
        .filter(|((_, control), _)| control == UNUSED)
        .map(|((id, _), verdict)| (id, verdict))
    {
        assert!(reason == "usage_not_asked" || asked.contains_key(&index), "{index} {reason}");
    }
    assert_eq!(response["alerts"]["new"], unused);
    assert!(!fleet.published()[0].message.contains("usage_not_asked"));
}

#[tokio::test]
async fn a_key_that_is_gone_when_its_last_usage_is_asked_is_dropped() {
    let keys = json!([{"faults": {"GetKeyLastUsage": "not_found"}}, {}]);
    let (_fleet, function) = start(fleet_of(keys), &[]);
    let response = ok(function.invoke(&verbose()).await);
    assert_eq!(response["keys_listed"], 1);
    assert_counts_add_up(&response);
}

#[tokio::test]
async fn only_keys_of_the_run_are_read() {
    // A series that fails is asked for three times: here it would show.
    let failing = with_status(json!({"code": "InternalError"}));
    let keys = json!([{"aliases": ["alias/a"], "usage": {"Encrypt": busy(&[])}}, failing]);
    let (fleet, function) = start(fleet_of(keys), &[("EXCLUDED_KEYS", &generated_key_id(1))]);
    let response = ok(function.invoke(&verbose()).await);
    assert_eq!(fleet.calls()["GetMetricData"], 1);
    assert_all(&response, &generated_key_id(1), ("NOT_APPLICABLE", "excluded"));
    fleet.clear_calls();
    let event = json!({"detail": {"keys": ["alias/a", "alias/none"], "verbose": true}});
    let response = ok(function.invoke(&event).await);
    assert_eq!(verdicts(&response)[&(generated_key_id(0), ANOMALY.to_owned())].1, "usual");
    assert_all(&response, "none", ("INSUFFICIENT_DATA", "not_found"));
    assert_eq!(fleet.calls()["GetMetricData"], 1);
    fleet.clear_calls();
    ok(function.invoke(&json!({"detail": {"keys": ["alias/none"]}})).await);
    assert_eq!(fleet.calls().get("GetMetricData"), None);
}

#[tokio::test]
async fn settings() {
    let keys = json!([
        {"usage": {"Encrypt": busy(&[])}},
        {"creation_date": days_from_now(-40)},
        {"key_id": "probed"},
        {"usage": {"Decrypt": busy(&(1..=24).map(|ago| (ago, 3_000)).collect::<Vec<_>>())}},
    ]);
    let settings = [
        ("ANOMALY_THRESHOLD", "0"),
        ("UNUSED_AFTER_DAYS", "30"),
        ("PROBE_KEYS", "arn:aws:kms:us-east-1:123456789012:key/probed"),
        ("MAX_DECRYPT_RATIO", "100"),
        ("BASELINE_DAYS", "14"),
    ];
    let (fleet, function) = start(fleet_of(keys), &settings);
    let response = ok(function.invoke(&verbose()).await);
    let verdicts = verdicts(&response);
    let reason = |id: String, control: &str| verdicts[&(id, control.to_owned())].1.clone();
    assert_eq!(reason(generated_key_id(0), ANOMALY), "unusual_usage");
    assert_eq!(reason(generated_key_id(1), UNUSED), "unused");
    assert_eq!(reason("probed".to_owned(), UNUSED), "probed");
    assert_eq!(reason(generated_key_id(3), RATIO), "usual");
    assert!(!fleet.calls_for("ListResourceTags").contains_key("probed"));

    let refused = [
        ("BASELINE_DAYS", "6"),
        ("BASELINE_DAYS", "64"),
        ("BASELINE_DAYS", "a month"),
        ("ANOMALY_THRESHOLD", "-0.1"),
        ("ANOMALY_THRESHOLD", "1.1"),
        ("ANOMALY_THRESHOLD", "NaN"),
        ("UNUSED_AFTER_DAYS", "0"),
        ("UNUSED_AFTER_DAYS", "1.5"),
        ("MAX_DECRYPT_RATIO", "0"),
        ("MAX_DECRYPT_RATIO", "ten"),
        ("PROBE_KEYS", "alias/a"),
    ];
    harness::assert_settings_are_refused(BINARY, &refused).await;
}

#[tokio::test]
async fn events_from_the_files() {
    harness::assert_events_are_answered(BINARY, "usage-anomaly-scorer").await;
}
