//! Runs a function's binary against a simulated fleet of which every key has a finding, over the days of a ledger, and
//! prints what each run took: CPU time and memory of the function's process alone, each run in a new one.
//!
//! ```sh
//! cargo build --release -p rotation-checker
//! cargo run --release -p simulated-fleet --example measure_ledger -- target/release/rotation-checker 20000
//! ```

use std::time::Duration;

use serde_json::{Value, json};
use simulated_fleet::harness::{TOPIC, WITH_LEDGER, describe, fleet_of, ok};
use simulated_fleet::{Fleet, FunctionProcess, Invocation};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::indexing_slicing, clippy::print_stdout, clippy::unwrap_used, reason = "a command that prints a table")]
async fn main() {
    let binary = std::env::args_os().nth(1).unwrap_or_else(|| "target/release/rotation-checker".into());
    let keys: u32 = std::env::args().nth(2).map_or(20_000, |keys| keys.parse().unwrap());
    let healthy = || fleet_of(json!([{"count": keys, "rotation": {"enabled": true}}]));
    let broken = || fleet_of(json!([{"count": keys}]));
    let denied = json!([{"count": keys, "faults": {"GetKeyRotationStatus": "denied"}}]);
    let fleet = Fleet::serve(describe(healthy())).unwrap();
    println!("                       run     told  written    calls  seconds   CPU s  peak MiB");
    for (name, keys, ledger) in [
        ("healthy, no ledger", healthy(), None),
        ("healthy, empty ledger", healthy(), Some(WITH_LEDGER)),
        ("all broken, no ledger", broken(), None),
        ("all broken, all new", broken(), Some(WITH_LEDGER)),
        ("all broken, unchanged", broken(), Some(WITH_LEDGER)),
        ("healthy, all resolved", healthy(), Some(WITH_LEDGER)),
        ("denied, three new a key", fleet_of(denied), Some(WITH_LEDGER)),
        ("healthy, all resolved", healthy(), Some(WITH_LEDGER)),
    ] {
        fleet.replace(describe(keys)).unwrap();
        fleet.clear_calls();
        fleet.clear_writes();
        let settings: Vec<_> = [("SNS_TOPIC_ARN", TOPIC), ("KMS_QUOTA_SHARE", "1"), ("KMS_QUOTA_CALLERS", "1")]
            .into_iter()
            .chain(ledger)
            .collect();
        let function = FunctionProcess::start(&binary, &fleet, &settings).unwrap();
        let deadline = Duration::from_mins(15);
        let outcome = function.invoke_with(&json!({}), Invocation { deadline, ..Invocation::default() }).await;
        let seconds = outcome.elapsed.as_secs_f64();
        let (cpu, peak) = (function.cpu_time().unwrap_or_default(), function.peak_memory_kib().unwrap_or_default());
        let told: u64 = counts(&ok(outcome)["alerts"]);
        let (written, calls) = (fleet.writes().len(), fleet.calls().values().sum::<u64>());
        let (cpu, peak) = (cpu.as_secs_f64(), peak / 1_024);
        println!("{name:>26}  {told:>7}  {written:>7}  {calls:>7}  {seconds:>7.1}  {cpu:>6.2}  {peak:>8}");
    }
}

fn counts(alerts: &Value) -> u64 {
    ["new", "worsened", "resolved", "reminder"].iter().filter_map(|change| alerts[change].as_u64()).sum()
}
