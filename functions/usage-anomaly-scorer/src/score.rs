//! How far does a value leave what is usual for its series?
//!
//! [`Scorer`] takes one series, value after value, and says of each how surprising it is to somebody who knows only what
//! came before. [`score_counts`] does so for the hourly counts of a key's operation, the way the daily run needs it.
//! Nothing here knows AWS, a clock or any I/O; the same values give the same scores.
//!
//! # From a value to a score
//!
//! 1. **What is usual.** The same hour of the same weekday in earlier weeks, two hours early or late (`season`). What
//!    was news is kept out of it until it is confirmed: on a second day of seven, or on a second such weekday.
//! 2. **How surprising.** The largest values that the series has held say how far the next may lie beyond (`tail`):
//!    `surprise = ln(n / k) + (value − k-th largest) / scale`. Of counts, the values are each day's largest excess over
//!    what is usual, and the four largest of 28 days may be incidents: the law begins after them.
//! 3. **Several views**, each by its own law: one hour, a day and three hours, silence of seven hours, and the hour
//!    against all hours up to a week ago. A value beyond all that was ever seen is news by itself, however rough the
//!    series, and drift is compared with last week, not with yesterday.
//! 4. **News is told once** while its excursion lasts, and again when it has grown sevenfold.
//! 5. **The score** is `1 − e^(−surprise/3.4)`. It is an order, not a probability: what each score means on calm series was
//!    measured, and stands in `docs/usage-anomaly.md`.
//!
//! # Counts and measurements
//!
//! Both have the same tail, the same memory of hours and the same score. What differs, and why:
//!
//! | | counts | measurements |
//! |---|---|---|
//! | scale | chance (Poisson) for few, a fifth of themselves for many: noise is about 1 | as they are: any unit |
//! | a value left out | none happened; up to six hours in a row may be lost | not known |
//! | usual | by weekday: four weeks are read | by hour of the day: benchmark series are two weeks long |
//! | law | bounded scale, incidents ignored: the kind of noise is known | as far as the largest exceed the tail: it is not |
//! | views | the most surprising one: a burst shows in one alone | mostly their mean: an unknown series' views err each in its own way, and seldom together |
//! | less than usual | of sums, never above 0.95 | like more |
//!
//! # Cost
//!
//! A value costs a bounded number of steps: the edges of an hour are made once a day, from at most 28 days and nine
//! weeks. A scorer holds at most about 60 kB.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sizes of a few hundred, places in short lists"
)]

mod counts;
mod measurements;
mod season;
mod tail;

use counts::Counts;
use measurements::Measurements;

/// Seconds of history from which a score can be believed: three days.
pub const LEARNING_SECONDS: i64 = 3 * DAY;

/// Seconds to be read beyond the baseline: the day that is judged, and one that fills the longest window before the
/// baseline begins.
pub const LEAD_SECONDS: i64 = 2 * DAY;

/// The score from which usage is a finding, unless the operator chose another.
pub const UNUSUAL: f64 = 0.9;

/// Measurements that are closer than this are taken as if sixty of them were an hour, in seconds.
const CLOSE: i64 = 60;

/// The score from which a value is outside of the usual range.
const HALF: f64 = 0.5;

/// The score is 1 − e^(−surprise/3.4): 0.9 for an hour six scales beyond the law's begin on a key known for four weeks.
const PER_E: f64 = 3.4;

/// Beyond this, sums would no longer be numbers.
const LARGEST: f64 = 1e100;

/// Times beyond this, thirty million years, would overflow where they are added to.
const FURTHEST: i64 = 1 << 50;

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

/// What a series holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How often something happened in each period. A period that was left out had none.
    Counts {
        /// Seconds from one count to the next.
        period: i64,
    },
    /// Measurements of any unit and spacing. One that was left out is not known.
    Measurements,
}

/// From the lowest to the highest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

/// What is to be said of one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// How surprising, from 0 to 1.
    pub score: f64,
    /// The score is about this many values, the last of them this one: 1 unless they are unusual only together.
    pub window: usize,
    /// Their sum; of measurements, the value.
    pub observed: f64,
    /// What is usual for that sum or value at this moment: what alone would score below one half.
    pub usual: Range,
    /// There is less than [`LEARNING_SECONDS`] of history: the score is not to be believed yet.
    pub learning: bool,
}

/// A value that is no number, none below 1e100 in size, or a negative count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NotScorable(pub f64);

impl std::fmt::Display for NotScorable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` cannot be scored: a number below 1e100 is needed, and a count cannot be negative", self.0)
    }
}

impl std::error::Error for NotScorable {}

/// One hour of a series of counts, scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredHour {
    /// When the hour begins, in seconds since 1970 (UTC).
    pub at: i64,
    /// What was counted in it.
    pub observed: f64,
    /// What is to be said of it.
    pub score: Score,
    /// The least and the most that as many hours as the score is about ever held before the hours that are judged.
    pub before: Range,
    /// How many days lie behind `before`.
    pub days_before: usize,
}

/// Scores the last 24 hours of a series of hourly counts.
///
/// `from` and `until` are whole hours in seconds since 1970 (UTC): the first hour that counts as history, and the end of
/// the last complete hour. An hour without a point had no requests. **`from` is the later of `until` minus the baseline
/// minus [`LEAD_SECONDS`], and the key's creation**, not the first point: a key that slept through the whole baseline
/// has a history, of zeros.
/// Points may come in any order; those outside of the span are left out; of two for the same hour the later one in
/// `points` counts.
///
/// Returns at most 24 hours, the oldest first; fewer if the span is shorter.
///
/// # Errors
///
/// A count that is negative, no number or too large.
pub fn score_counts(points: &[(i64, f64)], from: i64, until: i64) -> Result<Vec<ScoredHour>, NotScorable> {
    let (from, until) = (from.div_euclid(HOUR), until.div_euclid(HOUR));
    let mut counts = vec![0.0; usize::try_from(until - from).unwrap_or(0)];
    for &(at, count) in points {
        let hour = usize::try_from(at.div_euclid(HOUR) - from).ok();
        if let Some(slot) = hour.and_then(|hour| counts.get_mut(hour)) {
            *slot = count;
        }
    }
    let mut scorer = Scorer::new(Kind::Counts { period: HOUR });
    let judged = counts.len().saturating_sub(24);
    let before = counts.get(..judged).unwrap_or_default();
    // The first day of a long history only fills the longest window.
    let days_before = if before.len() > 8 * 24 { before.len() / 24 - 1 } else { before.len() / 24 };
    let before = before.get(before.len().saturating_sub(days_before * 24)..).unwrap_or_default();
    let mut ranges: Vec<(usize, Range)> = Vec::new();
    let mut range_of = |window: usize| {
        if let Some((_, range)) = ranges.iter().find(|(of, _)| *of == window) {
            return *range;
        }
        let sums = before.windows(window).map(|hours| hours.iter().sum::<f64>());
        let range = sums.fold(None, |range: Option<Range>, sum| {
            let Range { low, high } = range.unwrap_or(Range { low: sum, high: sum });
            Some(Range { low: low.min(sum), high: high.max(sum) })
        });
        let range = range.unwrap_or(Range { low: 0.0, high: 0.0 });
        ranges.push((window, range));
        range
    };
    let mut hours = Vec::with_capacity(24);
    for (i, (&observed, hour)) in counts.iter().zip(from..).enumerate() {
        let at = hour * HOUR;
        let score = scorer.push(at, observed)?;
        if i >= judged {
            hours.push(ScoredHour { at, observed, score, before: range_of(score.window), days_before });
        }
    }
    Ok(hours)
}

/// What is chosen by the procedure of `docs/usage-anomaly.md`, on labelled series: it concerns measurements alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// The share of the most surprising view; the rest is the mean of all.
    pub most_share: f64,
    /// Hours in which only a greater surprise is told.
    pub hold_hours: i64,
    /// The share of the values that are a tail.
    pub tail_share: f64,
}

impl Tuning {
    /// What the procedure chose on all groups of series.
    pub const CHOSEN: Self = Self { most_share: 0.2, hold_hours: 24, tail_share: 0.005 };
}

/// What was found in one value.
struct Found {
    surprise: f64,
    window: usize,
    observed: f64,
    usual: Range,
}

/// Scores one series, value after value.
#[derive(Clone, Debug)]
pub struct Scorer {
    known: Known,
    /// When the first value came, and the latest one.
    span: Option<(i64, i64)>,
}

/// What is known of the values so far.
#[derive(Clone, Debug)]
enum Known {
    Counts {
        period: i64,
        counts: Box<Counts>,
    },
    Measurements {
        measurements: Box<Measurements>,
        /// Seconds between the first two.
        spacing: Option<i64>,
    },
}

impl Scorer {
    /// A scorer that has seen nothing yet.
    pub fn new(kind: Kind) -> Self {
        Self::with_tuning(kind, Tuning::CHOSEN)
    }

    /// The same with other constants.
    pub fn with_tuning(kind: Kind, tuning: Tuning) -> Self {
        let known = match kind {
            Kind::Counts { period } => Known::Counts { period: period.max(1), counts: Box::new(Counts::new()) },
            Kind::Measurements => {
                Known::Measurements { measurements: Box::new(Measurements::new(tuning)), spacing: None }
            }
        };
        Self { known, span: None }
    }

    /// Scores the next value, then learns it.
    ///
    /// `at` is in seconds since 1970 (UTC); for counts, when the period begins. A period that was left out since the
    /// last one is learnt as zero. A value from before the last one, or a count of the same period, is scored and learnt
    /// for its own hour.
    ///
    /// # Errors
    ///
    /// A value that is infinite, too large or no number, or a negative count; the scorer is as it was before.
    pub fn push(&mut self, at: i64, value: f64) -> Result<Score, NotScorable> {
        let is_count = matches!(self.known, Known::Counts { .. });
        if value.is_nan() || value.abs() > LARGEST || is_count && value < 0.0 {
            return Err(NotScorable(value));
        }
        let at = at.clamp(-FURTHEST, FURTHEST);
        let late = self.span.is_some_and(|(_, last)| at < last || at == last && is_count);
        let (first, last) = self.span.map_or((at, at), |(first, last)| (first, last.max(at)));
        let before = self.span.map(|(_, last)| last);
        self.span = Some((first, last));
        let found = match &mut self.known {
            Known::Counts { period, counts } => {
                // A gap longer than all that is remembered leaves nothing but zeros either way.
                let missing = before.map_or(0, |before| ((at - before) / *period - 1).min(64 * DAY / *period));
                for back in (1..=missing).rev() {
                    counts.step(at - back * *period, 0.0, false);
                }
                counts.step(at, value, late)
            }
            Known::Measurements { measurements, spacing } => {
                measurements.step(on_the_clock(spacing, at, first), value, late)
            }
        };
        let Found { surprise, window, observed, usual } = found;
        let learning = at - first < LEARNING_SECONDS;
        Ok(Score { score: -(-surprise / PER_E).exp_m1(), window, observed, usual, learning })
    }
}

/// Time by which baselines of measurements are kept. Those that are closer than a minute are taken as if sixty of them were
/// an hour, and those further apart than a day as if they were daily: no hour of the day says anything of them.
fn on_the_clock(spacing: &mut Option<i64>, at: i64, first: i64) -> i64 {
    let gap = at - first;
    if spacing.is_none() && gap > 0 {
        *spacing = Some(gap);
    }
    match *spacing {
        Some(spacing @ ..CLOSE) => first + gap * CLOSE / spacing,
        Some(spacing) if spacing > DAY => first + gap / spacing * DAY,
        _ => at,
    }
}

/// The surprise that a score stands for.
fn surprise_of(score: f64) -> f64 {
    -PER_E * (1.0 - score).ln()
}

#[cfg(test)]
mod tests;
