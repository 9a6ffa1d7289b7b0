//! Chooses the constants of measurements on all groups of labelled series but one, scores that one, and prints the table of
//! `docs/usage-anomaly.md`.
//!
//! ```sh
//! cargo run --release -p usage-anomaly-scorer --example leave_one_group_out -- DATA NAB_SCORE FOLDER
//! ```
//!
//! DATA holds `windows.json` and the series `<group>/<series>.csv` of the Numenta Anomaly Benchmark, `NAB_SCORE` is a
//! Python script that is called as `NAB_SCORE windows.json FOLDER GROUP` and prints `NAB <score> …`, FOLDER is written to.
//!
//! The procedure: of each [`Tuning`] in a grid, every group is scored by itself. For a group, the one is taken whose mean over
//! the other groups is highest, the first of equals; what ships is the one whose mean over all groups is highest.

#![expect(clippy::print_stdout, reason = "a command that prints a table")]

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use usage_anomaly_scorer::score::{Kind, Scorer, Tuning};

const GROUPS: [&str; 5] = ["realAWSCloudwatch", "realTweets", "realTraffic", "realAdExchange", "artificial"];

fn grid() -> impl Iterator<Item = Tuning> {
    [0.0, 0.2, 0.5, 1.0].into_iter().flat_map(|most_share| {
        [12, 24].into_iter().flat_map(move |hold_hours| {
            [0.002_5, 0.005, 0.01].map(|tail_share| Tuning { most_share, hold_hours, tail_share })
        })
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, script, folder] = arguments.as_slice() else { return Err("three paths are needed".into()) };
    let mut rows: Vec<(Tuning, Vec<f64>)> = Vec::new();
    for tuning in grid() {
        score_all(Path::new(data), Path::new(folder), tuning)?;
        let of_group = |group: &&str| nab_score(data, script, folder, group);
        rows.push((tuning, GROUPS.iter().map(of_group).collect::<Result<_, _>>()?));
    }
    let chosen = |left_out: Option<usize>| {
        let mean = |scores: &[f64]| -> f64 {
            scores.iter().enumerate().filter(|(group, _)| Some(*group) != left_out).map(|(_, score)| score).sum()
        };
        rows.iter().reduce(|best, row| if mean(&row.1) > mean(&best.1) + 1e-9 { row } else { best })
    };
    println!("| group | left out | chosen on the others | seen |\n|---|---|---|---|");
    let Some((ships, seen)) = chosen(None) else { return Err("there is no tuning".into()) };
    for (place, group) in GROUPS.into_iter().enumerate() {
        if let (Some((tuning, scores)), Some(seen)) = (chosen(Some(place)), seen.get(place)) {
            let left_out = scores.get(place).copied().unwrap_or_default();
            println!("| `{group}` | {left_out:.1} | {tuning:?} | {seen:.1} |");
        }
    }
    println!("\nShips: {ships:?}\n");
    for (tuning, scores) in &rows {
        println!("{tuning:?} {scores:?}");
    }
    Ok(())
}

fn score_all(data: &Path, folder: &Path, tuning: Tuning) -> Result<(), Box<dyn Error>> {
    for group in fs::read_dir(data)? {
        let group = group?;
        if !group.file_type()?.is_dir() {
            continue;
        }
        let to = folder.join(group.file_name());
        fs::create_dir_all(&to)?;
        for series in fs::read_dir(group.path())? {
            let series = series?;
            fs::write(to.join(series.file_name()), scored(&fs::read_to_string(series.path())?, tuning)?)?;
        }
    }
    Ok(())
}

fn scored(series: &str, tuning: Tuning) -> Result<String, Box<dyn Error>> {
    let mut scorer = Scorer::with_tuning(Kind::Measurements, tuning);
    let mut out = String::from("timestamp,value,anomaly_score\n");
    for row in series.lines().skip(1) {
        let (time, value) = row.split_once(',').ok_or("a row without a comma")?;
        let at = TimeZone::UTC.to_timestamp(time.parse::<DateTime>()?)?.as_second();
        let score = scorer.push(at, value.parse()?).map_err(|error| error.to_string())?.score;
        // In full: far out, scores differ in their last digits.
        writeln!(out, "{time},{value},{score:?}")?;
    }
    Ok(out)
}

fn nab_score(data: &str, script: &str, folder: &str, group: &str) -> Result<f64, Box<dyn Error>> {
    let windows = format!("{data}/windows.json");
    let output = Command::new("python3").args([script, &windows, folder, group]).output()?;
    let said = String::from_utf8(output.stdout)?;
    let score = said.split_whitespace().nth(1).and_then(|score| score.parse().ok());
    score.ok_or_else(|| format!("`{said}` has no score").into())
}
