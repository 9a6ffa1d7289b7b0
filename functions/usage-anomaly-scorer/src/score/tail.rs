//! How rare is an excess? The law of a series' block maxima.

use std::collections::VecDeque;

use super::BLOCK;

/// Blocks that are remembered.
const KEPT: usize = 256;

/// The largest excess of each block so far, and the Gumbel law that their quantiles give.
#[derive(Clone, Debug)]
pub struct Tail {
    blocks: VecDeque<f64>,
    sorted: Vec<f64>,
    current: f64,
    in_current: u32,
    informative: u32,
    /// Location and scale.
    law: Option<(f64, f64)>,
}

impl Tail {
    pub fn new() -> Self {
        Self {
            blocks: VecDeque::new(),
            sorted: Vec::new(),
            current: f64::NEG_INFINITY,
            in_current: 0,
            informative: 0,
            law: None,
        }
    }

    /// Notes the excess of one more value.
    pub fn note(&mut self, excess: f64, informative: bool) {
        if informative {
            self.current = self.current.max(excess);
        }
        self.in_current += 1;
        if self.in_current == BLOCK {
            self.in_current = 0;
            if self.current == f64::NEG_INFINITY {
                self.current = 0.0;
            } else {
                self.informative += 1;
            }
            if self.blocks.len() == KEPT
                && let Some(oldest) = self.blocks.pop_front()
            {
                let place = self.sorted.partition_point(|&x| x < oldest);
                self.sorted.remove(place);
            }
            self.blocks.push_back(self.current);
            let place = self.sorted.partition_point(|&x| x < self.current);
            self.sorted.insert(place, self.current);
            self.current = f64::NEG_INFINITY;
            self.law = self.fit();
        }
    }

    /// Forgets all but the latest blocks.
    pub fn keep(&mut self, blocks: usize) {
        self.blocks.drain(..self.blocks.len().saturating_sub(blocks));
        self.sorted = self.blocks.iter().copied().collect();
        self.sorted.sort_by(f64::total_cmp);
    }

    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The location and scale of the law, the scale at least `floor`. None while there are too few blocks.
    pub fn law(&self, (floor, least): (f64, f64), default: Option<(f64, f64)>) -> Option<(f64, f64)> {
        let n = self.sorted.len() as f64;
        let Some((location, scale)) = self.law else { return default };
        let seen = f64::from(self.informative).min(n);
        let assumed = (PRIOR * floor + seen * scale) / (PRIOR + seen);
        let inflated = scale * (1.0 + 1.0 / n.sqrt());
        Some((
            if std::env::var("CL").is_ok() { location.max(-1.0) } else { location },
            inflated.max(assumed).max(least),
        ))
    }

    fn fit(&self) -> Option<(f64, f64)> {
        let n = self.sorted.len() as f64;
        if n < 2.0 {
            return None;
        }
        let (inner, outer) = ((1.0 - 12.0 / n).max(0.5), (1.0 - 3.0 / n).max(0.9));
        let (low, middle, high) = (self.quantile(0.1)?, self.quantile(inner)?, self.quantile(outer)?);
        // Quantiles of the standard Gumbel law: −ln(−ln q).
        let gumbel = |q: f64| -(-q.ln()).ln();
        let scale = (high - middle) / (gumbel(outer) - gumbel(inner));
        let scale = scale.max(0.05 * (high - low));
        Some((middle - gumbel(inner) * scale, scale))
    }

    fn quantile(&self, q: f64) -> Option<f64> {
        let place = q * (self.sorted.len() - 1) as f64;
        let below = *self.sorted.get(place.floor() as usize)?;
        let above = *self.sorted.get(place.ceil() as usize)?;
        Some(below + (above - below) * place.fract())
    }
}

/// The natural logarithm of the probability that a block holds an excess of at least this.
pub fn ln_probability(excess: f64, (location, scale): (f64, f64)) -> f64 {
    let z = bend((excess - location) / scale);
    // 1 − exp(−exp(−z)), without losing the far tail.
    if z > 30.0 { -z } else { (-(-(-z).exp()).exp_m1()).ln() }
}

fn bend(z: f64) -> f64 {
    if z > 0.0 { z + z * z / NORMAL } else { z }
}
const PRIOR: f64 = 10.0;
const NORMAL: f64 = 12.7;

/// The excess that a block holds with probability `p`.
pub fn excess_at(p: f64, (location, scale): (f64, f64)) -> f64 {
    let z = -(-(-p).ln_1p()).ln();
    let z = if z > 0.0 { ((1.0 + 4.0 * z / NORMAL).sqrt() - 1.0) * NORMAL / 2.0 } else { z };
    location + scale * z
}
