//! Forking, truncating, closing.
//! Layer 9. Known by: `pager`.

use super::core::{Core, FIRST};
use crate::error::Error;
use crate::ids::{BlockId, Fence, TierId};
use crate::sequence::{EntryKind, SequenceState};

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

    /// Gives up all tokens from `tokens` on.
    pub(super) fn truncate(&mut self, state: &mut SequenceState, tokens: usize) {
        state.computing = None;
        state.tokens.truncate(tokens);
        let size = state.tokens_per_block();
        self.release_from(state, state.blocks());
        state.hashes.truncate(tokens / size);
        state.cursor = state.cursor.min(tokens / size);
        let kept = tokens % size;
        if kept == 0 {
            return;
        }
        let entry = state.entries.last_mut().expect("a partial block has an entry");
        if entry.kind == EntryKind::Unnamed || entry.kind == EntryKind::Own {
            entry.kind = EntryKind::Own;
            let block = std::mem::replace(&mut entry.block, BlockId::NONE);
            if block.is_some() {
                self.index.drop_reference(block);
                self.prune(block);
            }
        }
        let entry = state.entries.last_mut().expect("a partial block has an entry");
        entry.done = entry.done.min(u16::try_from(kept).expect("less than a block"));
    }

    /// Gives back the entries from `first` on, the leaf first.
    fn release_from(&mut self, state: &mut SequenceState, first: usize) {
        while state.entries.len() > first {
            let entry = state.entries.pop().expect("longer than `first`");
            let slot = state.tables[FIRST.index()].pop().expect("Q1: as long as the entries");
            if entry.kind == EntryKind::Copying {
                self.spoiled.retain(|spoiled| *spoiled != slot);
            }
            self.pools.pool_mut(TierId::Device, FIRST).release(slot);
            if entry.block.is_some() {
                self.index.drop_reference(entry.block);
                self.prune(entry.block);
            }
        }
    }

    /// Gives everything of `state` back once `fence` is over.
    pub(super) fn close(&mut self, mut state: Box<SequenceState>, fence: Fence) {
        state.fence = fence;
        self.closing.push(state);
        self.finish_closing();
    }

    /// Gives back what closed sequences held, as far as their fences are over.
    pub(super) fn finish_closing(&mut self) {
        let mut index = 0;
        while index < self.closing.len() {
            if self.is_over(self.closing[index].fence) {
                let mut state = self.closing.swap_remove(index);
                self.release_from(&mut state, 0);
                self.return_state(state);
            } else {
                index += 1;
            }
        }
    }
}
