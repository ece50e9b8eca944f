//! Committing what was computed, and taking more tokens.
//! Layer 9. Known by: `pager`.

use super::core::Core;
use crate::clock::Time;
use crate::error::Error;
use crate::ids::{BlockId, Fence, GroupId, SlotId, TierId};
use crate::pool::SlotState;
use crate::prefix::BlockKeys;
use crate::sequence::{Entry, EntryKind, SequenceState};
use std::ops::Range;

impl Core {
    /// Notes that `computed` is in the slots once `fence` is over, names the blocks that are full, and lets go what windows have
    /// left behind.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the range is not the front of what the last step said.
    pub(super) fn commit(
        &mut self,
        state: &mut SequenceState,
        computed: Range<usize>,
        fence: Fence,
        now: Time,
    ) -> Result<(), Error> {
        let asked = state.computing.clone();
        if asked.is_none_or(|asked| {
            asked.start != computed.start || computed.end > asked.end || computed.is_empty()
        }) {
            let why = "the range committed is not the front of the range that next_step gave";
            return Err(Error::Misuse { sequence: state.id, why });
        }
        state.computing = None;
        state.loads_failed = false;
        state.fence = fence;
        state.computed_tokens += computed.len() as u64;
        self.note_computed(state, &computed);
        let size = state.tokens_per_block();
        for at in computed.start / size..computed.end.div_ceil(size) {
            let done = (computed.end - at * size).min(size);
            state.entries[at].done = u16::try_from(done).expect("at most 4096");
            for group in self.groups() {
                self.device(group).note_write(state.slot(group, at), fence);
            }
            if done == size {
                self.name(state, at, fence, now);
            }
        }
        self.slide(state, computed.end);
        Ok(())
    }

    /// Gives the full block `at` its name, so that others can match it. It stays nameless where its parent is, where other slots
    /// have the name, and where the index is full.
    fn name(&mut self, state: &mut SequenceState, at: usize, fence: Fence, now: Time) {
        match self.record_for(state, at, now) {
            Some(block) if !self.index.is_detached(block) => {
                state.entries[at].block = block;
                self.adopt_parents(state, at, fence);
                self.adopt(state, at, fence);
            }
            _ => state.entries[at].kind = EntryKind::Unnamed,
        }
    }

    /// Makes the sequence's own slots the device locations of its block, in the groups where it has none.
    fn adopt(&mut self, state: &mut SequenceState, at: usize, fence: Fence) {
        let block = state.entries[at].block;
        let mut kind = EntryKind::Named;
        for group in self.groups() {
            let slot = state.slot(group, at);
            if !slot.is_some() {
                continue;
            }
            let location = self.index.location(block, group, TierId::Device);
            if location == slot {
                continue;
            }
            if location.is_some() {
                kind = EntryKind::Unnamed;
                continue;
            }
            self.index.set_location(block, group, TierId::Device, slot);
            self.device(group).settle(slot, block, fence);
            self.announce_stored(block, group, TierId::Device);
        }
        state.entries[at].kind = kind;
    }

    /// Where other slots had the name of a block before `at` and have been evicted since, this sequence's own take it: a parent is
    /// never farther than its child (I6).
    fn adopt_parents(&mut self, state: &mut SequenceState, at: usize, fence: Fence) {
        let Some(anchor) = self.model.anchor() else { return };
        let is_missing = |entry: &Entry| {
            entry.kind == EntryKind::Unnamed
                && entry.block.is_some()
                && !self.index.is_detached(entry.block)
                && !self.index.location(entry.block, anchor, TierId::Device).is_some()
        };
        let missing = state.entries[..at].iter().rev().take_while(|entry| is_missing(entry)).count();
        for parent in at - missing..at {
            self.adopt(state, parent, fence);
        }
    }

    /// Makes `slots` device slots of `group` free at once for `state`, as [`Core::ensure_free`] does. If that can't be, what the
    /// sequence has of its own takes the names of blocks that others have left.
    pub(super) fn ensure_free_for(
        &mut self,
        state: &mut SequenceState,
        group: GroupId,
        slots: u32,
        now: Time,
    ) -> Result<(), Error> {
        match self.ensure_free(TierId::Device, group, slots, now) {
            Err(_) if self.take_names_over(state) => self.ensure_free(TierId::Device, group, slots, now),
            other => other,
        }
    }

    /// Where other slots have the name of a block that this sequence has computed too, and nobody uses them, its own take it, and
    /// those are freed: they could not be evicted, for the sequence's next blocks stand on them. Returns whether any was. `O(blocks)`.
    fn take_names_over(&mut self, state: &mut SequenceState) -> bool {
        let mut is_any = false;
        for at in 0..state.entries.len() {
            let Entry { block, kind, .. } = state.entries[at];
            if kind != EntryKind::Unnamed || !block.is_some() || self.index.is_detached(block) {
                continue;
            }
            for group in self.groups() {
                let own = state.slot(group, at);
                let Some(other) = self.idle_slot(block, group, TierId::Device).filter(|slot| *slot != own)
                else {
                    continue;
                };
                if !own.is_some() || self.device(group).state(own) != SlotState::Filling {
                    continue;
                }
                self.index.clear_location(block, group, TierId::Device);
                self.index.set_location(block, group, TierId::Device, own);
                let fence = self.device(group).fence(own);
                self.device(group).settle(own, block, fence);
                self.device(group).free(other);
                is_any = true;
            }
            let is_named = |group| self.index.location(block, group, TierId::Device) == state.slot(group, at);
            if self.groups().all(|group| !state.slot(group, at).is_some() || is_named(group)) {
                state.entries[at].kind = EntryKind::Named;
            }
        }
        is_any
    }

    /// The record of block `at`, referred to by its entry: the one it has, one that another sequence made, or a new one.
    fn record_for(&mut self, state: &SequenceState, at: usize, now: Time) -> Option<BlockId> {
        let known = state.entries[at].block;
        if known.is_some() {
            return Some(known);
        }
        // What earlier weights have computed a part of is of no use to anyone else.
        if state.epoch != self.epoch {
            return None;
        }
        let parent = if at == 0 { BlockId::NONE } else { state.entries[at - 1].block };
        if at > 0 && (!parent.is_some() || self.index.is_detached(parent)) {
            return None;
        }
        let extra_keys: Vec<u64> = state.keys_of_block(at).collect();
        let keys =
            BlockKeys { parent, salt: state.salt, tokens: state.block_tokens(at), extra_keys: &extra_keys };
        let hash = state.hashes[at];
        let block = self.index.find(hash, &keys).or_else(|| self.index.insert(hash, &keys, now))?;
        self.index.add_reference(block);
        self.index.note_use(block, now);
        Some(block)
    }

    /// Lets go the parts that no token from `position` on looks at. Those that a request resumed from stay cached, for another may;
    /// the others go at once.
    fn slide(&mut self, state: &mut SequenceState, position: usize) {
        let size = state.tokens_per_block();
        // Should a copy of the last block fail, it is computed from its start.
        let position = position - position % size;
        for group in self.windowed_groups() {
            let reach = self.model.reach(group, position);
            let resumed = self.model.reach(group, state.matched_blocks * size);
            for at in state.slid[group.index()].max(reach.sinks.end)..reach.window.start {
                let slot = std::mem::replace(&mut state.tables[group.index()][at], SlotId::NONE);
                if slot.is_some() && resumed.contains(at) {
                    self.let_go_slot(group, slot, state.fence);
                } else if slot.is_some() {
                    self.let_go_behind(group, slot, state.entries[at].block, state.fence);
                }
            }
            state.slid[group.index()] = state.slid[group.index()].max(reach.window.start);
        }
    }

    /// Frees the part of a window that has moved on, unless somebody else uses it.
    pub(super) fn leave_behind(&mut self, group: GroupId, block: BlockId, slot: SlotId) {
        if block.is_some() && self.idle_slot(block, group, TierId::Device) == Some(slot) {
            self.remove_copy(block, group, TierId::Device, slot);
            self.prune(block);
        }
    }

    /// Takes slots for the tokens that were added to `state`, in the groups that need all.
    ///
    /// # Errors
    /// [`Error::TierBusy`] or [`Error::TierFull`] if there are too few; then no slot was taken.
    pub(super) fn extend(&mut self, state: &mut SequenceState, now: Time) -> Result<(), Error> {
        let missing = state.blocks() - state.entries.len();
        if missing == 0 || state.entries.is_empty() {
            // One that waits to be opened again takes its slots then.
            let is_new = missing > 0 && state.computed_tokens == 0;
            return if is_new { self.open(state, now) } else { Ok(()) };
        }
        self.housekeep(now);
        let count = u32::try_from(missing).expect("checked against the tier's slots");
        let blocks = state.blocks();
        for group in self.full_groups() {
            self.ensure_free_for(state, group, count, now)?;
        }
        for group in self.groups() {
            let table = &mut state.tables[group.index()];
            let first = table.len();
            if self.model.is_full(group) {
                let pool = self.pools.pool_mut(TierId::Device, group);
                let is_taken = pool.take(count, |slot| table.push(slot));
                assert!(is_taken, "{count} device slots were free, and could not be taken");
                for slot in &table[first..] {
                    pool.hold(*slot);
                }
            } else {
                table.resize(blocks, SlotId::NONE);
            }
        }
        state.entries.resize(blocks, Entry::EMPTY);
        Ok(())
    }
}
