//! Scans simulated fleets from the terminal, and prints what each scan took: time, CPU, memory and calls.
//!
//! ```sh
//! cargo build --release -p kms-compliance
//! cargo run --release -p simulated-fleet --example measure_scan -- target/release/kms-compliance [PROWLER]
//! ```
//!
//! 20 ms of latency, AWS's default quotas enforced. A third of the keys is older than policy allows and needs its rotations
//! listed, a third is young and rotated, a third is asymmetric. With the path of a Prowler, its checks of KMS run over the same
//! fleet: it is started with the fleet's address as `AWS_ENDPOINT_URL`.

use std::ffi::OsString;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use simulated_fleet::Fleet;
use simulated_fleet::harness::{days_from_now, describe};

const SIZES: [u32; 2] = [1_000, 10_000];

#[expect(clippy::print_stdout, clippy::unwrap_used, reason = "a command that prints a table")]
fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let scan = arguments.next().unwrap_or_else(|| "target/release/kms-compliance".into());
    let prowler = arguments.next();
    println!(
        "{:>7}  {:<26}  {:>4}  {:>8}  {:>7}  {:>6}  {:>8}",
        "keys", "what", "exit", "calls", "seconds", "CPU s", "peak MiB"
    );
    let words = |text: &str| text.split_whitespace().map(OsString::from).collect::<Vec<_>>();
    let page = std::env::temp_dir().join("measure-scan.html");
    let mut runs = vec![
        ("scan", scan.clone(), words("scan --quiet")),
        ("scan --quota-share 1", scan.clone(), words("scan --quiet --quota-share 1")),
        ("scan --max-time 1h", scan.clone(), words("scan --quiet --max-time 1h")),
        (
            "scan --output page.html",
            scan,
            [words("scan --quiet --quota-share 1 --output"), vec![page.clone().into()]].concat(),
        ),
    ];
    if let Some(prowler) = prowler {
        let folder = std::env::temp_dir().join("measure-scan-prowler");
        let arguments =
            words("aws --services kms --region us-east-1 --no-banner --ignore-exit-code-3 --output-directory");
        runs.push(("prowler --services kms", prowler, [arguments, vec![folder.into()]].concat()));
    }
    for keys in SIZES {
        for (what, program, arguments) in &runs {
            let fleet = Fleet::serve(describe(fleet(keys))).unwrap();
            let mut command = Command::new(program);
            command
                .args(arguments)
                .env("AWS_ENDPOINT_URL", fleet.endpoint())
                .env("AWS_REGION", "us-east-1")
                .env("AWS_DEFAULT_REGION", "us-east-1")
                .env("AWS_ACCESS_KEY_ID", "simulated")
                .env("AWS_SECRET_ACCESS_KEY", "simulated")
                .stdout(Stdio::null());
            let start = clock();
            let (status, cpu, peak) = watch(command.spawn().unwrap());
            let seconds = start.elapsed().as_secs_f64();
            let calls: u64 = fleet.calls().values().sum();
            println!("{keys:>7}  {what:<26}  {status:>4}  {calls:>8}  {seconds:>7.1}  {cpu:>6.1}  {peak:>8}");
        }
    }
    let _ = std::fs::remove_file(page);
}

fn fleet(keys: u32) -> Value {
    let rotation = json!({"enabled": true, "period_in_days": 365, "next_rotation_date": days_from_now(30)});
    let rotated = json!([{"date": days_from_now(-30), "type": "AUTOMATIC"}]);
    let used = json!({"operation": "Decrypt", "timestamp": days_from_now(-3)});
    let third = keys / 3;
    json!({"latency_ms": 20, "quotas": true, "keys": [
        {"count": third, "creation_date": days_from_now(-800), "rotation": rotation, "rotations": rotated, "last_usage": used},
        {"count": third, "creation_date": days_from_now(-20), "rotation": rotation, "last_usage": used},
        {"count": keys - 2 * third, "key_spec": "RSA_2048", "key_usage": "SIGN_VERIFY", "creation_date": days_from_now(-20),
         "last_usage": used},
    ]})
}

/// Waits for the end of a process: what it ended with, its CPU time in seconds and its peak memory in MiB.
fn watch(mut child: Child) -> (i32, f64, u64) {
    let (mut cpu, mut peak) = (0.0, 0);
    loop {
        let of_process =
            |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap_or_default();
        let status = of_process("status");
        let high_water = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = high_water.and_then(|it| it.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(peak);
        let stat = of_process("stat");
        // `utime` and `stime`, in hundredths, behind a name in brackets that may hold anything.
        let ticks =
            stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(11).take(2).map(str::parse::<u32>));
        if let Some(Ok(ticks)) = ticks.map(Iterator::sum::<Result<u32, _>>) {
            cpu = f64::from(ticks) / 100.0;
        }
        if let Ok(Some(status)) = child.try_wait() {
            return (status.code().unwrap_or(-1), cpu, peak / 1_024);
        }
        sleep(Duration::from_millis(20));
    }
}

#[expect(clippy::disallowed_methods, reason = "a command that measures")]
fn clock() -> Instant {
    Instant::now()
}
