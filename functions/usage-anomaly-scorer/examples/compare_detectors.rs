//! Finds incidents in simulated usage with the score and with simpler rules, and prints the table of `docs/usage-anomaly.md`.
//!
//! ```sh
//! cargo run --release -p usage-anomaly-scorer --example compare_detectors
//! ```
//!
//! 200 keys × 42 days, ten seeds; a quarter of the keys of each kind of usage, every second key with one incident in the
//! last 12 days. A run at 06:00 UTC each of these days judges the 24 hours before it, with the 28 days before these (and
//! a day more, [`LEAD_SECONDS`]) as history.
//!
//! - **Found by the first run**: a run in whose 24 hours the incident begins reports an hour of the key from its begin on.
//! - **Found when six hours are seen**: that, or the next run does, if the first one saw less than six hours of it and
//!   it was not over.
//! - **A false finding** is a run that reports a key in whose 24 hours there was no incident. The same finding on the
//!   next day counts again.

#![expect(clippy::print_stdout, reason = "a command that prints a table")]
#![expect(
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "counts of a few thousand"
)]

use std::collections::BTreeMap;

use simulated_usage::{Incident, Key, Usage, key};
use usage_anomaly_scorer::score::{LEAD_SECONDS, UNUSUAL, score_counts};

const KEYS: u64 = 200;
const SEEDS: u64 = 10;
const DAYS: usize = 42;
/// Hours of history that a run is given, the ones that it judges included.
const GIVEN: usize = 28 * 24 + (LEAD_SECONDS / 3_600) as usize;
const RUN_AT: usize = 6;

/// Hours of an incident that a run should have seen.
const SEEN: usize = 6;

/// Which of the last 24 hours of a history are unusual.
type Detector = fn(&[f64], i64) -> Vec<bool>;

const DETECTORS: [(&str, Detector); 5] = [
    ("this score, from 0.9", by_score),
    ("over 1,000 requests in an hour", fixed),
    ("3 sigma", three_sigma),
    ("seasonal median ± 3 MAD", seasonal_median),
    ("band of 2 deviations (CloudWatch's kind)", band),
];

#[derive(Default)]
struct Tally {
    /// How many there were, how many the first run found, how many were found when six hours were seen.
    found: BTreeMap<(Incident, Usage), [u32; 3]>,
    false_findings: BTreeMap<Usage, u32>,
    clean_runs: BTreeMap<Usage, u32>,
}

fn main() {
    let mut tallies: Vec<Tally> = DETECTORS.iter().map(|_| Tally::default()).collect();
    for seed in 0..SEEDS {
        for number in 0..KEYS {
            let key = simulated(seed, number);
            for ((_, detector), tally) in DETECTORS.iter().zip(&mut tallies) {
                judge(&key, *detector, tally);
            }
        }
    }
    println!("| detector | found by the first run | found when six hours are seen | false findings per key and year |");
    println!("|---|---|---|---|");
    for ((name, _), tally) in DETECTORS.iter().zip(&tallies) {
        let rows = tally.found.values();
        let [all, first, found] = rows.fold([0; 3], |[a, b, c], row| [a + row[0], b + row[1], c + row[2]]);
        let years = f64::from(tally.clean_runs.values().sum::<u32>()) / 365.0;
        let findings: u32 = tally.false_findings.values().sum();
        let share = |part| 100.0 * f64::from(part) / f64::from(all);
        println!("| {name} | {:.1} % | {:.1} % | {:.2} |", share(first), share(found), f64::from(findings) / years);
    }
    let all: u32 = tallies.first().map_or(0, |tally| tally.found.values().map(|row| row[0]).sum());
    let runs: u32 = tallies.first().map_or(0, |tally| tally.clean_runs.values().sum());
    println!("\n{all} incidents, {:.0} key-years without one", f64::from(runs) / 365.0);
    for ((name, _), tally) in DETECTORS.iter().zip(&tallies) {
        println!("\n{name}");
        for ((incident, usage), [all, first, found]) in &tally.found {
            println!("  {incident:?} of {usage:?}: {first}, then {found} of {all}");
        }
        for (usage, runs) in &tally.clean_runs {
            let findings = tally.false_findings.get(usage).copied().unwrap_or(0);
            let yearly = 365.0 * f64::from(findings) / f64::from(*runs);
            println!("  {usage:?}: {findings} false findings, {yearly:.2} per key and year");
        }
    }
}

/// A quarter of the keys of each usage; every second one of them has an incident, the kinds in turn.
fn simulated(seed: u64, number: u64) -> Key {
    let usages = Usage::ALL.len() as u64;
    let usage = Usage::ALL.into_iter().cycle().nth((number % usages) as usize).unwrap_or(Usage::Sleeping);
    let turn = (number / usages) as usize;
    let incident = (turn % 2 == 1)
        .then(|| Incident::of(usage).iter().cycle().nth(turn / 2 + seed as usize).copied())
        .flatten()
        .map(|incident| (incident, GIVEN + RUN_AT - 24..DAYS * 24 - 24 + RUN_AT));
    key(seed * 10_000 + number, usage, DAYS, incident)
}

fn judge(key: &Key, detector: Detector, tally: &mut Tally) {
    let mut found = [false; 2];
    for until in (GIVEN + RUN_AT..=DAYS * 24).step_by(24) {
        let span = until - 24..until;
        let active = key.injected.filter(|incident| incident.begins < span.end && incident.ends > span.start);
        let mut reported = false;
        let mut hit = false;
        for series in &key.series {
            let Some(history) = series.counts.get(until - GIVEN..until) else { continue };
            let at = key.start + (until - GIVEN) as i64 * 3_600;
            for (hour, unusual) in span.clone().zip(detector(history, at)) {
                reported |= unusual;
                hit |= unusual && active.is_some_and(|incident| hour >= incident.begins);
            }
        }
        let Some(incident) = active else {
            *tally.clean_runs.entry(key.usage).or_default() += 1;
            *tally.false_findings.entry(key.usage).or_default() += u32::from(reported);
            continue;
        };
        let first = incident.begins >= span.start;
        let seen = span.end >= incident.ends.min(incident.begins + SEEN);
        let before = span.start >= incident.ends.min(incident.begins + SEEN);
        found[0] |= hit && first;
        found[1] |= hit && !before;
        if seen && !before {
            let row = tally.found.entry((incident.incident, key.usage)).or_default();
            row[0] += 1;
            row[1] += u32::from(found[0]);
            row[2] += u32::from(found[1]);
        }
    }
}

fn by_score(history: &[f64], from: i64) -> Vec<bool> {
    let points: Vec<(i64, f64)> = (0..).map(|i| from + i * 3_600).zip(history.iter().copied()).collect();
    let until = from + history.len() as i64 * 3_600;
    let hours = score_counts(&points, from, until).unwrap_or_default();
    hours.iter().map(|hour| hour.score.score >= UNUSUAL).collect()
}

fn split(history: &[f64]) -> (&[f64], &[f64]) {
    history.split_at(history.len() - 24)
}

fn fixed(history: &[f64], _: i64) -> Vec<bool> {
    split(history).1.iter().map(|&count| count > 1_000.0).collect()
}

fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
    (mean, variance.sqrt())
}

fn three_sigma(history: &[f64], _: i64) -> Vec<bool> {
    let (before, day) = split(history);
    let (mean, deviation) = mean_and_deviation(before);
    day.iter().map(|count| (count - mean).abs() > 3.0 * deviation).collect()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    values.get(middle).copied().unwrap_or(0.0)
}

/// Counts of the same hour, every `days`-th day back.
fn same_hour(before: &[f64], hour: usize, days: usize) -> Vec<f64> {
    let first = before.len() - 24 * days + hour;
    (0..=first / (24 * days)).filter_map(|i| before.get(first - 24 * days * i).copied()).collect()
}

/// The median of the same hour on earlier days, and three times the median deviation from it (as for the normal law).
fn seasonal_median(history: &[f64], _: i64) -> Vec<bool> {
    let (before, day) = split(history);
    day.iter()
        .enumerate()
        .map(|(hour, count)| {
            let mut same = same_hour(before, hour, 1);
            let middle = median(&mut same);
            let mut deviations: Vec<f64> = same.iter().map(|value| (value - middle).abs()).collect();
            (count - middle).abs() > 3.0 * 1.4826 * median(&mut deviations).max(1.0)
        })
        .collect()
}

/// The mean of the same hour and weekday of earlier weeks, and two deviations of what these means leave.
fn band(history: &[f64], _: i64) -> Vec<bool> {
    let (before, day) = split(history);
    let means: Vec<f64> = (0..7 * 24).map(|hour| mean_and_deviation(&every_week(before, hour)).0).collect();
    let residuals: Vec<f64> = before.iter().rev().zip(means.iter().cycle()).map(|(count, mean)| count - mean).collect();
    let (_, deviation) = mean_and_deviation(&residuals);
    // The hours that are judged come a week after those which lie 6 days and some hours before the end of `before`.
    day.iter()
        .enumerate()
        .map(|(hour, count)| {
            let expected = means.get(7 * 24 - 1 - hour).copied().unwrap_or(0.0);
            (count - expected).abs() > 2.0 * deviation
        })
        .collect()
}

/// Counts of every week, `back` hours before the end.
fn every_week(before: &[f64], back: usize) -> Vec<f64> {
    before.iter().rev().skip(back).step_by(7 * 24).copied().collect()
}
