//! A series as sums over a window: one value, some, or about a day's.

use super::baseline::{Baseline, Edges};
use super::tail::{Law, Tail};
use super::{HALF, HOUR, Nature, UNUSUAL, surprise_of};

/// The surprise from which an excursion is held to have begun: once in a thousand blocks.
const EXCURSION: f64 = 6.908;

/// How long after its last surprising value an excursion counts as the same, in seconds.
const HOLD: i64 = 12 * HOUR;

/// The noise that is assumed of counts while they have not shown their own, on the scale of [`Nature::scale`]. It makes
/// some twenty requests in an hour unusual for a key that had none.
const COUNT_NOISE: f64 = 0.9;

/// Counts whose upper edge is below the first are never taken for less noisy than [`COUNT_NOISE`]; from the second on
/// (some 300 requests) their own noise is believed.
const FEW: f64 = 5.0;
const MANY: f64 = 15.0;

/// Measurements are assumed to be exact to a hundredth of what is usual.
const MEASURED_TO: f64 = 0.01;

/// The series as sums over a window, with all that is remembered of them.
#[derive(Clone, Debug)]
pub struct View {
    /// How many values are summed.
    pub window: usize,
    baseline: Baseline,
    above: Direction,
    below: Direction,
    /// How many blocks the first week filled, until they are forgotten.
    first_week: Option<usize>,
}

/// What is remembered of excesses upwards, or downwards.
#[derive(Clone, Debug, Default)]
struct Direction {
    tail: Tail,
    /// The greatest surprise of the excursion that goes on, and until when it does.
    excursion: Option<(f64, i64)>,
}

/// A sum held against what is usual. Pairs are upwards, downwards.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The excess over what is usual or known.
    news: [f64; 2],
    high: f64,
    /// The surprise, told before or not.
    full: [f64; 2],
    /// The same as far as it is news.
    pub told: [f64; 2],
    /// What is usual or known.
    edge: [f64; 2],
    laws: [Option<Law>; 2],
}

impl Look {
    /// What would have been usual at most instead of a value that is a finding by itself.
    pub fn instead(&self) -> Option<f64> {
        (self.full[0] >= surprise_of(UNUSUAL)).then_some(self.edge[0])
    }

    /// The lowest and the highest value that scores below one half.
    pub fn usual(&self) -> (f64, f64) {
        let [above, below] = self.laws.map(|law| law.map_or(0.0, |law| law.excess(surprise_of(HALF)).max(0.0)));
        (self.edge[1] - below, self.edge[0] + above)
    }
}

impl View {
    pub fn new(window: usize) -> Self {
        Self {
            window,
            baseline: Baseline::new(),
            above: Direction::default(),
            below: Direction::default(),
            first_week: None,
        }
    }

    /// What is usual at that time; none while there is no past to say it.
    pub fn edges(&mut self, at: i64, nature: Nature) -> Option<Edges> {
        self.baseline.edges(at, nature.smooth())
    }

    /// Holds a sum against what is usual, on an ordinary day or on one that may be quiet.
    pub fn look(&self, at: i64, value: f64, edges: Edges, ordinary_day: bool, nature: Nature) -> Look {
        let low = if ordinary_day { edges.low } else { edges.quiet };
        let (assumed, least) = self.noise(nature, &edges);
        let laws = [self.above.law(nature, assumed, least), self.below.law(nature, assumed, assumed)];
        let [known_high, known_low] = edges.known;
        let known = [(known_high - edges.high).max(0.0), (low - known_low).max(0.0)];
        let excess = [value - edges.high, low - value];
        let over = self.above.surprise(at, excess[0], known[0], laws[0]);
        let under = self.below.surprise(at, excess[1], known[1], laws[1]);
        Look {
            news: [excess[0] - known[0], excess[1] - known[1]],
            high: edges.high,
            full: [over.0, under.0],
            told: [over.1, under.1],
            edge: [edges.high + known[0], low - known[1]],
            laws,
        }
    }

    /// Learns the sum. `counted`: whether it stands for something that may be told of, upwards and downwards.
    pub fn learn(&mut self, at: i64, look: Option<Look>, value: f64, nature: Nature, counted: [bool; 2]) {
        if let Some(look) = look {
            let telling = !nature.counts() || value.max(look.high) > nature.scale(0.0, 1);
            self.above.learn(at, telling.then_some(look.news[0]), look.full[0], counted[0]);
            self.below.learn(at, telling.then_some(look.news[1]), look.full[1], counted[1]);
        }
        let unusual = look.map_or([false; 2], |look| look.full.map(|full| full >= surprise_of(UNUSUAL)));
        self.baseline.note(at, value, unusual);
        // What the first week seemed to leave its edges by was a week that was not known yet.
        match (self.baseline.age(), self.first_week) {
            (8.., None) => self.first_week = Some(self.above.tail.blocks()),
            (15.., Some(blocks @ 1..)) => {
                self.above.tail.forget(blocks);
                self.below.tail.forget(blocks);
                self.first_week = Some(0);
            }
            _ => {}
        }
    }

    /// Learns a value that comes late: for its own hour only.
    pub fn learn_late(&mut self, at: i64, value: f64) {
        self.baseline.note(at, value, [false; 2]);
    }

    /// The noise that is assumed, and the least that is believed of excesses upwards. Less usage is told of only if it
    /// is much less, so what is assumed is also the least downwards.
    fn noise(&self, nature: Nature, edges: &Edges) -> (f64, f64) {
        if nature.counts() {
            let few = 1.0 - ((edges.high - FEW) / (MANY - FEW)).clamp(0.0, 1.0);
            return (COUNT_NOISE, COUNT_NOISE * few);
        }
        let largest = edges.high.abs().max(edges.low.abs());
        let by_chance = if nature.whole() { COUNT_NOISE * (largest + 1.0).sqrt() } else { f64::MIN_POSITIVE };
        let noise = (MEASURED_TO * largest).max(by_chance).max(1e-9) / (self.window as f64).sqrt();
        (noise, noise)
    }
}

impl Direction {
    fn law(&self, nature: Nature, assumed: f64, least: f64) -> Option<Law> {
        let of_chance = nature.counts().then_some(Law { location: 0.0, scale: assumed });
        self.tail.law(assumed, least).or(of_chance)
    }

    /// The surprise, and as much of it as is news: beyond what is known, and when an excursion begins, becomes a finding
    /// or doubles.
    fn surprise(&self, at: i64, excess: f64, known: f64, law: Option<Law>) -> (f64, f64) {
        let Some(law) = law else { return (0.0, 0.0) };
        let full = law.surprise(excess);
        let fresh = if known > 0.0 { law.surprise(excess - known) } else { full };
        let next = match self.excursion {
            Some((_, until)) if at > until => 0.0,
            Some((worst, _)) if worst < surprise_of(UNUSUAL) => surprise_of(UNUSUAL),
            Some((worst, _)) => 2.0 * worst,
            None => 0.0,
        };
        (full, if fresh >= next { fresh } else { fresh.min(EXCURSION / 2.0) })
    }

    fn learn(&mut self, at: i64, excess: Option<f64>, full: f64, counted: bool) {
        self.tail.note(excess);
        if counted && full >= EXCURSION {
            let worst = self.excursion.filter(|&(_, until)| at <= until).map_or(full, |(worst, _)| worst.max(full));
            self.excursion = Some((worst, at + HOLD));
        }
    }
}
