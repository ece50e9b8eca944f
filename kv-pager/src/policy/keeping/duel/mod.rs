//! The duel: which of two orders of eviction to follow, by a sample of the requests' blocks.
//! Layer 8. Uses `ghosts`, `prices`, `reuse`, `shadow`. Known by: `cost_aware`.
//!
//! - **DU1** all sides see the same blocks and hold the same share of the capacity;
//! - **DU2** the model is followed while it hits more ([`Score`]) and while what it may lose is covered ([`Ledger`]).
//!
//! The model is wrong where blocks that look alike behave differently, and it can't know that from within. So three tiers
//! run on names alone: one by value, one by last use, and one by whatever is followed, which stands for the tier itself. The
//! first two say which order is better now; the last two say what following has cost so far, and what it may cost yet.
//! Last use starts: it needs to learn nothing.

mod ledger;
mod recency;
mod score;

use super::prices::{Prices, band, units};
use super::reuse::{Reuse, Rule};
use super::shadow::{Footprint, Named, Sample, Shadow};
use super::{Bounds, Visit};
use ledger::{Ledger, Request};
use recency::Recency;
use score::Score;

/// Blocks of the sample's tiers, at most: enough to tell them apart, and cheap beside the tier itself.
const SAMPLE_BLOCKS: u32 = 8192;

/// Three tiers over a sample, and what they come to.
#[derive(Debug)]
pub(super) struct Duel {
    sample: Sample,
    by_value: Shadow<Reuse>,
    by_recency: Recency,
    by_rule: Shadow<Reuse>,
    blocks: Vec<Named>,
    score: Score,
    ledger: Ledger,
    rule: Rule,
    tokens_per_block: u32,
}

impl Duel {
    pub(super) fn new(bounds: &Bounds) -> Self {
        let sample = Sample::for_capacity(bounds.capacity, SAMPLE_BLOCKS);
        let sampled = sample.bounds(bounds);
        let shadow = || Shadow::with_keeping(Box::new(Reuse::new(&sampled)), &sampled);
        Self {
            sample,
            by_value: shadow(),
            by_recency: Recency::new(sampled.capacity),
            by_rule: shadow(),
            blocks: Vec::with_capacity(bounds.request_blocks as usize),
            score: Score::new(sampled.capacity),
            ledger: Ledger::new(sample.share()),
            rule: Rule::Recency,
            tokens_per_block: bounds.tokens_per_block,
        }
    }

    /// Lets all sides see a request, and says which order to follow from its insertion on.
    pub(super) fn visit(&mut self, visit: &Visit<'_>, prices: &Prices) -> Rule {
        self.blocks.clear();
        let room = self.blocks.capacity();
        self.blocks.extend(visit.named().filter(|block| self.sample.has(block.name)).take(room));
        if self.blocks.is_empty() {
            return self.rule;
        }
        let footprint = Footprint { length: visit.length, blocks: &self.blocks };
        let value = self.by_value.request(&footprint).prefix;
        let recency = self.by_recency.hits(&self.blocks);
        let found = self.by_rule.find(&self.blocks);
        let settled = self.by_recency.take_in(&self.blocks);

        let worth = |count: u64| -> f64 {
            let first = self.blocks.iter().zip(0..count).map(|(block, _)| block);
            first.map(|block| prices.of(band(units(block.depth, self.tokens_per_block)), false)).sum()
        };
        let [value, recency, followed, all] = [value, recency, found.prefix, found.references].map(worth);
        let references = float(found.references);
        let fade = self.score.fade(references);
        self.score.add(references, value - recency);
        self.ledger.add(&Request { references, worth: all, lead: followed - recency, settled, fade });
        // All that the request inserts may push out what recency keeps.
        let at_stake = self.by_recency.exposed() + (found.references - found.resident);
        self.rule = match self.score.rule() {
            Rule::Value if self.ledger.is_covered(self.rule, float(at_stake), &self.score) => Rule::Value,
            _ => Rule::Recency,
        };

        self.by_rule.keeping_mut().set_rule(self.rule);
        self.by_rule.take_in(&footprint, found, |name| self.by_recency.expose(name));
        self.rule
    }
}

/// Blocks of a request, or of a sample's tier, stay far below 2^32.
fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
