//! What if: shadows that run beside a live tier and tell what it would have hit otherwise.
//! Layer 8. Uses `shadow`. Known by: `pager`, the command line.
//!
//! - **WI1** each answer comes from the same sample of the names, so answers can be compared with one another;
//! - **WI2** memory is bounded by the questions' number and the sample's size, not by the tier's.
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
        }
    }

    /// Lets every shadow see a request: its blocks' names, root to leaf. O(blocks), and more only for those in the sample.
    pub fn request(&mut self, names: &[u64]) {
        let room = self.blocks.capacity();
        let length = u32::try_from(names.len()).unwrap_or(u32::MAX);
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

    /// The answers so far: hits and evictions within the sample, to be read as rates.
    pub fn answers(&self) -> impl Iterator<Item = (Question, Tally)> + '_ {
        self.shadows.iter().map(|(question, shadow)| (*question, shadow.tally()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Arm, Bounds, Question, WhatIfs};

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
