//! Scores a series: `timestamp,value` in, `timestamp,value,anomaly_score` out.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command")]
use std::io::BufRead;
use usage_anomaly_scorer::score::{Kind, Scorer};

fn main() {
    let mut scorer = Scorer::new(Kind::Measurements);
    println!("timestamp,value,anomaly_score");
    for line in std::io::stdin().lock().lines().skip(1) {
        let line = line.unwrap_or_default();
        let (t, v) = line.split_once(',').unwrap_or_default();
        let n = |a: usize, b: usize| t.get(a..b).and_then(|x| x.parse::<i64>().ok()).unwrap_or(0);
        let (y, m, d) = (n(0, 4), n(5, 7), n(8, 10));
        let (y2, m2) = if m <= 2 { (y - 1, m + 9) } else { (y, m - 3) };
        let era = y2 / 400;
        let yoe = y2 - era * 400;
        let doy = (153 * m2 + 2) / 5 + d - 1;
        let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
        let at = days * 86_400 + n(11, 13) * 3600 + n(14, 16) * 60 + n(17, 19);
        match scorer.push(at, v.parse().unwrap_or(f64::NAN)) {
            Ok(s) => println!("{t},{v},{}", s.score),
            Err(e) => eprintln!("{e}"),
        }
    }
}
