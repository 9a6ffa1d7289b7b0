//! Scores 10,000 series of 28 days of hourly counts, as a daily run does, and prints time and memory.
//!
//! ```sh
//! cargo run --release -p usage-anomaly-scorer --example measure_scoring
//! ```
//!
//! The scoring alone: the series are made beforehand, a quarter of each kind of usage, and one is scored after another.

#![expect(clippy::print_stdout, reason = "a command that prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "a command that measures time")]

use std::time::Instant;

use simulated_usage::{Usage, key};
use usage_anomaly_scorer::score::{UNUSUAL, score_counts};

const SERIES: usize = 10_000;
const DAYS: usize = 28;
const DAY: i64 = 86_400;

fn main() {
    // A hundred of each usage, over and over: making them takes longer than scoring them.
    let made: Vec<(i64, Vec<(i64, f64)>)> = (0..100)
        .flat_map(|seed| Usage::ALL.map(|usage| key(seed, usage, DAYS, None)))
        .filter_map(|key| {
            let counts = &key.series.first()?.counts;
            // CloudWatch has no point for an hour without requests.
            let hours = (0..).map(|hour| key.start + hour * 3_600);
            Some((key.start, hours.zip(counts.iter().copied()).filter(|(_, count)| *count > 0.0).collect()))
        })
        .collect();
    let before = peak_kib();
    let begun = Instant::now();
    let mut findings = 0;
    for (start, points) in made.iter().cycle().take(SERIES) {
        let hours = score_counts(points, *start, start + 28 * DAY).unwrap_or_default();
        findings += usize::from(hours.iter().any(|hour| hour.score.score >= UNUSUAL));
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{SERIES} series × {DAYS} days of hourly counts: {seconds:.1} s, {findings} findings");
    if let (Some(before), Some(after)) = (before, peak_kib()) {
        println!("peak memory {after} KiB, {} KiB of it for the scoring", after - before);
    }
}

/// The most memory that the process ever held, where the system tells.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().trim_end_matches(" kB").parse().ok()
}
