//! How rare is a value? The largest that a series has held so far, and how far the next may lie beyond.
//!
//! Beyond the k-th largest of n values, a tail is taken to fall by a factor of e with each `scale`:
//!
//! ```text
//! surprise(x) = ln(n / k) + (x − k-th largest) / scale
//! ```
//!
//! That is minus the logarithm of the chance that a value reaches x. One line of arithmetic, no fit, and it needs no
//! more than the few largest values.

/// The largest values that are remembered.
const KEPT: usize = 12;

/// No surprise is greater: far beyond this, more of it says nothing, and in a mean it would drown all else.
const MAX_SURPRISE: f64 = 60.0;

/// Where the tail begins, and how fast it falls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Law {
    /// The k-th largest.
    pub begins: f64,
    /// What is further out by this is rarer by a factor of e.
    pub scale: f64,
    /// ln(n / k), the surprise at `begins`.
    pub base: f64,
}

impl Law {
    /// Minus the natural logarithm of the chance of at least this; 0 for what lies before the tail.
    pub fn surprise(self, value: f64) -> f64 {
        let beyond = value - self.begins;
        if beyond <= 0.0 { 0.0 } else { (self.base + beyond / self.scale).min(MAX_SURPRISE) }
    }

    /// The value that is as surprising as this: the inverse of [`Law::surprise`], as far as the tail reaches.
    pub fn value(self, surprise: f64) -> f64 {
        self.begins + self.scale * (surprise - self.base).max(0.0)
    }
}

/// The largest so far.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    /// The largest first.
    largest: [f64; KEPT],
    /// How many of them there are.
    len: usize,
    /// How many values there were.
    count: u32,
}

impl Tail {
    /// Takes in one more value.
    pub fn note(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        let kept = self.largest.get(..self.len).unwrap_or_default();
        let place = kept.partition_point(|&other| other > value);
        if place == KEPT {
            return;
        }
        self.len = (self.len + 1).min(KEPT);
        if let Some(later) = self.largest.get_mut(place..self.len) {
            later.rotate_right(1);
            if let Some(first) = later.first_mut() {
                *first = value;
            }
        }
    }

    /// The law of what lies beyond all values: the n-th is the largest with the chance 1 / n, and lies beyond the others by
    /// such a scale.
    pub fn record(&self, scale: f64) -> Option<Law> {
        (self.count > 0).then(|| Law { begins: self.nth(0), scale, base: f64::from(self.count).ln() })
    }

    fn nth(&self, place: usize) -> f64 {
        let last = self.len.saturating_sub(1);
        self.largest.get(place.min(last)).copied().unwrap_or(0.0)
    }

    /// The law of a series whose noise nobody knows: the scale is what the values beyond the k-th largest exceed it by on
    /// average, k a `share` of all, at least 3. `least` is the smallest scale that is believed.
    pub fn by_exceedances(&self, share: f64, least: f64) -> Option<Law> {
        let count = f64::from(self.count);
        if self.count < 20 {
            return None;
        }
        let k = ((share * count) as usize).clamp(3, KEPT - 2);
        let begins = self.nth(k);
        let beyond = self.largest.get(..k)?.iter().sum::<f64>() / k as f64 - begins;
        Some(Law { begins, scale: beyond.max(least), base: (count / k as f64).ln() })
    }

    /// The law of a series with a known kind of noise, robust against incidents among the values: of each `ignored` values
    /// the largest one may be an incident, so the tail begins after those; its scale is read off the gaps between the
    /// next ones, and is kept between `least` and `most`.
    pub fn by_gaps(&self, ignored: u32, [least, most]: [f64; 2]) -> Law {
        let place = (self.count / ignored) as usize;
        let begins = self.nth(place);
        let to = (2 * place + 2).min(self.len.saturating_sub(1));
        // Of an exponential tail, the gap between the i-th and the next largest is the scale / i on average.
        let gaps: f64 = (place + 1..=to).map(|i| 1.0 / i as f64).sum();
        let scale = if gaps > 0.0 { (begins - self.nth(to)) / gaps } else { 0.0 };
        let base = (f64::from(self.count) / (place + 1) as f64).max(1.0).ln();
        Law { begins, scale: scale.clamp(least, most), base }
    }
}
