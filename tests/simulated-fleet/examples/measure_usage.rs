//! Runs usage-anomaly-scorer's binary against a simulated CloudWatch with hourly values of 28 days, and of the two that are
//! read besides, and prints what each run took: CPU time and memory of the function's process alone, each run in a new one.
//!
//! ```sh
//! cargo build --release -p usage-anomaly-scorer
//! cargo run --release -p simulated-fleet --example measure_usage -- target/release/usage-anomaly-scorer
//! ```
//!
//! Five operations a key, all used every hour; one key in a hundred has a burst in the last night. 20 ms latency; all of
//! KMS's and CloudWatch's quotas, or the share of them that a further argument gives. The price is CloudWatch's for a
//! day's run: $0.01 for 1,000 metrics that `GetMetricData` is asked for, and for 1,000 calls of `ListMetrics` (us-east-1).

#![expect(clippy::indexing_slicing, reason = "a command, not the product")]

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use simulated_fleet::harness::{TOPIC, describe, fleet_of, ok};
use simulated_fleet::{Fleet, FunctionProcess, Invocation};

const OPERATIONS: [&str; 5] = ["Decrypt", "Encrypt", "GenerateDataKey", "Sign", "Verify"];
const HOURS: u32 = 30 * 24;
const DOLLARS_A_METRIC: f64 = 0.01 / 1_000.0;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, clippy::unwrap_used, reason = "a command that prints a table")]
async fn main() {
    let binary = std::env::args_os().nth(1).unwrap_or_else(|| "target/release/usage-anomaly-scorer".into());
    let share = std::env::args().nth(2).unwrap_or_else(|| "1".to_owned());
    println!(
        "{:>6}  {:>7}  {:>11}  {:>13}  {:>8}  {:>7}  {:>6}  {:>8}  {:>16}",
        "keys",
        "series",
        "ListMetrics",
        "GetMetricData",
        "findings",
        "seconds",
        "CPU s",
        "peak MiB",
        "$ per 1,000 keys"
    );
    for keys in [20, 200, 1_000, 2_000] {
        let fleet = Fleet::serve(describe(fleet(keys))).unwrap();
        let function = FunctionProcess::start(
            &binary,
            &fleet,
            &[("SNS_TOPIC_ARN", TOPIC), ("KMS_QUOTA_SHARE", &share), ("KMS_QUOTA_CALLERS", "1")],
        )
        .unwrap();
        let deadline = Duration::from_mins(15);
        let outcome = function.invoke_with(&json!({}), Invocation { deadline, ..Invocation::default() }).await;
        let seconds = outcome.elapsed.as_secs_f64();
        let (cpu, peak) = (function.cpu_time().unwrap_or_default(), function.peak_memory_kib().unwrap_or_default());
        let (cpu, peak) = (cpu.as_secs_f64(), peak / 1_024);
        let response = ok(outcome);
        let findings = response["controls"]["usage-anomaly"]["NON_COMPLIANT"].as_u64().unwrap();
        let calls = fleet.calls();
        let (listings, readings, series) = (calls["ListMetrics"], calls["GetMetricData"], keys * 5);
        let listed = f64::from(u32::try_from(listings).unwrap());
        let dollars = (f64::from(series) + listed) * DOLLARS_A_METRIC / f64::from(keys) * 1_000.0;
        println!(
            "{keys:>6}  {series:>7}  {listings:>11}  {readings:>13}  {findings:>8}  {seconds:>7.1}  {cpu:>6.2}  {peak:>8}  {dollars:>16.4}"
        );
    }
}

fn fleet(keys: u32) -> Value {
    let day: Vec<u32> = (0..24).map(|hour| if (8..18).contains(&hour) { 1_000 } else { 100 }).collect();
    let usage = |at: Value| -> Value {
        let series = json!({"start": start(), "repeat": day, "hours": HOURS + 2, "jitter": 0.1, "at": at});
        OPERATIONS.map(|operation| (operation.to_owned(), series.clone())).into_iter().collect()
    };
    let bursts = keys.div_ceil(100);
    let mut fleet = fleet_of(json!([
        {"count": keys - bursts, "usage": usage(json!({}))},
        {"count": bursts, "usage": usage(json!({"716": 48_210}))},
    ]));
    fleet["latency_ms"] = json!(20);
    fleet
}

#[expect(clippy::disallowed_methods, reason = "the binary that is measured reads the real clock")]
fn start() -> String {
    let hour = Timestamp::now().as_second().div_euclid(3600) * 3600;
    let hour = Timestamp::from_second(hour).unwrap_or(Timestamp::UNIX_EPOCH);
    (hour - SignedDuration::from_hours(i64::from(HOURS))).to_string()
}
