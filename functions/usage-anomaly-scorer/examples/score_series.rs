//! Scores a series: `timestamp,value` in, `timestamp,value,anomaly_score` out.
//!
//! ```sh
//! cargo run --release -p usage-anomaly-scorer --example score_series < series.csv
//! ```
//!
//! A timestamp is RFC 3339, `YYYY-MM-DD HH:MM:SS` (taken as UTC), a date, or seconds since 1970; the spacing may be any,
//! a header may be there or not. A row's score depends on the rows before it and on nothing after. A row that cannot be
//! read ends the command with its line number.

use std::io::{BufRead, Write};
use std::process::ExitCode;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use usage_anomaly_scorer::score::{Kind, Scorer};

#[expect(clippy::print_stderr, reason = "a command that says what is wrong with its input")]
fn main() -> ExitCode {
    let out = std::io::BufWriter::new(std::io::stdout().lock());
    match score(std::io::stdin().lock(), out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn score(input: impl BufRead, mut out: impl Write) -> Result<(), String> {
    let not_written = |error: std::io::Error| format!("cannot write: {error}");
    writeln!(out, "timestamp,value,anomaly_score").map_err(not_written)?;
    let mut scorer = Scorer::new(Kind::Measurements);
    let mut blank = None;
    let outcome = input.lines().zip(1..).try_for_each(|(line, number): (_, u64)| {
        let wrong = |what: &str| format!("line {number}: {what}");
        let line = line.map_err(|error| wrong(&error.to_string()))?;
        let line = line.trim_end_matches('\r').trim_start_matches('\u{feff}');
        if line.trim().is_empty() {
            blank.get_or_insert(number);
            return Ok(());
        }
        if let Some(number) = blank {
            return Err(format!("line {number}: empty, and more rows follow"));
        }
        let (time, value) = line.split_once(',').ok_or_else(|| wrong("no comma: `timestamp,value` is needed"))?;
        match (seconds(time.trim()), value.trim().parse::<f64>()) {
            (None, Err(_)) if number == 1 => Ok(()), // A header.
            (None, _) => Err(wrong(&format!("`{time}` is no timestamp"))),
            (_, Err(_)) => Err(wrong(&format!("`{value}` is no number"))),
            (Some(at), Ok(parsed)) => {
                let found = scorer.push(at, parsed).map_err(|error| wrong(&error.to_string()))?;
                writeln!(out, "{time},{value},{}", found.score).map_err(not_written)
            }
        }
    });
    out.flush().map_err(not_written)?;
    outcome
}

fn seconds(time: &str) -> Option<i64> {
    if let Ok(seconds) = time.parse::<i64>() {
        return Some(seconds);
    }
    if let Ok(instant) = time.parse::<Timestamp>() {
        return Some(instant.as_second());
    }
    let civil: DateTime = time.parse().ok()?;
    Some(TimeZone::UTC.to_timestamp(civil).ok()?.as_second())
}
