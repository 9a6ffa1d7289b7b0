//! Each call of the function with each fault: `fault_matrix.json` says what comes of it.

use std::path::Path;

use serde_json::{Value, json};
use simulated_fleet::fault_matrix::Matrix;
use simulated_fleet::fault_matrix::checks::Situation;
use simulated_fleet::generated_key_id as id;
use simulated_fleet::harness::{TABLE, numbered_key};

const BINARY: &str = env!("CARGO_BIN_EXE_rotation-checker");

fn key(n: u32, enabled: bool) -> Value {
    numbered_key(n, json!({"aliases": [format!("alias/key-{n}")], "rotation": {"enabled": enabled}}))
}

/// Key 3 is off and exempt, of which the ledger knows.
fn keys(enabled: [bool; 4]) -> Value {
    let exemption = json!({"kms-compliance/exempt/rotation-enabled": "until=2099-12-31 owner=me reason=test"});
    let mut keys: Vec<Value> = (0..).zip(enabled).map(|(n, enabled)| key(n, enabled)).collect();
    if let Some(exempt) = keys.get_mut(3) {
        exempt["tags"] = exemption;
    }
    keys.into()
}

fn home(enabled: [bool; 4]) -> Value {
    json!({"tables": [TABLE], "page_size": 2, "table_page_size": 2, "keys": keys(enabled)})
}

fn elsewhere(enabled: [bool; 4]) -> Value {
    let account = json!({"regions": {"eu-west-1": {"keys": keys(enabled)}}});
    json!({"tables": [TABLE], "accounts": {"222222222222": account}})
}

const BEFORE: [bool; 4] = [false, false, true, false];
/// Key 1 is in order again, key 2 no longer is.
const NOW: [bool; 4] = [false, true, false, false];

#[tokio::test]
async fn each_call_with_each_fault_ends_as_the_contract_says() {
    let at_home = Situation {
        binary: Path::new(BINARY),
        settings: &[],
        detail: json!({}),
        before: home(BEFORE),
        fleet: home(NOW),
    };
    let of_member = Situation {
        binary: Path::new(BINARY),
        settings: &[("MEMBER_ROLE_NAME", "kms-compliance/kms-compliance-read")],
        detail: json!({"target": {"account_id": "222222222222", "region": "eu-west-1"}}),
        before: elsewhere(BEFORE),
        fleet: elsewhere(NOW),
    };
    let (at_home, of_member) = (at_home.rehearse().await, of_member.rehearse().await);
    let matrix = Matrix::read(include_str!("fault_matrix.json"));
    matrix
        .check(async |cell| match cell.operation() {
            "AssumeRole" | "GetCallerIdentity" => of_member.run(cell, &[]).await,
            "ListResourceTags" => at_home.run(cell, &[id(3)]).await,
            _ => at_home.run(cell, &[id(1), id(2)]).await,
        })
        .await;
}
