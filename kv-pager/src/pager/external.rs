//! Device slots that belong to the engine: it names them in each call, and the pager keeps no free list there.
//! Layer 9. Known by: engines that have a block pool of their own.
//!
//! - **N1** a slot that is named is the pager's until its move has ended, and the engine's at all other times;
//! - **N2** nothing on the device is matched, held or evicted here: the engine knows what it has;
//! - **N3** a block is a hit only in the host and the file, once its transfer has ended well (I3).
//!
//! Long calls are made in slices: all slots are claimed before anything is started, and what an onboard has found is referred to
//! until its loads are ordered.
//!
//! A prompt's priority and time to live count as a sequence's do (`pager::standing`): what an onboard has found and what an offload passes on
//! its way and names is used by the request.
//!
//! What the device has to compute only the engine knows, and says with a prompt or for a plan (`Urgency::compute_queue`): it counts until it is over, or
//! another call says otherwise.
//!
//! The device's pool serves as a register of slots that are named in calls under way, so that an engine which names one twice is
//! told so instead of being served wrong bytes.

use super::core::Core;
use super::deliveries::{Deliveries, Delivery};
use super::finding::{self, Grip};
use super::handle::Prompt;
use super::loads::{PendingLoad, Way, urgency_of};
use super::slices;
use super::{Pager, Shared, served};
use crate::clock::Time;
use crate::config::DeviceOwner;
use crate::error::Error;
use crate::ids::{BlockId, Fence, GroupId, SlotId, TierId};
use crate::pool::SlotState;
use crate::prefix::BlockKeys;
use crate::sequence::SequenceState;
use crate::transfer::{Priority, Purpose};
use crate::units::Nanos;

/// A block of a prompt and the engine's slot for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlockAt {
    /// Which full block of the prompt.
    pub block: usize,
    /// The engine's slot.
    pub slot: SlotId,
}

impl Pager {
    /// How far a prompt is cached below the device: for each of its leading blocks, the nearest tier. At most
    /// ⌊(n−1)/tokens per block⌋ blocks of n tokens.
    #[tracing::instrument(level = "debug", skip_all, fields(tokens = prompt.tokens().len()))]
    pub fn lookup(&self, prompt: &Prompt) -> Vec<TierId> {
        self.poll();
        let found = finding::find(&self.shared, &prompt.state(self.shared.tokens_per_block), Grip::Loose);
        found.iter().map(|found| found.nearest).collect()
    }

    /// Brings cached blocks of `prompt` into the engine's slots, which are written once the compute behind `fence`, the last that
    /// uses them, is over. A block that is not cached, or is being moved for somebody else, ends as failed at once; so does, by its
    /// deadline, one whose fence does not end. Never blocks.
    ///
    /// # Errors
    /// [`Error::Configuration`] if the device slots are the pager's. [`Error::SlotInUse`] if a slot is named twice, or in a call
    /// that has not ended; then nothing was started.
    #[tracing::instrument(level = "debug", skip_all, fields(tokens = prompt.tokens().len()))]
    pub fn onboard(&self, prompt: &Prompt, wanted: &[BlockAt], fence: Fence) -> Result<Deliveries, Error> {
        let seen = self.progress();
        let shared = &*self.shared;
        claim(shared, wanted)?;
        let now = self.hear(prompt.urgency().compute_queue);
        let state = prompt.state(shared.tokens_per_block);
        let found = finding::find(shared, &state, Grip::Used);
        let mut tickets = Vec::with_capacity(wanted.len());
        // A load that is ordered has two ends.
        let mut slices = wanted.chunks(shared.slice_blocks.div_ceil(2));
        let mut name = None;
        slices::repeat(shared, |core| {
            if !core.has_place_for_call(&state, wanted.len() - tickets.len()) {
                return false;
            }
            let onboard = *name.get_or_insert_with(|| core.register.begin_onboard());
            let slice = slices.next().unwrap_or_default();
            let block_of = |at: &BlockAt| found.get(at.block).map(|found| found.block);
            tickets.extend(slice.iter().map(|at| {
                let load = Load { slot: at.slot, fence, priority: urgency_of(state.priority), onboard };
                core.start_onboard(block_of(at), load, now)
            }));
            if state.time_to_live.is_some() {
                let coming = slice.iter().filter_map(|at| Some((block_of(at)?, at.slot)));
                core.note_call_over(&state, coming, now);
            }
            core.issue_loads(now);
            core.engine.pump(now);
            tickets.len() == wanted.len()
        });
        finding::give_back(shared, &found);
        Ok(Deliveries::new(self, seen, wanted, tickets))
    }

    /// Copies blocks of `prompt` out of the engine's slots, which the compute behind `fence` writes, into the host. Blocks go in
    /// order from the root: one whose parent is not in the host, or on its way there, ends as failed at once, as do those for which
    /// there is no room beside the blocks before them and those of a prompt that was prepared in an earlier epoch; one that is cached
    /// already is done at once. Never blocks.
    ///
    /// The call that gives the last full block of the prompt, or no block at all, ends the request: the policy is told of it, once and whole.
    ///
    /// # Errors
    /// Those of [`Pager::onboard`].
    #[tracing::instrument(level = "debug", skip_all, fields(tokens = prompt.tokens().len()))]
    pub fn offload(&self, prompt: &Prompt, given: &[BlockAt], fence: Fence) -> Result<Deliveries, Error> {
        let seen = self.progress();
        let shared = &*self.shared;
        claim(shared, given)?;
        let now = self.hear(prompt.urgency().compute_queue);
        let state = prompt.state(shared.tokens_per_block);
        let is_end = served::is_end(prompt, given);
        let told = if is_end { shared.request_blocks } else { 0 };
        let tickets = Vec::with_capacity(given.len());
        let mut offload = Offload { state: &state, given, fence, told, front: Front::ROOT, tickets };
        slices::repeat(shared, |core| {
            if !core.make_room_farther(now) || !core.has_place_for_call(&state, offload.left()) {
                return false;
            }
            core.offload_slice(&mut offload, now);
            let is_over = offload.left() == 0;
            if is_over {
                core.keepers.wake_all(state.salt);
            }
            core.engine.pump(now);
            is_over
        });
        let Offload { tickets, .. } = offload;
        if is_end {
            served::tell(shared, &state, now);
        }
        Ok(Deliveries::new(self, seen, given, tickets))
    }

    /// Takes in what has ended, and what the engine says of how long its device is busy. Returns what time it is.
    pub(super) fn hear(&self, queue: Option<Nanos>) -> Time {
        self.poll();
        let now = self.shared.clock.now();
        if let Some(queue) = queue {
            self.shared.core.lock().costs.note_engine_queue(queue, now);
        }
        now
    }
}

/// Makes the engine's slots the pager's, in slices: all of them, or none.
///
/// # Errors
/// Those of [`Pager::onboard`].
fn claim(shared: &Shared, named: &[BlockAt]) -> Result<(), Error> {
    let mut slots: Vec<SlotId> = named.iter().map(|at| at.slot).collect();
    slots.sort_unstable();
    let mut claimed = 0;
    let is_claimed = slices::in_slices(shared, |core| {
        core.check_engines()?;
        let pool = core.device(GROUP);
        for slot in slots.iter().skip(claimed).take(shared.slice_blocks) {
            // One that is named twice is taken by then.
            if !pool.take_this(*slot) {
                return Err(Error::SlotInUse { slot: *slot });
            }
            pool.hold(*slot);
            claimed += 1;
        }
        Ok(claimed == slots.len())
    });
    if is_claimed.is_err() {
        let mut slices = slots[..claimed].chunks(shared.slice_blocks);
        slices::repeat(shared, |core| {
            let Some(slice) = slices.next() else { return true };
            for slot in slice {
                core.device(GROUP).release(*slot);
            }
            false
        });
    }
    is_claimed
}

/// Leading blocks of a prompt that are cached below the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Front {
    pub(super) blocks: usize,
    /// The last of them.
    pub(super) last: BlockId,
}

impl Front {
    const ROOT: Self = Self { blocks: 0, last: BlockId::NONE };

    /// What names the block after it.
    fn keys<'a>(&self, state: &'a SequenceState, extra_keys: &'a [u64]) -> BlockKeys<'a> {
        let tokens = state.block_tokens(self.blocks);
        BlockKeys { parent: self.last, salt: state.salt, tokens, extra_keys }
    }
}

/// How an engine's slot is to be written.
#[derive(Clone, Copy, Debug)]
struct Load {
    slot: SlotId,
    /// The last compute that uses it.
    fence: Fence,
    priority: Priority,
    /// Which onboard has ordered it.
    onboard: u64,
}

/// A call that copies blocks out of an engine's slots, and how far it has come.
#[derive(Debug)]
struct Offload<'a> {
    state: &'a SequenceState,
    given: &'a [BlockAt],
    /// The compute that writes the slots.
    fence: Fence,
    /// How many blocks of the prompt are let go when it is told, after this call; the others are by it (Y4).
    told: usize,
    front: Front,
    tickets: Vec<u64>,
}

impl Offload<'_> {
    /// How many blocks have still to be started.
    fn left(&self) -> usize {
        self.given.len() - self.tickets.len()
    }
}

/// The one group of the models that are served this way.
const GROUP: GroupId = GroupId::FIRST;

impl Core {
    pub(super) fn is_engines(&self) -> bool {
        self.config.device_owner == DeviceOwner::Engine
    }

    /// Refuses to serve slots that are not the engine's.
    pub(super) fn check_engines(&self) -> Result<(), Error> {
        if self.is_engines() {
            return Ok(());
        }
        let why = "the pager owns the device slots; open sequences, or choose DeviceOwner::Engine".to_owned();
        Err(Error::Configuration { setting: "Config::device_owner", why })
    }

    /// The engine's slot, which is [claimed](claim), is the pager's until its move has ended (N1). It is read or written after the
    /// compute behind `fence`.
    fn borrow(&mut self, block: BlockId, slot: SlotId, fence: Fence, onboard: Option<u64>) -> u64 {
        let pool = self.device(GROUP);
        pool.reserve(slot, block);
        pool.note_use(slot, fence);
        pool.begin_move(slot);
        self.index.set_location(block, GROUP, TierId::Device, slot);
        self.register.expect(slot, onboard)
    }

    /// A slot that was claimed is the engine's again at once: nothing moves there.
    fn settle_claim(&mut self, slot: SlotId, outcome: Delivery) -> u64 {
        self.device(GROUP).release(slot);
        self.register.settled(outcome)
    }

    fn start_onboard(&mut self, block: Option<BlockId>, load: Load, now: Time) -> u64 {
        let Load { slot, fence, priority, onboard } = load;
        let found = block.and_then(|block| Some((block, self.nearest_part(block, GROUP)?)));
        match found {
            Some((block, from)) if !self.index.location(block, GROUP, TierId::Device).is_some() => {
                let source = self.index.location(block, GROUP, from);
                self.pools.pool_mut(from, GROUP).begin_move(source);
                self.index.note_use_ahead(block, now);
                let ticket = self.borrow(block, slot, fence, Some(onboard));
                let deadline = self.load_deadline();
                self.pending.add(PendingLoad { block, group: GROUP, from, device: slot, priority, deadline });
                ticket
            }
            _ => self.settle_claim(slot, Delivery::Failed),
        }
    }

    /// Goes on with an offload by one slice: as many blocks are started, or passed on the way to the next one that is.
    fn offload_slice(&mut self, offload: &mut Offload<'_>, now: Time) {
        let Offload { state, given, fence, told, front, tickets } = offload;
        self.serve(state.salt);
        self.note_standing(state);
        let mut going = Vec::new();
        for _ in 0..self.config.limits.slice_blocks {
            let Some(at) = given.get(tickets.len()).filter(|_| self.left > 0) else { break };
            if at.block < front.blocks || !self.is_front(state, front) {
                *front = Front::ROOT;
            }
            let is_named = state.epoch == self.epoch && at.block < state.hashes.len();
            if is_named && at.block > front.blocks && self.advance(state, front) {
                self.note_user(state, front.last, false);
                continue;
            }
            let record =
                if is_named && at.block == front.blocks { self.record_of(state, front, now) } else { None };
            let ticket = match record {
                Some(block) => self.start_offload(block, at.slot, *fence, now),
                None => Some(self.settle_claim(at.slot, Delivery::Failed)),
            };
            let Some(ticket) = ticket else { break };
            tickets.push(ticket);
            if let Some(block) = record.filter(|block| self.is_still(state, at.block, *block)) {
                self.advance_to(front, block);
            }
            if state.time_to_live.is_some() && at.block >= *told {
                going.extend(record.map(|block| (block, at.slot)));
            }
        }
        self.note_call_over(state, going.into_iter(), now);
    }

    /// A call has ordered these blocks, each to or from the engine's slot beside it, unless it could not: they are let go by it (Y4).
    fn note_call_over(
        &mut self,
        state: &SequenceState,
        ordered: impl Iterator<Item = (BlockId, SlotId)>,
        now: Time,
    ) {
        let under_way: Vec<BlockId> = ordered
            .filter(|(block, slot)| self.index.location(*block, GROUP, TierId::Device) == *slot)
            .map(|(block, _)| block)
            .collect();
        self.note_over(state, under_way.into_iter(), now);
    }

    /// Starts to copy a block out of an engine's slot. `None` if room for it is to be made in the next hold.
    fn start_offload(&mut self, block: BlockId, slot: SlotId, fence: Fence, now: Time) -> Option<u64> {
        if self.whole(block, GROUP, TierId::Host).is_some()
            || self.whole(block, GROUP, TierId::File).is_some()
        {
            return Some(self.settle_claim(slot, Delivery::Done));
        }
        let is_moving = TierId::ALL.iter().any(|tier| self.index.location(block, GROUP, *tier).is_some());
        let has_room = self.pools.has(TierId::Host)
            && self.engine.room(TierId::Device, TierId::Host) > 0
            && !self.lost[TierId::Host.index()];
        if is_moving || !has_room || !self.make_room_below(self.index.parent(block), now) {
            self.prune(block);
            return (!self.goes_on).then(|| self.settle_claim(slot, Delivery::Failed));
        }
        assert!(self.index.is_named(block), "{block:?} went while room was made for it");
        // A copy has two ends.
        self.handle(2);
        let mut target = SlotId::NONE;
        self.pools.pool_mut(TierId::Host, GROUP).take(1, |slot| target = slot);
        let pool = self.pools.pool_mut(TierId::Host, GROUP);
        pool.reserve(target, block);
        pool.begin_move(target);
        self.index.set_location(block, GROUP, TierId::Host, target);
        let ticket = self.borrow(block, slot, fence, None);
        let way = Way { block, group: GROUP, from: TierId::Device, to: TierId::Host, target };
        self.enqueue(way, Purpose::Replicate, Priority::Offload);
        Some(ticket)
    }

    /// Makes a host slot free for a block that comes after `parent`. False if that can't be, or if the host has not the parent
    /// (I6). The parent's own slot makes no room: on it stands the record of the block, which has no copy yet that would keep it.
    fn make_room_below(&mut self, parent: BlockId, now: Time) -> bool {
        if !parent.is_some() {
            return self.ensure_free(TierId::Host, GROUP, 1, now).is_ok();
        }
        let above = self.index.location(parent, GROUP, TierId::Host);
        if !above.is_some() {
            return false;
        }
        self.pools.pool_mut(TierId::Host, GROUP).begin_move(above);
        let is_free = self.ensure_free(TierId::Host, GROUP, 1, now).is_ok();
        self.pools.pool_mut(TierId::Host, GROUP).end_move(above);
        is_free
    }

    /// Whether all blocks of a front are cached below the device still: the last one is, and none is without its parent (I6).
    fn is_front(&self, state: &SequenceState, front: &Front) -> bool {
        let last = front.blocks.checked_sub(1);
        last.is_none_or(|last| self.is_still(state, last, front.last) && self.has_lower_location(front.last))
    }

    /// The next block of the front, if it is known.
    pub(super) fn after(&self, state: &SequenceState, front: &Front) -> Option<BlockId> {
        let extra_keys: Vec<u64> = state.keys_of_block(front.blocks).collect();
        self.index.find(state.hashes[front.blocks], &front.keys(state, &extra_keys))
    }

    /// Goes on by one block. False if that is not cached below the device.
    fn advance(&self, state: &SequenceState, front: &mut Front) -> bool {
        self.after(state, front).is_some_and(|block| self.advance_to(front, block))
    }

    fn advance_to(&self, front: &mut Front, block: BlockId) -> bool {
        let is_below = self.has_lower_location(block);
        if is_below {
            *front = Front { blocks: front.blocks + 1, last: block };
        }
        is_below
    }

    /// The record of the block that comes after a front; made if need be.
    fn record_of(&mut self, state: &SequenceState, front: &Front, now: Time) -> Option<BlockId> {
        let found = self.after(state, front);
        let extra_keys: Vec<u64> = state.keys_of_block(front.blocks).collect();
        let insert = || self.index.insert(state.hashes[front.blocks], &front.keys(state, &extra_keys), now);
        let block = found.or_else(insert)?;
        self.note_user(state, block, found.is_none());
        Some(block)
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
}
