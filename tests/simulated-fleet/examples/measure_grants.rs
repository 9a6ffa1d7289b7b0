//! Runs access-checker's binary, day after day, against a fleet of keys with many grants, and prints what each run took and how
//! many keys' grants it reached.
//!
//! ```sh
//! cargo build --release -p access-checker
//! cargo run --release -p simulated-fleet --example measure_grants -- target/release/access-checker 10000 20
//! ```
//!
//! 20 ms latency, AWS's quotas, the default share of them, 15 minutes a run.

use std::time::Duration;

use serde_json::json;
use simulated_fleet::Invocation;
use simulated_fleet::harness::{ok, start};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, clippy::indexing_slicing, reason = "a command that prints a table")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let binary = arguments.next().unwrap_or_else(|| "target/release/access-checker".to_owned());
    let mut number = |default: u32| arguments.next().and_then(|it| it.parse().ok()).unwrap_or(default);
    let (keys, grants, minutes) = (number(10_000), number(20), number(15));
    let fleet = json!({"latency_ms": 20, "quotas": true, "keys": [{"count": keys, "grants": [{"count": grants}]}]});
    let (fleet, function) = start(&binary, fleet, &[]);
    println!(
        "{:>8}  {:>8}  {:>9}  {:>10}  {:>9}  {:>8}",
        "keys", "calls", "seconds", "grants of", "throttled", "peak MiB"
    );
    let deadline = Duration::from_mins(minutes.into());
    let outcome = function.invoke_with(&json!({}), Invocation { deadline, ..Invocation::default() }).await;
    let seconds = outcome.elapsed.as_secs_f64();
    let response = ok(outcome);
    let calls = fleet.calls();
    let sent: u64 = calls.values().sum();
    let reached = &response["controls"]["foreign-grant"]["COMPLIANT"];
    let needed = u64::from(keys) * 3 + u64::from(keys).div_ceil(1_000);
    let peak = function.peak_memory_kib().unwrap_or_default() / 1_024;
    println!("{keys:>8}  {sent:>8}  {seconds:>9.1}  {reached:>10}  {:>9}  {peak:>8}", sent.saturating_sub(needed));
}
