//! Forking, truncating, closing.
//! Layer 9. Known by: `pager`.

use super::core::{Core, FIRST};
use crate::error::Error;
use crate::ids::{BlockId, Fence, SlotId, TierId};
use crate::sequence::{EntryKind, SequenceState};

/// How many holds may wait for a fence, for each device slot.
const PARKED_A_SLOT: usize = 4;

/// A hold and a reference that a sequence has given up, while compute may still use the slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parked {
    slot: SlotId,
    block: BlockId,
    fence: Fence,
}

impl Core {
    /// Makes `child` share everything of `state`.
    ///
    /// # Errors
    /// [`Error::Misuse`] while the engine computes for it: its slots are being written. [`Error::TierBusy`] while a block of
    /// it is being copied.
    pub(super) fn fork(&mut self, state: &SequenceState, child: &mut SequenceState) -> Result<(), Error> {
        if state.computing.is_some() {
            return Err(Error::Misuse { sequence: state.id, why: "commit what was computed before forking" });
        }
        if state.entries.iter().any(|entry| entry.kind == EntryKind::Copying) {
            return Err(Error::TierBusy { tier: TierId::Device });
        }
        child.copy_from(state);
        for (entry, slot) in child.entries.iter().zip(&child.tables[FIRST.index()]) {
            self.pools.pool_mut(TierId::Device, FIRST).hold(*slot);
            if entry.block.is_some() {
                self.index.add_reference(entry.block);
            }
        }
        Ok(())
    }

    /// Gives up all tokens from `tokens` on; the compute behind `fence` may still use their slots.
    pub(super) fn truncate(&mut self, state: &mut SequenceState, tokens: usize, fence: Fence) {
        state.computing = None;
        state.fence = fence;
        state.tokens.truncate(tokens);
        let size = state.tokens_per_block();
        self.let_go_from(state, state.blocks());
        state.hashes.truncate(tokens / size);
        state.cursor = state.cursor.min(tokens / size);
        let kept = tokens % size;
        if kept == 0 {
            return;
        }
        let entry = state.entries.last_mut().expect("a partial block has an entry");
        entry.done = entry.done.min(u16::try_from(kept).expect("less than a block"));
        if entry.kind == EntryKind::Unnamed || entry.kind == EntryKind::Own {
            entry.kind = EntryKind::Own;
            let block = std::mem::replace(&mut entry.block, BlockId::NONE);
            self.unrefer(block);
        }
    }

    /// Gives back all that `state` holds, once its fence is over.
    pub(super) fn close(&mut self, mut state: Box<SequenceState>) {
        self.let_go_from(&mut state, 0);
        self.return_state(state);
    }

    /// Gives back the entries from `first` on, the leaf first.
    fn let_go_from(&mut self, state: &mut SequenceState, first: usize) {
        while state.entries.len() > first {
            let entry = state.entries.pop().expect("longer than `first`");
            let slot = state.tables[FIRST.index()].pop().expect("Q1: as long as the entries");
            if entry.kind == EntryKind::Copying {
                self.spoiled.retain(|spoiled| *spoiled != slot);
            }
            self.let_go(slot, entry.block, state.fence);
        }
    }

    /// Gives back one hold of a device slot and one reference to a block, once `fence` is over (I2).
    pub(super) fn let_go(&mut self, slot: SlotId, block: BlockId, fence: Fence) {
        if self.is_over(fence) {
            self.pools.pool_mut(TierId::Device, FIRST).release(slot);
            self.unrefer(block);
        } else {
            self.parked.push(Parked { slot, block, fence });
        }
    }

    /// Whether so much waits for fences that no sequence should be opened before some are over (I8).
    pub(super) fn parked_is_full(&self) -> bool {
        self.parked.len() >= PARKED_A_SLOT * self.pools.pool(TierId::Device, FIRST).capacity() as usize
    }

    /// Gives back what was let go with a fence that is over now, in the order in which it was.
    pub(super) fn release_parked(&mut self) {
        if self.parked.is_empty() {
            return;
        }
        let mut parked = std::mem::take(&mut self.parked);
        let before = parked.len();
        parked.retain(|Parked { slot, block, fence }| {
            let is_over = self.is_over(*fence);
            if is_over {
                self.pools.pool_mut(TierId::Device, FIRST).release(*slot);
                self.unrefer(*block);
            }
            !is_over
        });
        if parked.len() < before {
            self.signal.ring();
        }
        self.parked = parked;
    }

    /// A sequence relies no longer on the record of `block`, if it is one. If the last plan to compute it was given up, what was
    /// loaded nearer than it is of no use (I6).
    pub(super) fn unrefer(&mut self, block: BlockId) {
        if !block.is_some() {
            return;
        }
        self.index.drop_reference(block);
        if self.sweep_detached(block) {
            return;
        }
        if self.index.view(block).references == 0 {
            let nearest = self.index.nearest(block).map_or(TierId::COUNT, TierId::index);
            for tier in &TierId::ALL[..nearest] {
                self.drop_children(block, *tier);
            }
            self.prune(block);
        }
    }
}
