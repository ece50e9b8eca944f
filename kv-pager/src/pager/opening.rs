//! How far a long sequence has been opened, in slices of the lock, and what is kept for it in models with windows.
//! Layer 9. Uses `pager::{core, planning}`. Known by: `pager::{open, slices}`.
//!
//! - **OP1** what is matched of a model with windows is referred to at once, but kept from being evicted only when it is known where
//!   the match ends: what lies beyond it stays as cold as it was;
//! - **OP2** nothing is filled before all that the match stands on is kept, and what turns out to have gone starts the opening anew.
//!
//! Where a match of a model with windows ends is worked out between two slices, without the lock, from what was seen under it.

use super::core::{Claim, Core};
use super::planning::{Part, Planned, Survey};
use super::whereabouts::Whereabouts;
use crate::ids::{BlockId, Fence, GroupId, SlotId, TierId};
use crate::layout::{ModelLayout, Reach};
use crate::policy::MatchedBlock;
use crate::pool::SlotState;
use crate::sequence::{Entry, EntryKind, SequenceState};
use std::ops::Range;

/// What is to be done next for a sequence that is being opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Stage {
    /// Match the next slice.
    #[default]
    Match,
    /// Work out where the match ends: without the lock.
    Survey,
    /// Keep the next slice of what the match stands on.
    Keep,
    /// Ask the policy.
    Plan,
    /// Give back the next slice of what the plan does not need, the leaf first.
    Trim,
    /// Take slots for the next slice, and order its loads.
    Fill,
    /// Move ahead those of the prefetches that the next slice waits for.
    Hasten,
    /// Note the next slice of hits.
    Note,
    /// Nothing.
    Open,
    /// Give everything back and start anew: something has gone (OP2).
    Anew,
}

/// How far a long sequence has been opened: in slices, so that others get the lock in between.
///
/// What was matched is referred to before the lock is let go, and in models without windows held where it is on the device; the
/// sequence is then what one is of which nothing is loaded or computed yet, and what goes between two slices is computed instead.
#[derive(Debug, Default)]
pub(super) struct Opening {
    pub(super) stage: Stage,
    pub(super) matched: Vec<MatchedBlock>,
    pub(super) survey: Survey,
    pub(super) plan: Option<Planned>,
    /// All entries before it have their slots; counted from the back where loads come from there.
    pub(super) filled: usize,
    /// Whether the slice that is filled next has been claimed, and what of it: it waits for room.
    pub(super) is_claimed: bool,
    pub(super) claims: Vec<Claim>,
    /// How many of the match have been noted as hits, the leaf first.
    pub(super) noted: usize,
    /// Prefetches for all entries before it have been moved ahead.
    pub(super) hastened: usize,
    /// By block and group, in a model with windows.
    seen: Vec<Seen>,
    /// What the match stands on and is not kept yet, and how much of it is by now.
    wanted: Vec<(usize, GroupId)>,
    kept: usize,
    /// How many matched blocks have been trimmed, from the last one on.
    trimmed: usize,
}

/// A part of a matched block.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Where it is, if it is anywhere.
    part: Option<Whereabouts>,
    /// The slot there, from when it is kept until it is used or given back: on the device by a hold, farther by a move.
    kept: SlotId,
}

impl Opening {
    /// Forgets everything but its memory.
    pub(super) fn clear(&mut self) {
        let Self { matched, claims, seen, wanted, .. } = std::mem::take(self);
        *self = Self { matched, claims, seen, wanted, ..Self::default() };
        self.matched.clear();
        self.seen.clear();
        self.wanted.clear();
    }

    /// Works out where the match ends and what it stands on. Takes no lock. `O(blocks * groups)`.
    pub(super) fn look_round(&mut self, model: &ModelLayout) {
        let size = model.tokens_per_block() as usize;
        let windowed: Vec<GroupId> = model.group_ids().filter(|group| !model.is_full(*group)).collect();
        if !windowed.is_empty() {
            self.cut_to_full_groups(model);
        }
        while windowed.iter().any(|group| self.cut_to_group(model, *group)) {}
        let end = self.matched.len();
        for group in &windowed {
            for at in model.reach(*group, end * size).blocks() {
                let found = &mut self.matched[at];
                if let Some(part) = self.seen[at * model.groups().len() + group.index()].part {
                    *found = Whereabouts::from(*found).with(part).of(found.block);
                }
            }
        }
        let ready = self.ready_blocks(model, &windowed);
        self.survey = Survey::new(&self.matched, ready);
        self.wanted.clear();
        self.kept = 0;
        if !windowed.is_empty() {
            self.want(model, ready);
        }
        self.stage = if self.wanted.is_empty() { Stage::Plan } else { Stage::Keep };
    }

    /// Notes what is needed to go on at the end of the match, or after its ready blocks, and is not kept yet.
    fn want(&mut self, model: &ModelLayout, ready: usize) {
        let size = model.tokens_per_block() as usize;
        let end = self.matched.len();
        let reaches: Vec<[Reach; 2]> = model
            .group_ids()
            .map(|group| [end, ready].map(|blocks| model.reach(group, blocks * size)))
            .collect();
        for at in 0..end {
            for group in model.group_ids() {
                let is_needed =
                    model.is_full(group) || reaches[group.index()].iter().any(|reach| reach.contains(at));
                if is_needed && !self.seen(model, at, group).kept.is_some() {
                    self.wanted.push((at, group));
                }
            }
        }
    }

    /// Whether the part of `group` of the block at `at` is used by the plan.
    fn uses(&self, model: &ModelLayout, at: usize, group: GroupId) -> bool {
        self.uses_block(at)
            && self.plan.as_ref().is_some_and(|plan| plan.needs(model, group, at, self.matched.len()))
    }

    /// Whether the block at `at` is not computed.
    fn uses_block(&self, at: usize) -> bool {
        let part = self.plan.as_ref().map(|plan| plan.part(at));
        self.matched.get(at).is_some_and(|found| match part {
            Some(Part::Load) => true,
            Some(Part::AsItIs) => found.is_ready(),
            Some(Part::Compute) | None => false,
        })
    }

    /// Cuts the match to where a group that needs every block lacks one, and notes how far each block is in those groups.
    fn cut_to_full_groups(&mut self, model: &ModelLayout) {
        for at in 0..self.matched.len() {
            let mut there = Some(Whereabouts::READY);
            for group in model.group_ids().filter(|group| model.is_full(*group)) {
                there = there.zip(self.seen(model, at, group).part).map(|(one, other)| one.with(other));
            }
            let Some(there) = there else { return self.matched.truncate(at) };
            self.matched[at] = there.of(self.matched[at].block);
        }
    }

    fn seen(&self, model: &ModelLayout, at: usize, group: GroupId) -> Seen {
        self.seen[at * model.groups().len() + group.index()]
    }

    /// Cuts the match to the longest at whose end `group` finds what it looks at. Returns whether it was cut.
    fn cut_to_group(&mut self, model: &ModelLayout, group: GroupId) -> bool {
        let before = self.matched.len();
        let mut run = 0;
        let count = |at| {
            run = if self.seen(model, at, group).part.is_some() { run + 1 } else { 0 };
            run
        };
        let runs: Vec<usize> = (0..before).map(count).collect();
        let has = |range: &Range<usize>| range.is_empty() || runs[range.end - 1] >= range.len();
        let has_reach = |blocks: &usize| {
            let reach = model.reach(group, blocks * model.tokens_per_block() as usize);
            has(&reach.sinks) && has(&reach.window)
        };
        self.matched.truncate((0..=before).rev().find(has_reach).unwrap_or(0));
        self.matched.len() < before
    }

    /// How many leading blocks every group can go on from as they are on the device.
    fn ready_blocks(&self, model: &ModelLayout, windowed: &[GroupId]) -> usize {
        let mut ready = self.matched.iter().take_while(|found| found.is_ready()).count();
        loop {
            let missing = windowed.iter().find_map(|group| {
                let reach = model.reach(*group, ready * model.tokens_per_block() as usize);
                let is_missing =
                    |at: &usize| self.seen(model, *at, *group).part.is_none_or(|part| !part.is_ready());
                reach.window.rev().chain(reach.sinks.rev()).find(is_missing)
            });
            match missing {
                Some(at) => ready = at,
                None => return ready,
            }
        }
    }
}

impl Core {
    /// Refers to block `at` of a match, and sees where its parts are (OP1).
    pub(super) fn see_matched(&mut self, state: &mut SequenceState, opening: &mut Opening, at: usize) {
        let block = opening.matched[at].block;
        self.index.add_reference(block);
        state.entries.push(Entry { block, ..Entry::EMPTY });
        state.tables.iter_mut().for_each(|table| table.push(SlotId::NONE));
        self.see(opening, block);
    }

    /// Sees where the parts of the next block of a match are.
    pub(super) fn see(&self, opening: &mut Opening, block: BlockId) {
        let seen = self.groups().map(|group| Seen { part: self.find_part(block, group), kept: SlotId::NONE });
        opening.seen.extend(seen);
    }

    /// Keeps the next slice of what the match stands on. If some of it has gone, or is elsewhere, the match may end elsewhere.
    pub(super) fn keep_slice(&mut self, state: &mut SequenceState, opening: &mut Opening) {
        let slice = self.config.limits.slice_blocks as usize;
        let until = opening.wanted.len().min(opening.kept + slice);
        opening.stage = if until == opening.wanted.len() { Stage::Plan } else { Stage::Keep };
        for place in opening.kept..until {
            let (at, group) = opening.wanted[place];
            let block = state.entries[at].block;
            let is_found = !self.index.is_detached(block);
            let part = self.find_part(block, group).filter(|_| is_found);
            let seen = &mut opening.seen[at * self.groups().len() + group.index()];
            let has_moved = |part: &Whereabouts| seen.part.is_none_or(|seen| seen.tier != part.tier);
            let Some(Whereabouts { tier: there, .. }) = part.filter(|part| !has_moved(part)) else {
                seen.part = part;
                opening.stage = Stage::Survey;
                continue;
            };
            seen.kept = self.index.location(block, group, there);
            let pool = self.pools.pool_mut(there, group);
            if there == TierId::Device {
                pool.hold(seen.kept);
                state.tables[group.index()][at] = seen.kept;
            } else {
                pool.begin_move(seen.kept);
                self.kept_sources += 1;
            }
        }
        opening.kept = until;
    }

    /// Gives back the next slice of what is kept and the plan does not use, the leaf first.
    pub(super) fn trim_slice(&mut self, state: &mut SequenceState, opening: &mut Opening) {
        let groups = self.groups().len();
        let left = opening.seen.len() / groups - opening.trimmed;
        let first = left.saturating_sub(self.config.limits.slice_blocks as usize);
        for at in (first..left).rev() {
            for group in self.groups() {
                let Seen { part: Some(Whereabouts { tier, .. }), kept } =
                    opening.seen[at * groups + group.index()]
                else {
                    continue;
                };
                if !kept.is_some() || opening.uses(&self.model, at, group) {
                    continue;
                }
                opening.seen[at * groups + group.index()].kept = SlotId::NONE;
                if tier == TierId::Device {
                    state.tables[group.index()][at] = SlotId::NONE;
                    self.let_go_slot(group, kept, Fence::OVER);
                } else {
                    self.kept_sources -= 1;
                    self.let_go_source(state.entries[at].block, group, tier, kept);
                }
            }
        }
        opening.trimmed += left - first;
        if first == 0 {
            opening.stage = Stage::Fill;
        }
    }

    /// Makes of block `at`, whose parts are kept, what the plan says: what is to be loaded is claimed. False if something has gone that
    /// it needs (OP2).
    pub(super) fn settle_kept(
        &mut self,
        state: &mut SequenceState,
        opening: &mut Opening,
        at: usize,
    ) -> bool {
        if !opening.uses_block(at) {
            return true;
        }
        let groups = self.groups().len();
        let block = state.entries[at].block;
        let mut entry = Entry {
            block,
            done: u16::try_from(state.tokens_per_block()).expect("at most 4096"),
            kind: EntryKind::Named,
            source: Some(TierId::Device),
        };
        let mut is_there = true;
        for group in self.groups() {
            let part = &mut opening.seen[at * groups + group.index()];
            let slot = std::mem::replace(&mut part.kept, SlotId::NONE);
            let Some(tier) = part.part.map(|part| part.tier).filter(|_| slot.is_some()) else { continue };
            if tier == TierId::Device {
                let pool = self.pools.pool(tier, group);
                is_there &= pool.block(slot) == block;
                if pool.state(slot) == SlotState::Filling {
                    entry.kind = EntryKind::Loading;
                    let mut sources = [TierId::Host, TierId::File].into_iter();
                    entry.source = sources.find(|from| self.whole(block, group, *from).is_some());
                }
                self.wait_for_writer(state, group, slot);
                continue;
            }
            self.kept_sources -= 1;
            if self.whole(block, group, tier) == Some(slot) && !self.index.is_detached(block) {
                self.claims.push(Claim { at, block, group, from: tier });
                entry.kind = EntryKind::Loading;
                entry.source = entry.source.max(Some(tier));
            } else {
                self.let_go_source(block, group, tier, slot);
                is_there = false;
            }
        }
        state.entries[at] = entry;
        is_there
    }

    /// Gives back what is kept below the device of `block`, the one matched at `at`.
    pub(super) fn give_back_kept(&mut self, block: BlockId, opening: &mut Opening, at: usize) {
        let groups = self.groups().len();
        for group in self.groups() {
            let Some(part) = opening.seen.get_mut(at * groups + group.index()) else { return };
            let slot = std::mem::replace(&mut part.kept, SlotId::NONE);
            let tier = part.part.map(|part| part.tier);
            if let Some(tier) = tier.filter(|tier| slot.is_some() && *tier != TierId::Device) {
                self.kept_sources -= 1;
                self.let_go_source(block, group, tier, slot);
            }
        }
    }
}
