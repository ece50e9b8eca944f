//! Opening: match, plan, hold, take slots, order the loads.
//! Layer 9. Known by: `pager`.
//!
//! Nothing has changed for anyone else until all slots are there: what was held to keep it from being evicted meanwhile is
//! given back otherwise.

use super::chores::HOLD_BLOCKS;
use super::core::{Claim, Core};
use super::loads::{PendingLoad, urgency_of};
use super::opening::{Opening, Stage};
use super::planning::{Part, Planned, Survey};
use crate::clock::Time;
use crate::error::Error;
use crate::ids::{BlockId, Fence, GroupId, SlotId, TierId};
use crate::policy::{LoadPlan, MatchedBlock};
use crate::pool::SlotState;
use crate::sequence::{Entry, EntryKind, SequenceState};
use std::ops::Range;

impl Core {
    /// Fills the entries and tables of `state`, whose tokens and names are set, in one go.
    pub(super) fn open(&mut self, state: &mut SequenceState, now: Time) -> Result<(), Error> {
        self.check_open(state)?;
        let mut matched = std::mem::take(&mut self.matched);
        self.match_prefix(state, &mut matched);
        let is_opened = self.open_matched(state, &mut matched, now);
        matched.clear();
        self.matched = matched;
        is_opened?;
        self.issue_loads(now);
        if self.engine.has_prefetches() {
            self.hasten(state, 0..state.entries.len());
        }
        self.engine.pump(now);
        Ok(())
    }

    fn open_matched(
        &mut self,
        state: &mut SequenceState,
        matched: &mut Vec<MatchedBlock>,
        now: Time,
    ) -> Result<(), Error> {
        // Some is left for making room.
        self.handle(matched.len().min(HOLD_BLOCKS as usize / 2));
        let survey = self.survey(matched, state.tokens_per_block());
        self.has_hope(state, &survey)?;
        let plan = self.plan(state, matched, &survey, now);
        state.matched_blocks = matched.len();
        for at in self.claim_resident(state, matched)..matched.len() {
            self.claim(state, matched, at, &plan);
        }
        state.extend_entries(state.blocks());
        if let Err(busy) = self.fill(state, state.cursor..state.blocks(), &plan.load, now) {
            self.unclaim(state, 0);
            return Err(busy);
        }
        self.begin_course(state, &plan.load, now);
        self.note_hits(matched, now);
        self.note_request(state, matched);
        Ok(())
    }

    /// Goes on opening a long sequence by one slice of what its stage says. [`Stage::Survey`] is the caller's, without the lock.
    ///
    /// # Errors
    /// Those of [`Core::open`]; then what it has is to be [given back](Core::give_up_slice).
    pub(super) fn open_slice(
        &mut self,
        state: &mut SequenceState,
        opening: &mut Opening,
        now: Time,
    ) -> Result<(), Error> {
        match opening.stage {
            Stage::Match => {
                if state.entries.is_empty() {
                    self.check_open(state)?;
                }
                self.match_slice(state, opening);
            }
            Stage::Keep => self.keep_slice(state, opening),
            Stage::Trim => self.trim_slice(state, opening),
            Stage::Plan => {
                self.has_hope(state, &opening.survey)?;
                opening.plan = Some(self.plan(state, &mut opening.matched, &opening.survey, now));
                opening.filled = state.cursor;
                state.matched_blocks = opening.matched.len();
                let is_windowed = self.windowed_groups().next().is_some();
                opening.stage = if is_windowed { Stage::Trim } else { Stage::Fill };
            }
            Stage::Fill => self.fill_slice(state, opening, now)?,
            Stage::Hasten => {
                let slice = self.config.limits.slice_blocks as usize;
                let until = state.entries.len().min(opening.hastened + slice);
                self.hasten(state, opening.hastened..until);
                opening.hastened = until;
                if until == state.entries.len() {
                    self.engine.pump(now);
                    opening.stage = Stage::Note;
                }
            }
            Stage::Note => {
                let left = opening.matched.len() - opening.noted;
                let count = left.min(self.config.limits.slice_blocks as usize);
                opening.noted += count;
                let hits = &opening.matched[left - count..left];
                self.note_hits(hits, now);
                self.note_request(state, hits);
                if count == left {
                    opening.stage = Stage::Open;
                }
            }
            Stage::Survey | Stage::Open | Stage::Anew => {}
        }
        Ok(())
    }

    /// Goes on with the match by one slice, and refers to what was found.
    fn match_slice(&mut self, state: &mut SequenceState, opening: &mut Opening) {
        let from = opening.matched.len();
        let is_over = self.match_on(state, &mut opening.matched, self.config.limits.slice_blocks as usize);
        if self.windowed_groups().next().is_some() {
            for at in from..opening.matched.len() {
                self.see_matched(state, opening, at);
            }
        } else {
            let first = from + self.claim_resident(state, &opening.matched[from..]);
            for at in first..opening.matched.len() {
                self.claim(state, &opening.matched, at, &Planned::NOTHING);
            }
        }
        if is_over {
            opening.stage = Stage::Survey;
        }
    }

    /// Takes the slots of one slice of the entries, and orders its loads. Where room is to be made for them, that is done first, in
    /// holds of its own, and what is claimed meanwhile is kept.
    fn fill_slice(
        &mut self,
        state: &mut SequenceState,
        opening: &mut Opening,
        now: Time,
    ) -> Result<(), Error> {
        let blocks = state.blocks();
        self.serve(state.salt);
        let next = opening.filled..blocks.min(opening.filled + self.config.limits.slice_blocks as usize);
        let filled = next.end;
        let first = state.cursor;
        let plan = opening.plan.as_ref().expect("asked for before anything is filled");
        let is_from_back = plan.load.is_from_back;
        let next = if is_from_back { first + blocks - next.end..first + blocks - next.start } else { next };
        if opening.is_claimed {
            self.take_claims(opening);
        } else {
            // Others may have made room since the last slice.
            self.look_again();
            if !self.claim_slice(state, opening, next.clone()) {
                self.drop_claims();
                opening.stage = Stage::Anew;
                return Ok(());
            }
            self.handle(self.claims.len());
        }
        let has_room = self.find_room(state, &next, now);
        if has_room.is_err() || !self.is_fresh() {
            self.keep_claims(opening);
            return has_room;
        }
        let plan = opening.plan.as_ref().expect("asked for before anything is filled");
        self.handle(next.len());
        self.take_filled(state, &next, &plan.load);
        opening.filled = filled;
        let is_filled = filled == blocks;
        if is_filled {
            self.begin_course(state, &plan.load, now);
        }
        self.issue_loads(now);
        if is_filled && self.engine.has_prefetches() {
            opening.stage = Stage::Hasten;
            return Ok(());
        }
        if is_filled {
            opening.stage = Stage::Note;
        }
        self.engine.pump(now);
        Ok(())
    }

    /// Claims what is to be loaded of the slice `next`. False if something has gone that it needs (OP2).
    fn claim_slice(&mut self, state: &mut SequenceState, opening: &mut Opening, next: Range<usize>) -> bool {
        let is_windowed = self.windowed_groups().next().is_some();
        for at in next {
            if is_windowed {
                if !self.settle_kept(state, opening, at) {
                    return false;
                }
            } else if at < opening.matched.len()
                && opening.plan.as_ref().is_some_and(|plan| plan.part(at) == Part::Load)
            {
                self.claim_late(state, at);
            }
        }
        true
    }

    /// Claims what is to be loaded of block `at`, which was matched in an earlier slice, if it is still there.
    fn claim_late(&mut self, state: &mut SequenceState, at: usize) {
        let entry = state.entries[at];
        let is_waiting = entry.kind == EntryKind::Own && entry.done == 0;
        let is_there = |group| self.nearest_part(entry.block, group).is_some();
        if is_waiting && !self.index.is_detached(entry.block) && self.groups().all(is_there) {
            self.claim_parts(state, at, &Planned::NOTHING, state.matched_blocks);
        }
    }

    /// Refuses what can't be opened now.
    fn check_open(&mut self, state: &SequenceState) -> Result<(), Error> {
        self.check_length(state.tokens.len())?;
        if self.is_engines() {
            let why = "the device slots are the engine's; call lookup, onboard and offload".to_owned();
            return Err(Error::Configuration { setting: "Config::device_owner", why });
        }
        if let Some(lost) = self.device_lost() {
            return Err(lost);
        }
        if self.parked_is_full() {
            return Err(Error::TierBusy { tier: TierId::Device });
        }
        self.serve(state.salt);
        self.note_standing(state);
        Ok(())
    }

    /// Refuses at once, before anything is claimed, what must wait for moves that are under way.
    fn has_hope(&self, state: &SequenceState, survey: &Survey) -> Result<(), Error> {
        let missing = state.blocks() - survey.on_device;
        for group in self.full_groups() {
            let counts = self.pools.pool(TierId::Device, group).counts();
            let free = counts.of(SlotState::Free) as usize;
            let leaving = counts.of(SlotState::Leaving) as usize;
            if free < missing && free + leaving >= missing && self.engine.is_busy() {
                return Err(Error::TierBusy { tier: TierId::Device });
            }
        }
        Ok(())
    }

    /// Refuses what can never fit.
    pub(super) fn check_length(&self, tokens: usize) -> Result<(), Error> {
        let size = self.model.tokens_per_block() as usize;
        let slots = |group| {
            let pool = self.pools.pool(TierId::Device, group);
            (pool.capacity() - pool.counts().of(SlotState::Retired)) as usize
        };
        for group in self.groups() {
            let needed = if self.model.is_full(group) {
                tokens.div_ceil(size)
            } else {
                // Its reach and the block at hand.
                self.model.reach(group, tokens.saturating_sub(1)).blocks().count() + 1
            };
            if needed > slots(group) {
                let limit = slots(group) * size;
                return Err(Error::SequenceTooLong { tokens, limit });
            }
        }
        let limit = self.config.limits.sequence_tokens as usize;
        if tokens > limit {
            return Err(Error::SequenceTooLong { tokens, limit });
        }
        Ok(())
    }

    /// Claims the leading blocks of a match that are whole on the device, where the model has one group that needs every block:
    /// nothing is to be done for them but to refer to them and hold them. Returns how many of `matched`, which come next, they
    /// are; [`Core::claim`] goes on.
    fn claim_resident(&mut self, state: &mut SequenceState, matched: &[MatchedBlock]) -> usize {
        if !self.is_uniform() {
            return 0;
        }
        let done = u16::try_from(state.tokens_per_block()).expect("at most 4096");
        let source = Some(TierId::Device);
        let first = state.entries.len();
        let mut seen = Fence::OVER;
        for found in matched.iter().take_while(|found| found.is_ready()) {
            let slot = self.index.location(found.block, GroupId::FIRST, TierId::Device);
            let pool = self.pools.pool_mut(TierId::Device, GroupId::FIRST);
            let Some(fence) = pool.hold_whole(slot) else { break };
            if fence != seen {
                seen = fence;
                if !self.is_over(fence) && !state.waits.contains(&fence) {
                    state.waits.push(fence);
                }
            }
            self.index.add_reference(found.block);
            state.entries.push(Entry { block: found.block, done, kind: EntryKind::Named, source });
            state.tables[0].push(slot);
        }
        if state.cursor == first {
            state.cursor = state.entries.len();
        }
        state.entries.len() - first
    }

    /// Refers to block `at` of a match, holds its parts on the device, and keeps those that are to be loaded from being evicted.
    fn claim(&mut self, state: &mut SequenceState, matched: &[MatchedBlock], at: usize, plan: &Planned) {
        let block = matched[at].block;
        self.index.add_reference(block);
        state.entries.push(Entry { block, ..Entry::EMPTY });
        state.tables.iter_mut().for_each(|table| table.push(SlotId::NONE));
        // What is not on the device, or only about to be, and not to be loaded, is computed: then all of its groups are.
        let part = plan.part(at);
        if part == Part::Load || matched[at].is_ready() && part == Part::AsItIs {
            self.claim_parts(state, at, plan, matched.len());
        }
    }

    /// Holds the parts of block `at` that are on the device, and keeps the others from being evicted; the match has `end` blocks.
    fn claim_parts(&mut self, state: &mut SequenceState, at: usize, plan: &Planned, end: usize) {
        let block = state.entries[at].block;
        let mut entry = Entry {
            block,
            done: u16::try_from(state.tokens_per_block()).expect("at most 4096"),
            kind: EntryKind::Named,
            source: Some(TierId::Device),
        };
        for group in self.groups() {
            let is_needed = plan.needs(&self.model, group, at, end);
            let nearest = if is_needed { self.nearest_part(block, group) } else { None };
            match nearest {
                None => {}
                Some(TierId::Device) => {
                    let place = self.index.location(block, group, TierId::Device);
                    state.tables[group.index()][at] = place;
                    self.wait_for_writer(state, group, place);
                    let pool = self.device(group);
                    pool.hold(place);
                    if pool.state(place) == SlotState::Filling {
                        entry.kind = EntryKind::Loading;
                        entry.source = self.nearest_below(block, group);
                    }
                }
                Some(from) => {
                    let source = self.index.location(block, group, from);
                    self.pools.pool_mut(from, group).begin_move(source);
                    self.claims.push(Claim { at, block, group, from });
                    entry.kind = EntryKind::Loading;
                    entry.source = entry.source.max(Some(from));
                }
            }
        }
        state.entries[at] = entry;
    }

    /// The sequence's stream waits for the compute that wrote a device slot.
    pub(super) fn wait_for_writer(&self, state: &mut SequenceState, group: GroupId, slot: SlotId) {
        let fence = self.pools.pool(TierId::Device, group).fence(slot);
        if !self.is_over(fence) && !state.waits.contains(&fence) {
            state.waits.push(fence);
        }
    }

    /// What was found was asked for, and its copies below the device are as recently used as those on it; leaf first, so that a
    /// parent is warmer than its child.
    fn note_hits(&mut self, matched: &[MatchedBlock], now: Time) {
        let has_below = [TierId::Host, TierId::File].iter().any(|tier| self.pools.has(*tier));
        for found in matched.iter().rev() {
            self.index.note_use(found.block, now);
            if has_below {
                self.warm_below(found.block);
            }
        }
    }

    /// The copies of `block` below the device are the most recently used.
    pub(super) fn warm_below(&mut self, block: BlockId) {
        for group in self.groups() {
            for tier in [TierId::Host, TierId::File] {
                if let Some(slot) = self.whole(block, group, tier) {
                    self.pools.pool_mut(tier, group).touch(slot);
                }
            }
        }
    }

    /// Takes a device slot for every part of `blocks` that is to be loaded, and for every block of the groups that need all; orders
    /// the loads. Gives up what was to be loaded if there are not enough.
    fn fill(
        &mut self,
        state: &mut SequenceState,
        blocks: Range<usize>,
        plan: &LoadPlan,
        now: Time,
    ) -> Result<(), Error> {
        let has_room = self.find_room(state, &blocks, now);
        match has_room {
            Ok(()) => self.take_filled(state, &blocks, plan),
            Err(_) => self.drop_claims(),
        }
        has_room
    }

    /// Makes room on the device for what is claimed, and for every block of `blocks` of the groups that need all.
    fn find_room(&mut self, state: &SequenceState, blocks: &Range<usize>, now: Time) -> Result<(), Error> {
        for group in self.groups() {
            let missing = if self.model.is_full(group) {
                let places = &state.tables[group.index()][blocks.clone()];
                places.iter().filter(|slot| !slot.is_some()).count()
            } else {
                self.claims.iter().filter(|claim| claim.group == group).count()
            };
            let missing = u32::try_from(missing).expect("no more than the tier's slots");
            self.ensure_free(TierId::Device, group, missing, now)?;
        }
        Ok(())
    }

    /// Takes the device slots that were found free for `blocks`, and orders the loads of what is claimed.
    fn take_filled(&mut self, state: &mut SequenceState, blocks: &Range<usize>, plan: &LoadPlan) {
        let mut claims = std::mem::take(&mut self.claims);
        for group in self.groups() {
            self.take_places(state, blocks, group, &claims);
        }
        if plan.is_from_back {
            // Whole chunks from the back, each in ascending order, so that lanes find what is adjacent.
            claims.reverse();
            claims.chunks_mut(plan.chunk_blocks.max(1)).for_each(<[Claim]>::reverse);
        }
        for claim in claims.drain(..) {
            let device = state.slot(claim.group, claim.at);
            let pool = self.device(claim.group);
            pool.reserve(device, claim.block);
            pool.begin_move(device);
            self.index.set_location(claim.block, claim.group, TierId::Device, device);
            let Claim { block, group, from, .. } = claim;
            let priority = urgency_of(state.priority);
            let deadline = self.load_deadline();
            self.pending.add(PendingLoad { block, group, from, device, priority, deadline });
        }
        self.claims = claims;
    }

    /// What is claimed stays so until the next hold of the lock.
    fn keep_claims(&mut self, opening: &mut Opening) {
        self.kept_sources += u32::try_from(self.claims.len()).expect("no more than a slice has parts");
        std::mem::swap(&mut self.claims, &mut opening.claims);
        opening.is_claimed = true;
    }

    /// Goes on with what was claimed in an earlier hold.
    fn take_claims(&mut self, opening: &mut Opening) {
        std::mem::swap(&mut self.claims, &mut opening.claims);
        self.kept_sources -= u32::try_from(self.claims.len()).expect("no more than a slice has parts");
        opening.is_claimed = false;
    }

    /// What is claimed may be evicted again.
    fn drop_claims(&mut self) {
        let mut claims = std::mem::take(&mut self.claims);
        for claim in claims.drain(..) {
            let source = self.index.location(claim.block, claim.group, claim.from);
            self.let_go_source(claim.block, claim.group, claim.from, source);
        }
        self.claims = claims;
    }

    /// Takes slots for the empty places of `group` in `blocks`, in ascending runs: all of them, or those of claims.
    fn take_places(
        &mut self,
        state: &mut SequenceState,
        blocks: &Range<usize>,
        group: GroupId,
        claims: &[Claim],
    ) {
        let table = &mut state.tables[group.index()][blocks.clone()];
        let pool = self.pools.pool_mut(TierId::Device, group);
        if self.model.is_full(group) {
            let missing = table.iter().filter(|slot| !slot.is_some()).count();
            let count = u32::try_from(missing).expect("no more than the tier's slots");
            let mut places = table.iter_mut().filter(|slot| !slot.is_some());
            let is_taken =
                pool.take_held(count, |slot| *places.next().expect("as many places as slots") = slot);
            assert!(is_taken, "{count} device slots were free, and could not be taken");
            return;
        }
        for claim in claims.iter().filter(|claim| claim.group == group) {
            let place = &mut table[claim.at - blocks.start];
            let is_taken = pool.take(1, |slot| *place = slot);
            assert!(is_taken, "a device slot was free, and could not be taken");
            pool.hold(*place);
        }
    }

    /// Gives back what was taken for the entries from `first` on, none of which compute has touched, leaf first.
    fn unclaim(&mut self, state: &mut SequenceState, first: usize) {
        state.cursor = state.cursor.min(first);
        state.matched_blocks = state.matched_blocks.min(first);
        if self.is_uniform() {
            self.give_back_from(state, first);
            return;
        }
        while state.entries.len() > first {
            let entry = state.entries.pop().expect("longer than `first`");
            for group in self.groups() {
                let slot = state.tables[group.index()].pop().expect("Q1: as long as the entries");
                if slot.is_some() {
                    self.device(group).release(slot);
                }
            }
            self.unrefer(entry.block);
        }
    }

    /// Gives back one slice of what an opening that failed has. Returns whether that was all.
    pub(super) fn give_up_slice(&mut self, state: &mut SequenceState, opening: &mut Opening) -> bool {
        if opening.is_claimed {
            self.take_claims(opening);
            self.drop_claims();
            return false;
        }
        let slice = self.config.limits.slice_blocks as usize;
        let first = state.entries.len().saturating_sub(slice);
        if self.is_uniform() {
            self.unclaim(state, first);
            return first == 0;
        }
        for at in (first..state.entries.len()).rev() {
            self.give_back_kept(state.entries[at].block, opening, at);
            self.unclaim(state, at);
        }
        first == 0
    }

    /// Gives back one slice of what was taken for the entries from `first` on. Returns whether that was all.
    pub(super) fn unclaim_slice(&mut self, state: &mut SequenceState, first: usize) -> bool {
        let slice = self.config.limits.slice_blocks as usize;
        self.unclaim(state, first.max(state.entries.len().saturating_sub(slice)));
        state.entries.len() <= first
    }
}
