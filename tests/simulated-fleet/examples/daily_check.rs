//! Runs all functions at once against one fleet that keeps to AWS's quotas, and prints for each operation the busiest second
//! beside the share of the quota that the whole daily check may use.
//!
//! ```sh
//! cargo build --bins
//! cargo run -p simulated-fleet --example daily_check -- target/debug
//! ```

use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use simulated_fleet::harness::{TOPIC, days_from_now, describe, ok};
use simulated_fleet::{Fleet, FunctionProcess, Invocation};

const FUNCTIONS: [&str; 5] =
    ["access-checker", "health-prober", "key-age-checker", "rotation-checker", "usage-anomaly-scorer"];

/// Operations that the check makes for many keys, with their default quotas, in requests per second.
const QUOTAS: [(&str, f64); 8] = [
    ("DescribeKey", 2_000.0),
    ("GetKeyPolicy", 1_000.0),
    ("GetKeyRotationStatus", 1_000.0),
    ("ListGrants", 100.0),
    ("ListKeyRotations", 100.0),
    ("ListKeys", 500.0),
    ("ListResourceTags", 2_000.0),
    ("GetKeyLastUsage", 5.0),
];

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::indexing_slicing, clippy::print_stdout, clippy::unwrap_used, reason = "a command that prints a table")]
async fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "target/debug".to_owned()));
    let rotation = json!({"enabled": true, "period_in_days": 365, "next_rotation_date": days_from_now(30)});
    let fleet = Fleet::serve(describe(json!({"latency_ms": 20, "quotas": true, "keys": [
        {"count": 1_500, "creation_date": days_from_now(-800), "rotation": rotation, "grants": [{"count": 3}],
         "tags": {"kms-compliance/probe": "true"}, "last_usage": {"operation": "Decrypt", "timestamp": days_from_now(-3)}},
    ]})))
    .unwrap();
    let functions: Vec<FunctionProcess> = FUNCTIONS
        .iter()
        .map(|name| FunctionProcess::start(folder.join(name), &fleet, &[("SNS_TOPIC_ARN", TOPIC)]).unwrap())
        .collect();
    let deadline = Duration::from_mins(2);
    let runs = functions.iter().map(|it| async move {
        ok(it.invoke_with(&json!({}), Invocation { deadline, ..Invocation::default() }).await)
    });
    for (name, response) in FUNCTIONS.iter().zip(join_all(runs).await) {
        println!("{name}: complete {}, keys {}", response["complete"], response["keys_listed"]);
    }
    println!("{:>22}  {:>8}  {:>14}  {:>6}", "operation", "calls", "busiest second", "share");
    let calls = fleet.calls();
    for (operation, quota) in QUOTAS {
        let busiest = fleet.peak_rate(operation);
        println!("{operation:>22}  {:>8}  {busiest:>14}  {:>6}", calls.get(operation).unwrap_or(&0), quota / 2.0);
    }
}
