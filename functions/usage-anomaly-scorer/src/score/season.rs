//! What the same hour held on earlier days.

use super::{DAY, HOUR};

/// Days that are remembered: as many as a baseline can have.
const KEPT: i64 = 63;

const WEEKS: usize = 9;

const HOURS: usize = 24;

/// Hours that a count may come early or late. A clock's change is one, and a job that is tried again another.
const REACH: i64 = 2;

/// Days that the lower edge is looked for in: four weeks, so that there are weekends and perhaps a holiday among them.
const LOW_DAYS: i64 = 28;

/// The lower edge leaves out one day in n: a single odd day does not become what is usual.
const LOW_RANK: usize = 10;

/// Days in which what goes beyond the edges twice becomes known.
const KNOWN_DAYS: i64 = 7;

/// What one hour of one day held. Pairs are upwards, downwards.
#[derive(Clone, Copy, Debug)]
struct Slot {
    low: f32,
    high: f32,
    /// It went beyond the edges, known or not.
    beyond: [bool; 2],
    /// It was news: kept out of the edges until it is confirmed.
    held: [bool; 2],
}

const EMPTY: Slot = Slot { low: f32::INFINITY, high: f32::NEG_INFINITY, beyond: [false; 2], held: [false; 2] };

/// What is usual at an hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edges {
    /// The lower edge.
    pub low: f64,
    /// The upper edge.
    pub high: f64,
    /// How far upwards, and downwards, it went on two of the last seven days, beyond the edges as it was.
    pub known: [f64; 2],
}

impl Edges {
    /// The edges with what is known by now.
    pub fn with_known(self) -> (f64, f64) {
        (self.low.min(self.known[1]), self.high.max(self.known[0]))
    }

    fn and(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            known: [self.known[0].max(other.known[0]), self.known[1].min(other.known[1])],
        }
    }
}

/// How edges are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From the same weekday of earlier weeks, two hours early or late. What went beyond once is kept out; a second time,
    /// at that hour of another day of the week before or of the same weekday, confirms it.
    Weekly,
    /// The medians of the same hour on the last seven days.
    Daily,
}

/// The days so far, hour by hour.
#[derive(Clone, Debug)]
pub struct Season {
    kind: Kind,
    days: Vec<[Slot; HOURS]>,
    /// The latest day, in days since 1970.
    today: Option<i64>,
    /// Days since the first one, today included.
    age: i64,
    /// The edges of each hour of the day alone, and for which hour since 1970 they were made.
    cache: [(i64, Option<Edges>); HOURS],
}

impl Season {
    /// Nothing is known yet.
    pub fn new(kind: Kind) -> Self {
        Self { kind, days: Vec::new(), today: None, age: 0, cache: [(i64::MIN, None); HOURS] }
    }

    /// Writes a value down. One of a day that is no longer remembered is not.
    pub fn note(&mut self, at: i64, value: f64, beyond: [bool; 2], held: [bool; 2]) {
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
            // A hundred-thousandth of a count is enough, and half the memory.
            slot.low = slot.low.min(value as f32);
            slot.high = slot.high.max(value as f32);
            slot.beyond = [slot.beyond[0] || beyond[0], slot.beyond[1] || beyond[1]];
            slot.held = [slot.held[0] || held[0], slot.held[1] || held[1]];
        }
    }

    /// What is usual at that time; none while no earlier day had a value near that hour.
    pub fn edges(&mut self, at: i64) -> Option<Edges> {
        let hour = at.div_euclid(HOUR);
        let reach = if self.kind == Kind::Weekly { REACH } else { 0 };
        (hour - reach..=hour + reach).filter_map(|hour| self.edges_of_hour(hour)).reduce(Edges::and)
    }

    /// What is usual in one hour, counted from 1970. It changes once a day only.
    fn edges_of_hour(&mut self, hour: i64) -> Option<Edges> {
        let place = hour.rem_euclid(24) as usize;
        match self.cache.get(place) {
            Some(&(made_for, edges)) if made_for == hour => edges,
            _ => {
                let day = hour.div_euclid(24);
                let edges = if self.kind == Kind::Weekly { self.weekly(day, place) } else { self.daily(day, place) };
                if let Some(cached) = self.cache.get_mut(place) {
                    *cached = (hour, edges);
                }
                edges
            }
        }
    }

    fn weekly(&self, day: i64, hour: usize) -> Option<Edges> {
        let mut lows = Few::<{ LOW_DAYS as usize }>::new();
        let mut recent = Few::<{ KNOWN_DAYS as usize }>::new();
        let mut known = [Few::<{ KNOWN_DAYS as usize }>::new(), Few::new()];
        for ago in 1..self.age.min(LOW_DAYS + 1) {
            let Some(slot) = self.slot(day - ago, hour) else { continue };
            if ago <= KNOWN_DAYS {
                if slot.beyond[0] {
                    known[0].push(slot.high);
                }
                if slot.beyond[1] {
                    known[1].push(slot.low);
                }
                if !slot.held[0] {
                    recent.push(slot.high);
                }
            }
            if !slot.held[1] {
                lows.push(slot.low);
            }
        }
        let (mut highs, mut held) = (Few::<WEEKS>::new(), Few::<WEEKS>::new());
        for ago in (7..self.age.min(KEPT)).step_by(7) {
            match self.slot(day - ago, hour) {
                Some(slot) if slot.held[0] => held.push(slot.high),
                Some(slot) => highs.push(slot.high),
                None => {}
            }
        }
        // While no two weeks are known, the second highest of a week: a single incident does not lift it.
        let high = match highs.len {
            0 | 1 => recent.second_highest_or_only().max(highs.highest()),
            _ => highs.highest(),
        };
        let high = if held.len > 1 { high.max(held.second_highest()) } else { high };
        let low = lows.nth(lows.len.saturating_sub(1) / LOW_RANK)?;
        let high = if high.is_finite() { high } else { low };
        let known = [known[0].second_highest(), known[1].nth(1).unwrap_or(f64::INFINITY)];
        Some(Edges { low: low.min(high), high, known })
    }

    fn daily(&self, day: i64, hour: usize) -> Option<Edges> {
        let (mut lows, mut highs) = (Few::<7>::new(), Few::<7>::new());
        for slot in (1..=7).filter_map(|ago| self.slot(day - ago, hour)) {
            lows.push(slot.low);
            highs.push(slot.high);
        }
        let low = lows.nth(lows.len.saturating_sub(1) / 2)?;
        let high = highs.nth(highs.len / 2)?;
        Some(Edges { low, high, known: [f64::NEG_INFINITY, f64::INFINITY] })
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
struct Few<const MAX: usize> {
    values: [f32; MAX],
    len: usize,
}

impl<const MAX: usize> Few<MAX> {
    fn new() -> Self {
        Self { values: [0.0; MAX], len: 0 }
    }

    fn push(&mut self, value: f32) {
        if let Some(last) = self.values.get_mut(self.len) {
            *last = value;
            self.len += 1;
        }
    }

    fn nth(&mut self, place: usize) -> Option<f64> {
        let values = self.values.get_mut(..self.len)?;
        (place < values.len()).then(|| f64::from(*values.select_nth_unstable_by(place, f32::total_cmp).1))
    }

    /// Minus infinity of none.
    fn highest(&self) -> f64 {
        let values = self.values.get(..self.len).unwrap_or_default();
        f64::from(values.iter().copied().fold(f32::NEG_INFINITY, f32::max))
    }

    /// Minus infinity of fewer than two.
    fn second_highest(&mut self) -> f64 {
        self.len.checked_sub(2).and_then(|place| self.nth(place)).unwrap_or(f64::NEG_INFINITY)
    }

    /// Of one or two, the higher one.
    fn second_highest_or_only(&mut self) -> f64 {
        if self.len < 3 { self.highest() } else { self.second_highest() }
    }
}
