//! Device slots that belong to the engine: it names them in each call, and the pager keeps no free list there.
//! Layer 9. Known by: engines that have a block pool of their own.
//!
//! - **N1** a slot that is named is the pager's until its move has ended, and the engine's at all other times;
//! - **N2** nothing on the device is matched, held or evicted here: the engine knows what it has;
//! - **N3** a block is a hit only in the host and the file, once its transfer has ended well (I3).
//!
//! The device's pool serves as a register of slots that are named in calls under way, so that an engine which names one twice is
//! told so instead of being served wrong bytes.

use super::core::Core;
use super::handle::Prompt;
use super::loads::{PendingLoad, Way};
use super::{Pager, Progress};
use crate::clock::Time;
use crate::config::DeviceOwner;
use crate::error::Error;
use crate::ids::{BlockId, Fence, GroupId, SlotId, TierId};
use crate::pool::SlotState;
use crate::prefix::BlockKeys;
use crate::transfer::{Priority, Purpose};
use crate::units::Nanos;
use std::collections::HashMap;

/// A block of a prompt and the engine's slot for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlockAt {
    /// Which full block of the prompt.
    pub block: usize,
    /// The engine's slot.
    pub slot: SlotId,
}

/// How a move of the engine's ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Delivery {
    /// It has not.
    UnderWay,
    /// Well.
    Done,
    /// Not: compute the block, or keep it. The slot is the engine's again.
    Failed,
    /// Not, and its slot may still be written or read, nobody knows for how long: leave it alone.
    Lost,
}

/// Moves that an engine has asked for, one a block. Dropping it leaves them under way; their slots are the pager's until they end.
#[derive(Debug)]
pub struct Deliveries {
    pager: Pager,
    seen: Progress,
    slots: Vec<SlotId>,
    /// What each slot is waited for as.
    tickets: Vec<u64>,
    outcomes: Vec<Delivery>,
}

impl Deliveries {
    /// How each move stands, in the order asked for.
    pub fn poll(&mut self) -> &[Delivery] {
        self.seen = self.pager.progress();
        self.pager.poll();
        let mut core = self.pager.shared.core.lock();
        for (outcome, ticket) in self.outcomes.iter_mut().zip(&self.tickets) {
            if *outcome == Delivery::UnderWay {
                *outcome = core.take_delivery(*ticket);
            }
        }
        &self.outcomes
    }

    /// Whether all have ended.
    pub fn is_over(&mut self) -> bool {
        self.poll().iter().all(|outcome| *outcome != Delivery::UnderWay)
    }

    /// Blocks until something has ended since the last look, or for `timeout`. Returns whether it did.
    pub fn wait(&self, timeout: Nanos) -> bool {
        self.pager.wait(self.seen, timeout)
    }

    /// The engine's slots, in the order asked for.
    pub fn slots(&self) -> &[SlotId] {
        &self.slots
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        let mut core = self.pager.shared.core.lock();
        for ticket in &self.tickets {
            core.register.forget(*ticket);
        }
    }
}

/// Which engine's slots are named in calls under way, and how those that ended did.
#[derive(Debug, Default)]
pub(super) struct Register {
    next: u64,
    tickets: HashMap<SlotId, u64>,
    outcomes: HashMap<u64, Delivery>,
}

impl Register {
    fn expect(&mut self, slot: SlotId) -> u64 {
        self.next += 1;
        self.tickets.insert(slot, self.next);
        self.outcomes.insert(self.next, Delivery::UnderWay);
        self.next
    }

    fn settled(&mut self, outcome: Delivery) -> u64 {
        self.next += 1;
        self.outcomes.insert(self.next, outcome);
        self.next
    }

    fn end(&mut self, slot: SlotId, outcome: Delivery) {
        if let Some(kept) = self.tickets.remove(&slot).and_then(|ticket| self.outcomes.get_mut(&ticket)) {
            *kept = outcome;
        }
    }

    fn forget(&mut self, ticket: u64) {
        self.outcomes.remove(&ticket);
    }
}

impl Pager {
    /// How far a prompt is cached below the device: for each of its leading blocks, the nearest tier. At most
    /// ⌊(n−1)/tokens per block⌋ blocks of n tokens.
    #[tracing::instrument(level = "debug", skip_all, fields(tokens = prompt.tokens().len()))]
    pub fn lookup(&self, prompt: &Prompt) -> Vec<TierId> {
        let now = self.shared.clock.now();
        let mut core = self.shared.core.lock();
        core.housekeep(now);
        let mut matched = Vec::new();
        core.match_prefix(&prompt.state(self.shared.tokens_per_block), &mut matched);
        matched.iter().map(|found| found.nearest).collect()
    }

    /// Brings cached blocks of `prompt` into the engine's slots. A block that is not cached, or is being moved for somebody else,
    /// ends as failed at once. Never blocks.
    ///
    /// # Errors
    /// [`Error::Configuration`] if the device slots are the pager's. [`Error::SlotInUse`] if a slot is named twice, or in a call
    /// that has not ended; then nothing was started.
    #[tracing::instrument(level = "debug", skip_all, fields(tokens = prompt.tokens().len()))]
    pub fn onboard(&self, prompt: &Prompt, wanted: &[BlockAt]) -> Result<Deliveries, Error> {
        let seen = self.progress();
        let now = self.shared.clock.now();
        let mut core = self.shared.core.lock();
        core.check_external(wanted)?;
        core.housekeep(now);
        let mut matched = Vec::new();
        core.match_prefix(&prompt.state(self.shared.tokens_per_block), &mut matched);
        let start = |at: &BlockAt| {
            let block = matched.get(at.block).map(|found| found.block);
            core.start_onboard(block, at.slot, now)
        };
        let tickets = wanted.iter().map(start).collect();
        let asked: Vec<BlockId> = matched.iter().map(|found| found.block).collect();
        core.tell(&asked, prompt.names().len());
        core.issue_loads(now);
        core.engine.pump(now);
        drop(core);
        Ok(self.deliveries(seen, wanted, tickets))
    }

    /// Copies blocks of `prompt` out of the engine's slots, which the compute behind `fence` writes, into the host. Blocks go in
    /// order from the root: one whose parent is not cached below the device ends as failed at once, as do those for which
    /// there is no room and those of a prompt that was prepared in an earlier epoch; one that is cached already is done at once. Never blocks.
    ///
    /// # Errors
    /// Those of [`Pager::onboard`].
    #[tracing::instrument(level = "debug", skip_all, fields(tokens = prompt.tokens().len()))]
    pub fn offload(&self, prompt: &Prompt, given: &[BlockAt], fence: Fence) -> Result<Deliveries, Error> {
        let seen = self.progress();
        let now = self.shared.clock.now();
        let mut core = self.shared.core.lock();
        core.check_external(given)?;
        core.housekeep(now);
        let tickets = given.iter().map(|at| core.start_offload(prompt, *at, fence, now)).collect();
        core.keepers.wake_all(prompt.salt());
        core.engine.pump(now);
        drop(core);
        Ok(self.deliveries(seen, given, tickets))
    }

    fn deliveries(&self, seen: Progress, named: &[BlockAt], tickets: Vec<u64>) -> Deliveries {
        Deliveries {
            pager: self.clone(),
            seen,
            slots: named.iter().map(|at| at.slot).collect(),
            outcomes: vec![Delivery::UnderWay; tickets.len()],
            tickets,
        }
    }
}

/// The one group of the models that are served this way.
const GROUP: GroupId = GroupId::FIRST;

impl Core {
    pub(super) fn is_engines(&self) -> bool {
        self.config.device_owner == DeviceOwner::Engine
    }

    /// Refuses calls that name slots wrongly.
    fn check_external(&self, named: &[BlockAt]) -> Result<(), Error> {
        if !self.is_engines() {
            let why =
                "the pager owns the device slots; open sequences, or choose DeviceOwner::Engine".to_owned();
            return Err(Error::Configuration { setting: "Config::device_owner", why });
        }
        let pool = self.pools.pool(TierId::Device, GROUP);
        let mut slots: Vec<SlotId> = named.iter().map(|at| at.slot).collect();
        slots.sort_unstable();
        for (index, slot) in slots.iter().enumerate() {
            let is_there = slot.is_some() && slot.index() < pool.capacity() as usize;
            let is_twice = index > 0 && slots[index - 1] == *slot;
            if !is_there || is_twice || pool.state(*slot) != SlotState::Free {
                return Err(Error::SlotInUse { slot: *slot });
            }
        }
        Ok(())
    }

    /// The engine's slot becomes the pager's until its move has ended (N1).
    fn borrow(&mut self, block: BlockId, slot: SlotId) -> u64 {
        let pool = self.device(GROUP);
        let is_taken = pool.take_this(slot);
        assert!(is_taken, "slot {slot:?} was free a moment ago");
        pool.hold(slot);
        pool.reserve(slot, block);
        pool.begin_move(slot);
        self.index.set_location(block, GROUP, TierId::Device, slot);
        self.register.expect(slot)
    }

    fn start_onboard(&mut self, block: Option<BlockId>, slot: SlotId, now: Time) -> u64 {
        let found = block.and_then(|block| Some((block, self.nearest_part(block, GROUP)?)));
        match found {
            Some((block, from)) if !self.index.location(block, GROUP, TierId::Device).is_some() => {
                let source = self.index.location(block, GROUP, from);
                self.pools.pool_mut(from, GROUP).begin_move(source);
                self.index.note_use(block, now);
                let ticket = self.borrow(block, slot);
                let priority = Priority::Demand;
                self.add_pending(PendingLoad { block, group: GROUP, from, device: slot, priority });
                ticket
            }
            _ => self.register.settled(Delivery::Failed),
        }
    }

    fn start_offload(&mut self, prompt: &Prompt, at: BlockAt, fence: Fence, now: Time) -> u64 {
        self.serve(prompt.salt());
        let Some(block) = self.record_of(prompt, at.block, now) else {
            return self.register.settled(Delivery::Failed);
        };
        if self.whole(block, GROUP, TierId::Host).is_some()
            || self.whole(block, GROUP, TierId::File).is_some()
        {
            return self.register.settled(Delivery::Done);
        }
        let is_moving = TierId::ALL.iter().any(|tier| self.index.location(block, GROUP, *tier).is_some());
        let has_room = self.pools.has(TierId::Host)
            && self.engine.room(TierId::Device, TierId::Host) > 0
            && !self.lost[TierId::Host.index()];
        if is_moving || !has_room || self.ensure_free(TierId::Host, GROUP, 1, now).is_err() {
            self.prune(block);
            return self.register.settled(Delivery::Failed);
        }
        let mut target = SlotId::NONE;
        self.pools.pool_mut(TierId::Host, GROUP).take(1, |slot| target = slot);
        let pool = self.pools.pool_mut(TierId::Host, GROUP);
        pool.reserve(target, block);
        pool.begin_move(target);
        self.index.set_location(block, GROUP, TierId::Host, target);
        let ticket = self.borrow(block, at.slot);
        self.device(GROUP).note_write(at.slot, fence);
        let way = Way { block, group: GROUP, from: TierId::Device, to: TierId::Host, target };
        self.enqueue(way, Purpose::Replicate, Priority::Offload);
        ticket
    }

    /// The record of a full block of a prompt all of whose ancestors are cached below the device; made if need be.
    fn record_of(&mut self, prompt: &Prompt, index: usize, now: Time) -> Option<BlockId> {
        let state = prompt.state(self.model.tokens_per_block());
        if state.epoch != self.epoch {
            return None;
        }
        let mut parent = BlockId::NONE;
        for at in 0..=index.min(state.hashes.len().checked_sub(1)?) {
            let extra_keys: Vec<u64> = state.keys_of_block(at).collect();
            let keys = BlockKeys {
                parent,
                salt: state.salt,
                tokens: state.block_tokens(at),
                extra_keys: &extra_keys,
            };
            let found = self.index.find(state.hashes[at], &keys);
            parent = match found {
                Some(block) if at == index || self.has_lower_location(block) => block,
                None if at == index => self.index.insert(state.hashes[at], &keys, now)?,
                _ => return None,
            };
        }
        (index < state.hashes.len()).then_some(parent)
    }

    fn has_lower_location(&self, block: BlockId) -> bool {
        [TierId::Host, TierId::File].iter().any(|tier| self.index.location(block, GROUP, *tier).is_some())
    }

    /// A move at an engine's slot has ended: the slot is the engine's again, unless the move may go on.
    pub(super) fn hand_back(&mut self, block: BlockId, slot: SlotId, outcome: Delivery) {
        if self.index.location(block, GROUP, TierId::Device) == slot {
            self.index.clear_location(block, GROUP, TierId::Device);
        }
        let pool = self.device(GROUP);
        if pool.state(slot) == SlotState::Filling {
            pool.unreserve(slot);
        }
        pool.release(slot);
        self.register.end(slot, outcome);
        self.signal.ring();
    }

    fn take_delivery(&mut self, ticket: u64) -> Delivery {
        let outcome = self.register.outcomes.get(&ticket).copied().unwrap_or(Delivery::Failed);
        if outcome != Delivery::UnderWay {
            self.register.forget(ticket);
        }
        outcome
    }
}
