//! Opening: match, plan, hold, take slots, order the loads.
//! Layer 9. Known by: `pager`.
//!
//! Nothing has changed for anyone else until all slots are there: what was held to keep it from being evicted meanwhile is
//! given back otherwise.

use super::core::{Core, FIRST};
use super::loads::PendingLoad;
use crate::clock::Time;
use crate::error::Error;
use crate::ids::{BlockId, SlotId, TierId};
use crate::policy::{Matched, MatchedBlock, View};
use crate::pool::SlotState;
use crate::prefix::BlockKeys;
use crate::sequence::{Entry, EntryKind, SequenceState};

impl Core {
    /// Fills the entries and tables of `state`, whose tokens and names are set.
    pub(super) fn open(&mut self, state: &mut SequenceState, now: Time) -> Result<(), Error> {
        self.check_length(state.tokens.len())?;
        self.housekeep(now);
        if self.parked_is_full() {
            return Err(Error::TierBusy { tier: TierId::Device });
        }
        let mut matched = std::mem::take(&mut self.matched);
        self.match_prefix(state, &mut matched);
        state.matched_blocks = matched.len();
        let request = Matched { blocks: &matched, prompt_tokens: state.tokens.len() };
        let view = View::new(&self.pools, &self.index, self.demotable(), now);
        let plan = self.policy.plan(&view, &request);
        for (at, found) in matched.iter().enumerate() {
            self.claim(state, *found, plan.load.contains(&at), now);
        }
        self.touch_below(&matched);
        matched.clear();
        self.matched = matched;
        let blocks = state.blocks();
        state.entries.resize(blocks, Entry::EMPTY);
        state.tables[FIRST.index()].resize(blocks, SlotId::NONE);
        self.fill_table(state, now)?;
        self.issue_loads(now);
        self.engine.pump(now);
        Ok(())
    }

    /// Refuses what can never fit.
    pub(super) fn check_length(&self, tokens: usize) -> Result<(), Error> {
        let slots = self.pools.pool(TierId::Device, FIRST).capacity() as usize;
        let limit =
            (slots * self.model.tokens_per_block() as usize).min(self.config.limits.sequence_tokens as usize);
        if tokens > limit {
            return Err(Error::SequenceTooLong { tokens, limit });
        }
        Ok(())
    }

    /// The leading blocks of the prompt that are cached somewhere.
    fn match_prefix(&self, state: &SequenceState, matched: &mut Vec<MatchedBlock>) {
        let mut parent = BlockId::NONE;
        let mut extra_keys = Vec::new();
        for index in 0..self.model.matchable_blocks(state.tokens.len()) {
            extra_keys.clear();
            extra_keys.extend(state.keys_of_block(index));
            let keys = BlockKeys {
                parent,
                salt: state.salt,
                tokens: state.block_tokens(index),
                extra_keys: &extra_keys,
            };
            let Some(block) = self.index.find(state.hashes[index], &keys) else { return };
            let Some(nearest) = self.nearest(block) else { return };
            matched.push(MatchedBlock { block, nearest });
            parent = block;
        }
    }

    /// The nearest tier where `block` is whole or, on the device, about to be.
    fn nearest(&self, block: BlockId) -> Option<TierId> {
        let device_slot = self.index.location(block, FIRST, TierId::Device);
        if device_slot.is_some() && self.pools.pool(TierId::Device, FIRST).block(device_slot) == block {
            return Some(TierId::Device);
        }
        [TierId::Host, TierId::File].into_iter().find(|tier| self.whole(block, *tier).is_some())
    }

    /// Holds what is on the device, and keeps what is to be loaded from being evicted. The entry has no slot yet otherwise.
    fn claim(&mut self, state: &mut SequenceState, found: MatchedBlock, is_load: bool, now: Time) {
        let MatchedBlock { block, nearest } = found;
        self.index.add_reference(block);
        self.index.note_use(block, now);
        let full = u16::try_from(self.model.tokens_per_block()).expect("at most 4096");
        let table = &mut state.tables[FIRST.index()];
        if nearest == TierId::Device {
            let slot = self.index.location(block, FIRST, TierId::Device);
            let pool = self.pools.pool_mut(TierId::Device, FIRST);
            pool.hold(slot);
            table.push(slot);
            state.entries.push(if pool.state(slot) == SlotState::Resident {
                Entry { block, done: full, kind: EntryKind::Named, source: Some(TierId::Device) }
            } else {
                let source =
                    [TierId::Host, TierId::File].into_iter().find(|tier| self.whole(block, *tier).is_some());
                Entry { block, done: full, kind: EntryKind::Loading, source }
            });
            return;
        }
        table.push(SlotId::NONE);
        if is_load {
            let slot = self.index.location(block, FIRST, nearest);
            self.pools.pool_mut(nearest, FIRST).begin_move(slot);
            state.entries.push(Entry { block, done: full, kind: EntryKind::Loading, source: Some(nearest) });
        } else {
            state.entries.push(Entry { block, ..Entry::EMPTY });
        }
    }

    /// Copies below the device are as recently used as those on it; leaf first, so that a parent is warmer than its child.
    fn touch_below(&mut self, matched: &[MatchedBlock]) {
        for found in matched.iter().rev() {
            for tier in [TierId::Host, TierId::File] {
                if let Some(slot) = self.whole(found.block, tier) {
                    self.pools.pool_mut(tier, FIRST).touch(slot);
                }
            }
        }
    }

    /// Takes a device slot for every entry that has none, and orders the loads into them; gives everything back if there are
    /// not enough.
    fn fill_table(&mut self, state: &mut SequenceState, now: Time) -> Result<(), Error> {
        let missing = state.tables[FIRST.index()].iter().filter(|slot| !slot.is_some()).count();
        let missing = u32::try_from(missing).expect("no more than the tier's slots");
        if let Err(busy) = self.ensure_free(TierId::Device, missing, now) {
            self.unclaim(state);
            return Err(busy);
        }
        let mut places = state.tables[FIRST.index()].iter_mut().filter(|slot| !slot.is_some());
        let pool = self.pools.pool_mut(TierId::Device, FIRST);
        let is_taken = pool.take(missing, |slot| *places.next().expect("as many places as slots") = slot);
        assert!(is_taken, "{missing} device slots were free, and could not be taken");
        for (entry, slot) in state.entries.iter().zip(&state.tables[FIRST.index()]) {
            let pool = self.pools.pool_mut(TierId::Device, FIRST);
            let is_new = pool.state(*slot) == SlotState::Filling && pool.holds(*slot) == 0;
            if !is_new {
                continue;
            }
            pool.hold(*slot);
            if let (EntryKind::Loading, Some(from)) = (entry.kind, entry.source) {
                pool.reserve(*slot, entry.block);
                pool.begin_move(*slot);
                self.index.set_location(entry.block, FIRST, TierId::Device, *slot);
                self.pending.push_back(PendingLoad { block: entry.block, from, device: *slot });
            }
        }
        Ok(())
    }

    /// Gives back what [`Core::claim`] took, leaf first.
    fn unclaim(&mut self, state: &mut SequenceState) {
        let table = std::mem::take(&mut state.tables[FIRST.index()]);
        for (entry, slot) in state.entries.iter().zip(&table).rev() {
            if slot.is_some() {
                self.pools.pool_mut(TierId::Device, FIRST).release(*slot);
            } else if let (EntryKind::Loading, Some(from)) = (entry.kind, entry.source) {
                let source = self.index.location(entry.block, FIRST, from);
                self.pools.pool_mut(from, FIRST).end_move(source);
            }
            self.unrefer(entry.block);
        }
        state.tables[FIRST.index()] = table;
    }
}
