//! Committing what was computed, and taking more tokens.
//! Layer 9. Known by: `pager`.

use super::core::{Core, FIRST};
use crate::clock::Time;
use crate::error::Error;
use crate::ids::{BlockId, Fence, SlotId, TierId};
use crate::prefix::BlockKeys;
use crate::sequence::{Entry, EntryKind, SequenceState};
use std::ops::Range;

impl Core {
    /// Notes that `computed` is in the slots once `fence` is over, and names the blocks that are full.
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
        state.fence = fence;
        state.computed_tokens += computed.len() as u64;
        let size = state.tokens_per_block();
        for at in computed.start / size..computed.end.div_ceil(size) {
            let done = (computed.end - at * size).min(size);
            state.entries[at].done = u16::try_from(done).expect("at most 4096");
            self.pools.pool_mut(TierId::Device, FIRST).note_write(state.slot(FIRST, at), fence);
            if done == size {
                self.name(state, at, fence, now);
            }
        }
        Ok(())
    }

    /// Gives the full block `at` its name, so that others can match it. It stays nameless where its parent is, where another
    /// slot has the name, and where the index is full.
    fn name(&mut self, state: &mut SequenceState, at: usize, fence: Fence, now: Time) {
        let block = match self.record_for(state, at, now) {
            Some(block) if !self.index.is_detached(block) => block,
            _ => {
                state.entries[at].kind = EntryKind::Unnamed;
                return;
            }
        };
        state.entries[at].block = block;
        if self.index.location(block, FIRST, TierId::Device).is_some() {
            state.entries[at].kind = EntryKind::Unnamed;
            return;
        }
        self.adopt_parents(state, at, fence);
        self.adopt(state, at, fence);
    }

    /// Makes the sequence's own slot the device location of its block.
    fn adopt(&mut self, state: &mut SequenceState, at: usize, fence: Fence) {
        let block = state.entries[at].block;
        let slot = state.slot(FIRST, at);
        state.entries[at].kind = EntryKind::Named;
        self.index.set_location(block, FIRST, TierId::Device, slot);
        self.pools.pool_mut(TierId::Device, FIRST).settle(slot, block, fence);
        self.announce_stored(block, TierId::Device);
    }

    /// Where another slot had the name of a block before `at` and has been evicted since, this sequence's own takes it: a parent
    /// is never farther than its child (I6).
    fn adopt_parents(&mut self, state: &mut SequenceState, at: usize, fence: Fence) {
        let is_missing = |entry: &Entry| {
            entry.kind == EntryKind::Unnamed
                && entry.block.is_some()
                && !self.index.is_detached(entry.block)
                && !self.index.location(entry.block, FIRST, TierId::Device).is_some()
        };
        let missing = state.entries[..at].iter().rev().take_while(|entry| is_missing(entry)).count();
        for parent in at - missing..at {
            self.adopt(state, parent, fence);
        }
    }

    /// The record of block `at`, referred to by its entry: the one it has, one that another sequence made, or a new one.
    fn record_for(&mut self, state: &SequenceState, at: usize, now: Time) -> Option<BlockId> {
        let known = state.entries[at].block;
        if known.is_some() {
            return Some(known);
        }
        let parent = if at == 0 { BlockId::NONE } else { state.entries[at - 1].block };
        if at > 0 && !parent.is_some() {
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

    /// Takes slots for the tokens that were added to `state`.
    ///
    /// # Errors
    /// [`Error::TierBusy`] or [`Error::TierFull`] if there are too few; then no slot was taken.
    pub(super) fn extend(&mut self, state: &mut SequenceState, now: Time) -> Result<(), Error> {
        let missing = state.blocks() - state.entries.len();
        if missing == 0 {
            return Ok(());
        }
        self.housekeep(now);
        let count = u32::try_from(missing).expect("checked against the tier's slots");
        self.ensure_free(TierId::Device, count, now)?;
        let table = &mut state.tables[FIRST.index()];
        let first = table.len();
        let is_taken =
            self.pools.pool_mut(TierId::Device, FIRST).take(count, |slot: SlotId| table.push(slot));
        assert!(is_taken, "{count} device slots were free, and could not be taken");
        for slot in &table[first..] {
            self.pools.pool_mut(TierId::Device, FIRST).hold(*slot);
        }
        state.entries.resize(first + missing, Entry::EMPTY);
        Ok(())
    }
}
