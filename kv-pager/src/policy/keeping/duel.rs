//! The duel: which of two orders of eviction hits more, on a sample of the requests' blocks.
//! Layer 8. Uses `lru`, `prices`, `reuse`, `shadow`. Known by: `cost_aware`.
//!
//! - **DU1** both sides see the same blocks and hold the same share of the capacity;
//! - **DU2** the sides' difference in hits fades over several capacities' worth of references; the model is followed when
//!   it is ahead by a part of the spread, and left when it is behind by more than the margin and a larger part.
//!
//! The model is wrong where blocks that look alike behave differently, and it can't know that from within. So both orders
//! run on names alone, and the tier follows the one that hits more. Last use starts: it needs to learn nothing.

use super::lru::Lru;
use super::prices::{Prices, band, units};
use super::reuse::{Reuse, Rule};
use super::shadow::{Footprint, Named, Sample, Shadow};
use super::{Bounds, Visit};

/// Blocks of the sample's tier, about: enough to tell the two apart, and cheap beside the tier itself.
const SAMPLE_BLOCKS: u32 = 4096;

/// References over which the score fades, in capacities of the tier.
const WINDOW_CAPACITIES: f64 = 8.0;

/// References over which the score fades, at least.
const WINDOW_MIN: f64 = 4096.0;

/// How far, in hits per reference, the model may be behind before it is left.
const MARGIN: f64 = 0.0007;

/// How much of the spread of the difference it may be behind beside that: hits come by whole requests, so a few of them
/// say little.
const SPREAD_LEAVE: f64 = 0.25;

/// How much of the spread it must be ahead to be followed.
const SPREAD_FOLLOW: f64 = 0.1;

/// Two shadows and the score between them.
#[derive(Debug)]
pub(super) struct Duel {
    sample: Sample,
    by_value: Shadow,
    by_recency: Shadow,
    blocks: Vec<Named>,
    window: f64,
    /// Hits by value less hits by recency, fading.
    ahead: f64,
    /// The sum of the squares of that, request by request, fading alike.
    variance: f64,
    rule: Rule,
    tokens_per_block: u32,
}

impl Duel {
    pub(super) fn new(bounds: &Bounds) -> Self {
        let sample = Sample::for_capacity(bounds.capacity, SAMPLE_BLOCKS);
        let sampled = sample.bounds(bounds);
        Self {
            sample,
            by_value: Shadow::with_keeping(Box::new(Reuse::new(&sampled)), &sampled),
            by_recency: Shadow::with_keeping(Box::new(Lru::new(&sampled)), &sampled),
            blocks: Vec::with_capacity(bounds.request_blocks as usize),
            window: (f64::from(sampled.capacity) * WINDOW_CAPACITIES).max(WINDOW_MIN),
            ahead: 0.0,
            variance: 0.0,
            rule: Rule::Recency,
            tokens_per_block: bounds.tokens_per_block,
        }
    }

    /// Lets both sides see a request, and says which of them to follow.
    pub(super) fn visit(&mut self, visit: &Visit<'_>, prices: &Prices) -> Rule {
        self.blocks.clear();
        let room = self.blocks.capacity();
        self.blocks.extend(visit.named().filter(|block| self.sample.has(block.name)).take(room));
        if self.blocks.is_empty() {
            return self.rule;
        }
        let footprint = Footprint { length: visit.length, blocks: &self.blocks };
        let hits = [&mut self.by_value, &mut self.by_recency].map(|side| side.request(&footprint).prefix);
        let worth = |count: u64| -> f64 {
            let hit = self.blocks.iter().zip(0..count).map(|(block, _)| block);
            hit.map(|block| prices.of(band(units(block.depth, self.tokens_per_block)), false)).sum()
        };
        let [by_value, by_recency] = hits.map(worth);
        let references = f64::from(u32::try_from(self.blocks.len()).unwrap_or(u32::MAX));
        let fade = (1.0 - references / self.window).max(0.0);
        let gain = by_value - by_recency;
        self.ahead = self.ahead * fade + gain;
        self.variance = self.variance * fade + gain * gain;
        let spread = self.variance.sqrt();
        self.rule = match self.rule {
            Rule::Value if self.ahead < -MARGIN * self.window - SPREAD_LEAVE * spread => Rule::Recency,
            Rule::Recency if self.ahead > SPREAD_FOLLOW * spread => Rule::Value,
            rule => rule,
        };
        self.rule
    }
}
