//! What a sequence does next.
//! Layer 9. Known by: `pager`.

use super::core::{Core, FIRST};
use crate::clock::Time;
use crate::error::Error;
use crate::ids::{BlockId, Fence, MoveId, SlotId, TierId};
use crate::pool::SlotState;
use crate::sequence::{Entry, EntryKind, SequenceState};
use crate::tier::Move;
use crate::transfer::{Flight, Priority, Purpose};
use std::ops::Range;

/// What the engine does next for a sequence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Compute K and V of these tokens, through the block table as it is now, then commit.
    Compute(Range<usize>),
    /// Moves are under way for it; wait, then ask again.
    Wait,
    /// All tokens given so far have been computed or loaded.
    Ready,
}

/// Where an entry stands.
enum Stand {
    Done,
    Wait,
    Compute,
}

impl Core {
    /// The next step of a sequence, of at most `tokens_max` tokens. Looks at each block once in the sequence's life, but for
    /// those that are waited for.
    ///
    /// # Errors
    /// [`Error::TierBusy`] or [`Error::TierFull`] if a shared block must be copied and there is no slot for it.
    pub(super) fn next_step(
        &mut self,
        state: &mut SequenceState,
        tokens_max: usize,
        now: Time,
    ) -> Result<Step, Error> {
        self.housekeep(now);
        state.computing = None;
        let size = state.tokens_per_block();
        while state.cursor < state.entries.len() {
            let at = state.cursor;
            match self.stand(state, at) {
                Stand::Wait => return Ok(Step::Wait),
                Stand::Done if state.tokens_wanted(at) == size => state.cursor += 1,
                Stand::Done => return Ok(Step::Ready),
                Stand::Compute => return self.step_compute(state, tokens_max.max(1), now),
            }
        }
        Ok(Step::Ready)
    }

    /// Looks how entry `at` stands, and notes what its moves have brought.
    fn stand(&mut self, state: &mut SequenceState, at: usize) -> Stand {
        let slot = state.slot(FIRST, at);
        let wanted = state.tokens_wanted(at);
        let size = state.tokens_per_block();
        let entry = &mut state.entries[at];
        let pool = self.pools.pool(TierId::Device, FIRST);
        match entry.kind {
            EntryKind::Loading if pool.block(slot) != entry.block => {
                // Its tokens were cut since: what will be computed is another block.
                let is_other = usize::from(entry.done) < size;
                let block = entry.block;
                *entry = Entry { block: if is_other { BlockId::NONE } else { block }, ..Entry::EMPTY };
                if is_other {
                    self.unrefer(block);
                }
                return Stand::Compute;
            }
            EntryKind::Loading if pool.state(slot) == SlotState::Filling => return Stand::Wait,
            EntryKind::Loading => entry.kind = EntryKind::Named,
            EntryKind::Copying if pool.state(slot) == SlotState::Quarantined => {
                entry.kind = EntryKind::Own;
                entry.done = 0;
            }
            EntryKind::Copying if pool.is_moving(slot) => return Stand::Wait,
            EntryKind::Copying => {
                entry.kind = EntryKind::Own;
                if let Some(place) = self.spoiled.iter().position(|spoiled| *spoiled == slot) {
                    self.spoiled.swap_remove(place);
                    entry.done = 0;
                }
            }
            EntryKind::Own | EntryKind::Unnamed | EntryKind::Named => {}
        }
        if usize::from(entry.done) >= wanted { Stand::Done } else { Stand::Compute }
    }

    /// Makes the entries from the cursor on writable, as far as they are to be computed, and says which tokens those are.
    fn step_compute(
        &mut self,
        state: &mut SequenceState,
        tokens_max: usize,
        now: Time,
    ) -> Result<Step, Error> {
        let size = state.tokens_per_block();
        let start = state.cursor * size + usize::from(state.entries[state.cursor].done);
        let mut end = start;
        for at in state.cursor..state.entries.len() {
            if end - start >= tokens_max
                || at > state.cursor && !matches!(self.stand(state, at), Stand::Compute)
            {
                break;
            }
            match self.make_writable(state, at, now) {
                Ok(true) => end = at * size + state.tokens_wanted(at),
                Ok(false) if end == start => return Ok(Step::Wait),
                Err(error) if end == start => return Err(error),
                Ok(false) | Err(_) => break,
            }
        }
        let range = start..end.min(start + tokens_max);
        state.computing = Some(range.clone());
        Ok(Step::Compute(range))
    }

    /// Sees to it that the slot of entry `at` is the sequence's alone (I5). False if that takes a copy, which is then under way.
    fn make_writable(&mut self, state: &mut SequenceState, at: usize, now: Time) -> Result<bool, Error> {
        let slot = state.slot(FIRST, at);
        let entry = state.entries[at];
        let pool = self.pools.pool(TierId::Device, FIRST);
        let is_mine =
            entry.kind == EntryKind::Own && pool.holds(slot) == 1 && pool.state(slot) == SlotState::Filling;
        if is_mine && !pool.is_moving(slot) {
            return Ok(true);
        }
        self.ensure_free(TierId::Device, 1, now)?;
        let mut fresh = SlotId::NONE;
        let is_taken = self.pools.pool_mut(TierId::Device, FIRST).take(1, |slot| fresh = slot);
        assert!(is_taken, "a device slot was free, and could not be taken");
        self.pools.pool_mut(TierId::Device, FIRST).hold(fresh);
        let needs_bytes = entry.done > 0;
        if needs_bytes {
            self.copy_on_write(slot, fresh, now);
        }
        let is_renamed = entry.kind == EntryKind::Named && entry.block.is_some();
        state.tables[FIRST.index()][at] = fresh;
        state.entries[at] = Entry {
            block: if is_renamed { BlockId::NONE } else { entry.block },
            done: entry.done,
            kind: if needs_bytes { EntryKind::Copying } else { EntryKind::Own },
            source: None,
        };
        self.let_go(slot, if is_renamed { entry.block } else { BlockId::NONE }, state.fence);
        Ok(!needs_bytes)
    }

    fn copy_on_write(&mut self, source: SlotId, target: SlotId, now: Time) {
        let pool = self.pools.pool_mut(TierId::Device, FIRST);
        pool.begin_move(source);
        pool.begin_move(target);
        let source_fence = pool.fence(source);
        let part =
            Move { id: MoveId(0), group: FIRST, source, target, source_fence, target_fence: Fence::OVER };
        let flight =
            Flight { part, block: BlockId::NONE, purpose: Purpose::CopyOnWrite, priority: Priority::Demand };
        self.engine.enqueue(TierId::Device, TierId::Device, flight);
        self.engine.pump(now);
    }
}
