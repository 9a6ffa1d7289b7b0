//! What is usual at an hour: what the series showed there before.

use super::{DAY, HOUR};

/// Days that are remembered: as many as a baseline can have.
const KEPT: usize = 63;
const HOURS: usize = 24;
/// Hours that usage may be early or late.
const REACH: i64 = 2;

/// What an hour of one day held.
#[derive(Clone, Copy, Debug)]
struct Slot {
    low: f64,
    high: f64,
    /// An excess was reported, upwards, downwards.
    reported: [bool; 2],
}

const EMPTY: Slot = Slot { low: f64::INFINITY, high: f64::NEG_INFINITY, reported: [false; 2] };

/// The edges of the usual range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edges {
    pub low: f64,
    pub high: f64,
    /// The lower edge on a day that is as quiet as the quietest of the last four weeks.
    pub quiet: f64,
    pub own: (f64, f64),
    /// What was reported so often that it is no news, if it lies outside of the range.
    pub known_low: f64,
    pub known_high: f64,
}

/// The days so far, hour by hour.
#[derive(Clone, Debug)]
pub struct Baseline {
    days: Vec<[Slot; HOURS]>,
    /// The day that is being written, in days since 1970.
    today: Option<i64>,
    /// Days since the first one, today included.
    age: i64,
    cached: [(i64, Option<Edges>); HOURS],
}

fn day_and_hour(at: i64) -> (i64, i64) {
    (at.div_euclid(DAY), at.rem_euclid(DAY) / HOUR)
}

impl Baseline {
    pub fn new() -> Self {
        Self { days: Vec::new(), today: None, age: 0, cached: [(i64::MIN, None); HOURS] }
    }

    fn place(day: i64) -> usize {
        usize::try_from(day.rem_euclid(KEPT as i64)).unwrap_or(0)
    }

    /// The slot of an hour, which may be before 00:00 or after 23:00 of the day; none if it is not remembered.
    fn slot(&self, day: i64, hour: i64) -> Option<&Slot> {
        let (day, hour) = (day + hour.div_euclid(24), hour.rem_euclid(24));
        let ago = self.today? - day;
        if ago < 0 || ago >= self.age.min(KEPT as i64) {
            return None;
        }
        let slot = self.days.get(Self::place(day))?.get(usize::try_from(hour).ok()?)?;
        (slot.low <= slot.high).then_some(slot)
    }

    /// Writes a value down. One that is too old to be remembered is not.
    pub fn note(&mut self, at: i64, value: f64, reported: [bool; 2]) {
        let (day, hour) = day_and_hour(at);
        let today = match self.today {
            None => {
                self.age = 1;
                day
            }
            Some(today) => {
                let passed = (day - today).max(0);
                for later in (0..passed.min(KEPT as i64)).map(|i| day - i) {
                    if let Some(slots) = self.days.get_mut(Self::place(later)) {
                        *slots = [EMPTY; HOURS];
                    }
                }
                self.age += passed;
                today + passed
            }
        };
        self.today = Some(today);
        let place = Self::place(day);
        if self.days.len() <= place && today - day < KEPT as i64 {
            self.days.resize(place + 1, [EMPTY; HOURS]);
        }
        if today - day >= self.age.min(KEPT as i64) {
            return;
        }
        if let Some(slot) = usize::try_from(hour).ok().and_then(|hour| self.days.get_mut(place)?.get_mut(hour)) {
            slot.low = slot.low.min(value);
            slot.high = slot.high.max(value);
            slot.reported = [slot.reported[0] | reported[0], slot.reported[1] | reported[1]];
        }
    }

    /// Days since the first one, it included.
    pub fn age(&self) -> i64 {
        self.age
    }

    /// What is usual at that time; none on the first day.
    pub fn edges(&mut self, at: i64, smooth: f64) -> Option<Edges> {
        let hour = at.div_euclid(HOUR);
        let own = self.edges_at(hour);
        let mut edges = own;
        for hour in hour - REACH..=hour + REACH {
            let Some(one) = self.edges_at(hour) else { continue };
            edges = Some(edges.map_or(one, |edges| Edges {
                low: edges.low.min(one.low),
                quiet: edges.quiet.min(one.quiet),
                high: edges.high.max(one.high),
                own: edges.own,
                known_low: edges.known_low.min(one.known_low),
                known_high: edges.known_high.max(one.known_high),
            }));
        }
        let (own, mut edges) = (own.or(edges)?, edges?);
        edges.high = own.high + jump(edges.high - own.high, smooth);
        edges.own = (own.low, own.quiet);
        Some(edges)
    }

    /// What is usual in one hour, counted from 1970. It changes once a day only.
    fn edges_at(&mut self, hour: i64) -> Option<Edges> {
        let (day, of_day) = (hour.div_euclid(24), hour.rem_euclid(24));
        let place = usize::try_from(of_day).ok()?;
        let (cached, edges) = *self.cached.get(place)?;
        if cached == hour {
            return edges;
        }
        let edges = self.edges_of_hour(day, of_day);
        *self.cached.get_mut(place)? = (hour, edges);
        edges
    }

    fn edges_of_hour(&self, day: i64, hour: i64) -> Option<Edges> {
        let mut lows: Few = Few::default();
        let mut highs: Few = Few::default();
        let mut week_highs: Few = Few::default();
        let mut week_lows: Few = Few::default();
        let (mut known_high, mut known_low) = ([f64::NEG_INFINITY; 2], [f64::INFINITY; 2]);
        for ago in 1..self.age.min(KEPT as i64) {
            let Some(slot) = self.slot(day - ago, hour) else { continue };
            if ago <= 28 {
                lows.push(slot.low);
            }
            if ago <= 7 {
                highs.push(slot.high);
                if slot.reported[0] {
                    known_high = two(known_high, slot.high, f64::max, f64::min);
                }
                if slot.reported[1] {
                    known_low = two(known_low, slot.low, f64::min, f64::max);
                }
            }
            if ago % 7 == 0 {
                week_highs.push(slot.high);
                week_lows.push(slot.low);
            }
        }
        let high = match week_highs.len {
            0 => highs.second_highest()?,
            1 => highs.second_highest()?.max(week_highs.upper_median()?),
            _ => week_highs.upper_median()?,
        };
        let quiet = lows.at(0.1)?;
        let low = match week_lows.len {
            0 | 1 => quiet,
            _ => week_lows.at(0.5)?,
        };
        let quiet = quiet.min(low);
        Some(Edges {
            low: low.min(high),
            high,
            quiet: quiet.min(high),
            own: (0.0, 0.0),
            known_low: known_low[1],
            known_high: known_high[1],
        })
    }
}

fn jump(difference: f64, smooth: f64) -> f64 {
    difference.min(2.0 * (difference - smooth)).max(0.0)
}

/// The two most extreme, the more extreme first.
fn two(so_far: [f64; 2], value: f64, outer: fn(f64, f64) -> f64, inner: fn(f64, f64) -> f64) -> [f64; 2] {
    [outer(so_far[0], value), outer(so_far[1], inner(so_far[0], value))]
}

/// A few values, kept sorted.
#[derive(Debug)]
struct Few {
    values: [f64; KEPT],
    len: usize,
}

impl Default for Few {
    fn default() -> Self {
        Self { values: [0.0; KEPT], len: 0 }
    }
}

impl Few {
    fn push(&mut self, value: f64) {
        if let Some(last) = self.values.get_mut(self.len) {
            *last = value;
            self.len += 1;
        }
    }

    /// The highest of fewer than three.
    fn second_highest(&mut self) -> Option<f64> {
        self.nth(if self.len < 3 { self.len.saturating_sub(1) } else { self.len - 2 })
    }

    fn upper_median(&mut self) -> Option<f64> {
        self.nth(self.len / 2)
    }

    /// The quantile, the lower of two.
    fn at(&mut self, q: f64) -> Option<f64> {
        self.nth((q * self.len.saturating_sub(1) as f64).floor() as usize)
    }

    fn nth(&mut self, place: usize) -> Option<f64> {
        let values = self.values.get_mut(..self.len)?;
        if place >= values.len() {
            return None;
        }
        Some(*values.select_nth_unstable_by(place, f64::total_cmp).1)
    }
}
