//! Hourly counts: what alone or together leaves the usual hours of a key, and whether it is news.

use std::collections::VecDeque;

use super::season::{Edges, Kind, Season};
use super::tail::{Law, Tail};
use super::{DAY, Found, HALF, HOUR, Range, UNUSUAL, surprise_of};

/// Hours whose sums are looked at. One finds bursts. Seven find silence: six lost hours are forgiven. A day and three
/// hours find what is too little for one hour, and the daily job that did not come, which may be three hours late.
const WINDOWS: [usize; 3] = [1, SILENT + 1, LONGEST];
const LONGEST: usize = 27;

/// Hours without a call that may be hours that the metric has lost.
const SILENT: usize = 6;

/// The relative noise of a busy key's hourly counts, from which on chance no longer is what makes them vary.
const RELATIVE_NOISE: f64 = 0.2;

/// Scales that are believed of the tail, in units of noise. The smallest demands about 2.9 times the usual of a busy key
/// and some 12 calls where there were none. The largest keeps a tenfold burst a finding however many incidents there
/// were before it.
const SCALES: [f64; 2] = [0.9, 1.8];

/// The smallest scale of what is missing. It takes a fall to a third of the quiet days for a finding.
const LEAST_FALL: f64 = 0.75;

/// The highest score of less usage than usual: it may be an outage, it is no theft.
const MAX_FALL: f64 = 0.95;

/// The scale of what lies beyond all hours of four weeks.
const RECORD_SCALE: f64 = 1.3;

/// One day in n may hold an incident without moving the law: four of 28.
const IGNORED: u32 = 7;

/// Days before a count is one of those that a record is measured by: drift is compared with last week, not with yesterday.
const LAG: i64 = 7;

/// The surprise from which an excursion is held to have begun: in one day of forty.
const EXCURSION: f64 = 3.7;

/// How long after its last surprising value an excursion counts as the same: the longest window, and some hours.
const HOLD: i64 = 30 * HOUR;

/// The steps at which an excursion is told of again while it lasts: each is sevenfold, so that ten times what was told is
/// always news, and what grows by half a day is told of once or twice a week.
const AGAIN: f64 = 9.5;

/// What is not told of again is given a surprise of at most this: it scores below one half.
const KNOWN: f64 = 2.0;

/// Brings counts to a scale on which their noise is about 1: that of chance (Poisson) for few, a share of
/// [`RELATIVE_NOISE`] for many.
fn scale(count: f64) -> f64 {
    (RELATIVE_NOISE * (count + 0.375).sqrt()).asinh() * 2.0 / RELATIVE_NOISE
}

fn unscale(value: f64) -> f64 {
    (((value * RELATIVE_NOISE / 2.0).max(0.0).sinh() / RELATIVE_NOISE).powi(2) - 0.375).max(0.0)
}

/// All that is remembered of a series of counts.
#[derive(Clone, Debug)]
pub struct Counts {
    /// The latest counts, as far as they are believed and no finding by themselves.
    recent: VecDeque<f64>,
    views: [View; WINDOWS.len()],
    news: News,
    record: Record,
    /// Hours without a call up to now.
    silent: usize,
}

/// Sums over a window.
#[derive(Clone, Debug)]
struct View {
    window: usize,
    season: Season,
    above: DailyTail,
    below: DailyTail,
}

/// The law of each day's largest excess: the hours of one event are one event.
#[derive(Clone, Debug, Default)]
struct DailyTail {
    tail: Tail,
    largest: Option<f64>,
    filled: u8,
}

impl DailyTail {
    fn law(&self, least: f64) -> Law {
        let law = self.tail.by_gaps(IGNORED, [least, SCALES[1]]);
        // What lies within the edges is never surprising.
        Law { begins: law.begins.max(0.0), ..law }
    }

    fn note(&mut self, excess: f64) {
        self.largest = Some(self.largest.map_or(excess, |largest| largest.max(excess)));
        self.filled += 1;
        if self.filled == 24 {
            self.tail.note(self.largest.take().unwrap_or(excess));
            self.filled = 0;
        }
    }
}

/// Something that is told of once, when it begins, and again at each further step of [`AGAIN`].
#[derive(Clone, Debug)]
struct Excursion {
    /// When it was told of, and how far it had gone.
    told: Option<(i64, f64)>,
    until: i64,
}

impl Excursion {
    fn new() -> Self {
        Self { told: None, until: i64::MIN }
    }

    /// The surprise as far as it is news.
    fn news(&mut self, at: i64, surprise: f64, reached: f64) -> f64 {
        if at > self.until {
            self.told = None;
        }
        if surprise >= EXCURSION {
            self.until = at + HOLD;
        }
        // The steps do not depend on where an excursion began: every day's run, whose history begins a day later than the
        // last one's, finds the same ones.
        let step = |reached: f64| (reached / AGAIN).floor();
        // What one window has just told, another may tell for the same hour.
        let is_told =
            |(when, told): (i64, f64)| when < at && (reached < told + AGAIN / 2.0 || step(reached) <= step(told));
        if self.told.is_some_and(is_told) {
            return surprise.min(KNOWN);
        }
        if surprise >= surprise_of(UNUSUAL) {
            self.told = Some((at, reached));
        }
        surprise
    }
}

/// The largest count of each day, and of all days but the last seven.
#[derive(Clone, Debug)]
struct Record {
    latest: VecDeque<(i64, f64)>,
    tail: Tail,
}

/// What goes on, upwards and downwards. All windows share it: they look at the same hours.
#[derive(Clone, Debug)]
struct News {
    rise: Excursion,
    fall: Excursion,
}

impl Record {
    fn surprise(&mut self, at: i64, value: f64) -> f64 {
        let today = at.div_euclid(DAY);
        while let Some((_, largest)) = self.latest.pop_front_if(|(day, _)| *day <= today - LAG) {
            self.tail.note(largest);
        }
        self.tail.record(RECORD_SCALE).map_or(0.0, |law| law.surprise(value))
    }

    fn note(&mut self, at: i64, value: f64) {
        let today = at.div_euclid(DAY);
        match self.latest.back_mut() {
            Some((day, largest)) if *day >= today => *largest = largest.max(value),
            _ => self.latest.push_back((today, value)),
        }
    }
}

impl Counts {
    pub fn new() -> Self {
        Self {
            recent: VecDeque::with_capacity(LONGEST),
            views: WINDOWS.map(|window| View {
                window,
                season: Season::new(Kind::Weekly),
                above: DailyTail::default(),
                below: DailyTail::default(),
            }),
            news: News { rise: Excursion::new(), fall: Excursion::new() },
            record: Record { latest: VecDeque::new(), tail: Tail::default() },
            silent: 0,
        }
    }

    /// Scores the next hour's count, then learns it. A late one is scored and learnt by itself, for its own hour.
    pub fn step(&mut self, at: i64, count: f64, late: bool) -> Found {
        let edges = self.views.first_mut().and_then(|hours| hours.season.edges(at));
        let believed = if late { count } else { self.believe(count, edges) };
        let is_lost = believed > count;
        let mut hour = Hour { level: scale(count), record: 0.0, is_lost };
        let mut found = Found { surprise: 0.0, window: 1, observed: count, usual: Range { low: count, high: count } };
        let mut instead = None;
        for view in &mut self.views {
            let window = view.window;
            if window > 1 && (late || self.recent.len() < window) {
                continue;
            }
            let sum = if window == 1 { count } else { self.recent.iter().rev().take(window).sum() };
            let edges = if window == 1 { edges } else { view.season.edges(at) };
            let Some(edges) = edges else {
                if !is_lost {
                    view.season.note(at, scale(sum), [false; 2], [false; 2]);
                }
                continue;
            };
            hour.record = if window == 1 { self.record.surprise(at, hour.level) } else { 0.0 };
            let sight = view.look(at, sum, edges, &mut self.news, hour);
            let news = sight.news;
            // What is a finding by itself is told of as that, and not as part of a sum.
            if window == 1 || instead.is_none() && news > found.surprise.max(surprise_of(HALF)) {
                found = Found { window, observed: sum, usual: sight.usual, surprise: found.surprise };
            }
            found.surprise = found.surprise.max(news);
            if window == 1 && sight.surprise >= surprise_of(UNUSUAL) {
                instead = Some(sight.instead);
            }
        }
        // Later sums do not tell of it again.
        if let (false, Some(instead), Some(last)) = (late, instead, self.recent.back_mut()) {
            *last = instead;
        }
        if !is_lost {
            self.record.note(at, scale(count));
        }
        found
    }

    /// Takes in a count, or what is usual at least where the metric may have lost it. Once the silence is too long for
    /// that, it is taken for what it is.
    fn believe(&mut self, count: f64, edges: Option<Edges>) -> f64 {
        let mut believed = count;
        if count > 0.0 {
            self.silent = 0;
        } else {
            self.silent += 1;
            if self.silent <= SILENT {
                believed = edges.map_or(count, |edges| unscale(edges.with_known().0).round());
            } else if self.silent == SILENT + 1 {
                self.recent.iter_mut().rev().take(SILENT).for_each(|count| *count = 0.0);
            }
        }
        if self.recent.len() == LONGEST {
            self.recent.pop_front();
        }
        self.recent.push_back(believed);
        believed
    }
}

/// The hour that a window ends with.
#[derive(Clone, Copy)]
struct Hour {
    /// Its count, scaled.
    level: f64,
    /// Its surprise as a record.
    record: f64,
    /// The metric may have lost it.
    is_lost: bool,
}

/// A sum held against what is usual.
struct Sight {
    /// The surprise upwards, told before or not.
    surprise: f64,
    /// The surprise in either direction as far as it is news.
    news: f64,
    usual: Range,
    /// What would have been usual at most.
    instead: f64,
}

impl View {
    /// Holds a sum against what is usual, and learns it. That one hour holds less than usual is never told of: six may be
    /// lost. That seven hold more is not either: what one hour and a day do not find, they do not.
    fn look(&mut self, at: i64, sum: f64, edges: Edges, news_of: &mut News, hour: Hour) -> Sight {
        let value = scale(sum);
        let (low, high) = edges.with_known();
        let (mut beyond, mut held) = ([false; 2], [false; 2]);
        let (mut surprise, mut news) = (0.0, 0.0_f64);
        let mut usual = Range { low, high };
        if self.window != SILENT + 1 {
            let law = self.above.law(SCALES[0]);
            surprise = law.surprise(value - high);
            beyond[0] = law.surprise(value - edges.high) >= EXCURSION;
            held[0] = surprise >= surprise_of(UNUSUAL);
            news = news_of.rise.news(at, surprise.max(hour.record), hour.level);
            usual.high = high + law.value(surprise_of(HALF));
            self.above.note(value - high);
        }
        if self.window > 1 {
            let law = self.below.law(LEAST_FALL);
            let missing = law.surprise(low - value);
            beyond[1] = law.surprise(edges.low - value) >= EXCURSION;
            held[1] = missing >= surprise_of(UNUSUAL);
            let told = news_of.fall.news(at, missing, edges.low - value);
            if !hour.is_lost {
                news = news.max(told.min(surprise_of(MAX_FALL)));
            }
            usual.low = low - law.value(surprise_of(HALF));
            self.below.note(low - value);
        }
        if !(hour.is_lost && self.window == 1) {
            self.season.note(at, value, beyond, held);
        }
        let usual = Range { low: unscale(usual.low), high: unscale(usual.high) };
        Sight { surprise, news, usual, instead: unscale(high) }
    }
}
