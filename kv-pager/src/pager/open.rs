//! Opening: match, plan, hold, take slots, order the loads.
//! Layer 9. Known by: `pager`.
//!
//! Nothing has changed for anyone else until all slots are there: what was held to keep it from being evicted meanwhile is
//! given back otherwise.

use super::core::{Claim, Core};
use super::loads::PendingLoad;
use super::planning::Part;
use crate::clock::Time;
use crate::error::Error;
use crate::ids::{BlockId, GroupId, SlotId, TierId};
use crate::policy::{LoadPlan, MatchedBlock};
use crate::pool::SlotState;
use crate::sequence::{Entry, EntryKind, SequenceState};

impl Core {
    /// Fills the entries and tables of `state`, whose tokens and names are set.
    pub(super) fn open(&mut self, state: &mut SequenceState, now: Time) -> Result<(), Error> {
        self.check_length(state.tokens.len())?;
        self.housekeep(now);
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
        let mut matched = std::mem::take(&mut self.matched);
        self.match_prefix(state, &mut matched);
        if let Err(busy) = self.has_hope(state, &matched) {
            matched.clear();
            self.matched = matched;
            return Err(busy);
        }
        let plan = self.plan(state, &mut matched, now);
        state.matched_blocks = matched.len();
        for at in 0..matched.len() {
            self.claim(state, &matched, at, plan.part(at));
        }
        let is_filled = self.fill_tables(state, &plan.load, now);
        if is_filled.is_ok() {
            self.begin_course(state, &plan.load, now);
            self.note_hits(&matched, now);
        }
        matched.clear();
        self.matched = matched;
        is_filled?;
        self.issue_loads(now);
        self.hasten_for(state);
        self.engine.pump(now);
        Ok(())
    }

    /// Refuses at once, before anything is claimed, what must wait for moves that are under way.
    fn has_hope(&self, state: &SequenceState, matched: &[MatchedBlock]) -> Result<(), Error> {
        let on_device = matched.iter().filter(|found| found.nearest == TierId::Device).count();
        let missing = state.blocks() - on_device;
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

    /// The nearest tier where the part is whole or, on the device, about to be.
    pub(super) fn nearest_part(&self, block: BlockId, group: GroupId) -> Option<TierId> {
        let device_slot = self.index.location(block, group, TierId::Device);
        let is_lost = self.lost[TierId::Device.index()] || self.is_engines();
        if device_slot.is_some()
            && !is_lost
            && self.pools.pool(TierId::Device, group).block(device_slot) == block
        {
            return Some(TierId::Device);
        }
        [TierId::Host, TierId::File].into_iter().find(|tier| self.whole(block, group, *tier).is_some())
    }

    /// Refers to block `at` of a match, holds its parts on the device, and keeps those that are to be loaded from being evicted.
    fn claim(&mut self, state: &mut SequenceState, matched: &[MatchedBlock], at: usize, part: Part) {
        let block = matched[at].block;
        self.index.add_reference(block);
        let position = matched.len() * state.tokens_per_block();
        let mut entry = Entry {
            block,
            done: u16::try_from(state.tokens_per_block()).expect("at most 4096"),
            kind: EntryKind::Named,
            source: Some(TierId::Device),
        };
        // What is not on the device, and not to be loaded, is computed: then all of its groups are.
        let is_on_device = matched[at].nearest == TierId::Device;
        if part == Part::Compute || !is_on_device && part == Part::AsItIs {
            state.entries.push(Entry { block, ..Entry::EMPTY });
            state.tables.iter_mut().for_each(|table| table.push(SlotId::NONE));
            return;
        }
        for group in self.groups() {
            let is_needed = self.model.is_full(group) || self.model.reach(group, position).contains(at);
            let nearest = if is_needed { self.nearest_part(block, group) } else { None };
            let mut place = SlotId::NONE;
            match nearest {
                None => {}
                Some(TierId::Device) => {
                    place = self.index.location(block, group, TierId::Device);
                    let fence = self.pools.pool(TierId::Device, group).fence(place);
                    if !self.is_over(fence) && !state.waits.contains(&fence) {
                        state.waits.push(fence);
                    }
                    let pool = self.device(group);
                    pool.hold(place);
                    if pool.state(place) == SlotState::Filling {
                        entry.kind = EntryKind::Loading;
                        let mut sources = [TierId::Host, TierId::File].into_iter();
                        entry.source = sources.find(|tier| self.whole(block, group, *tier).is_some());
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
            state.tables[group.index()].push(place);
        }
        state.entries.push(entry);
    }

    /// What was found was asked for, and its copies below the device are as recently used as those on it; leaf first, so that a
    /// parent is warmer than its child.
    fn note_hits(&mut self, matched: &[MatchedBlock], now: Time) {
        for found in matched.iter().rev() {
            self.index.note_use(found.block, now);
            for group in self.groups() {
                for tier in [TierId::Host, TierId::File] {
                    if let Some(slot) = self.whole(found.block, group, tier) {
                        self.pools.pool_mut(tier, group).touch(slot);
                    }
                }
            }
        }
    }

    /// Takes a device slot for every part that is to be loaded, and for every block of the groups that need all; orders the
    /// loads. Gives everything back if there are not enough.
    fn fill_tables(&mut self, state: &mut SequenceState, plan: &LoadPlan, now: Time) -> Result<(), Error> {
        let mut claims = std::mem::take(&mut self.claims);
        let blocks = state.blocks();
        state.entries.resize(blocks, Entry::EMPTY);
        state.tables.iter_mut().for_each(|table| table.resize(blocks, SlotId::NONE));
        for group in self.groups() {
            let missing = if self.model.is_full(group) {
                state.tables[group.index()].iter().filter(|slot| !slot.is_some()).count()
            } else {
                claims.iter().filter(|claim| claim.group == group).count()
            };
            let missing = u32::try_from(missing).expect("no more than the tier's slots");
            if let Err(busy) = self.ensure_free(TierId::Device, group, missing, now) {
                self.unclaim(state, &claims);
                claims.clear();
                self.claims = claims;
                return Err(busy);
            }
        }
        for group in self.groups() {
            self.take_places(state, group, &claims);
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
            self.pending.push_back(PendingLoad { block, group, from, device });
        }
        self.claims = claims;
        Ok(())
    }

    /// Takes slots for the empty places of `group`, in ascending runs: all of them, or those of claims.
    fn take_places(&mut self, state: &mut SequenceState, group: GroupId, claims: &[Claim]) {
        let table = &mut state.tables[group.index()];
        let pool = self.pools.pool_mut(TierId::Device, group);
        if self.model.is_full(group) {
            let missing = table.iter().filter(|slot| !slot.is_some()).count();
            let count = u32::try_from(missing).expect("no more than the tier's slots");
            let mut places = table.iter_mut().filter(|slot| !slot.is_some());
            let is_taken = pool.take(count, |slot| *places.next().expect("as many places as slots") = slot);
            assert!(is_taken, "{count} device slots were free, and could not be taken");
            for slot in table.iter() {
                if pool.state(*slot) == SlotState::Filling && pool.holds(*slot) == 0 {
                    pool.hold(*slot);
                }
            }
            return;
        }
        for claim in claims.iter().filter(|claim| claim.group == group) {
            let place = &mut table[claim.at];
            let is_taken = pool.take(1, |slot| *place = slot);
            assert!(is_taken, "a device slot was free, and could not be taken");
            pool.hold(*place);
        }
    }

    /// Gives back what [`Core::claim`] took, leaf first.
    fn unclaim(&mut self, state: &mut SequenceState, claims: &[Claim]) {
        for claim in claims {
            let source = self.index.location(claim.block, claim.group, claim.from);
            self.pools.pool_mut(claim.from, claim.group).end_move(source);
        }
        while let Some(entry) = state.entries.pop() {
            for group in self.groups() {
                let slot = state.tables[group.index()].pop().expect("Q1: as long as the entries");
                if slot.is_some() {
                    self.device(group).release(slot);
                }
            }
            self.unrefer(entry.block);
        }
    }
}
