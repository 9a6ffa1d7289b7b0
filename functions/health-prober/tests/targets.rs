//! Keys of another account: looked at in all their Regions by that account's role, and never used.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use simulated_fleet::harness::{self, assert_counts_add_up, ok, verdicts};

const BINARY: &str = env!("CARGO_BIN_EXE_health-prober");
const MEMBER: &str = "222222222222";
const USES: [&str; 6] = ["Decrypt", "Encrypt", "GenerateMac", "Sign", "Verify", "VerifyMac"];

fn event(account_id: &str) -> Value {
    json!({"detail": {"verbose": true, "target": {"account_id": account_id, "region": "eu-west-1"}}})
}

#[tokio::test]
async fn replicas_are_read_with_the_members_role_and_no_key_of_its_is_used() {
    let tags = json!({"kms-compliance/probe": "true"});
    let regions = ["eu-west-1", "us-west-2"];
    let primary = json!({"type": "PRIMARY", "primary_region": "eu-west-1", "replica_regions": regions});
    let replica = json!({"type": "REPLICA", "primary_region": "eu-west-1", "replica_regions": regions});
    let keys = |kind: &Value| json!({"keys": [{"key_id": "mrk-1", "tags": tags, "multi_region": kind}]});
    let named = json!({"key_id": "named", "key_state": "Enabled"});
    let mut here = keys(&primary);
    here["keys"].as_array_mut().unwrap().push(named);
    let fleet = json!({
        "keys": [],
        // The same IDs in the home's own account, so that a call with the wrong credentials would find a key.
        "regions": {"eu-west-1": here, "us-west-2": keys(&replica)},
        "accounts": {MEMBER: {"regions": {"eu-west-1": here, "us-west-2": keys(&replica)}}},
    });
    let settings = [
        ("MEMBER_ROLE_NAME", "kms-compliance/kms-compliance-read"),
        ("PROBE_KEYS", "arn:aws:kms:eu-west-1:222222222222:key/named"),
    ];
    let (fleet, function) = harness::start(BINARY, fleet, &settings);
    let response = ok(function.invoke(&event(MEMBER)).await);
    assert_counts_add_up(&response);
    let verdicts_there = verdicts(&response);
    let verdict = |id: &str, control: &str| verdicts_there[&(id.to_owned(), control.to_owned())].1.clone();
    for id in ["mrk-1", "named"] {
        assert_eq!(verdict(id, "round-trip"), "not_selected", "{id}");
        assert_eq!(verdict(id, "key-usable"), "enabled", "{id}");
    }
    assert_eq!(verdict("mrk-1", "replica-health"), "replicas_healthy");
    assert_eq!(verdict("mrk-1", "replica-policy-drift"), "same_policy");
    assert!(USES.iter().all(|call| !fleet.calls().contains_key(*call)), "{:?}", fleet.calls());
    assert_eq!(fleet.calls_to(MEMBER, "us-west-2")["DescribeKey"], 1);
    for region in regions {
        assert_eq!(fleet.calls_to("123456789012", region), BTreeMap::new(), "{region}");
    }

    // In its own account, another Region or not, the prober does use what opted in.
    let response = ok(function.invoke(&event("123456789012")).await);
    assert_eq!(verdicts(&response)[&("mrk-1".to_owned(), "round-trip".to_owned())].1, "round_trip_ok");
    assert_eq!(fleet.calls_to(MEMBER, "us-west-2")["DescribeKey"], 1);
}
