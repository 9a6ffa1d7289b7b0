use std::collections::BTreeMap;

use usage_anomaly_scorer::score::{Kind, Score, Scorer, score_counts};

const HOUR: i64 = 3_600;

/// Most rows that are taken: a run has to be short.
const ROWS: usize = 200;

/// Most hours of counts, likewise.
const HOURS: i64 = 24 * 40;

/// A series, a row `seconds,value` a line: each score is a number from 0 to 1, what is refused leaves no trace, and hourly
/// counts have the same scores in whatever order they come.
///
/// # Panics
/// That does not hold.
pub fn score_series(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let row = |line: &str| {
        let (at, value) = line.split_once(',')?;
        Some((at.trim().parse().ok()?, value.trim().parse().ok()?))
    };
    let rows: Vec<(i64, f64)> = text.lines().filter_map(row).take(ROWS).collect();
    for kind in [Kind::Measurements, Kind::Counts { period: HOUR }] {
        let (mut scorer, mut same) = (Scorer::new(kind), Scorer::new(kind));
        for &(at, value) in &rows {
            let fits = value.is_finite() && value.abs() <= 1e100 && (kind == Kind::Measurements || value >= 0.0);
            match scorer.push(at, value) {
                Ok(score) => {
                    assert!(fits, "{value} is scored");
                    is_a_score(&score);
                    // This one never saw the values that were refused.
                    assert_eq!(same.push(at, value), Ok(score));
                }
                Err(_) => assert!(!fits, "{value} is refused"),
            }
        }
    }
    any_order(&rows);
}

fn is_a_score(score: &Score) {
    assert!((0.0..=1.0).contains(&score.score), "{score:?}");
    assert!(score.observed.is_finite() && score.window >= 1, "{score:?}");
    assert!(score.usual.low <= score.usual.high, "{score:?}");
}

fn any_order(rows: &[(i64, f64)]) {
    let Some(first) = rows.first().map(|(at, _)| (*at).clamp(-(1 << 40), 1 << 40)) else { return };
    let (from, until) = (first, first + HOURS * HOUR);
    // Of two for the same hour, the later one counts: one each.
    let hours: BTreeMap<i64, f64> = rows.iter().map(|(at, value)| (at.div_euclid(HOUR), *value)).collect();
    let points = hours.into_iter().map(|(hour, value)| (hour.saturating_mul(HOUR), value));
    let forwards: Vec<(i64, f64)> = points.collect();
    let backwards: Vec<(i64, f64)> = forwards.iter().rev().copied().collect();
    match (score_counts(&forwards, from, until), score_counts(&backwards, from, until)) {
        (Ok(scored), Ok(other)) => {
            assert_eq!(scored, other);
            assert_eq!(scored.len(), 24);
            for hour in &scored {
                is_a_score(&hour.score);
            }
        }
        (scored, other) => assert!(scored.is_err() && other.is_err()),
    }
}
