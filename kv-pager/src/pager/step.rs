//! What a sequence does next.
//! Layer 9. Known by: `pager`.

use super::core::Core;
use super::meeting::{Meeting, Met};
use crate::clock::Time;
use crate::error::Error;
use crate::ids::{BlockId, Fence, GroupId, MoveId, SlotId, TierId};
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

/// What one slice of looking for a step has come to.
#[derive(Debug)]
pub(super) enum Slice {
    /// The step.
    Step(Step),
    /// Go on with the next slice.
    More,
    /// Give back what there is and open again, then go on.
    Reopen,
}

/// Where an entry stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stand {
    Done,
    Wait,
    Compute,
    /// A part did not come, and what comes before it has gone: open again from what there is.
    Reopen,
}

impl Core {
    /// The next step of a sequence, of at most `tokens_max` tokens, as far as a slice tells. Looks at each block once in the
    /// sequence's life, but for those that are waited for.
    ///
    /// # Errors
    /// [`Error::TierBusy`] or [`Error::TierFull`] if there is no slot for what is to be written.
    pub(super) fn step_slice(
        &mut self,
        state: &mut SequenceState,
        tokens_max: usize,
        meeting: &mut Option<Meeting>,
        now: Time,
    ) -> Result<Slice, Error> {
        self.serve(state.salt);
        if let Some(met) = self.cut_slice(state, meeting, now) {
            return Ok(Self::heed(met, state));
        }
        if state.computing.is_some() {
            return self.step_compute(state, tokens_max.max(1), now);
        }
        if state.entries.len() < state.blocks() {
            return Ok(Slice::Reopen);
        }
        let size = state.tokens_per_block();
        let until = state.cursor + self.config.limits.slice_blocks as usize;
        while state.cursor < state.entries.len() {
            if state.cursor == until {
                return Ok(Slice::More);
            }
            let at = state.cursor;
            match self.stand(state, at) {
                Stand::Wait => {
                    let met = self.meet(state, at, tokens_max.max(1), meeting, now);
                    return Ok(Self::heed(met, state));
                }
                Stand::Done if state.tokens_wanted(at) == size => state.cursor += 1,
                Stand::Done => break,
                Stand::Compute => return self.step_compute(state, tokens_max.max(1), now),
                Stand::Reopen => return Ok(Self::heed(Met::Reopen, state)),
            }
        }
        self.note_ready(state, now);
        Ok(Slice::Step(Step::Ready))
    }

    /// Does as a look where the fronts meet says: a sequence that is to be opened again goes on without loads from now on (PN2).
    fn heed(met: Met, state: &mut SequenceState) -> Slice {
        match met {
            Met::Wait => Slice::Step(Step::Wait),
            Met::More => Slice::More,
            Met::Reopen => {
                state.loads_failed = true;
                Slice::Reopen
            }
        }
    }

    /// Looks how entry `at` stands, and notes what its moves have brought.
    fn stand(&mut self, state: &mut SequenceState, at: usize) -> Stand {
        match state.entries[at].kind {
            EntryKind::Loading => {
                let stand = self.stand_loading(state, at);
                if stand != Stand::Done {
                    return stand;
                }
                state.entries[at].kind = EntryKind::Named;
                self.note_loaded(state, self.now);
            }
            EntryKind::Copying => {
                if !self.has_copied(state, at) {
                    return Stand::Wait;
                }
                state.entries[at].kind = EntryKind::Own;
            }
            EntryKind::Own | EntryKind::Unnamed | EntryKind::Named => {}
        }
        let wanted = state.tokens_wanted(at);
        if usize::from(state.entries[at].done) >= wanted { Stand::Done } else { Stand::Compute }
    }

    /// Whether all parts that are loaded for entry `at` are there. One that failed makes the block one to be computed: at once,
    /// where all that comes before it is there; after opening again, where a window has moved on.
    fn stand_loading(&mut self, state: &mut SequenceState, at: usize) -> Stand {
        let block = state.entries[at].block;
        let mut stand = Stand::Done;
        for group in self.groups() {
            let slot = state.slot(group, at);
            if !slot.is_some() {
                continue;
            }
            let pool = self.device(group);
            if pool.block(slot) != block {
                if self.windowed_groups().next().is_some() {
                    return Stand::Reopen;
                }
                self.compute_instead(state, at);
                return Stand::Compute;
            }
            if pool.state(slot) == SlotState::Filling {
                stand = Stand::Wait;
            }
        }
        stand
    }

    /// Whether the copies into entry `at` have ended; if one failed, nothing of the block is done.
    fn has_copied(&mut self, state: &mut SequenceState, at: usize) -> bool {
        let groups = self.groups();
        let is_under_way = |group: GroupId| {
            let slot = state.slot(group, at);
            let pool = self.pools.pool(TierId::Device, group);
            slot.is_some() && pool.is_moving(slot) && pool.state(slot) != SlotState::Quarantined
        };
        if groups.clone().any(is_under_way) {
            return false;
        }
        for group in groups {
            let slot = state.slot(group, at);
            let is_late = slot.is_some() && self.device(group).state(slot) == SlotState::Quarantined;
            let is_spoiled = self.spoiled.iter().position(|spoiled| *spoiled == (group, slot));
            if let Some(place) = is_spoiled {
                self.spoiled.swap_remove(place);
            }
            if is_late || is_spoiled.is_some() {
                state.entries[at].done = 0;
            }
        }
        true
    }

    /// Makes a slice of the entries from the cursor on writable, or from where the last slice ended, as far as they are to be
    /// computed, and says which tokens those are.
    fn step_compute(
        &mut self,
        state: &mut SequenceState,
        tokens_max: usize,
        now: Time,
    ) -> Result<Slice, Error> {
        let size = state.tokens_per_block();
        let first = state.cursor * size + usize::from(state.entries[state.cursor].done);
        let Range { start, mut end } = state.computing.take().unwrap_or(first..first);
        let from = end / size;
        let until = state.entries.len().min(from + self.config.limits.slice_blocks as usize);
        let mut is_over = until == state.entries.len();
        let is_uniform = self.is_uniform();
        for at in from..until {
            let entry = state.entries[at];
            let is_mine = is_uniform && self.is_mine(state.tables[0][at], GroupId::FIRST, entry.kind);
            if is_mine && usize::from(entry.done) < state.tokens_wanted(at) && end - start < tokens_max {
                // Nobody else sees it: it is computed as it is.
                end = at * size + state.tokens_wanted(at);
                continue;
            }
            if end - start >= tokens_max || at > state.cursor && self.stand(state, at) != Stand::Compute {
                is_over = true;
                break;
            }
            match self.make_writable(state, at, now) {
                Ok(true) => end = at * size + state.tokens_wanted(at),
                Ok(false) if end == start => return Ok(Slice::Step(Step::Wait)),
                Err(error) if end == start => return Err(error),
                Ok(false) | Err(_) => {
                    is_over = true;
                    break;
                }
            }
        }
        let range = start..end.min(start.saturating_add(tokens_max));
        state.computing = Some(range.clone());
        Ok(if is_over || end - start >= tokens_max { Slice::Step(Step::Compute(range)) } else { Slice::More })
    }

    /// Sees to it that the slots of entry `at` are there and the sequence's alone (I5). False if that takes copies, which are then
    /// under way.
    fn make_writable(&mut self, state: &mut SequenceState, at: usize, now: Time) -> Result<bool, Error> {
        let entry = state.entries[at];
        let needs_slot: [bool; crate::layout::ModelLayout::GROUPS_MAX] = std::array::from_fn(|group| {
            group < self.groups().len()
                && !self.is_mine(state.tables[group][at], GroupId::from_index(group), entry.kind)
        });
        if self.engine.room(TierId::Device, TierId::Device) < self.groups().len() {
            return Err(Error::TierBusy { tier: TierId::Device });
        }
        for group in self.groups().filter(|group| needs_slot[group.index()]) {
            self.ensure_free_for(state, group, 1, now)?;
        }
        let is_renamed = entry.kind == EntryKind::Named && entry.block.is_some();
        let mut is_copied = false;
        for group in self.groups().filter(|group| needs_slot[group.index()]) {
            let before = state.slot(group, at);
            let mut fresh = SlotId::NONE;
            let is_taken = self.device(group).take(1, |slot| fresh = slot);
            assert!(is_taken, "a device slot was free, and could not be taken");
            self.device(group).hold(fresh);
            state.tables[group.index()][at] = fresh;
            if before.is_some() {
                if entry.done > 0 {
                    self.copy_on_write(group, before, fresh, now);
                    is_copied = true;
                }
                self.let_go_slot(group, before, state.fence);
            }
        }
        if needs_slot.contains(&true) {
            let kind = if is_copied { EntryKind::Copying } else { EntryKind::Own };
            let block = if is_renamed { BlockId::NONE } else { entry.block };
            state.entries[at] = Entry { block, done: entry.done, kind, source: None };
            if is_renamed {
                self.unrefer(entry.block);
            }
        }
        Ok(!is_copied)
    }

    /// Whether a sequence may write into `slot`.
    fn is_mine(&self, slot: SlotId, group: GroupId, kind: EntryKind) -> bool {
        let pool = self.pools.pool(TierId::Device, group);
        slot.is_some()
            && kind == EntryKind::Own
            && pool.holds(slot) == 1
            && pool.state(slot) == SlotState::Filling
            && !pool.is_moving(slot)
    }

    fn copy_on_write(&mut self, group: GroupId, source: SlotId, target: SlotId, now: Time) {
        let pool = self.device(group);
        pool.begin_move(source);
        pool.begin_move(target);
        let source_fence = pool.fence(source);
        let part = Move { id: MoveId(0), group, source, target, source_fence, target_fence: Fence::OVER };
        let flight = Flight {
            part,
            block: BlockId::NONE,
            purpose: Purpose::CopyOnWrite,
            priority: Priority::Demand,
            deadline: Time::NEVER,
        };
        self.engine.enqueue(TierId::Device, TierId::Device, flight, now);
        self.engine.pump(now);
    }
}
