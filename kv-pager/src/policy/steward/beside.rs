//! Shadows beside a live pager: what another arm, or twice the memory, would have hit.
//! Layer 8. Uses `ids`, `policy::{keeping, view}`. Known by: `steward`.
//!
//! Each tier is asked about as if it stood alone, on the same requests. The tier as it is, is asked about too: what it hits in
//! truth depends on the others, and is no measure beside a shadow.

use crate::ids::{BlockId, GroupId, TierId};
use crate::policy::View;
use crate::policy::keeping::shadow::{Question, Tally, WhatIfs};
use crate::policy::keeping::{Arm, Bounds};

/// Blocks of a shadow, at most.
const SAMPLE_BLOCKS: u32 = 4_096;

/// What a tier would have hit.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Answer {
    /// In the place of this tier.
    pub tier: TierId,
    /// Kept by this arm.
    pub arm: Arm,
    /// With room for this many blocks.
    pub capacity: u32,
    /// Hits and evictions in a sample of the names: to be read as rates.
    pub tally: Tally,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Beside {
    tiers: Vec<(TierId, WhatIfs)>,
    names: Vec<u64>,
}

impl Beside {
    /// Shadows of every arm in every tier, and of `keeping` with twice the memory.
    pub(super) fn new(view: &View<'_>, keeping: Arm, group: GroupId, request: &Bounds) -> Self {
        let tiers = TierId::ALL.into_iter().filter(|tier| view.has(*tier)).map(|tier| {
            let bounds = Bounds { capacity: view.capacity(tier, group), ..*request };
            let twice = Question { arm: keeping, capacity: bounds.capacity.saturating_mul(2) };
            let as_it_is = Arm::ALL.map(|arm| Question { arm, capacity: bounds.capacity });
            let questions: Vec<Question> = as_it_is.into_iter().chain([twice]).collect();
            (tier, WhatIfs::new(&bounds, &questions, SAMPLE_BLOCKS))
        });
        Self { tiers: tiers.collect(), names: Vec::with_capacity(request.request_blocks as usize) }
    }

    /// Lets every shadow see a request.
    #[expect(clippy::cast_possible_truncation, reason = "half of the hash is as good a name")]
    pub(super) fn visit(&mut self, view: &View<'_>, blocks: &[BlockId]) {
        self.names.clear();
        self.names.extend(blocks.iter().map(|block| view.block(*block).hash.0 as u64));
        for (_, what_ifs) in &mut self.tiers {
            what_ifs.request(&self.names);
        }
    }

    /// The answers so far.
    pub(super) fn answers(&self) -> Vec<Answer> {
        let of = |(tier, what_ifs): &(TierId, WhatIfs)| {
            let tier = *tier;
            let answer = move |(Question { arm, capacity }, tally)| Answer { tier, arm, capacity, tally };
            what_ifs.answers().map(answer).collect::<Vec<_>>()
        };
        self.tiers.iter().flat_map(of).collect()
    }
}
