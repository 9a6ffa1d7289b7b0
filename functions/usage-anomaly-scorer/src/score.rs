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

use std::collections::VecDeque;

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
const WINDOWS: [usize; 3] = [1, 4, 27];

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

/// Scores one series, value after value.
#[derive(Clone, Debug)]
pub struct Scorer {
    kind: Kind,
    first: Option<i64>,
    last: Option<i64>,
    recent: VecDeque<f64>,
    busy_until: i64,
    views: [View; WINDOWS.len()],
}

/// The series as means over a window.
#[derive(Clone, Debug)]
struct View {
    window: usize,
    baseline: Baseline,
    first_week: usize,
    up: Direction,
    down: Direction,
}

/// What is remembered of excesses upwards, or downwards.
#[derive(Clone, Debug)]
struct Direction {
    tail: Tail,
    /// The worst excess of the excursion that goes on, and until when it does.
    held: Option<(f64, i64)>,
}

/// What a view has to say, upwards or downwards.
#[derive(Clone, Copy, Debug, Default)]
struct Surprise {
    /// Minus the logarithm of the probability, as far as it is news.
    told: f64,
    /// The same, news or not.
    full: f64,
}

impl View {
    fn new(window: usize) -> Self {
        let direction = || Direction { tail: Tail::new(), held: None };
        Self { window, baseline: Baseline::new(), first_week: 0, up: direction(), down: direction() }
    }
}

impl Scorer {
    /// A scorer that has seen nothing yet.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            first: None,
            last: None,
            recent: VecDeque::new(),
            busy_until: i64::MIN,
            views: WINDOWS.map(View::new),
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
        let first = *self.first.get_or_insert(at);
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        if self.recent.len() == 27 {
            self.recent.pop_front();
        }
        self.recent.push_back(value);
        let kind = self.kind;
        let mut score = Score {
            score: 0.0,
            usual: Range { low: value, high: value },
            once_in: 1.0,
            learning: at - first < LEARNING_SECONDS,
        };
        let mut surprise = 0.0_f64;
        let (mut above, mut below) = (true, true);
        let mut abrupt = false;
        for view in &mut self.views {
            if self.recent.len() < view.window {
                continue;
            }
            let sum = self.recent.iter().rev().take(view.window).sum::<f64>();
            let y = kind.transform(sum, view.window as f64);
            let Some(edges) = view.baseline.edges(at, kind.smooth()) else {
                view.baseline.note(at, y, [false; 2]);
                continue;
            };
            let floor = match kind {
                Kind::Counts { .. } => FLOOR,
                Kind::Measurements => {
                    (0.01 * edges.high.abs().max(edges.low.abs())).max(1e-9) / (view.window as f64).sqrt()
                }
            };
            if view.window == 1 {
                above = y >= f64::midpoint(edges.low, edges.high);
                below = y <= edges.high;
            }
            let (own_low, own_quiet) = edges.own;
            if view.window == 1 && y >= own_low && own_low - own_quiet > 10.0 * floor {
                self.busy_until = at + BUSY;
            }
            let least = match kind {
                Kind::Counts { .. } => FLOOR * (1.0 - ((edges.high - 5.0) / 10.0).clamp(0.0, 1.0)),
                Kind::Measurements => floor,
            };
            if view.window == 1 {
                abrupt = at < self.busy_until && edges.low - edges.quiet > 10.0 * floor;
            }
            let low = if abrupt && view.window < 24 { edges.low } else { edges.quiet };
            match view.baseline.age() {
                8 if view.first_week == 0 => view.first_week = view.up.tail.len().max(1),
                15 if view.first_week > 0 => {
                    let keep = view.up.tail.len().saturating_sub(view.first_week);
                    view.up.tail.keep(keep);
                    view.down.tail.keep(keep);
                    view.first_week = 0;
                }
                _ => {}
            }
            let informative = !kind.gaps() || y.max(edges.high) > kind.transform(0.0, 1.0);
            let up = view.up.step(
                at,
                y - edges.high,
                edges.known_high - edges.high,
                (floor, least),
                above,
                kind,
                informative,
            );
            let down = view.down.step(at, low - y, low - edges.known_low, (floor, floor), below, kind, informative);
            view.baseline.note(at, y, [up.full >= alarming(), down.full >= alarming()]);
            if let Ok(t) = std::env::var("DBG")
                && at - first > 29 * DAY
            {
                let t: f64 = t.parse().unwrap();
                let (a, b) = (
                    view.up.tail.law((floor, least), kind.default_law()).unwrap(),
                    view.down.tail.law((floor, floor), kind.default_law()).unwrap(),
                );
                if (if above { up.told } else { 0.0 }).max(if below { down.told } else { 0.0 }) > t {
                    println!(
                        "   DBG h {} w{} above {above} y {y:.2} low {:.2} quiet {:.2} high {:.2} used low {low:.2} up {:.1}/{:.1} ({:.2} {:.2}) down {:.1}/{:.1} ({:.2} {:.2})",
                        (at - first) / 3600 - 29 * 24,
                        view.window,
                        edges.low,
                        edges.quiet,
                        edges.high,
                        up.told,
                        up.full,
                        a.0,
                        a.1,
                        down.told,
                        down.full,
                        b.0,
                        b.1
                    );
                }
            }
            if above {
                surprise = surprise.max(up.told);
            }
            if below && !(kind.gaps() && view.window == 1) {
                surprise = surprise.max(down.told);
            }
            if view.window == 1 {
                score.usual = Range {
                    low: kind.back(low - view.down.limit((floor, floor), kind)),
                    high: kind.back(edges.high + view.up.limit((floor, least), kind)),
                };
            }
        }
        score.score = 1.0 - (-surprise / 5.0).exp();
        score.once_in = surprise.exp();
        score
    }
}

fn alarming() -> f64 {
    -(1.0 - UNUSUAL).ln() * 5.0
}

impl Kind {
    /// To a scale on which the noise of a count is about 1: that of chance, and a tenth of the count.
    fn transform(self, sum: f64, window: f64) -> f64 {
        match self {
            Self::Counts { .. } => (NOISE * (sum + 0.375).sqrt()).asinh() * 2.0 / NOISE,
            Self::Measurements => sum / window,
        }
    }

    fn smooth(self) -> f64 {
        match self {
            Self::Counts { .. } => SMOOTH,
            Self::Measurements => 0.0,
        }
    }

    fn default_law(self) -> Option<(f64, f64)> {
        match self {
            Self::Counts { .. } => Some((0.0, FLOOR)),
            Self::Measurements => None,
        }
    }

    fn gaps(self) -> bool {
        matches!(self, Self::Counts { .. })
    }

    fn back(self, y: f64) -> f64 {
        match self {
            Self::Counts { .. } => (((y * NOISE / 2.0).max(0.0).sinh() / NOISE).powi(2) - 0.375).max(0.0),
            Self::Measurements => y,
        }
    }
}

const BUSY: i64 = 5 * HOUR;

/// The surprise of a score of 0.68; twice as much is 0.9, four times as much 0.99.
const HELD_FROM: f64 = 5.756;

/// How often the surprise has doubled.
fn octave(surprise: f64) -> i32 {
    if surprise < HELD_FROM { 0 } else { 1 + (surprise / HELD_FROM).log2() as i32 }
}

/// The noise that a busy key's hourly count has beside chance, as a share of the count.
const NOISE: f64 = 0.2;
const FLOOR: f64 = 0.9;
const SMOOTH: f64 = 2.5;

impl Direction {
    /// `known` is the excess that is no news any more.
    fn step(
        &mut self,
        at: i64,
        excess: f64,
        known: f64,
        floor: (f64, f64),
        counted: bool,
        kind: Kind,
        informative: bool,
    ) -> Surprise {
        let held = self.held.filter(|&(_, until)| at <= until).map_or(0.0, |(worst, _)| worst);
        let mut surprise = Surprise::default();
        if let Some(law) = self.tail.law(floor, kind.default_law()) {
            surprise.full = -tail::ln_probability(excess, law);
            let fresh = -tail::ln_probability(excess - known.max(0.0), law);
            surprise.told = if octave(fresh) > octave(held) { fresh } else { fresh.min(HELD_FROM / 2.0) };
        }
        self.tail.note(excess, informative);
        if counted && surprise.full >= HELD_FROM {
            self.held = Some((held.max(surprise.full), at + HOLD));
        }
        surprise
    }

    /// The excess from which a value is unusual.
    fn limit(&self, floor: (f64, f64), kind: Kind) -> f64 {
        self.tail.law(floor, kind.default_law()).map_or(0.0, |law| tail::excess_at(0.5_f64.powi(5), law).max(0.0))
    }
}
