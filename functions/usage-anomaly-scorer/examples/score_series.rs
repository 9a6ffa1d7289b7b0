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

#[cfg(test)]
mod tests {
    use super::score;

    fn scored(input: &str) -> Result<String, String> {
        let mut out = Vec::new();
        score(input.as_bytes(), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn rows_come_back_as_they_were_with_a_score() {
        let expected = "timestamp,value,anomaly_score\n2014-04-01 00:00:00,1.50,0\n2014-04-01 00:05:00,2e3,0\n";
        for input in [
            "timestamp,value\n2014-04-01 00:00:00,1.50\n2014-04-01 00:05:00,2e3\n",
            "2014-04-01 00:00:00,1.50\n2014-04-01 00:05:00,2e3",
            "\u{feff}timestamp,value\r\n2014-04-01 00:00:00,1.50\r\n2014-04-01 00:05:00,2e3\r\n\r\n",
        ] {
            assert_eq!(scored(input).unwrap(), expected);
        }
    }

    #[test]
    fn any_kind_of_timestamp_is_read() {
        for time in
            ["2014-04-01", "2014-04-01T00:00:00", "2014-04-01T00:00:00Z", "2014-04-01T02:00:00.5+02:00", "1396310400"]
        {
            assert_eq!(super::seconds(time), Some(1_396_310_400), "{time}");
        }
    }

    #[test]
    fn a_malformed_row_is_named_by_its_line() {
        for (row, line, what) in [
            ("2014-04-01 00:10:00", 3, "no comma"),
            ("yesterday,1", 3, "`yesterday` is no timestamp"),
            ("2014-04-01 00:10:00,many", 3, "`many` is no number"),
            ("2014-04-01 00:10:00,1,2", 3, "`1,2` is no number"),
            ("2014-04-01 00:10:00,NaN", 3, "`NaN` cannot be scored"),
            ("2014-04-01 00:10:00,inf", 3, "`inf` cannot be scored"),
            ("2014-04-01 00:10:00,", 3, "`` is no number"),
            ("", 3, "empty"),
        ] {
            let error = scored(&format!("timestamp,value\n2014-04-01,1\n{row}\n2014-04-02,1\n")).unwrap_err();
            assert!(error.starts_with(&format!("line {line}: ")) && error.contains(what), "{error}");
        }
        assert_eq!(scored("x,3\n").unwrap_err(), "line 1: `x` is no timestamp");
    }

    #[test]
    fn a_row_depends_on_none_after_it() {
        let rows: Vec<String> = (0..2_000).map(|i| format!("{},{}\n", i * 300, i * i % 71 + i % 288)).collect();
        let all = scored(&rows.concat()).unwrap();
        let some = scored(&rows[..1_500].concat()).unwrap();
        assert!(all.starts_with(&some) && all.lines().any(|line| !line.ends_with(",0")));
    }
}
