//! Each call of the function with each fault: `fault_matrix.json` says what comes of it.

#![expect(clippy::indexing_slicing, reason = "a test binary")]

use std::path::Path;

use serde_json::{Value, json};
use simulated_fleet::fault_matrix::Matrix;
use simulated_fleet::fault_matrix::checks::Situation;
use simulated_fleet::generated_key_id as id;
use simulated_fleet::harness::{TABLE, numbered_key};

const BINARY: &str = env!("CARGO_BIN_EXE_health-prober");
const MULTI_REGION: [&str; 2] = ["mrk-1", "mrk-2"];

/// A key that opted in: its tag stands on the second page.
fn chosen(n: u32, spec: &str) -> Value {
    let tags = json!({"a": "1", "b": "2", "kms-compliance/probe": "true"});
    numbered_key(n, json!({"key_spec": spec, "aliases": [format!("alias/key-{n}")], "tags": tags}))
}

/// A multi-Region key that opted in, or its replica, with a policy of that name.
fn multi_region(key_id: &str, kind: &str, policy: &str) -> Value {
    let mut key = chosen(0, "SYMMETRIC_DEFAULT");
    key["key_id"] = json!(key_id);
    key["aliases"] = json!([format!("alias/{key_id}")]);
    key["policy"] = json!({"Version": "2012-10-17", "Statement": [{"Sid": policy}]});
    key["multi_region"] = json!({"type": kind, "primary_region": "us-east-1", "replica_regions": ["eu-west-1"]});
    key
}

/// Two keys with a replica each, two in a key store each, of which in each pair one is in order; and keys to use.
fn home(first_is_well: bool) -> Value {
    let of_replica = |is_well: bool| if is_well { "A" } else { "B" };
    let wells = [first_is_well, !first_is_well];
    let pairs = || MULTI_REGION.into_iter().zip(wells);
    let mut keys: Vec<Value> = pairs().map(|(key_id, _)| multi_region(key_id, "PRIMARY", "A")).collect();
    let kinds = ["SYMMETRIC_DEFAULT", "ECC_NIST_P256", "HMAC_256"];
    keys.extend((1..).zip(kinds).map(|(n, spec)| chosen(n, spec)));
    keys.extend([4, 5].map(|n| {
        numbered_key(
            n,
            json!({"origin": "AWS_CLOUDHSM", "custom_key_store_id": format!("cks-{n}"), "aliases": [format!("alias/key-{n}")]}),
        )
    }));
    let stores = [4, 5].into_iter().zip(wells).map(|(n, is_well)| {
        json!({"id": format!("cks-{n}"), "connection_state": if is_well { "CONNECTED" } else { "DISCONNECTED" }})
    });
    let replicas = pairs().map(|(key_id, is_well)| multi_region(key_id, "REPLICA", of_replica(is_well)));
    json!({
        "tables": [TABLE], "page_size": 2, "table_page_size": 2, "keys": keys,
        "custom_key_stores": stores.collect::<Vec<_>>(),
        "regions": {"eu-west-1": {"keys": replicas.collect::<Vec<_>>()}},
    })
}

fn elsewhere(states: [&str; 3]) -> Value {
    let keys = (0..).zip(states).map(|(n, state)| numbered_key(n, json!({"key_state": state})));
    let keys: Vec<Value> = keys.collect();
    json!({"tables": [TABLE], "accounts": {"222222222222": {"regions": {"eu-west-1": {"keys": keys}}}}})
}

#[tokio::test]
async fn each_call_with_each_fault_ends_as_the_contract_says() {
    let at_home = Situation {
        binary: Path::new(BINARY),
        settings: &[("REPLICA_REGIONS", "eu-west-1")],
        detail: json!({}),
        before: home(true),
        fleet: home(false),
    };
    let of_member = Situation {
        binary: Path::new(BINARY),
        settings: &[("MEMBER_ROLE_NAME", "kms-compliance/kms-compliance-read")],
        detail: json!({"target": {"account_id": "222222222222", "region": "eu-west-1"}}),
        before: elsewhere(["Disabled", "Disabled", "Enabled"]),
        fleet: elsewhere(["Disabled", "Enabled", "Disabled"]),
    };
    let (at_home, of_member) = (at_home.rehearse().await, of_member.rehearse().await);
    let matrix = Matrix::read(include_str!("fault_matrix.json"));
    matrix
        .check(async |cell| match (cell.operation(), cell.region()) {
            ("AssumeRole" | "GetCallerIdentity", _) => of_member.run(cell, &[]).await,
            ("Encrypt" | "Decrypt", None) => at_home.run(cell, &[id(1)]).await,
            ("Sign" | "Verify", _) => at_home.run(cell, &[id(2)]).await,
            ("GenerateMac" | "VerifyMac", _) => at_home.run(cell, &[id(3)]).await,
            _ => at_home.run(cell, &MULTI_REGION.map(str::to_owned)).await,
        })
        .await;
}
