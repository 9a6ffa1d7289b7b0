//! Measurements of any unit and spacing: nothing is known of their noise, so several simple views have to agree.

use std::collections::VecDeque;

use super::season::{Kind, Season};
use super::tail::Tail;
use super::{Found, HOUR, Range, Tuning};

/// Values whose means are held against all that was seen before.
const WINDOWS: [usize; 3] = [1, 4, LONGEST];
const LONGEST: usize = 27;

/// Means over no more than this are held against the hour of the day, too.
const SEASONAL: usize = 4;

/// Views: each window against all before, the seasonal ones against their hour, and the step from the values just before.
const VIEWS: usize = WINDOWS.len() + 3;

/// How much of the moment's level a new value makes.
const MOMENT: f64 = 0.25;

/// Measurements are assumed to be exact to a hundredth of the range that they were seen in.
const MEASURED_TO: f64 = 0.01;

/// A surprise below this begins nothing that could go on.
const BEGINS: f64 = 4.0;

/// All that is remembered of a series of measurements.
#[derive(Clone, Debug)]
pub struct Measurements {
    tuning: Tuning,
    recent: VecDeque<f64>,
    season: Season,
    /// Upwards and downwards.
    tails: [[Tail; 2]; VIEWS],
    /// The lowest and the highest so far.
    range: Range,
    moment: Option<f64>,
    /// The greatest surprise of late, and when it came.
    told: Option<(i64, f64)>,
}

impl Measurements {
    pub fn new(tuning: Tuning) -> Self {
        Self {
            tuning,
            recent: VecDeque::with_capacity(LONGEST),
            season: Season::new(Kind::Daily),
            tails: std::array::from_fn(|_| [Tail::default(), Tail::default()]),
            range: Range { low: f64::INFINITY, high: f64::NEG_INFINITY },
            moment: None,
            told: None,
        }
    }

    /// Scores the next value, then learns it. A late one is scored by itself, and learnt for its own hour.
    pub fn step(&mut self, at: i64, value: f64, late: bool) -> Found {
        self.range = Range { low: self.range.low.min(value), high: self.range.high.max(value) };
        let exact = (MEASURED_TO * (self.range.high - self.range.low)).max(1e-9);
        if !late {
            if self.recent.len() == LONGEST {
                self.recent.pop_front();
            }
            self.recent.push_back(value);
        }
        let edges = self.season.edges(at);
        let mut signs = [None; VIEWS];
        let mut views = signs.iter_mut();
        for window in WINDOWS {
            let mean = match window {
                1 => Some(value),
                _ if late || self.recent.len() < window => None,
                _ => Some(self.recent.iter().rev().take(window).sum::<f64>() / window as f64),
            };
            if let Some(view) = views.next() {
                *view = mean.map(|mean| (mean, exact / (window as f64).sqrt()));
            }
            if window <= SEASONAL
                && let Some(view) = views.next()
            {
                // How far it lies outside; 0 within.
                *view = mean.zip(edges).map(|(mean, edges)| (mean - mean.clamp(edges.low, edges.high), exact));
            }
        }
        if let Some(view) = views.next() {
            *view = self.moment.map(|moment| (value - moment, exact));
        }
        if !late {
            self.moment = Some(self.moment.map_or(value, |moment| moment + MOMENT * (value - moment)));
        }

        let (mut most, mut sum) = (0.0_f64, 0.0);
        for (sign, tails) in signs.into_iter().zip(&mut self.tails) {
            let Some((sign, exact)) = sign else { continue };
            let mut surprise = 0.0_f64;
            for (tail, sign) in tails.iter_mut().zip([sign, -sign]) {
                let law = tail.by_exceedances(self.tuning.tail_share, exact);
                surprise = surprise.max(law.map_or(0.0, |law| law.surprise(sign)));
                tail.note(sign);
            }
            most = most.max(surprise);
            sum += surprise;
        }
        let share = self.tuning.most_share;
        let surprise = share * most + (1.0 - share) * sum / VIEWS as f64;
        self.season.note(at, value, [false; 2], [false; 2]);
        let usual = edges.map_or(Range { low: value, high: value }, |edges| Range { low: edges.low, high: edges.high });
        Found { surprise: self.news(at, surprise), window: 1, observed: value, usual }
    }

    /// The surprise, if there was none as great of late.
    fn news(&mut self, at: i64, surprise: f64) -> f64 {
        let of_late = self.told.filter(|(then, _)| *then >= at - self.tuning.hold_hours * HOUR);
        if of_late.is_some_and(|(_, worst)| surprise <= worst) {
            return 0.0;
        }
        if surprise > BEGINS {
            self.told = Some((at, surprise));
        }
        surprise
    }
}
