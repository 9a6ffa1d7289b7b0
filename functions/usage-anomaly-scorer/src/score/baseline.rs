//! What is usual at an hour: what the series showed there before.

use super::{DAY, HOUR};

/// Days that are remembered: as many as a baseline can have.
const KEPT: i64 = 63;

const WEEKS: usize = 9;

const HOURS: usize = 24;

/// Hours that usage may be early or late. A clock's change is one, and a job that is tried again another.
const REACH: i64 = 2;

/// Days that a quiet day is looked for in.
const QUIET_DAYS: i64 = 28;

/// What one hour of one day held.
#[derive(Clone, Copy, Debug)]
struct Slot {
    low: f64,
    high: f64,
    /// Whether something unusual was there, upwards and downwards.
    unusual: [bool; 2],
}

const EMPTY: Slot = Slot { low: f64::INFINITY, high: f64::NEG_INFINITY, unusual: [false; 2] };

/// What is usual at an hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edges {
    /// The lower edge on an ordinary day.
    pub low: f64,
    /// The lower edge on a day that is as quiet as the quietest of four weeks: a holiday, perhaps.
    pub quiet: f64,
    /// The upper edge.
    pub high: f64,
    /// `low` and `quiet` of this hour alone: the others allow for usage that is early or late.
    pub own_low: f64,
    pub own_quiet: f64,
    /// How far upwards, and downwards, it went twice in the last week, unusual as it was.
    pub known: [f64; 2],
}

/// The days so far, hour by hour.
#[derive(Clone, Debug)]
pub struct Baseline {
    days: Vec<[Slot; HOURS]>,
    /// The latest day, in days since 1970.
    today: Option<i64>,
    /// Days since the first one, today included.
    age: i64,
    /// The edges of each hour of the day alone, and for which hour since 1970 they were made.
    cache: [(i64, Option<Edges>); HOURS],
}

impl Baseline {
    pub fn new() -> Self {
        Self { days: Vec::new(), today: None, age: 0, cache: [(i64::MIN, None); HOURS] }
    }

    /// Days since the first one, it included.
    pub fn age(&self) -> i64 {
        self.age
    }

    /// Writes a value down. One of a day that is no more remembered is not.
    pub fn note(&mut self, at: i64, value: f64, unusual: [bool; 2]) {
        let day = at.div_euclid(DAY);
        let passed = self.today.map_or(0, |today| (day - today).max(0));
        for later in (0..passed.min(KEPT)).map(|i| day - i) {
            if let Some(slots) = self.days.get_mut(place(later)) {
                *slots = [EMPTY; HOURS];
            }
        }
        let today = self.today.map_or(day, |today| today.max(day));
        self.today = Some(today);
        self.age = if self.age == 0 { 1 } else { self.age + passed };
        if today - day >= self.age.min(KEPT) {
            return;
        }
        if self.days.len() <= place(day) {
            self.days.resize(place(day) + 1, [EMPTY; HOURS]);
        }
        let hour = (at.rem_euclid(DAY) / HOUR) as usize;
        if let Some(slot) = self.days.get_mut(place(day)).and_then(|slots| slots.get_mut(hour)) {
            slot.low = slot.low.min(value);
            slot.high = slot.high.max(value);
            slot.unusual = [slot.unusual[0] || unusual[0], slot.unusual[1] || unusual[1]];
        }
    }

    /// What is usual at that time; none while no earlier day had a value near that hour. A neighbouring hour that lies
    /// no more than `smooth` higher does not lift the upper edge.
    pub fn edges(&mut self, at: i64, smooth: f64) -> Option<Edges> {
        let hour = at.div_euclid(HOUR);
        let own = self.edges_of_hour(hour);
        let near = (hour - REACH..=hour + REACH).filter_map(|hour| self.edges_of_hour(hour));
        let wide = near.reduce(|one, other| Edges {
            low: one.low.min(other.low),
            quiet: one.quiet.min(other.quiet),
            high: one.high.max(other.high),
            known: [one.known[0].max(other.known[0]), one.known[1].min(other.known[1])],
            ..one
        })?;
        let own = own.unwrap_or(wide);
        let jump = wide.high - own.high;
        let high = own.high + jump.min(2.0 * (jump - smooth)).max(0.0);
        Some(Edges { high, own_low: own.low, own_quiet: own.quiet, ..wide })
    }

    /// What is usual in one hour, counted from 1970. It changes once a day only.
    fn edges_of_hour(&mut self, hour: i64) -> Option<Edges> {
        let place = hour.rem_euclid(24) as usize;
        match self.cache.get(place) {
            Some(&(made_for, edges)) if made_for == hour => edges,
            _ => {
                let edges = self.fresh_edges(hour.div_euclid(24), place);
                if let Some(cached) = self.cache.get_mut(place) {
                    *cached = (hour, edges);
                }
                edges
            }
        }
    }

    fn fresh_edges(&self, day: i64, hour: usize) -> Option<Edges> {
        let (mut lows, mut highs) = (Few::<{ QUIET_DAYS as usize }>::new(), Few::<7>::new());
        let (mut weekly_lows, mut weekly_highs) = (Few::<WEEKS>::new(), Few::<WEEKS>::new());
        let (mut known_lows, mut known_highs) = (Few::<7>::new(), Few::<7>::new());
        for ago in 1..self.age.min(KEPT) {
            let Some(slot) = self.slot(day - ago, hour) else { continue };
            if ago <= QUIET_DAYS {
                lows.push(slot.low);
            }
            if ago <= 7 {
                highs.push(slot.high);
            }
            if ago <= 7 && slot.unusual[0] {
                known_highs.push(slot.high);
            }
            if ago <= 7 && slot.unusual[1] {
                known_lows.push(slot.low);
            }
            if ago % 7 == 0 {
                weekly_lows.push(slot.low);
                weekly_highs.push(slot.high);
            }
        }
        // While no two weeks are known, the second highest of a week: a weekend's quiet does not lower it, and a single
        // incident does not lift it.
        let of_week = highs.nth(if highs.len < 3 { highs.len.saturating_sub(1) } else { highs.len - 2 });
        let high = match weekly_highs.len {
            0 => of_week?,
            1 => of_week?.max(weekly_highs.nth(0)?),
            several => weekly_highs.nth(several / 2)?,
        };
        let quiet = lows.nth(lows.len.saturating_sub(1) / 10)?.min(high);
        let low = match weekly_lows.len {
            0 | 1 => quiet,
            several => weekly_lows.nth((several - 1) / 2)?.min(high),
        };
        let quiet = quiet.min(low);
        let known_high = known_highs.nth(known_highs.len.wrapping_sub(2)).unwrap_or(f64::NEG_INFINITY);
        let known_low = known_lows.nth(1).unwrap_or(f64::INFINITY);
        Some(Edges { low, quiet, high, own_low: low, own_quiet: quiet, known: [known_high, known_low] })
    }

    fn slot(&self, day: i64, hour: usize) -> Option<&Slot> {
        let ago = self.today? - day;
        if ago < 0 || ago >= self.age.min(KEPT) {
            return None;
        }
        self.days.get(place(day))?.get(hour).filter(|slot| slot.low <= slot.high)
    }
}

fn place(day: i64) -> usize {
    day.rem_euclid(KEPT) as usize
}

/// A few values, of which the n-th lowest is asked for.
struct Few<const MOST: usize> {
    values: [f64; MOST],
    len: usize,
}

impl<const MOST: usize> Few<MOST> {
    fn new() -> Self {
        Self { values: [0.0; MOST], len: 0 }
    }

    fn push(&mut self, value: f64) {
        if let Some(last) = self.values.get_mut(self.len) {
            *last = value;
            self.len += 1;
        }
    }

    fn nth(&mut self, place: usize) -> Option<f64> {
        let values = self.values.get_mut(..self.len)?;
        (place < values.len()).then(|| *values.select_nth_unstable_by(place, f64::total_cmp).1)
    }
}
