//! Each call of the function with each fault: `fault_matrix.json` says what comes of it.

#![expect(clippy::unwrap_used, reason = "a test binary")]

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use simulated_fleet::fault_matrix::Matrix;
use simulated_fleet::fault_matrix::checks::Situation;
use simulated_fleet::generated_key_id as id;
use simulated_fleet::harness::{TABLE, days_from_now, numbered_key};

const BINARY: &str = env!("CARGO_BIN_EXE_usage-anomaly-scorer");

/// The baseline, the day that is judged, and one before the baseline.
const HOURS: i64 = 30 * 24;

/// The beginning of the hour that began so long ago.
#[expect(clippy::disallowed_methods, reason = "the binary under test reads the real clock")]
fn hours_ago(hours: i64) -> Timestamp {
    let hour = Timestamp::now().as_second().div_euclid(3600) * 3600;
    Timestamp::from_second(hour).unwrap() - SignedDuration::from_hours(hours)
}

/// A hundred requests an hour, and so many four hours ago; two hours more, in case the hour ends during the test.
fn usage(lately: u32) -> Value {
    json!({
        "start": hours_ago(HOURS).to_string(), "repeat": [100], "hours": HOURS + 2, "jitter": 0.1,
        "at": {"716": lately}
    })
}

/// Three keys that are used as usual or, where `wrong`, with a burst; and three that are seldom used or not at all.
fn keys(wrong: [bool; 3]) -> Value {
    let old = days_from_now(-400);
    let busy = (0..).zip(wrong).map(|(n, wrong)| {
        let usage = usage(if wrong { 50_000 } else { 100 });
        let last = json!({"operation": "Encrypt", "timestamp": days_from_now(0)});
        numbered_key(
            n,
            json!({"aliases": [format!("alias/key-{n}")], "creation_date": old, "last_usage": last, "usage": {"Encrypt": usage}}),
        )
    });
    let idle = (3..).zip(wrong).map(|(n, wrong)| {
        let last = json!({"operation": "Decrypt", "timestamp": days_from_now(if wrong { -100 } else { -20 })});
        numbered_key(n, json!({"aliases": [format!("alias/key-{n}")], "creation_date": old, "last_usage": last}))
    });
    busy.chain(idle).collect::<Vec<_>>().into()
}

fn home(wrong: [bool; 3]) -> Value {
    json!({"tables": [TABLE], "page_size": 2, "table_page_size": 2, "keys": keys(wrong)})
}

fn elsewhere(wrong: [bool; 3]) -> Value {
    let account = json!({"regions": {"eu-west-1": {"keys": keys(wrong)}}});
    json!({"tables": [TABLE], "accounts": {"222222222222": account}})
}

const BEFORE: [bool; 3] = [true, true, false];
/// One of each is in order again, one no longer is.
const NOW: [bool; 3] = [true, false, true];

/// `GetKeyLastUsage` is asked for at the whole of its quota.
const SETTINGS: [(&str, &str); 2] =
    [("KMS_QUOTA_SHARE", "1"), ("MEMBER_ROLE_NAME", "kms-compliance/kms-compliance-read")];

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
            "GetKeyLastUsage" | "ListResourceTags" => at_home.run(cell, &[id(4), id(5)]).await,
            _ => at_home.run(cell, &[id(1), id(2)]).await,
        })
        .await;
}
