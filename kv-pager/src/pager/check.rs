//! The invariants of the whole, for tests.
//! Layer 9. Known by: `pager`.

use super::core::Core;
use crate::ids::{BlockId, TierId};
use crate::pool::SlotState;
use crate::transfer::Purpose;
use std::collections::HashMap;

impl Core {
    /// Asserts I1, I2, I3 and I6 over all slots and blocks.
    ///
    /// # Panics
    /// If one of them does not hold.
    pub(super) fn check(&self) {
        self.policy.check();
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
        self.check_keepers();
        self.check_expiries();
        for (block, _) in self.index.blocks() {
            if !self.index.is_detached(block) {
                self.check_ancestry(block);
            }
        }
    }

    /// Every location's slot knows its block, and every named slot is its block's location.
    fn check_locations(&self) {
        for (block, _) in self.index.blocks() {
            for (tier, group, pool) in self.pools.iter() {
                let slot = self.index.location(block, group, tier);
                if slot.is_some() {
                    let found = pool.block(slot);
                    assert!(found == block, "I3: {block:?} at {tier} {slot:?}, which holds {found:?}");
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
            let group = flight.part.group;
            *expected.entry((ends.source, group, flight.part.source)).or_insert(0_u32) += 1;
            *expected.entry((ends.target, group, flight.part.target)).or_insert(0) += 1;
            if let Purpose::Land { device } = flight.purpose {
                // A load that timed out has given its device slot up already.
                if self.pools.pool(ends.target, group).state(flight.part.target) != SlotState::Quarantined {
                    *expected.entry((TierId::Device, group, device)).or_insert(0) += 1;
                }
            }
        }
        for load in self.pending.waiting() {
            let source = self.index.location(load.block, load.group, load.from);
            *expected.entry((load.from, load.group, source)).or_insert(0) += 1;
            *expected.entry((TierId::Device, load.group, load.device)).or_insert(0) += 1;
        }
        let mut kept_sources = 0;
        for (tier, group, pool) in self.pools.iter() {
            for slot in pool.slots() {
                let counted = expected.get(&(tier, group, slot)).copied().unwrap_or(0);
                let kept = pool.movers(slot);
                let state = pool.state(slot);
                let of_opening = kept.checked_sub(counted).filter(|kept| *kept <= self.kept_sources);
                assert!(
                    of_opening.is_some(),
                    "I2: {tier} {group:?} {slot:?} ({state:?}): {counted} moves, {kept} kept"
                );
                kept_sources += of_opening.unwrap_or_default();
            }
        }
        assert!(
            kept_sources == self.kept_sources,
            "I2: {kept_sources} sources are kept for a sequence that opens, and {} counted",
            self.kept_sources
        );
    }

    /// I6: a parent is at least as near as its child, unless a plan is computing it; the file holds whole prefixes.
    fn check_ancestry(&self, block: BlockId) {
        let parent = self.index.parent(block);
        let Some(anchor) = self.model.anchor().filter(|_| parent.is_some()) else { return };
        let is_planned = self.index.view(parent).references > 0;
        // What is moving goes when the move has ended.
        let is_settled = |tier: &TierId| {
            let slot = self.whole(block, anchor, *tier);
            slot.is_some_and(|slot| !self.pools.pool(*tier, anchor).is_moving(slot))
        };
        if let (Some(child), false) = (TierId::ALL.into_iter().find(is_settled), is_planned) {
            let above = self.index.nearest(parent);
            assert!(
                above.is_some_and(|above| above <= child),
                "I6: {block:?} in {child}, its parent {parent:?} in {above:?}"
            );
        }
        if is_settled(&TierId::File) {
            let in_file = self.index.location(parent, anchor, TierId::File).is_some()
                || self.falls.iter().any(|fall| fall.keeps_in_file(parent));
            assert!(in_file, "I6: {block:?} is in the file, its parent {parent:?} is not");
        }
    }
}
