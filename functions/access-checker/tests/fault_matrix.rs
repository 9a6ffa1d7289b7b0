//! Each call of the function with each fault: `fault_matrix.json` says what comes of it.

use std::path::Path;

use serde_json::{Value, json};
use simulated_fleet::fault_matrix::Matrix;
use simulated_fleet::fault_matrix::checks::Situation;
use simulated_fleet::generated_key_id as id;
use simulated_fleet::harness::{TABLE, numbered_key};

const BINARY: &str = env!("CARGO_BIN_EXE_access-checker");
const FOREIGN: &str = "arn:aws:iam::333333333333:role/x";

/// Who uses a key by its policy, who by a grant beside the account's own, and who owns it by its tags.
fn key(n: u32, [by_policy, by_grant, owner]: [&str; 3]) -> Value {
    let statement = |sid: &str, principal: &str, action: &str| json!({"Sid": sid, "Effect": "Allow", "Principal": {"AWS": principal}, "Action": action, "Resource": "*"});
    let own = "arn:aws:iam::123456789012:role/own";
    let policy = json!({"Version": "2012-10-17", "Statement": [
        statement("Root", "arn:aws:iam::123456789012:root", "kms:*"),
        statement("Use", by_policy, "kms:Decrypt"),
    ]});
    let grants = json!([{"grantee": own, "count": 3}, {"grantee": by_grant}]);
    let tags = json!({"a": "1", "b": "2", "c": "3", "owner": owner});
    numbered_key(n, json!({"aliases": [format!("alias/key-{n}")], "policy": policy, "grants": grants, "tags": tags}))
}

const GOOD: [&str; 3] = ["arn:aws:iam::123456789012:role/app", "arn:aws:iam::123456789012:role/app", "me"];
const BAD: [&str; 3] = [FOREIGN, FOREIGN, "nobody"];

fn home(keys: [[&str; 3]; 3]) -> Value {
    let keys: Vec<Value> = (0..).zip(keys).map(|(n, facts)| key(n, facts)).collect();
    json!({"tables": [TABLE], "page_size": 2, "table_page_size": 2, "keys": keys})
}

/// There the account's own root is another's: what is in order here is a finding as well.
fn elsewhere(keys: [[&str; 3]; 3]) -> Value {
    let keys: Vec<Value> = (0..).zip(keys).map(|(n, facts)| key(n, facts)).collect();
    json!({"tables": [TABLE], "accounts": {"222222222222": {"regions": {"eu-west-1": {"keys": keys}}}}})
}

const BEFORE: [[&str; 3]; 3] = [BAD, BAD, GOOD];
/// Key 1 is in order again, key 2 no longer is.
const NOW: [[&str; 3]; 3] = [BAD, GOOD, BAD];

/// The account's grants are asked for at the whole of their quota.
const SETTINGS: [(&str, &str); 4] = [
    ("REQUIRED_TAGS", "owner=me"),
    ("KMS_QUOTA_SHARE", "1"),
    ("TRUSTED_ACCOUNTS", "123456789012"),
    ("MEMBER_ROLE_NAME", "kms-compliance/kms-compliance-read"),
];

#[tokio::test]
async fn each_call_with_each_fault_ends_as_the_contract_says() {
    let at_home = Situation {
        binary: Path::new(BINARY),
        settings: &SETTINGS,
        detail: json!({}),
        before: home(BEFORE),
        fleet: home(NOW),
    };
    let of_member = Situation {
        binary: Path::new(BINARY),
        settings: &SETTINGS,
        detail: json!({"target": {"account_id": "222222222222", "region": "eu-west-1"}}),
        before: elsewhere(BEFORE),
        fleet: elsewhere(NOW),
    };
    let (at_home, of_member) = (at_home.rehearse().await, of_member.rehearse().await);
    let matrix = Matrix::read(include_str!("fault_matrix.json"));
    matrix
        .check(async |cell| match cell.operation() {
            "AssumeRole" | "GetCallerIdentity" => of_member.run(cell, &[]).await,
            _ => at_home.run(cell, &[id(1), id(2)]).await,
        })
        .await;
}
