//! Forking, truncating, closing.
//! Layer 9. Known by: `pager`.

use super::core::Core;
use super::keepers::Leaf;
use crate::error::Error;
use crate::ids::{BlockId, Fence, GroupId, SlotId, TierId};
use crate::sequence::{EntryKind, SequenceState};
use std::collections::VecDeque;

/// How many holds and references may wait for fences, for each device slot.
const PARKED_A_SLOT: usize = 4;

/// What sequences have given up while compute may still use it, fence by fence.
#[derive(Debug, Default)]
pub(super) struct Parked {
    waiting: VecDeque<(Fence, VecDeque<Given>)>,
    count: usize,
    /// Kept buffers.
    spare: Vec<VecDeque<Given>>,
}

#[derive(Clone, Copy, Debug)]
enum Given {
    Hold(GroupId, SlotId),
    /// A hold of a part that no window will reach again.
    Behind(GroupId, SlotId, BlockId),
    Reference(BlockId),
}

impl Parked {
    fn push(&mut self, fence: Fence, given: Given) {
        self.count += 1;
        match self.waiting.back_mut() {
            Some((latest, list)) if *latest == fence => list.push_back(given),
            _ => {
                let mut list = self.spare.pop().unwrap_or_default();
                list.push_back(given);
                self.waiting.push_back((fence, list));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Core {
    /// Whether `state` can be forked now.
    ///
    /// # Errors
    /// [`Error::Misuse`] while the engine computes for it: its slots are being written. [`Error::TierBusy`] while a block of
    /// it is being copied.
    pub(super) fn check_fork(&self, state: &SequenceState) -> Result<(), Error> {
        if state.computing.is_some() {
            return Err(Error::Misuse { sequence: state.id, why: "commit what was computed before forking" });
        }
        if self.parked_is_full() || state.has_copying() {
            return Err(Error::TierBusy { tier: TierId::Device });
        }
        Ok(())
    }

    /// Makes `child`, which has the tokens of `state`, share its next slice of blocks. Returns whether it shares all.
    pub(super) fn fork_slice(&mut self, state: &SequenceState, child: &mut SequenceState) -> bool {
        let from = child.entries.len();
        let to = state.entries.len().min(from + self.config.limits.slice_blocks as usize);
        // What the parent's stream has still to write, the child may read on another.
        if !child.waits.contains(&state.fence) && !self.is_over(state.fence) {
            child.waits.push(state.fence);
        }
        child.copy_entries(state, from..to);
        for group in self.groups() {
            for slot in state.tables[group.index()][from..to].iter().filter(|slot| slot.is_some()) {
                self.device(group).hold(*slot);
                self.mark_resumable(group, *slot);
            }
        }
        for entry in state.entries[from..to].iter().filter(|entry| entry.block.is_some()) {
            self.index.add_reference(entry.block);
        }
        to == state.entries.len()
    }

    /// Makes the last block that is left of a sequence that was cut one to be written to.
    pub(super) fn end_truncate(&mut self, state: &mut SequenceState) {
        let size = state.tokens_per_block();
        // What is written next into a block that is cut has another name.
        self.note_let_go(state, state.tokens.len() / size);
        let tokens = state.tokens.len();
        let blocks = state.entries.len();
        state.cursor = state.cursor.min(tokens / size).min(blocks);
        for slid in &mut state.slid {
            *slid = (*slid).min(blocks);
        }
        let kept = tokens % size;
        let Some(entry) = state.entries.last_mut().filter(|_| kept > 0) else { return };
        entry.done = entry.done.min(u16::try_from(kept).expect("less than a block"));
        if entry.kind == EntryKind::Unnamed || entry.kind == EntryKind::Own {
            entry.kind = EntryKind::Own;
            let block = std::mem::replace(&mut entry.block, BlockId::NONE);
            self.unrefer(block);
        }
    }

    /// Ends what is closed: nothing of it is held any more. `last` is its last block, if a hold wants to know.
    pub(super) fn end_close(&mut self, state: Box<SequenceState>, last: Option<Leaf>) {
        self.balance_again = [0; TierId::COUNT];
        self.keepers.wake(state.salt, last);
        self.return_state(state);
        self.signal.ring();
    }

    /// Gives back a slice of the entries from `first` on, the leaf first, once the fence of `state` is over. Returns whether none of
    /// them is left.
    pub(super) fn let_go_slice(&mut self, state: &mut SequenceState, first: usize) -> bool {
        let slice = self.config.limits.slice_blocks as usize;
        if !self.has_place_to_expire(state) {
            return false;
        }
        self.handle(slice.min(state.entries.len()));
        // Who looked for room in vain may find some.
        self.look_again();
        self.let_go_from(state, first.max(state.entries.len().saturating_sub(slice)));
        state.entries.len() <= first
    }

    /// Gives back the entries from `first` on, the leaf first.
    fn let_go_from(&mut self, state: &mut SequenceState, first: usize) {
        self.note_let_go(state, first);
        if self.is_uniform() && self.is_over(state.fence) {
            self.give_back_from(state, first);
            return;
        }
        while state.entries.len() > first {
            let entry = state.entries.pop().expect("longer than `first`");
            for group in self.groups() {
                let slot = state.tables[group.index()].pop().expect("Q1: as long as the entries");
                if slot.is_some() {
                    self.mark_resumable(group, slot);
                    self.let_go_slot(group, slot, state.fence);
                }
            }
            if entry.block.is_some() {
                self.let_go(Given::Reference(entry.block), state.fence);
            }
        }
    }

    /// Gives back the entries from `first` on at once, the leaf first, where the model has one group that needs every block.
    pub(super) fn give_back_from(&mut self, state: &mut SequenceState, first: usize) {
        let given = state.entries[first..].iter().zip(&state.tables[0][first..]);
        for (entry, slot) in given.rev() {
            let mut holds_named = false;
            if slot.is_some() {
                let pool = self.pools.pool_mut(TierId::Device, GroupId::FIRST);
                let block = pool.block(*slot);
                pool.release(*slot);
                if entry.kind == EntryKind::Copying {
                    self.forget_spoiled(GroupId::FIRST, *slot);
                }
                holds_named = block.is_some() && block == entry.block;
                if block.is_some() && !holds_named {
                    self.sweep_detached(block);
                }
            }
            if holds_named && !self.index.is_detached(entry.block) {
                // Its part stays on the device, nearest of all: nothing else hangs on the reference.
                self.index.drop_reference(entry.block);
            } else if entry.block.is_some() {
                self.unrefer(entry.block);
            }
        }
        state.entries.truncate(first);
        state.tables[0].truncate(first);
    }

    /// Gives back one hold of a device slot, once `fence` is over (I2).
    pub(super) fn let_go_slot(&mut self, group: GroupId, slot: SlotId, fence: Fence) {
        self.let_go(Given::Hold(group, slot), fence);
    }

    /// Gives back one hold of a part that no window will reach again, once `fence` is over: it goes, unless somebody else uses it.
    pub(super) fn let_go_behind(&mut self, group: GroupId, slot: SlotId, block: BlockId, fence: Fence) {
        self.let_go(Given::Behind(group, slot, block), fence);
    }

    fn let_go(&mut self, given: Given, fence: Fence) {
        if self.is_over(fence) {
            self.give_back(given);
        } else {
            self.parked.push(fence, given);
        }
    }

    fn give_back(&mut self, given: Given) {
        match given {
            Given::Hold(group, slot) => {
                let block = self.device(group).block(slot);
                self.device(group).release(slot);
                self.forget_spoiled(group, slot);
                // An erased block goes with its last holder.
                self.sweep_detached(block);
            }
            Given::Behind(group, slot, block) => {
                self.device(group).release(slot);
                self.leave_behind(group, block, slot);
            }
            Given::Reference(block) => self.unrefer(block),
        }
    }

    /// What became of a copy into `slot` is nobody's business any more, if nobody holds it.
    fn forget_spoiled(&mut self, group: GroupId, slot: SlotId) {
        if !self.spoiled.is_empty() && self.device(group).holds(slot) == 0 {
            self.spoiled.retain(|spoiled| *spoiled != (group, slot));
        }
    }

    /// A request ends, or branches, where this part of a window is needed: another may go on from there.
    pub(super) fn mark_resumable(&mut self, group: GroupId, slot: SlotId) {
        if !self.model.is_full(group) {
            self.device(group).mark_resumable(slot);
        }
    }

    /// Whether so much waits for fences that no sequence should be opened before some are over (I8).
    pub(super) fn parked_is_full(&self) -> bool {
        let capacity: usize =
            self.groups().map(|group| self.pools.pool(TierId::Device, group).capacity() as usize).sum();
        self.parked.count >= PARKED_A_SLOT * capacity
    }

    /// Gives back what was let go with a fence that is over now, in the order in which it was. Asks once for each fence. What is
    /// more than a slice waits for the next call.
    pub(super) fn release_parked(&mut self) {
        // Of each block a hold and a reference.
        let mut left = 2 * self.config.limits.slice_blocks as usize;
        let mut index = 0;
        while index < self.parked.waiting.len() && left > 0 {
            if !self.is_over(self.parked.waiting[index].0) {
                index += 1;
                continue;
            }
            let mut list = std::mem::take(&mut self.parked.waiting[index].1);
            let count = list.len().min(left);
            left -= count;
            self.parked.count -= count;
            for given in list.drain(..count) {
                self.give_back(given);
            }
            if list.is_empty() {
                self.parked.waiting.remove(index);
                self.parked.spare.push(list);
            } else {
                self.parked.waiting[index].1 = list;
            }
            self.signal.ring();
        }
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
        self.drop_strays(block);
        self.prune(block);
    }
}
