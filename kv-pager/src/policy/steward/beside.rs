//! Shadows beside a live pager: what another arm, or twice the memory, would have hit.
//! Layer 8. Uses `ids`, `policy::{keeping, view}`. Known by: `steward`.
//!
//! Each tier is asked about as if it stood alone, on the same requests. The tier as it is, is asked about too: what it hits in
//! truth depends on the others, and is no measure beside a shadow.

use crate::ids::{GroupId, TierId};
use crate::policy::View;
use crate::policy::keeping::shadow::{Footprint, Question, Tally, WhatIfs};
use crate::policy::keeping::{Arm, Bounds, Study};
use crate::sync::Mutex;

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
    /// Hits and evictions in a sample of the names, by its share of all references: to be read as rates.
    pub tally: Tally,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Beside {
    shadows: Mutex<Shadows>,
}

#[derive(Debug)]
struct Shadows {
    tiers: Vec<(TierId, WhatIfs)>,
    names: Vec<u64>,
}

impl Study for Beside {
    /// Lets every shadow see a request.
    fn read(&self, request: &Footprint<'_>) {
        let mut shadows = self.shadows.lock();
        let Shadows { tiers, names } = &mut *shadows;
        names.clear();
        names.extend(request.blocks.iter().map(|block| block.name));
        for (_, what_ifs) in tiers {
            what_ifs.request(names);
        }
    }
}

impl Beside {
    /// Shadows of every arm in each of `kept`, and of `keeping` with twice the memory.
    pub(super) fn new(
        view: &View<'_>,
        kept: impl Iterator<Item = TierId>,
        keeping: Arm,
        group: GroupId,
        request: &Bounds,
    ) -> Self {
        let tiers = kept.map(|tier| {
            let bounds = Bounds { capacity: view.capacity(tier, group), ..*request };
            let twice = Question { arm: keeping, capacity: bounds.capacity.saturating_mul(2) };
            let as_it_is = Arm::ALL.map(|arm| Question { arm, capacity: bounds.capacity });
            let questions: Vec<Question> = as_it_is.into_iter().chain([twice]).collect();
            (tier, WhatIfs::new(&bounds, &questions, SAMPLE_BLOCKS))
        });
        let names = Vec::with_capacity(request.request_blocks as usize);
        Self { shadows: Mutex::new(Shadows { tiers: tiers.collect(), names }) }
    }

    /// The answers so far.
    pub(super) fn answers(&self) -> Vec<Answer> {
        let of = |(tier, what_ifs): &(TierId, WhatIfs)| {
            let tier = *tier;
            let answer = move |(Question { arm, capacity }, tally)| Answer { tier, arm, capacity, tally };
            what_ifs.answers().map(answer).collect::<Vec<_>>()
        };
        self.shadows.lock().tiers.iter().flat_map(of).collect()
    }
}
