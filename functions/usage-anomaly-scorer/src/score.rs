//! How far does a value leave what is usual for its series?
//!
//! [`Scorer`] takes one series, value after value, and says of each how surprising it is to somebody who knows only what
//! came before. [`score_counts`] does so for the hourly counts of a key's operation, the way the daily run needs it.
//! Nothing here knows AWS, a clock or any I/O; the same values give the same scores.
//!
//! # From a value to a score
//!
//! 1. **The excess.** The usual range of the moment is what the series showed at this hour on the same weekday of
//!    earlier weeks (while there are no two such weeks: at this hour on earlier days), one hour early or late allowed.
//!    Its edges are medians, so an earlier incident does not move them. The excess is how far the value lies above the
//!    upper edge, or below the lower one. Counts are first brought to a scale on which their noise is 1 (`transform`).
//! 2. **The surprise.** Every [`BLOCK`] values, the largest excess is noted. Quantiles of these maxima say how far out a
//!    block's worst value usually lies; beyond them the tail is Gumbel's, the law of maxima. That gives the probability
//!    that a block (a day of hourly values) holds a value so far out. The same is done for means over some values, which
//!    find what is too small for one value and too lasting for chance.
//! 3. **The score** is `1 − p^(1/5)`: 0.9 is once in 100,000 days, 0.99 once in ten thousand million.
//!
//! # News is told once
//!
//! While an excursion goes on, only what exceeds its worst value so far is scored. What was reported at an hour on two
//! of the last seven days is the new usual there.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "sizes of a few hundred, places in short lists"
)]

mod baseline;
mod tail;

use baseline::Baseline;
use tail::Tail;

/// Values between two notes of the worst excess: a day of hourly values.
pub const BLOCK: u32 = 24;

/// Seconds of history from which a score can be believed: three days.
pub const LEARNING_SECONDS: i64 = 3 * DAY;

/// A score from which usage is a finding, unless the operator chose another.
pub const UNUSUAL: f64 = 0.9;

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

/// Windows whose means are scored, in values.
const WINDOWS: [usize; 3] = [1, 4, 24];

/// How long after its last surprising value an excursion counts as the same, in seconds.
const HOLD: i64 = 12 * HOUR;

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

/// The values between which a score stays below one half: those that come at least about once a month.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The lowest usual value.
    pub low: f64,
    /// The highest usual value.
    pub high: f64,
}

/// What is to be said of one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// How surprising, from 0 to 1.
    pub score: f64,
    /// What is usual at this moment of the series, in the unit of its values.
    pub usual: Range,
    /// So rare that it comes once in so many days; for measurements that are not hourly, once in so many blocks of
    /// [`BLOCK`] values. At least 1.
    pub once_in: f64,
    /// There is less than [`LEARNING_SECONDS`] of history: the score is not to be believed yet.
    pub learning: bool,
}

/// A value that is no finite number, or a negative count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NotScorable(pub f64);

impl std::fmt::Display for NotScorable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` cannot be scored: a finite number is needed, and a count cannot be negative", self.0)
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
}

/// Scores the last 24 hours of a series of hourly counts.
///
/// `from` and `until` are whole hours in seconds since 1970 (UTC): the first hour that counts as history, and the end of
/// the last complete hour. An hour without a point had no requests. **`from` is the later of the begin of the baseline
/// and the key's creation**, not the first point: a key that slept through the whole baseline has a history, of zeros.
/// Points may come in any order; those outside of the span are left out; of two for the same hour the later one in
/// `points` counts.
///
/// Returns at most 24 hours, the oldest first; fewer if the span is shorter.
///
/// # Errors
///
/// A count that is negative, infinite or no number.
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
    let mut hours = Vec::with_capacity(24);
    for (i, (&observed, hour)) in counts.iter().zip(from..).enumerate() {
        let at = hour * HOUR;
        let score = scorer.push(at, observed)?;
        if i >= judged {
            hours.push(ScoredHour { at, observed, score });
        }
    }
    Ok(hours)
}

/// Upwards and downwards: the sign that makes an excess in that direction positive.
const SIGNS: [f64; 2] = [1.0, -1.0];

/// Scores one series, value after value.
#[derive(Clone, Debug)]
pub struct Scorer {
    kind: Kind,
    baseline: Baseline,
    first: Option<i64>,
    last: Option<i64>,
    directions: [Direction; 2],
}

/// What is remembered for excesses upwards, or downwards. Values are multiplied by the sign first.
#[derive(Clone, Debug)]
struct Direction {
    tails: [Tail; WINDOWS.len()],
    recent: std::collections::VecDeque<f64>,
    /// The worst value that was reported in the excursion that goes on, and until when it does.
    held: Option<(f64, i64)>,
}

impl Direction {
    fn new() -> Self {
        Self { tails: [Tail::new(), Tail::new(), Tail::new()], recent: std::collections::VecDeque::new(), held: None }
    }
}

impl Scorer {
    /// A scorer that has seen nothing yet.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            baseline: Baseline::new(),
            first: None,
            last: None,
            directions: [Direction::new(), Direction::new()],
        }
    }

    /// Scores the next value and learns it.
    ///
    /// `at` is in seconds since 1970 (UTC); for counts, when the period begins. A period that was left out since the
    /// last one is learnt as zero. A value from before the last one is scored and learnt as of its own time of day.
    ///
    /// # Errors
    ///
    /// A value that is infinite or no number, or a negative count; the scorer is as it was before.
    pub fn push(&mut self, at: i64, value: f64) -> Result<Score, NotScorable> {
        let counts = matches!(self.kind, Kind::Counts { .. });
        if !value.is_finite() || counts && value < 0.0 {
            return Err(NotScorable(value));
        }
        if let (Kind::Counts { period }, Some(last)) = (self.kind, self.last) {
            let period = period.max(1);
            let missing = ((at - last) / period - 1).min(63 * DAY / period);
            for i in (1..=missing).rev() {
                self.step(at - i * period, 0.0);
            }
        }
        Ok(self.step(at, value))
    }

    fn step(&mut self, at: i64, value: f64) -> Score {
        let y = self.transform(value);
        let first = *self.first.get_or_insert(at);
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        let learning = at - first < LEARNING_SECONDS;
        let Some(edges) = self.baseline.edges(at) else {
            self.baseline.note(at, y, [false; 2]);
            return Score { score: 0.0, usual: Range { low: value, high: value }, once_in: 1.0, learning };
        };
        let floor = match self.kind {
            Kind::Counts { .. } => 0.6,
            Kind::Measurements => (0.01 * edges.high.abs().max(edges.low.abs())).max(1e-9),
        };
        let mut surprise = 0.0_f64;
        let mut reported = [false; 2];
        let above = y >= f64::midpoint(edges.low, edges.high);
        let mut limits = [0.0; 2];
        for (i, ((direction, sign), edge)) in
            self.directions.iter_mut().zip(SIGNS).zip([edges.high, -edges.low]).enumerate()
        {
            let known = if i == 0 { edges.known_high } else { -edges.known_low };
            let (told, alarm, limit) = direction.step(at, sign * y, edge, known, floor, (i == 0) == above);
            surprise = surprise.max(told);
            if i == 0 {
                (reported[0], limits[0]) = (alarm, limit);
            } else {
                (reported[1], limits[1]) = (alarm, sign * limit);
            }
        }
        self.baseline.note(at, y, reported);
        let usual = Range { low: self.back(limits[1]), high: self.back(limits[0]) };
        Score { score: 1.0 - (-surprise / 5.0).exp(), usual, once_in: surprise.exp(), learning }
    }

    /// To a scale on which the noise of a count is about 1: that of chance, and a tenth of the count.
    fn transform(&self, value: f64) -> f64 {
        match self.kind {
            Kind::Counts { .. } => (NOISE * (value + 0.375).sqrt()).asinh() * 2.0 / NOISE,
            Kind::Measurements => value,
        }
    }

    fn back(&self, y: f64) -> f64 {
        match self.kind {
            Kind::Counts { .. } => (((y * NOISE / 2.0).max(0.0).sinh() / NOISE).powi(2) - 0.375).max(0.0),
            Kind::Measurements => y,
        }
    }
}

/// The surprise from which an excursion is taken to be told of: a score of 0.7.
const HELD_FROM: f64 = 6.0;

/// The noise that a busy key's hourly count has beside chance, as a share of the count.
const NOISE: f64 = 0.1;

impl Direction {
    /// The surprise to tell of, as minus the logarithm of its probability; whether there was one, told or not; and the
    /// value from which a single one is unusual.
    fn step(&mut self, at: i64, y: f64, edge: f64, known: f64, floor: f64, counted: bool) -> (f64, bool, f64) {
        let excess = y - edge;
        let alarming = -(1.0 - UNUSUAL).ln() * 5.0;
        if self.recent.len() == 24 {
            self.recent.pop_front();
        }
        let single = self.tails[0].law(floor);
        let clip = single.map_or(f64::INFINITY, |(location, scale)| location.abs() + 4.0 * scale);
        self.recent.push_back(excess.clamp(-clip, clip));
        let mut full = 0.0_f64;
        let mut told = 0.0_f64;
        let held = self.held.filter(|&(_, until)| at <= until).map_or(f64::NEG_INFINITY, |(worst, _)| worst);
        let excused = held.max(if known > edge { known } else { f64::NEG_INFINITY });
        for (&window, tail) in WINDOWS.iter().zip(&mut self.tails) {
            let stat = if window == 1 {
                excess
            } else {
                if self.recent.len() < window {
                    continue;
                }
                self.recent.iter().rev().take(window).sum::<f64>() / window as f64
            };
            if let Some(law) = tail.law(floor / (window as f64).sqrt()) {
                let surprise = -tail::ln_probability(stat, law);
                full = full.max(surprise);
                if excused == f64::NEG_INFINITY {
                    told = told.max(surprise);
                } else if window == 1 {
                    told = told.max(-tail::ln_probability(y - excused.max(edge), law));
                }
            }
            tail.note(stat);
        }
        let alarm = counted && full >= alarming;
        if counted && full >= HELD_FROM {
            self.held = Some((held.max(y), at + HOLD));
        }
        let limit = single.map_or(y.max(edge), |law| edge + tail::excess_at(0.5_f64.powi(5), law));
        (if counted { told } else { 0.0 }, alarm, limit)
    }
}
