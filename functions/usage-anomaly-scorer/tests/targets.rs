//! Usage of another account's keys, read by that account's role.

use std::collections::BTreeMap;

use serde_json::json;
use simulated_fleet::harness::{self, assert_counts_add_up, days_from_now, ok, verdicts};

const BINARY: &str = env!("CARGO_BIN_EXE_usage-anomaly-scorer");
const MEMBER: &str = "222222222222";

#[tokio::test]
async fn usage_is_read_in_the_account_and_region_of_the_keys() {
    let old = days_from_now(-400);
    // The beginning of an hour.
    let start = format!("{}:00:00Z", &days_from_now(-60)[..13]);
    let used = json!({"start": start, "repeat": [100], "hours": 60 * 24});
    let keys = json!([
        {"key_id": "used", "creation_date": old, "usage": {"Decrypt": used}},
        // No prober of ours uses it there: what its tag says is no reason to look away.
        {"key_id": "idle", "creation_date": old, "tags": {"kms-compliance/probe": "true"}},
        {"key_id": "named", "creation_date": old},
    ]);
    let fleet = json!({
        "keys": [],
        "regions": {"eu-west-1": {"keys": [{"key_id": "idle", "creation_date": old, "tags": {"kms-compliance/probe": "true"}}]}},
        "accounts": {MEMBER: {"regions": {"eu-west-1": {"keys": keys}}}},
    });
    let settings = [
        ("MEMBER_ROLE_NAME", "kms-compliance/kms-compliance-read"),
        ("PROBE_KEYS", "arn:aws:kms:eu-west-1:222222222222:key/named"),
    ];
    let (fleet, function) = harness::start(BINARY, fleet, &settings);
    let event = |account_id: &str| json!({"detail": {"verbose": true, "target": {"account_id": account_id, "region": "eu-west-1"}}});
    let response = ok(function.invoke(&event(MEMBER)).await);
    assert_counts_add_up(&response);
    let reason = |response: &serde_json::Value, id: &str| {
        verdicts(response)[&(id.to_owned(), "key-unused".to_owned())].1.clone()
    };
    assert_eq!(verdicts(&response)[&("used".to_owned(), "key-unused".to_owned())].0, "COMPLIANT");
    assert_eq!((reason(&response, "idle"), reason(&response, "named")), ("unused".to_owned(), "unused".to_owned()));
    let calls = fleet.calls_to(MEMBER, "eu-west-1");
    assert!(calls["ListMetrics"] >= 1 && calls["GetMetricData"] >= 1 && calls["GetKeyLastUsage"] >= 1, "{calls:?}");
    for region in ["eu-west-1", "us-east-1"] {
        assert_eq!(fleet.calls_to("123456789012", region), BTreeMap::new(), "{region}");
    }
    assert_eq!(reason(&ok(function.invoke(&event("123456789012")).await), "idle"), "probed");
}
