//! The side of last use, and which of its blocks the tier has given up.
//! Layer 8. Uses `ghosts`, `shadow`. Known by: `duel`.
//!
//! - **DU4** it holds what `lru` would: as many blocks as the tier, those that were used last;
//! - **DU5** a block that it holds is *exposed* from when the tier evicts it until it is asked for or goes here too.
//!
//! By last use a parent goes after its children, so no tree is needed: a list is enough.
//!
//! What recency hits and the tier does not is exposed, each block once: when it is asked for, the tier has it again. And while
//! the tier evicts by last use, nothing more becomes exposed, for it holds nothing older than what recency holds without giving
//! that up first. So the tier falls behind recency by what is exposed now, at most, plus what it exposes from now on.

use super::super::ghosts::Ghosts;
use super::super::shadow::Named;

/// What became of blocks that were exposed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Settled {
    /// How many were asked for: hits that the tier has lost.
    pub(super) asked: u32,
    /// How many recency gave up too: nothing was lost.
    pub(super) gone: u32,
}

/// Names in order of last use.
#[derive(Debug)]
pub(super) struct Recency {
    /// Each with whether it is exposed.
    held: Ghosts<bool>,
    exposed: u64,
}

impl Recency {
    /// Holds `capacity` blocks.
    pub(super) fn new(capacity: u32) -> Self {
        Self { held: Ghosts::new(capacity as usize), exposed: 0 }
    }

    /// How many of a request's blocks lie in the leading run of those that it holds.
    pub(super) fn hits(&self, blocks: &[Named]) -> u64 {
        blocks.iter().take_while(|block| self.held.contains(block.name)).count() as u64
    }

    /// Takes in a request: its leaf is used first, its root last.
    pub(super) fn take_in(&mut self, blocks: &[Named]) -> Settled {
        let mut settled = Settled::default();
        // Before any comes: those that come first may push out others that are asked for too.
        for block in blocks {
            let is_exposed = self.held.get_mut(block.name).map(std::mem::take);
            settled.asked += u32::from(is_exposed == Some(true));
        }
        self.held.warm_oldest(blocks.len());
        for block in blocks.iter().rev() {
            let forgotten = self.held.renew(block.name, |_| false);
            settled.gone += u32::from(forgotten == Some(true));
        }
        self.exposed -= u64::from(settled.asked + settled.gone);
        settled
    }

    /// The tier has given up a block.
    pub(super) fn expose(&mut self, name: u64) {
        if let Some(is_exposed) = self.held.get_mut(name) {
            self.exposed += u64::from(!std::mem::replace(is_exposed, true));
        }
    }

    /// How many blocks are exposed.
    pub(super) fn exposed(&self) -> u64 {
        self.exposed
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::shadow::{Footprint, Named, Shadow};
    use super::super::super::{Arm, Bounds};
    use super::{Recency, Settled};
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { capacity: 12, request_blocks: 20, tokens_per_block: 512 };

    /// A path in a tree: at each depth to one of two children.
    fn path(turns: &[bool]) -> Vec<Named> {
        let mut name = 1;
        let blocks = turns.iter().zip(0..).map(|(&is_right, depth)| {
            name = 2 * name + u64::from(is_right);
            Named { name, depth }
        });
        blocks.collect()
    }

    fn paths() -> impl Strategy<Value = Vec<Vec<Named>>> {
        prop::collection::vec(
            prop::collection::vec(any::<bool>(), 1..20).prop_map(|turns| path(&turns)),
            1..60,
        )
    }

    #[test]
    fn what_a_long_request_pushes_out_and_asks_for_itself_was_asked_for() {
        let blocks = path(&[true; 20]);
        let mut recency = Recency::new(BOUNDS.capacity);
        recency.take_in(&blocks[..1]);
        recency.expose(blocks[0].name);
        assert_eq!(recency.exposed(), 1);
        assert_eq!(recency.take_in(&blocks), Settled { asked: 1, gone: 0 });
        assert_eq!(recency.exposed(), 0);
    }

    proptest! {
        #[test]
        fn a_list_hits_what_lru_hits(requests in paths()) {
            let mut lru = Shadow::new(Arm::Lru, &BOUNDS);
            let mut recency = Recency::new(BOUNDS.capacity);
            for blocks in &requests {
                let hits = recency.hits(blocks);
                recency.take_in(blocks);
                prop_assert_eq!(hits, lru.request(&Footprint { length: 20, blocks }).prefix);
            }
        }

        #[test]
        fn a_tier_falls_behind_by_what_is_exposed_at_most(requests in paths(), followed in 0_usize..60) {
            let mut tier = Shadow::new(Arm::S3Fifo, &BOUNDS);
            let mut recency = Recency::new(BOUNDS.capacity);
            let (mut lost, mut asked) = (0, 0);
            for blocks in &requests[..followed.min(requests.len())] {
                let hits = recency.hits(blocks);
                asked += u64::from(recency.take_in(blocks).asked);
                let footprint = Footprint { length: 20, blocks };
                let found = tier.find(blocks);
                let found = tier.take_in(&footprint, found, |name| recency.expose(name)).prefix;
                lost += hits.saturating_sub(found);
                prop_assert!(lost <= asked, "DU5: {} hits lost, {} exposed blocks asked for", lost, asked);
            }
        }
    }
}
