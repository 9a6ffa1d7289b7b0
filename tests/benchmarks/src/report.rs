//! Medians of what was measured, as lines of a table.

use std::time::Duration;

use crate::contestant::Measured;

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
fn middle<T: Ord + Default>(figures: impl Iterator<Item = T>) -> T {
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
