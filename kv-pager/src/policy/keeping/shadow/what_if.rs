//! What if: shadows that run beside a live tier and tell what it would have hit otherwise.
//! Layer 8. Uses `shadow`. Known by: `pager`, the command line.
//!
//! - **WI1** each answer comes from the same sample of the names, so answers can be compared with one another;
//! - **WI2** memory is bounded by the questions' number and the sample's size, not by the tier's;
//! - **WI3** an answer counts as many references as the sample should have had by its share: those that it had not count as hits, and
//!   those that it had beyond them as none.
//!
//! A few hot names, a system prompt's, make a large part of all references, and whether they fall into the sample would decide the
//! answer. They hit whatever the tier's size, so what they add or lack are hits: SHARDS-adj (Waldspurger et al., FAST 2015) corrects its
//! first bucket so. What is left is the chance of what is neither hot nor rare.
//!
//! What the tier itself has hit is no measure beside them: ask about it as it is, too.

use super::{Footprint, Named, Sample, Shadow, Tally};
use crate::policy::keeping::{Arm, Bounds};

/// A tier that might have been.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// Kept by this arm.
    pub arm: Arm,
    /// With room for this many blocks.
    pub capacity: u32,
}

/// Shadows for several questions.
#[derive(Debug)]
pub struct WhatIfs {
    sample: Sample,
    shadows: Box<[(Question, Shadow)]>,
    blocks: Vec<Named>,
    /// Blocks asked for, in the sample or not.
    references: u64,
}

impl WhatIfs {
    /// Shadows of at most `sample_blocks` blocks each, beside a tier of these bounds.
    ///
    /// # Panics
    /// As [`Arm::build`].
    pub fn new(beside: &Bounds, questions: &[Question], sample_blocks: u32) -> Self {
        let largest = questions.iter().map(|question| question.capacity).max().unwrap_or(1);
        let sample = Sample::for_capacity(largest, sample_blocks);
        let shadow = |&question: &Question| {
            let bounds = sample.bounds(&Bounds { capacity: question.capacity, ..*beside });
            (question, Shadow::new(question.arm, &bounds))
        };
        Self {
            sample,
            shadows: questions.iter().map(shadow).collect(),
            blocks: Vec::with_capacity(beside.request_blocks as usize),
            references: 0,
        }
    }

    /// Lets every shadow see a request: its blocks' names, root to leaf. O(blocks), and more only for those in the sample.
    pub fn request(&mut self, names: &[u64]) {
        let room = self.blocks.capacity();
        let length = u32::try_from(names.len()).unwrap_or(u32::MAX);
        self.references += names.len() as u64;
        self.blocks.clear();
        let sampled = (0..).zip(names).filter(|(_, name)| self.sample.has(**name));
        self.blocks.extend(sampled.take(room).map(|(depth, &name)| Named { name, depth }));
        if self.blocks.is_empty() {
            return;
        }
        for (_, shadow) in &mut self.shadows {
            shadow.request(&Footprint { length, blocks: &self.blocks });
        }
    }

    /// The answers so far: hits and evictions within the sample, by its share of the references (WI3), to be read as rates.
    pub fn answers(&self) -> impl Iterator<Item = (Question, Tally)> + '_ {
        let references = self.sample.share_of(self.references);
        self.shadows.iter().map(move |(question, shadow)| {
            let found = shadow.tally();
            let corrected = |hits: u64| (hits + references).saturating_sub(found.references);
            let (prefix, resident) = (corrected(found.prefix), corrected(found.resident));
            (*question, Tally { references, prefix, resident, ..found })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Arm, Bounds, Footprint, Named, Question, Shadow, WhatIfs};

    /// Numbers that follow from a seed, as splitmix64 makes them.
    fn mixed(number: u64) -> u64 {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    #[test]
    fn whether_a_hot_block_is_in_the_sample_does_not_decide_the_answer() {
        let bounds = Bounds { capacity: 4_000, request_blocks: 4, tokens_per_block: 16 };
        let question = Question { arm: Arm::Lru, capacity: bounds.capacity };
        let (mut with, mut without) = (0, 0);
        for seed in 0..24_u64 {
            let name = |number: u64| mixed(seed << 32 | number);
            let mut what_ifs = WhatIfs::new(&bounds, &[question], 500);
            let mut whole = Shadow::new(Arm::Lru, &bounds);
            for request in 0..20_000 {
                // All begin with the same block, and go on with three of one of 3,000 conversations.
                let conversation = mixed(request) % 3_000;
                let own = (1..4).map(|place| name(1 + conversation * 3 + place));
                let names: Vec<u64> = [name(0)].into_iter().chain(own).collect();
                what_ifs.request(&names);
                let blocks: Vec<Named> =
                    (0..).zip(&names).map(|(depth, &name)| Named { name, depth }).collect();
                whole.request(&Footprint { length: 4, blocks: &blocks });
            }
            let has_hot = what_ifs.sample.has(name(0));
            (with, without) = (with + u32::from(has_hot), without + u32::from(!has_hot));
            let truth = whole.tally();
            let (_, answer) = what_ifs.answers().next().expect("it was asked");
            assert!(answer.references.abs_diff(truth.references / 8) <= 1, "{answer:?}");
            for (answer, truth) in [
                (answer.prefix_hit_rate(), truth.prefix_hit_rate()),
                (answer.resident_hit_rate(), truth.resident_hit_rate()),
            ] {
                assert!(
                    (answer - truth).abs() < 0.04,
                    "seed {seed}, {has_hot}: {answer}, and in truth {truth}"
                );
            }
        }
        assert!(with > 0 && without > 0, "{with} samples with the hot block, {without} without");
    }

    #[test]
    fn twice_the_memory_would_have_held_the_round() {
        let bounds = Bounds { capacity: 800, request_blocks: 8, tokens_per_block: 16 };
        let questions = [800, 1_600].map(|capacity| Question { arm: Arm::Lru, capacity });
        let mut what_ifs = WhatIfs::new(&bounds, &questions, 400);
        for name in (0..1_200).cycle().take(12_000) {
            what_ifs.request(&[name]);
        }
        let rates: Vec<f64> = what_ifs.answers().map(|(_, tally)| tally.prefix_hit_rate()).collect();
        assert!(rates[0] < 0.1 && rates[1] > 0.85, "{rates:?}: a round of 1200 in 800 and in 1600 places");
    }
}
