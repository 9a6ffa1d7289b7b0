//! Each call of the function with each fault: `fault_matrix.json` says what comes of it.

use std::path::Path;

use serde_json::{Value, json};
use simulated_fleet::fault_matrix::Matrix;
use simulated_fleet::fault_matrix::checks::Situation;
use simulated_fleet::generated_key_id as id;
use simulated_fleet::harness::{TABLE, days_from_now, numbered_key};

const BINARY: &str = env!("CARGO_BIN_EXE_key-age-checker");

/// When each key was rotated last, in days before today: it is an old key.
fn key(n: u32, rotated: i64) -> Value {
    let rotations: Vec<Value> =
        [0, 100, 200].map(|more| json!({"date": days_from_now(-rotated - more), "type": "ON_DEMAND"})).into();
    let facts =
        json!({"aliases": [format!("alias/key-{n}")], "creation_date": days_from_now(-2_000), "rotations": rotations});
    numbered_key(n, facts)
}

/// Key 3 is exempt, of which the ledger knows.
fn keys(rotated: [i64; 4]) -> Value {
    let exemption = json!({"kms-compliance/exempt/key-material-age": "until=2099-12-31 owner=me reason=test"});
    let mut keys: Vec<Value> = (0..).zip(rotated).map(|(n, rotated)| key(n, rotated)).collect();
    if let Some(exempt) = keys.get_mut(3) {
        exempt["tags"] = exemption;
    }
    keys.into()
}

fn home(rotated: [i64; 4]) -> Value {
    json!({"tables": [TABLE], "page_size": 2, "table_page_size": 2, "keys": keys(rotated)})
}

fn elsewhere(rotated: [i64; 4]) -> Value {
    let account = json!({"regions": {"eu-west-1": {"keys": keys(rotated)}}});
    json!({"tables": [TABLE], "accounts": {"222222222222": account}})
}

const BEFORE: [i64; 4] = [500, 500, 10, 500];
/// Key 1 is in order again, key 2 no longer is.
const NOW: [i64; 4] = [500, 10, 500, 500];

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
