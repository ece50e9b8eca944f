//! Committing what was computed, and taking more tokens.
//! Layer 9. Known by: `pager`.

use super::core::Core;
use crate::clock::Time;
use crate::error::Error;
use crate::event::BlockEvent;
use crate::ids::{BlockId, Fence, GroupId, SlotId, TierId};
use crate::pool::SlotState;
use crate::prefix::BlockKeys;
use crate::sequence::{Entry, EntryKind, SequenceState};
use std::ops::Range;

impl Core {
    /// Begins to commit `computed`, which is in the slots once `fence` is over; [`Core::commit_slice`] goes on.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the range is not the front of what the last step said.
    pub(super) fn begin_commit(
        &mut self,
        state: &mut SequenceState,
        computed: &Range<usize>,
        fence: Fence,
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
        self.note_computed(state, computed);
        Ok(())
    }

    /// Names the full blocks of the next slice of what is left of `computed`, and lets go what windows have left behind. Returns
    /// whether nothing is left.
    pub(super) fn commit_slice(
        &mut self,
        state: &mut SequenceState,
        left: &mut Range<usize>,
        now: Time,
    ) -> bool {
        let fence = state.fence;
        let size = state.tokens_per_block();
        let slice = self.config.limits.slice_blocks as usize;
        let end = left.end.min((left.start / size + slice) * size);
        let computed = left.start..end;
        left.start = end;
        let is_uniform = self.is_uniform();
        if state.cursor == computed.start / size {
            // What was computed in full need not be looked at again.
            state.cursor = computed.end / size;
        }
        let mut at = computed.start / size;
        while at < computed.end.div_ceil(size) {
            let named = if is_uniform { self.name_run(state, at..computed.end / size, now) } else { 0 };
            at += named;
            if named > 0 {
                continue;
            }
            let done = (computed.end - at * size).min(size);
            state.entries[at].done = u16::try_from(done).expect("at most 4096");
            for group in self.groups() {
                self.device(group).note_use(state.slot(group, at), fence);
            }
            if done == size {
                self.name(state, at, fence, now);
            }
            at += 1;
        }
        self.slide(state, computed.end);
        left.start == left.end
    }

    /// Names the first of `blocks`, which are full, as [`Core::name`] does, as long as no other block has their names and they have
    /// no extra keys: what most blocks are. For a model of one group that needs every block, on a device that is well. Returns how many.
    fn name_run(&mut self, state: &mut SequenceState, blocks: Range<usize>, now: Time) -> usize {
        let mut parent = BlockId::NONE;
        let mut parent_hash = None;
        if let Some(before) = blocks.start.checked_sub(1) {
            let entry = state.entries[before];
            parent = entry.block;
            parent_hash = state.hashes.get(before).copied();
            if !parent.is_some() || entry.kind == EntryKind::Unnamed || self.index.is_detached(parent) {
                return 0;
            }
        }
        let is_plain = state.extra_keys.is_empty() && !self.lost[TierId::Device.index()];
        if blocks.is_empty() || !is_plain || state.epoch != self.epoch {
            return 0;
        }
        let size = state.tokens_per_block();
        let done = u16::try_from(size).expect("at most 4096");
        let standing = self.standing_of(state);
        let Self { index, pools, events, .. } = self;
        let pool = pools.pool_mut(TierId::Device, GroupId::FIRST);
        let tokens = state.tokens[blocks.start * size..].chunks_exact(size);
        let names = state.hashes[blocks.clone()].iter().zip(tokens);
        let places = state.entries[blocks.clone()].iter_mut().zip(&state.tables[0][blocks.clone()]);
        for (named, ((entry, slot), (hash, tokens))) in places.zip(names).enumerate() {
            let keys = BlockKeys { parent, salt: state.salt, tokens, extra_keys: &[] };
            if entry.block.is_some() || index.find(*hash, &keys).is_some() {
                return named;
            }
            let Some(block) = index.insert_computed(*hash, &keys, *slot, now) else { return named };
            if let Some((passes, is_mortal)) = standing {
                if is_mortal {
                    index.mark_mortal(block);
                }
                index.note_request(block, passes, is_mortal);
            }
            pool.settle(*slot, block, state.fence);
            events.push(BlockEvent::Stored { hash: *hash, parent: parent_hash, tier: TierId::Device });
            *entry = Entry { block, done, kind: EntryKind::Named, source: None };
            parent = block;
            parent_hash = Some(*hash);
        }
        blocks.len()
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
        let is_alone = at == 0 || state.entries[at - 1].kind != EntryKind::Unnamed;
        let Some(anchor) = self.model.anchor().filter(|_| !is_alone) else { return };
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
        self.extra_keys.clear();
        if !state.extra_keys.is_empty() {
            self.extra_keys.extend(state.keys_of_block(at));
        }
        let tokens = state.block_tokens(at);
        let keys = BlockKeys { parent, salt: state.salt, tokens, extra_keys: &self.extra_keys };
        let hash = state.hashes[at];
        let found = self.index.find(hash, &keys);
        let block = found.or_else(|| self.index.insert(hash, &keys, now))?;
        self.note_user(state, block, found.is_none());
        self.index.add_reference(block);
        self.index.note_use(block, now);
        Some(block)
    }

    /// Lets go the parts that no token from `position` on looks at. Those that a request resumed from, ended at or branched at stay
    /// cached, for another may; the others go at once.
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
                    self.mark_resumable(group, slot);
                    self.let_go_slot(group, slot, state.fence);
                } else if slot.is_some() {
                    self.let_go_behind(group, slot, state.entries[at].block, state.fence);
                }
            }
            state.slid[group.index()] = state.slid[group.index()].max(reach.window.start);
        }
    }

    /// Frees the part of a window that has moved on, unless somebody else uses it, or may go on from there.
    pub(super) fn leave_behind(&mut self, group: GroupId, block: BlockId, slot: SlotId) {
        let is_idle = block.is_some() && self.idle_slot(block, group, TierId::Device) == Some(slot);
        if is_idle && !self.pools.pool(TierId::Device, group).is_resumable(slot) {
            self.remove_copy(block, group, TierId::Device, slot);
            self.prune(block);
        }
    }

    /// Takes slots for the next slice of the tokens that were added to `state`, in the groups that need all. Returns whether all
    /// have theirs.
    ///
    /// # Errors
    /// [`Error::TierBusy`] or [`Error::TierFull`] if there are too few; then those of earlier slices are to be
    /// [given back](Core::unclaim_slice).
    pub(super) fn extend_slice(&mut self, state: &mut SequenceState, now: Time) -> Result<bool, Error> {
        self.serve(state.salt);
        let first = state.entries.len();
        let blocks = state.blocks().min(first + self.config.limits.slice_blocks as usize);
        let count = u32::try_from(blocks - first).expect("checked against the tier's slots");
        for group in self.full_groups() {
            self.ensure_free_for(state, group, count, now)?;
        }
        for group in self.groups() {
            let table = &mut state.tables[group.index()];
            if self.model.is_full(group) {
                let pool = self.pools.pool_mut(TierId::Device, group);
                let is_taken = pool.take_held(count, |slot| table.push(slot));
                assert!(is_taken, "{count} device slots were free, and could not be taken");
            } else {
                table.resize(blocks, SlotId::NONE);
            }
        }
        state.entries.resize(blocks, Entry::EMPTY);
        Ok(blocks == state.blocks())
    }
}
