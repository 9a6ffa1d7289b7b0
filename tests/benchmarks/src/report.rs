//! What was measured, as lines of a table.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::contestant::Measured;

/// The medians of a contestant's runs under the same conditions.
#[derive(Clone, Debug)]
pub struct Row {
    /// Keys of the fleet.
    pub keys: u32,
    /// How long KMS took for an answer, in milliseconds.
    pub latency_ms: u64,
    /// What the table calls the contestant.
    pub contestant: String,
    /// How often it ran.
    pub runs: usize,
    /// The medians, each figure by itself.
    pub measured: Measured,
}

/// The head of a table of rows.
pub const HEADER: &str = "\
| keys | latency, ms | contestant | runs | wall, s | CPU, s | CPU a call, µs | peak memory, MiB | calls | throttled |\n\
|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|\n";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, latency_ms, contestant, runs, measured } = self;
        let (wall, cpu) = (seconds(measured.wall), seconds(measured.cpu));
        let (cpu_a_call, memory) = (cpu_per_call(measured), mebibytes(measured.peak_memory_kib));
        let Measured { calls, throttled, .. } = measured;
        writeln!(
            f,
            "| {keys} | {latency_ms} | {contestant} | {runs} | {wall} | {cpu} | {cpu_a_call} | {memory} | {calls} | {throttled} |"
        )
    }
}

/// A table of rows.
pub fn table(rows: &[Row]) -> String {
    rows.iter().fold(HEADER.to_owned(), |mut table, row| {
        // Writing to a string does not fail.
        let _ = write!(table, "{row}");
        table
    })
}

/// The medians of several runs, each figure by itself.
///
/// Of no run, all figures are 0.
pub fn median(runs: &[Measured]) -> Measured {
    Measured {
        wall: middle(runs.iter().map(|run| run.wall)),
        cpu: middle(runs.iter().map(|run| run.cpu)),
        peak_memory_kib: middle(runs.iter().map(|run| run.peak_memory_kib)),
        calls: middle(runs.iter().map(|run| run.calls)),
        throttled: middle(runs.iter().map(|run| run.throttled)),
    }
}

/// The upper one of the two in the middle.
pub fn middle<T: Ord + Default>(figures: impl Iterator<Item = T>) -> T {
    let mut figures = figures.collect::<Vec<_>>();
    figures.sort();
    let middle = figures.len() / 2;
    figures.into_iter().nth(middle).unwrap_or_default()
}

/// CPU time for each request, in microseconds.
pub fn cpu_per_call(measured: &Measured) -> u64 {
    let cpu = u64::try_from(measured.cpu.as_micros()).unwrap_or(u64::MAX);
    cpu.checked_div(measured.calls).unwrap_or_default()
}

/// Seconds, as a table shows them.
pub fn seconds(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64())
}

/// Milliseconds, as a table shows them.
pub fn milliseconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e3)
}

/// Mebibytes, as a table shows them.
pub fn mebibytes(kibibytes: u64) -> String {
    let tenths = kibibytes.saturating_mul(10).div_ceil(1_024);
    format!("{}.{}", tenths / 10, tenths % 10)
}
