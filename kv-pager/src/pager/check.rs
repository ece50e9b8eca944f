//! The invariants of the whole, for tests.
//! Layer 9. Known by: `pager`.

use super::core::{Core, FIRST};
use crate::ids::{BlockId, SlotId, TierId};
use crate::pool::SlotState;
use std::collections::HashMap;

impl Core {
    /// Asserts I1, I2, I3 and I6 over all slots and blocks.
    ///
    /// # Panics
    /// If one of them does not hold.
    pub(super) fn check(&self) {
        self.index.check();
        for (tier, group, pool) in self.pools.iter() {
            pool.check();
            assert!(
                pool.counts().total() == pool.capacity(),
                "I1: tier {tier}, {group:?}: {:?}",
                pool.counts()
            );
        }
        self.check_locations();
        self.check_movers();
        for (block, _) in self.index.blocks() {
            if !self.index.is_detached(block) {
                self.check_ancestry(block);
            }
        }
    }

    /// Every location's slot knows its block, and every named slot is its block's location.
    fn check_locations(&self) {
        for (block, _) in self.index.blocks() {
            for tier in TierId::ALL.into_iter().filter(|tier| self.pools.has(*tier)) {
                let slot = self.index.location(block, FIRST, tier);
                if slot.is_some() {
                    let pool = self.pools.pool(tier, FIRST);
                    assert!(
                        pool.block(slot) == block,
                        "I3: {block:?} at {tier} {slot:?}, which holds {:?}",
                        pool.block(slot)
                    );
                    let state = pool.state(slot);
                    assert!(
                        matches!(state, SlotState::Filling | SlotState::Resident | SlotState::Leaving),
                        "I3: {block:?} at {tier} {slot:?}, which is {state:?}"
                    );
                }
            }
        }
        for (tier, group, pool) in self.pools.iter() {
            for slot in pool.slots() {
                let block = pool.block(slot);
                if block.is_some() {
                    let location = self.index.location(block, group, tier);
                    assert!(
                        location == slot,
                        "I1: {tier} {slot:?} holds {block:?}, which is at {location:?}"
                    );
                }
            }
        }
    }

    /// As many moves are counted at each slot as flights and waiting loads name it (I2, I7).
    fn check_movers(&self) {
        let mut expected = HashMap::new();
        for (ends, flight) in self.engine.flights() {
            *expected.entry((ends.source, flight.part.source)).or_insert(0_u32) += 1;
            *expected.entry((ends.target, flight.part.target)).or_insert(0) += 1;
            if let crate::transfer::Purpose::Land { device } = flight.purpose {
                // A load that timed out has given its device slot up already.
                if self.pools.pool(ends.target, FIRST).state(flight.part.target) != SlotState::Quarantined {
                    *expected.entry((TierId::Device, device)).or_insert(0) += 1;
                }
            }
        }
        for load in &self.pending {
            let source = self.index.location(load.block, FIRST, load.from);
            *expected.entry((load.from, source)).or_insert(0) += 1;
            *expected.entry((TierId::Device, load.device)).or_insert(0) += 1;
        }
        for (tier, _, pool) in self.pools.iter() {
            for slot in pool.slots() {
                let counted = expected.get(&(tier, slot)).copied().unwrap_or(0);
                let kept = pool.movers(slot);
                assert!(
                    counted == kept,
                    "I2: {tier} {slot:?} ({:?}): {counted} moves, {kept} kept",
                    pool.state(slot)
                );
            }
        }
    }

    /// I6: a parent is at least as near as its child, unless a plan is computing it; the file holds whole prefixes.
    fn check_ancestry(&self, block: BlockId) {
        let parent = self.index.parent(block);
        if !parent.is_some() {
            return;
        }
        let is_planned = self.index.view(parent).references > 0;
        // What is moving goes when the move has ended.
        let is_settled = |slot: &SlotId, tier| !self.pools.pool(tier, FIRST).is_moving(*slot);
        let nearest = |block| {
            let settled =
                |tier: &TierId| self.whole(block, *tier).is_some_and(|slot| is_settled(&slot, *tier));
            TierId::ALL.into_iter().find(settled)
        };
        if let (Some(child), false) = (nearest(block), is_planned) {
            let above = self.index.nearest(parent);
            assert!(
                above.is_some_and(|above| above <= child),
                "I6: {block:?} in {child}, its parent {parent:?} in {above:?}"
            );
        }
        if self.whole(block, TierId::File).is_some() {
            let in_file = self.index.location(parent, FIRST, TierId::File).is_some();
            assert!(in_file, "I6: {block:?} is in the file, its parent {parent:?} is not");
        }
    }
}
