//! Finds incidents in simulated usage with the score and with simpler rules, and prints the tables of
//! `docs/usage-anomaly.md`.
//!
//! ```sh
//! cargo run --release -p usage-anomaly-scorer --example compare_detectors -- setting    # or: held-out
//! ```
//!
//! 60 keys of each kind of usage × 42 days, of one half of the seeds and kinds; every second key has one incident in the last
//! 12 days. A run at 06:00 UTC each of these days judges the 24 hours before it, with the 28 days before these (and a day
//! more, [`LEAD_SECONDS`]) as history, as it sees them: late data is not there yet.
//!
//! - **Found**: a run up to the first one that has seen six hours of the incident, or all of it, reports an hour of the
//!   key from its begin on.
//! - **A false finding** is a run that reports a key in whose 24 hours there was no incident. The same finding on the
//!   next day counts again.
//!
//! Then calm series of five kinds are scored, to say how often they reach which score.

#![expect(clippy::print_stdout, reason = "a command that prints tables")]
#![expect(
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "counts of a few thousand"
)]

use std::collections::BTreeMap;

use simulated_usage::{Half, Incident, Key, Random, Upsets, Usage, key_with};
use usage_anomaly_scorer::score::{LEAD_SECONDS, UNUSUAL, score_counts};

const KEYS: u64 = 60;
const DAYS: usize = 42;
/// Hours of history that a run is given, the ones that it judges included.
const GIVEN: usize = 28 * 24 + (LEAD_SECONDS / 3_600) as usize;
const RUN_AT: usize = 6;

/// Hours of an incident that a run should have seen.
const SEEN: usize = 6;

/// The first use that is reported, in calls; what the product has as its default.
const FIRST_USE: f64 = 2.0;

const THRESHOLDS: [f64; 7] = [0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99];

/// Scores the last 24 hours of a history.
type Detector = fn(&[f64], i64) -> Vec<f64>;

const DETECTORS: [(&str, Detector); 3] =
    [("this score", by_score), ("28-day envelope", envelope), ("seasonal median ± 3 MAD", seasonal_median)];

/// What a run, or an incident's runs together, say.
struct Told {
    usage: Usage,
    score: f64,
    /// Calls of operations that were silent through the baseline.
    first_use: f64,
    incident: Option<(Incident, f64, bool)>,
}

impl Told {
    fn reaches(&self, threshold: f64, first_use: f64) -> bool {
        self.score >= threshold || self.first_use >= first_use
    }
}

fn main() {
    let half = if std::env::args().any(|it| it == "setting") { Half::Setting } else { Half::HeldOut };
    for upsets in [Upsets::Some, Upsets::None] {
        println!("\n## {half:?}, upsets of the record: {upsets:?}");
        let keys: Vec<Key> =
            half.usages().flat_map(|usage| (0..KEYS).map(move |n| simulated(half, usage, n, upsets))).collect();
        for (name, detector) in DETECTORS {
            let (incidents, clean) = judge_all(&keys, detector);
            println!(
                "\n{name}: {} incidents, {:.1} key-years without one\n",
                incidents.len(),
                clean.len() as f64 / 365.0
            );
            println!("| from | found | of the plain | false per key and year |\n|---|---|---|---|");
            for threshold in THRESHOLDS {
                print_row(&format!("{threshold}"), &incidents, &clean, threshold, FIRST_USE);
            }
            if name != DETECTORS[0].0 {
                continue;
            }
            println!("\n| first use from, calls | found | of the plain | false per key and year |\n|---|---|---|---|");
            for calls in [1.0, 2.0, 5.0, 10.0, 20.0, f64::INFINITY] {
                print_row(&format!("{calls}"), &incidents, &clean, UNUSUAL, calls);
            }
            by_kind(&incidents, &clean);
        }
    }
    calm();
}

fn print_row(name: &str, incidents: &[Told], clean: &[Told], threshold: f64, first_use: f64) {
    let share = |of: &mut dyn Iterator<Item = &Told>| {
        let (mut all, mut found) = (0_u32, 0_u32);
        for it in of {
            all += 1;
            found += u32::from(it.reaches(threshold, first_use));
        }
        100.0 * f64::from(found) / f64::from(all.max(1))
    };
    let all = share(&mut incidents.iter());
    let plain = share(&mut incidents.iter().filter(|it| it.incident.is_some_and(|(.., plain)| plain)));
    let yearly = 3.65 * share(&mut clean.iter());
    println!("| {name} | {all:.1} % | {plain:.1} % | {yearly:.2} |");
}

fn by_kind(incidents: &[Told], clean: &[Told]) {
    let mut kinds: BTreeMap<(Incident, usize), [u32; 2]> = BTreeMap::new();
    let mut usages: BTreeMap<Usage, [u32; 4]> = BTreeMap::new();
    for it in incidents {
        let Some((incident, strength, _)) = it.incident else { continue };
        let class = STRENGTHS.iter().filter(|limit| strength >= **limit).count();
        let found = u32::from(it.reaches(UNUSUAL, FIRST_USE));
        let kind = kinds.entry((incident, class)).or_default();
        *kind = [kind[0] + found, kind[1] + 1];
        let usage = usages.entry(it.usage).or_default();
        *usage = [usage[0] + found, usage[1] + 1, usage[2], usage[3]];
    }
    for it in clean {
        let usage = usages.entry(it.usage).or_default();
        *usage = [usage[0], usage[1], usage[2] + u32::from(it.reaches(UNUSUAL, FIRST_USE)), usage[3] + 1];
    }
    println!("\n| incident | under 1 | 1–3 | 3–10 | 10–30 | 30–100 | from 100 |\n|---|---|---|---|---|---|---|");
    for incident in Incident::ALL {
        let cells = (0..=STRENGTHS.len()).map(|class| match kinds.get(&(incident, class)) {
            Some([found, all]) => format!("{found} of {all}"),
            None => String::new(),
        });
        println!("| {incident:?} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    println!("\n| usage | found | false per key and year |\n|---|---|---|");
    for (usage, [found, all, wrong, runs]) in usages {
        println!("| {usage:?} | {found} of {all} | {:.2} |", 365.0 * f64::from(wrong) / f64::from(runs.max(1)));
    }
}

const STRENGTHS: [f64; 5] = [1.0, 3.0, 10.0, 30.0, 100.0];

/// Every second key has an incident, the kinds in turn.
fn simulated(half: Half, usage: Usage, number: u64, upsets: Upsets) -> Key {
    let incident = (number % 2 == 1)
        .then(|| Incident::of(usage).iter().cycle().nth(number as usize / 2).copied())
        .flatten()
        .map(|incident| (incident, GIVEN + RUN_AT - 24..DAYS * 24 - 24 + RUN_AT));
    key_with(half.seed(number + 1_000 * usage as u64), usage, DAYS, incident, upsets)
}

/// What is told of incidents, and of runs without one.
fn judge_all(keys: &[Key], detector: Detector) -> (Vec<Told>, Vec<Told>) {
    let (mut incidents, mut clean) = (Vec::new(), Vec::new());
    for key in keys {
        let mut of_incident = Told { usage: key.usage, score: 0.0, first_use: 0.0, incident: None };
        for until in (GIVEN + RUN_AT..=DAYS * 24).step_by(24) {
            let span = until - 24..until;
            let active = key.injected.filter(|incident| incident.begins < span.end && incident.ends > span.start);
            let since = active.map_or(0, |incident| incident.begins);
            let told = judge(key, until, since, detector);
            let Some(incident) = active else {
                clean.push(told);
                continue;
            };
            if of_incident.incident.is_some() {
                continue;
            }
            of_incident.score = of_incident.score.max(told.score);
            of_incident.first_use = of_incident.first_use.max(told.first_use);
            if span.end >= incident.ends.min(incident.begins + SEEN) {
                of_incident.incident = Some((incident.incident, incident.strength, incident.plain));
            }
        }
        if of_incident.incident.is_some() {
            incidents.push(of_incident);
        }
    }
    (incidents, clean)
}

/// What one run says of the hours from `since` on.
fn judge(key: &Key, until: usize, since: usize, detector: Detector) -> Told {
    let mut told = Told { usage: key.usage, score: 0.0, first_use: 0.0, incident: None };
    for series in &key.series {
        let history = key.seen_by_run(series, until - GIVEN, until);
        let (before, day) = split(&history);
        if before.iter().chain(day).all(|count| *count == 0.0) {
            continue;
        }
        if before.iter().all(|count| *count == 0.0) {
            told.first_use += day.iter().sum::<f64>();
        }
        let scores = detector(&history, key.start + (until - GIVEN) as i64 * 3_600);
        let counted = (until - 24..until).zip(scores).filter(|(hour, _)| *hour >= since);
        told.score = counted.map(|(_, score)| score).fold(told.score, f64::max);
    }
    told
}

fn by_score(history: &[f64], from: i64) -> Vec<f64> {
    let points: Vec<(i64, f64)> = (0..).map(|i| from + i * 3_600).zip(history.iter().copied()).collect();
    let until = from + history.len() as i64 * 3_600;
    score_counts(&points, from, until).unwrap_or_default().iter().map(|hour| hour.score.score).collect()
}

fn split(history: &[f64]) -> (&[f64], &[f64]) {
    history.split_at(history.len() - 24)
}

/// The simplest rule that comes near: how far an hour lies above the highest of its hour on any earlier day, two hours
/// early or late, on a scale on which noise is 1. It knows nothing of what is missing.
fn envelope(history: &[f64], _: i64) -> Vec<f64> {
    let scale = |count: f64| 10.0 * (0.2 * (count + 0.375).sqrt()).asinh();
    let (before, day) = split(history);
    let highest = |hour: usize| {
        let near = before.iter().enumerate().filter(|(i, _)| (i + 24 - hour + 2) % 24 < 5);
        near.map(|(_, count)| *count).fold(0.0, f64::max)
    };
    let excess = |(hour, count): (usize, &f64)| (scale(*count) - scale(highest(hour))).max(0.0);
    day.iter().enumerate().map(excess).map(|excess| -(-excess / 5.0).exp_m1()).collect()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    values.get(middle).copied().unwrap_or(0.0)
}

/// How far an hour lies from the median of the same hour on earlier days, in median deviations: a score of 0.9 is three.
fn seasonal_median(history: &[f64], _: i64) -> Vec<f64> {
    let (before, day) = split(history);
    day.iter()
        .enumerate()
        .map(|(hour, count)| {
            let mut same: Vec<f64> = before.iter().skip(hour).step_by(24).copied().collect();
            let middle = median(&mut same);
            let mut deviations: Vec<f64> = same.iter().map(|value| (value - middle).abs()).collect();
            let far = (count - middle).abs() / (1.4826 * median(&mut deviations).max(1.0));
            1.0 - 0.1_f64.powf(far / 3.0)
        })
        .collect()
}

/// One hour of a calm series, given the state that the one before left.
type Calm = fn(&mut Random, &mut f64) -> f64;

/// How often runs over calm series reach a score.
fn calm() {
    const KINDS: [(&str, Calm); 5] = [
        ("Poisson, 100 an hour", |random, _| random.count(100.0)),
        ("lognormal, deviation 1", |random, _| {
            let rate = 100.0 * random.normal().exp();
            random.count(rate)
        }),
        ("autocorrelated, 0.9 and deviation 0.5", |random, state| {
            *state = 0.9 * *state + 0.5 * 0.19_f64.sqrt() * random.normal();
            random.count(100.0 * state.exp())
        }),
        ("zero in nine hours of ten", |random, _| if random.chance(0.1) { random.count(50.0) } else { 0.0 }),
        ("Pareto, exponent 1.5", |random, _| {
            let rate = 20.0 * (1.0 - random.unit()).powf(-1.0 / 1.5);
            random.count(rate)
        }),
    ];
    const RUNS: usize = 3_000;
    println!("\n## Calm series: one run in n reaches the score\n");
    println!("| series | {} |", THRESHOLDS.map(|it| it.to_string()).join(" | "));
    println!("|---|{}", "---|".repeat(THRESHOLDS.len()));
    for (name, hour) in KINDS {
        let mut worst: Vec<f64> = Vec::new();
        for seed in 0..RUNS as u64 / 100 {
            let (mut random, mut state) = (Random::new(seed, 5), 0.0);
            let counts: Vec<f64> = (0..GIVEN + 99 * 24).map(|_| hour(&mut random, &mut state)).collect();
            let runs = counts.windows(GIVEN).step_by(24);
            worst.extend(runs.map(|history| by_score(history, 0).into_iter().fold(0.0, f64::max)));
        }
        let cells = THRESHOLDS.map(|threshold| match worst.iter().filter(|score| **score >= threshold).count() {
            0 => format!("none of {}", worst.len()),
            n => format!("{}", worst.len() / n),
        });
        println!("| {name} | {} |", cells.join(" | "));
    }
}
