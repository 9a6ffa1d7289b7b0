//! How rare is an excess? The law of a series' own block maxima.

use std::collections::VecDeque;

use super::BLOCK;

/// Blocks that are remembered.
const KEPT: usize = 256;

/// The law is read off the largest blocks: so many of them, or the upper half while there are fewer.
const LARGEST: f64 = 12.0;

/// So many of the largest, or a tenth while there are fewer blocks, may be incidents: the law does not look at them.
const TRIMMED: f64 = 3.0;

/// What is assumed of the scale weighs as much as so many blocks.
const ASSUMED_BLOCKS: f64 = 10.0;

/// The scale is at least this share of what lies between the smaller blocks and the largest.
const SPREAD: f64 = 0.05;

/// Of 24 values with normal noise, the largest lies b = √(2 ln 24) deviations out, and further out the surprise grows
/// as z + z²/2b² with the excess z in units of the scale.
const TWICE_B_SQUARED: f64 = 12.7;

/// Where a block's largest excess usually lies, and how far it varies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Law {
    pub location: f64,
    pub scale: f64,
}

impl Law {
    /// Minus the natural logarithm of the probability that a block holds an excess of at least this.
    pub fn surprise(self, excess: f64) -> f64 {
        let z = (excess - self.location) / self.scale;
        let z = if z > 0.0 { z + z * z / TWICE_B_SQUARED } else { z };
        // −ln(1 − exp(−exp(−z))): far in it is 0, and far out z itself.
        match z {
            ..-4.0 => 0.0,
            30.0.. => z.min(MOST),
            _ => -(-(-(-z).exp()).exp_m1()).ln(),
        }
    }

    /// The excess that is as surprising as this: the inverse of [`Law::surprise`].
    pub fn excess(self, surprise: f64) -> f64 {
        let z = -(-(-(-surprise).exp()).ln_1p()).ln();
        let z = if z > 0.0 { ((1.0 + 4.0 * z / TWICE_B_SQUARED).sqrt() - 1.0) * TWICE_B_SQUARED / 2.0 } else { z };
        self.location + self.scale * z
    }
}

/// No surprise is greater: e to it is still a number.
const MOST: f64 = 700.0;

/// The largest excess of each block so far.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    blocks: VecDeque<f64>,
    sorted: Vec<f64>,
    /// The largest of the block that is being filled.
    largest: Option<f64>,
    filled: u32,
    /// Blocks in which there was anything to see.
    telling: u32,
    law: Option<Law>,
}

impl Tail {
    /// Notes the excess of one more value; none where there was neither usage nor any to expect.
    pub fn note(&mut self, excess: Option<f64>) {
        if let Some(excess) = excess {
            self.largest = Some(self.largest.map_or(excess, |largest| largest.max(excess)));
        }
        self.filled += 1;
        if self.filled < BLOCK {
            return;
        }
        self.telling += u32::from(self.largest.is_some());
        let block = self.largest.take().unwrap_or(0.0);
        self.filled = 0;
        if self.blocks.len() == KEPT
            && let Some(oldest) = self.blocks.pop_front()
        {
            let place = self.sorted.partition_point(|&other| other < oldest);
            self.sorted.remove(place);
        }
        let place = self.sorted.partition_point(|&other| other < block);
        self.sorted.insert(place, block);
        self.blocks.push_back(block);
        self.law = self.fit();
    }

    /// How many blocks are full.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Forgets the oldest blocks.
    pub fn forget(&mut self, oldest: usize) {
        self.blocks.drain(..oldest.min(self.blocks.len()));
        self.sorted = self.blocks.iter().copied().collect();
        self.sorted.sort_by(f64::total_cmp);
    }

    /// The law of the blocks so far; none while there are fewer than two. Few blocks do not say how far an excess can
    /// lie from them: the scale is mixed with one that is assumed, and never below another.
    pub fn law(&self, assumed: f64, least: f64) -> Option<Law> {
        let Law { location, scale } = self.law?;
        let blocks = self.sorted.len() as f64;
        let telling = f64::from(self.telling).min(blocks);
        let mixed = (ASSUMED_BLOCKS * assumed + telling * scale) / (ASSUMED_BLOCKS + telling);
        let unsure = scale * (1.0 + 1.0 / blocks.sqrt());
        Some(Law { location, scale: unsure.max(mixed).max(least) })
    }

    fn fit(&self) -> Option<Law> {
        let blocks = self.sorted.len() as f64;
        if blocks < 2.0 {
            return None;
        }
        let (inner, outer) = ((1.0 - LARGEST / blocks).max(0.5), (1.0 - TRIMMED / blocks).max(0.9));
        let (low, middle, high) = (self.quantile(0.1)?, self.quantile(inner)?, self.quantile(outer)?);
        // Quantiles of the Gumbel law of location 0 and scale 1.
        let gumbel = |q: f64| -(-q.ln()).ln();
        let scale = (high - middle) / (gumbel(outer) - gumbel(inner));
        let scale = scale.max(SPREAD * (high - low));
        Some(Law { location: middle - gumbel(inner) * scale, scale })
    }

    fn quantile(&self, q: f64) -> Option<f64> {
        let place = q * (self.sorted.len() - 1) as f64;
        let below = *self.sorted.get(place.floor() as usize)?;
        let above = *self.sorted.get(place.ceil() as usize)?;
        Some(below + (above - below) * place.fract())
    }
}
