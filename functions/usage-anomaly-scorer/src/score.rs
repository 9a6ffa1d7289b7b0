//! How far does a value leave what is usual for its series?
//!
//! [`Scorer`] takes one series, value after value, and says of each how surprising it is to somebody who knows only what
//! came before. [`score_counts`] does so for the hourly counts of a key's operation, the way the daily run needs it.
//! Nothing here knows AWS, a clock or any I/O; the same values give the same scores.
//!
//! # From a value to a score
//!
//! 1. **What is usual.** For each hour of the day: what the same hour held on the same weekday of earlier weeks. The
//!    edges of the usual range are medians, so neither an incident nor a holiday among them moves them; they allow for
//!    usage that comes up to two hours early or late. The lower edge is that of the quietest days of four weeks, unless
//!    today has already been as busy as an ordinary day: less usage than ever on a day that began like any is
//!    surprising, a holiday is not. The *excess* is how far a value lies outside.
//! 2. **How surprising that is.** Of every [`BLOCK`] values (a day of hourly ones) the largest excess is remembered. The
//!    upper ones of these, without the very largest, give a Gumbel law, the law of maxima, with a normal tail. It says
//!    with which probability p a day holds an excess like this one. A series that often leaves its edges is surprising
//!    only when it leaves them further.
//! 3. **One value, four, twenty-seven.** Both is done for single values and for sums over the last four and over the last
//!    27 (a day, and what a daily job may be late): that finds what is too little for one hour and too lasting for chance.
//!    The most surprising decides.
//! 4. **The score** is `1 − p^(1/5)`: 0.9 is once in 100,000 days, 0.99 once in ten thousand million.
//!
//! Counts are first brought to a scale on which their noise is about 1: chance (Poisson) for few, a fifth of themselves
//! for many. So 30 requests after none are far out, and 1,060 after 1,000 are nothing. Measurements are taken as they
//! are.
//!
//! # News is told once
//!
//! An excursion is told of when it begins (once in 1,000 days), when it becomes a finding, and each time its surprise has
//! doubled; in between, and until twelve hours after its last surprising value, it scores low. What was as unusual on two
//! of the last seven days at that hour is known. So a new level is reported, and learnt; what happens every night is
//! reported two nights.
//!
//! # Cost
//!
//! A value costs a bounded number of steps: the edges of an hour are made once a day from at most 63 days, the law once
//! in [`BLOCK`] values from at most 256 blocks. A scorer holds at most about 140 kB.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sizes of a few hundred, places in short lists"
)]

mod baseline;
mod tail;
mod view;

use std::collections::VecDeque;

use view::View;

/// Values whose largest excess is one of those that the tail is read off: a day of hourly values.
pub const BLOCK: u32 = 24;

/// Seconds of history from which a score can be believed: three days.
pub const LEARNING_SECONDS: i64 = 3 * DAY;

/// Seconds to be read beyond the baseline: the day that is judged, and one that fills the longest window before the
/// baseline begins.
pub const LEAD_SECONDS: i64 = 2 * DAY;

/// The score from which usage is a finding, unless the operator chose another: once in 100,000 days.
pub const UNUSUAL: f64 = 0.9;

/// Windows whose sums are scored, in values: one, some, and a day and three hours, so that a daily job which comes up to
/// three hours late is never missing from it.
const WINDOWS: [usize; 3] = [1, 4, LONGEST];
const LONGEST: usize = 27;

/// The relative noise of a busy key's hourly counts, from which on chance is no more what makes them vary.
const RELATIVE_NOISE: f64 = 0.2;

/// Of counts: what a neighbouring hour may lie higher before it lifts the upper edge. Two and a half times the noise: a
/// daily wave is smooth, a job's begin is not.
const SMOOTH: f64 = 2.5;

/// How long after an hour as busy as on an ordinary day today is taken for one, in seconds.
const BUSY: i64 = 5 * HOUR;

/// The distance, in units of noise, from which an ordinary day's lower edge can be told from a quiet day's.
const TWO_KINDS_OF_DAY: f64 = 9.0;

/// An hour is as busy as on an ordinary day if it lacks no more than this share of what tells that from a quiet one.
const NEARLY: f64 = 0.2;

/// Measurements that are closer than this are taken as if sixty of them were an hour, in seconds.
const CLOSE: i64 = 60;

/// The score from which a value is outside of the usual range.
const HALF: f64 = 0.5;

/// The score is 1 − e^(−surprise/5).
const PER_E: f64 = 5.0;

/// Beyond this, sums would no more be numbers.
const LARGEST: f64 = 1e100;

/// Times beyond this, thirty million years, would overflow where they are added to.
const FURTHEST: i64 = 1 << 50;

/// How long a key must have been used, in seconds, for its sleep before that to be forgotten: every hour of the week once.
const OWN_HISTORY: i64 = 10 * DAY;

/// How long a sleep is more than a night, a weekend or a holiday, in seconds.
const SLEEP: i64 = 4 * DAY;

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
    /// The score is about so many values, the last of them this one: 1 unless they are unusual only together.
    pub window: usize,
    /// Their sum; of measurements, their mean.
    pub observed: f64,
    /// What is usual for that sum or mean at this moment: what alone would score below one half. More than that comes
    /// about once a month.
    pub usual: Range,
    /// So rare that it comes once in so many days; of measurements that are not hourly, once in so many times [`BLOCK`]
    /// values. At least 1.
    pub once_in: f64,
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
}

/// Scores the last 24 hours of a series of hourly counts.
///
/// `from` and `until` are whole hours in seconds since 1970 (UTC): the first hour that counts as history, and the end of
/// the last complete hour. An hour without a point had no requests. **`from` is the later of `until` minus the baseline
/// minus [`LEAD_SECONDS`], and the key's creation**, not the first point: a key that slept through the whole baseline
/// has a history, of zeros. Once it has been used for ten days before the hours that are judged, its history
/// begins with that use: what is usual for a key that slept says nothing of one that works.
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
    // A long sleep before the first use is history only while there is too little else.
    let hours_of = |seconds: i64| usize::try_from(seconds / HOUR).unwrap_or(0);
    let forgotten = hours_of(SLEEP)..judged.saturating_sub(hours_of(OWN_HISTORY));
    let first_use = counts.iter().position(|&count| count > 0.0).filter(|hour| forgotten.contains(hour)).unwrap_or(0);
    let mut hours = Vec::with_capacity(24);
    for (i, (&observed, hour)) in counts.iter().zip(from..).enumerate().skip(first_use) {
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
    nature: Nature,
    /// When the first value came, and the latest one.
    span: Option<(i64, i64)>,
    /// Seconds between the first two measurements.
    spacing: Option<i64>,
    recent: VecDeque<f64>,
    views: [View; WINDOWS.len()],
    /// Until when today is taken for an ordinary day.
    busy_until: i64,
}

impl Scorer {
    /// A scorer that has seen nothing yet.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            nature: match kind {
                Kind::Counts { .. } => Nature::Counts,
                Kind::Measurements => Nature::Measurements { whole: true },
            },
            span: None,
            spacing: None,
            recent: VecDeque::with_capacity(LONGEST),
            views: WINDOWS.map(View::new),
            busy_until: i64::MIN,
        }
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
        if value.is_nan() || value.abs() > LARGEST || self.nature.counts() && value < 0.0 {
            return Err(NotScorable(value));
        }
        let at = at.clamp(-FURTHEST, FURTHEST);
        if let (Kind::Counts { period }, Some((_, last))) = (self.kind, self.span) {
            let period = period.max(1);
            // A gap longer than all that is remembered leaves nothing but zeros either way.
            let missing = ((at - last) / period - 1).min(64 * DAY / period);
            for back in (1..=missing).rev() {
                self.step(at - back * period, 0.0);
            }
        }
        Ok(self.step(at, value))
    }

    fn step(&mut self, at: i64, value: f64) -> Score {
        if let Nature::Measurements { whole } = &mut self.nature {
            *whole &= value >= 0.0 && value.fract() == 0.0;
        }
        let late = match self.span {
            Some((_, last)) => at < last || at == last && self.nature.counts(),
            None => false,
        };
        let (first, last) = self.span.map_or((at, at), |(first, last)| (first, last.max(at)));
        self.span = Some((first, last));
        let learning = at - first < LEARNING_SECONDS;
        let at = self.on_the_clock(at, first);
        if !late {
            if self.recent.len() == LONGEST {
                self.recent.pop_front();
            }
            self.recent.push_back(value);
        }

        let usual = Range { low: value, high: value };
        let mut score = Score { score: 0.0, window: 1, observed: value, usual, once_in: 1.0, learning };
        // Whether more than usual, and less, may be told of. A value above the usual range is never made less surprising
        // by what was missing before it.
        let mut counted = [true; 2];
        let mut ordinary_day = false;
        let mut most = 0.0_f64;
        let mut instead = None;
        let nature = self.nature;
        for view in &mut self.views {
            let window = view.window;
            let sum = match window {
                1 => value,
                _ if late || self.recent.len() < window => continue,
                _ => self.recent.iter().rev().take(window).sum(),
            };
            let on_scale = nature.scale(sum, window);
            let edges = view.edges(at, nature);
            if let Some(edges) = edges.filter(|_| window == 1) {
                counted = [on_scale >= f64::midpoint(edges.low, edges.high), on_scale <= edges.high];
                if nature.two_kinds_of_day(edges.own_low, edges.own_quiet)
                    && on_scale >= edges.own_low - NEARLY * (edges.own_low - edges.own_quiet)
                {
                    self.busy_until = at + BUSY;
                }
                ordinary_day = at < self.busy_until && nature.two_kinds_of_day(edges.low, edges.quiet);
            }
            let look = edges.map(|edges| view.look(at, on_scale, edges, ordinary_day && window < LONGEST, nature));
            if let Some(look) = look {
                // A single period without requests may be one that the metric missed.
                let tells = [counted[0], counted[1] && !(nature.counts() && window == 1)];
                let told = look.told.iter().zip(tells).filter(|(_, tells)| *tells).map(|(&told, _)| told);
                let told = told.fold(0.0, f64::max);
                // Several values explain a score only if it says anything, and if the value is no finding by itself.
                if window == 1 || instead.is_none() && told > most.max(surprise_of(HALF)) {
                    score.window = window;
                    score.observed = nature.shown(sum, window);
                    let (low, high) = look.usual();
                    score.usual = Range { low: nature.unscale(low), high: nature.unscale(high) };
                }
                most = told.max(most);
            }
            if window == 1 {
                instead = look.and_then(|look| look.instead());
            }
            if late {
                view.learn_late(at, on_scale);
            } else {
                view.learn(at, look, on_scale, nature, counted);
            }
        }
        // What is a finding by itself is not told of again by the sums that it will be part of.
        if let (false, Some(instead), Some(last)) = (late, instead, self.recent.back_mut()) {
            *last = nature.unscale(instead);
        }
        score.score = -(-most / PER_E).exp_m1();
        score.once_in = most.exp();
        score
    }

    /// Time by which baselines are kept. Values that are closer than a minute are taken as if sixty of them were an hour,
    /// and values further apart than a day as if they were daily: no hour of the day says anything of those.
    fn on_the_clock(&mut self, at: i64, first: i64) -> i64 {
        if self.nature.counts() {
            return at;
        }
        let gap = at - first;
        if self.spacing.is_none() && gap > 0 {
            self.spacing = Some(gap);
        }
        match self.spacing {
            Some(spacing @ ..CLOSE) => first + gap * CLOSE / spacing,
            Some(spacing) if spacing > DAY => first + gap / spacing * DAY,
            _ => at,
        }
    }
}

/// The surprise that a score stands for.
fn surprise_of(score: f64) -> f64 {
    -PER_E * (1.0 - score).ln()
}

/// What is known of a series' values.
#[derive(Clone, Copy, Debug)]
enum Nature {
    Counts,
    Measurements {
        /// All so far were whole numbers and none negative: they may be counts.
        whole: bool,
    },
}

impl Nature {
    fn counts(self) -> bool {
        matches!(self, Self::Counts)
    }

    fn whole(self) -> bool {
        matches!(self, Self::Measurements { whole: true })
    }

    /// Brings counts to a scale on which their noise is about 1: that of chance (Poisson) for few, a share of
    /// [`RELATIVE_NOISE`] for many.
    fn scale(self, sum: f64, window: usize) -> f64 {
        match self {
            Self::Counts => (RELATIVE_NOISE * (sum + 0.375).sqrt()).asinh() * 2.0 / RELATIVE_NOISE,
            Self::Measurements { .. } => sum / window as f64,
        }
    }

    fn unscale(self, value: f64) -> f64 {
        match self {
            Self::Counts => {
                (((value * RELATIVE_NOISE / 2.0).max(0.0).sinh() / RELATIVE_NOISE).powi(2) - 0.375).max(0.0)
            }
            Self::Measurements { .. } => value,
        }
    }

    fn shown(self, sum: f64, window: usize) -> f64 {
        if self.counts() { sum } else { sum / window as f64 }
    }

    fn smooth(self) -> f64 {
        if self.counts() { SMOOTH } else { 0.0 }
    }

    /// Whether an ordinary day differs from a quiet one at that hour. Of measurements there is no telling.
    fn two_kinds_of_day(self, ordinary: f64, quiet: f64) -> bool {
        self.counts() && ordinary - quiet > TWO_KINDS_OF_DAY
    }
}

#[cfg(test)]
mod tests;
