//! Runs a function's binary against simulated fleets of growing size and prints what each run took.
//!
//! ```sh
//! cargo build --release -p rotation-checker
//! cargo run --release -p simulated-fleet --example measure -- target/release/rotation-checker
//! ```
//!
//! Half of the keys are healthy and old enough to be asked about, half are asymmetric; 20 ms latency; the whole quota.

use std::time::Duration;

use serde_json::json;
use simulated_fleet::harness::{days_from_now, ok, start};
use simulated_fleet::{FunctionProcess, Invocation};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "a command that prints a table")]
async fn main() {
    let binary = std::env::args_os().nth(1).unwrap_or_else(|| "target/release/rotation-checker".into());
    println!("{:>8}  {:>8}  {:>9}  {:>8}", "keys", "calls", "seconds", "peak MiB");
    for keys in [10, 1_000, 10_000, 50_000] {
        let (fleet, function) = start(&binary, fleet(keys), &[("KMS_QUOTA_SHARE", "1"), ("KMS_QUOTA_CALLERS", "1")]);
        let (seconds, peak) = run(&function).await;
        let calls: u64 = fleet.calls().values().sum();
        println!("{keys:>8}  {calls:>8}  {seconds:>9.1}  {peak:>8}");
    }
}

fn fleet(keys: u32) -> serde_json::Value {
    let rotation = json!({"enabled": true, "period_in_days": 365, "next_rotation_date": days_from_now(30)});
    let rotated = json!([{"date": days_from_now(-30), "type": "AUTOMATIC"}]);
    json!({"latency_ms": 20, "keys": [
        {"count": keys / 2, "creation_date": days_from_now(-800), "rotation": rotation, "rotations": rotated},
        {"count": keys / 2, "key_spec": "RSA_2048", "key_usage": "SIGN_VERIFY", "creation_date": days_from_now(-10)},
    ]})
}

async fn run(function: &FunctionProcess) -> (f64, u64) {
    let deadline = Duration::from_mins(15);
    let outcome = function.invoke_with(&json!({}), Invocation { deadline, ..Invocation::default() }).await;
    let seconds = outcome.elapsed.as_secs_f64();
    assert!(ok(outcome).is_object());
    (seconds, function.peak_memory_kib().unwrap_or_default() / 1_024)
}
