//! The core: the state behind the lock, and what every call does first and last.
//! Layer 9. Uses all modules before it. Known by: `pager`.

use super::build::{self, Backend, TierSet};
use super::chores::{Farther, HOLD_BLOCKS};
use super::close::Parked;
use super::costs::Costs;
use super::course::Course;
use super::deliveries::Register;
use super::falls::Fall;
use super::keepers::Keepers;
use super::loads::PendingLoad;
use super::pressure::Search;
use super::spans::Spans;
use super::standing::Expiries;
use super::stats::Counters;
use crate::clock::Time;
use crate::config::Config;
use crate::error::Error;
use crate::event::{BlockEvent, EventStream};
use crate::ids::{BlockId, Fence, GroupId, ModelEpoch, Salt, SequenceId, SlotId, TierId};
use crate::layout::ModelLayout;
use crate::policy::{Decision, MatchedBlock, Policy};
use crate::pool::{SlotPool, TierPools};
use crate::prefix::{PrefixIndex, TenantId};
use crate::sequence::SequenceState;
use crate::sync::Held;
use crate::tier::{Health, Signal};
use crate::transfer::{Ended, Goal, Queue, TransferEngine};
use crate::units::Nanos;
use std::sync::Arc;

/// After so many demotions in a row that failed, none is tried for so many deadlines.
const FAILED_DEMOTIONS_MAX: u32 = 16;
const PAUSE_DEADLINES: u64 = 8;

/// A part that is to be loaded: its source is kept from eviction by a move that is counted already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// Which block of the sequence.
    pub(super) at: usize,
    pub(super) block: BlockId,
    pub(super) group: GroupId,
    pub(super) from: TierId,
}

/// Everything behind the lock.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is about something else")]
pub(super) struct Core {
    pub(super) model: ModelLayout,
    /// By group: whether it needs every block.
    full: [bool; ModelLayout::GROUPS_MAX],
    /// By tier: whether it outlives the process, and so is told what its slots hold.
    persistent: [bool; TierId::COUNT],
    pub(super) config: Config,
    pub(super) tiers: TierSet,
    /// By tier: whether its memory is lost. What it held can't be found any more, of which is told; its slots stay as they are.
    pub(super) lost: [bool; TierId::COUNT],
    /// By tier, if it is lost: the first slot of which that was not told. From there on all is told as ever.
    untold: [usize; TierId::COUNT],
    pub(super) pools: TierPools,
    pub(super) index: PrefixIndex,
    pub(super) engine: TransferEngine,
    pub(super) policy: Box<dyn Policy>,
    /// Whether the policy is told of changed slots and of requests.
    pub(super) follows: bool,
    pub(super) costs: Costs,
    /// By place: what is kept of a sequence beside its state.
    pub(super) courses: Vec<Course>,
    pub(super) signal: Arc<Signal>,
    /// Loads that have their device slot and wait for a queue or a host slot.
    pub(super) pending: Queue<PendingLoad>,
    /// Given up, with a fence that was not over: no more than there are holds, and those are bounded by slots and sequences.
    pub(super) parked: Parked,
    /// Closed: their memory is used again.
    #[expect(clippy::vec_box, reason = "handles own their boxes: none is moved out and in")]
    spare: Vec<Box<SequenceState>>,
    pub(super) open_sequences: u32,
    /// How many states were ever made: their places.
    places: u32,
    /// Own slots of sequences whose copy failed, until they have seen it.
    pub(super) spoiled: Vec<(GroupId, SlotId)>,
    /// By tier: demotions from it that failed since the last that did not, and until when none is tried after too many.
    failed_demotions: [u32; TierId::COUNT],
    no_demotion_until: [Time; TierId::COUNT],
    /// Moves that have ended, those of them that were done, and by tier how many there must be before balancing looks for room again.
    pub(super) moves_ended: u64,
    pub(super) moves_done: u64,
    pub(super) balance_again: [u64; TierId::COUNT],
    /// By tier and group, while somebody waits for a slot of the class: copies from there or farther that have ended, less what
    /// the slots that were freed since make good.
    pub(super) vain_moves: [[Option<u32>; ModelLayout::GROUPS_MAX]; TierId::COUNT],
    /// Counts what making room has freed, started or warmed: a round that changes nothing is the last.
    pub(super) changes: u64,
    /// Counts what making room has freed or started.
    pub(super) room_made: u64,
    /// Counts the blocks that eviction has passed over.
    pub(super) passes_spent: u64,
    /// By tier and group: how far the call at hand has come with looking for room.
    pub(super) searches: [[Search; ModelLayout::GROUPS_MAX]; TierId::COUNT],
    /// Whether any of them has come anywhere.
    pub(super) has_searched: bool,
    /// By tier and group: how many blocks the policy has named last, and will look at once more.
    pub(super) named: [[usize; ModelLayout::GROUPS_MAX]; TierId::COUNT],
    /// By tier and group: room that was asked for to have room nearer.
    pub(super) farther: [[Option<Farther>; ModelLayout::GROUPS_MAX]; TierId::COUNT],
    /// Whether any was.
    pub(super) is_asked_farther: bool,
    /// How many blocks this hold of the lock may handle still (CH1).
    pub(super) left: u32,
    /// Whether something of this hold goes on in the next, though it may look as if it had to wait (CH3).
    pub(super) goes_on: bool,
    /// How often that was forgotten: who lets the lock go for a moment sees whether others had it.
    pub(super) looked_again: u64,
    /// The weights that blocks are named after now.
    pub(super) epoch: ModelEpoch,
    /// While blocks of the epoch before may be left: how many records have been looked at.
    pub(super) stale_from: Option<usize>,
    /// The time of the call at hand.
    pub(super) now: Time,
    /// What is brought and kept ahead of need.
    pub(super) keepers: Keepers,
    /// Whose blocks the room is for that is being made; nobody's, if it is made ahead of need.
    pub(super) room_for: Option<Salt>,
    /// How many slots are wanted for them in all.
    pub(super) room_slots: u32,
    /// Slots that were passed over, and whose were chosen how often: kept buffers.
    pub(super) passed: Vec<SlotId>,
    pub(super) taken: Vec<(TenantId, u32)>,
    /// Blocks that nothing keeps, and one reference each until they are forgotten, with what is above them: by the holds that follow.
    pub(super) unpruned: Vec<BlockId>,
    /// What stands on blocks that were lost, and goes by the holds that follow.
    pub(super) falls: Vec<Fall>,
    /// What may be left to be dropped nearer than these blocks, when all that falls has fallen; one reference each.
    pub(super) strays: Vec<BlockId>,
    /// What closed sequences have left to expire.
    pub(super) expiries: Expiries,
    /// What engines have named, where the device slots are theirs.
    pub(super) register: Register,
    pub(super) counters: Counters,
    pub(super) spans: Spans,
    pub(super) events: EventStream,
    /// Buffers that are kept.
    pub(super) ended: Vec<Ended>,
    pub(super) decisions: Vec<Decision>,
    pub(super) matched: Vec<MatchedBlock>,
    pub(super) claims: Vec<Claim>,
    /// Sources of loads that the long opening at hand keeps, and has not ordered yet.
    pub(super) kept_sources: u32,
    pub(super) slots: Vec<SlotId>,
    pub(super) extra_keys: Vec<u64>,
    /// By tier, for room there may take room farther away.
    pub(super) victims: [Vec<BlockId>; TierId::COUNT],
    pub(super) missing: Vec<BlockId>,
    /// Where ancestors come to, and victims that can't go down, while `slots` and `victims` are in use; lists of falls that are over.
    pub(super) slots_above: Vec<SlotId>,
    pub(super) doomed: Vec<BlockId>,
    pub(super) fallen: Vec<Vec<BlockId>>,
    pub(super) changed: Vec<SlotId>,
    /// By tier that they go to: moves that are to be called off, or moved ahead.
    pub(super) goals: [Vec<Goal>; TierId::COUNT],
    pub(super) called_off: Vec<PendingLoad>,
}

impl Held for Core {
    fn begin_hold(&mut self) {
        self.left = HOLD_BLOCKS;
        self.goes_on = false;
        self.engine.begin_hold();
        #[cfg(feature = "hold-blocks")]
        self.index.begin_hold();
    }
}

impl Core {
    pub(super) fn new(
        model: ModelLayout,
        config: Config,
        backend: Backend,
        policy: Box<dyn Policy>,
        signal: Arc<Signal>,
        now: Time,
    ) -> Result<Self, Error> {
        config.check()?;
        let tiers = build::tier_set(&model, &config, &backend)?;
        let capacities = build::capacities(&tiers);
        let blocks = build::records(&capacities)?;
        let mut full = [false; ModelLayout::GROUPS_MAX];
        model.group_ids().for_each(|group| full[group.index()] = model.is_full(group));
        let move_bytes = build::move_bytes(&model);
        let persistent = TierId::ALL
            .map(|tier| tiers[tier.index()].as_ref().is_some_and(|tier| tier.persistence().is_some()));
        let spans = Spans::new(backend.lanes.iter().map(|lane| lane.ends()));
        let index =
            PrefixIndex::new(blocks, model.tokens_per_block() as usize, &full[..model.groups().len()]);
        let waiting = &capacities[TierId::Device.index()];
        let mut core = Self {
            engine: TransferEngine::new(
                backend.lanes,
                &move_bytes,
                &capacities,
                &config.limits,
                Arc::clone(&signal),
                &index.looks(),
            ),
            costs: Costs::new(&model, &tiers),
            courses: vec![Course::NONE; config.limits.sequences as usize],
            model,
            full,
            persistent,
            tiers,
            lost: [false; TierId::COUNT],
            untold: [0; TierId::COUNT],
            policy,
            follows: false,
            signal,
            pending: Queue::new(waiting, config.limits.moves_queued, index.looks()),
            index,
            pools: TierPools::new(capacities),
            parked: Parked::default(),
            spare: Vec::new(),
            open_sequences: 0,
            places: 0,
            spoiled: Vec::new(),
            failed_demotions: [0; TierId::COUNT],
            no_demotion_until: [Time::START; TierId::COUNT],
            moves_ended: 0,
            moves_done: 0,
            balance_again: [0; TierId::COUNT],
            vain_moves: [[None; ModelLayout::GROUPS_MAX]; TierId::COUNT],
            changes: 0,
            room_made: 0,
            passes_spent: 0,
            searches: [[Search::default(); ModelLayout::GROUPS_MAX]; TierId::COUNT],
            has_searched: false,
            named: [[0; ModelLayout::GROUPS_MAX]; TierId::COUNT],
            farther: [[None; ModelLayout::GROUPS_MAX]; TierId::COUNT],
            is_asked_farther: false,
            left: HOLD_BLOCKS,
            goes_on: false,
            looked_again: 0,
            keepers: Keepers::default(),
            room_for: None,
            room_slots: 0,
            passed: Vec::new(),
            taken: Vec::new(),
            unpruned: Vec::new(),
            falls: Vec::new(),
            strays: Vec::new(),
            expiries: Expiries::default(),
            register: Register::default(),
            epoch: config.epoch,
            stale_from: None,
            now,
            spans,
            counters: Counters::default(),
            events: EventStream::new(config.limits.events as usize),
            ended: Vec::new(),
            decisions: Vec::new(),
            matched: Vec::new(),
            claims: Vec::new(),
            kept_sources: 0,
            slots: Vec::new(),
            extra_keys: Vec::new(),
            victims: Default::default(),
            missing: Vec::new(),
            slots_above: Vec::new(),
            doomed: Vec::new(),
            fallen: Vec::new(),
            changed: Vec::new(),
            goals: [const { Vec::new() }; TierId::COUNT],
            called_off: Vec::new(),
            config,
        };
        core.start_policy();
        core.start_tenants();
        core.reserve_tenants();
        core.index.begin_epoch(core.epoch);
        core.recover(now);
        Ok(core)
    }

    /// Notes which tiers are lost, and tells of what was there that it is removed, as far as this hold of the lock goes. Returns whether
    /// all was told.
    pub(super) fn look_after(&mut self) -> bool {
        for tier in TierId::ALL {
            let health = self.tiers[tier.index()].as_ref().map(|tier| tier.health());
            self.lost[tier.index()] |= matches!(health, Some(Health::Lost { .. }));
            if self.lost[tier.index()] && !self.tell_loss(tier) {
                return false;
            }
        }
        true
    }

    /// Tells that what a tier held is removed, slot by slot. Returns whether it has come to the last.
    fn tell_loss(&mut self, tier: TierId) -> bool {
        let group = self.told_group();
        while self.untold[tier.index()] < self.pools.pool(tier, group).capacity() as usize {
            if self.left == 0 {
                return false;
            }
            self.handle(1);
            let slot = SlotId::from_index(self.untold[tier.index()]);
            let block = self.pools.pool(tier, group).block(slot);
            // Of a detached block it was told when it was detached.
            if self.pools.is_whole(tier, group, slot, block) && self.index.is_named(block) {
                self.announce_removed(block, group, tier, slot);
            }
            self.untold[tier.index()] += 1;
        }
        true
    }

    /// The error that says why nothing can be opened, if the device is lost.
    pub(super) fn device_lost(&self) -> Option<Error> {
        match self.tiers[TierId::Device.index()].as_ref().map(|tier| tier.health()) {
            Some(Health::Lost { why }) => Some(Error::DeviceLost { tier: TierId::Device, why }),
            _ => None,
        }
    }

    /// A look for room may find some again.
    pub(super) fn look_again(&mut self) {
        self.looked_again += 1;
        if std::mem::take(&mut self.has_searched) {
            self.searches = [[Search::default(); ModelLayout::GROUPS_MAX]; TierId::COUNT];
        }
    }

    /// Whether anything is under way that may free a slot or end a wait.
    pub(super) fn is_busy(&self) -> bool {
        self.engine.is_busy() || !self.pending.is_empty() || !self.parked.is_empty()
    }

    /// Whether something is given back only once a fence is over.
    pub(super) fn waits_for_fence(&self) -> bool {
        !self.parked.is_empty()
    }

    pub(super) fn next_deadline(&self) -> Time {
        self.engine.next_deadline().min(self.next_load_deadline()).min(self.next_lateness())
    }

    /// Notes how a demotion from `tier` ended. A lane on which nothing ends well must not keep anybody waiting for room: for a
    /// while what it would carry is given up instead.
    pub(super) fn note_demotion(&mut self, tier: TierId, is_well: bool) {
        let failed = &mut self.failed_demotions[tier.index()];
        *failed = if is_well { 0 } else { *failed + 1 };
        if *failed >= FAILED_DEMOTIONS_MAX {
            *failed = 0;
            let pause = self.config.limits.move_deadline.as_u64().saturating_mul(PAUSE_DEADLINES);
            self.no_demotion_until[tier.index()] = self.now.after(Nanos::new(pause));
        }
    }

    /// From which tiers blocks can be copied farther.
    pub(super) fn demotable(&self) -> [bool; TierId::COUNT] {
        TierId::ALL.map(|tier| {
            let is_paused = self.now < self.no_demotion_until[tier.index()];
            !is_paused && tier.farther().is_some_and(|below| self.is_well(below))
        })
    }

    /// Whether there is such a tier, and it takes bytes in.
    pub(super) fn is_well(&self, tier: TierId) -> bool {
        self.tiers[tier.index()].as_ref().is_some_and(|tier| tier.health() == Health::Well)
    }

    /// Whether the compute behind `fence` is over.
    pub(super) fn is_over(&self, fence: Fence) -> bool {
        fence == Fence::OVER
            || self.tiers[TierId::Device.index()].as_ref().is_some_and(|device| device.is_fence_over(fence))
    }

    /// The slot of `block`'s part in `tier`, if it is whole there.
    pub(super) fn whole(&self, block: BlockId, group: GroupId, tier: TierId) -> Option<SlotId> {
        if !self.pools.has(tier) || self.lost[tier.index()] {
            return None;
        }
        let slot = self.index.location(block, group, tier);
        self.pools.is_whole(tier, group, slot, block).then_some(slot)
    }

    /// Whether `block` has a whole part in a tier farther than `tier`.
    pub(super) fn has_farther(&self, block: BlockId, group: GroupId, tier: TierId) -> bool {
        self.nearest_farther(block, group, tier).is_some()
    }

    /// The nearest tier farther than `tier` in which the part is whole.
    pub(super) fn nearest_farther(&self, block: BlockId, group: GroupId, tier: TierId) -> Option<TierId> {
        let mut farther = TierId::ALL[tier.index() + 1..].iter().copied();
        farther.find(|below| self.whole(block, group, *below).is_some())
    }

    /// Whether nobody uses `slot`: no sequence, no move.
    pub(super) fn is_unused(&self, group: GroupId, tier: TierId, slot: SlotId) -> bool {
        let pool = self.pools.pool(tier, group);
        pool.holds(slot) == 0 && !pool.is_moving(slot)
    }

    /// The pool of `group` in the device tier.
    pub(super) fn device(&mut self, group: GroupId) -> &mut SlotPool {
        self.pools.pool_mut(TierId::Device, group)
    }

    /// The names of the groups.
    pub(super) fn groups(&self) -> impl ExactSizeIterator<Item = GroupId> + Clone + use<> {
        self.model.group_ids()
    }

    /// Whether the model has one group of layers, and that needs every block: what most models are.
    pub(super) fn is_uniform(&self) -> bool {
        self.model.groups().len() == 1 && self.full[0]
    }

    /// Whether a tier outlives the process.
    pub(super) fn is_persistent(&self, tier: TierId) -> bool {
        self.persistent[tier.index()]
    }

    /// Those that need every block.
    pub(super) fn full_groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        let full = self.full;
        self.groups().filter(move |group| full[group.index()])
    }

    /// Those that look through a window.
    pub(super) fn windowed_groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        let full = self.full;
        self.groups().filter(move |group| !full[group.index()])
    }

    /// Memory for a sequence, with its name.
    pub(super) fn lease_state(&mut self) -> Result<Box<SequenceState>, Error> {
        let limit = self.config.limits.sequences;
        if self.open_sequences >= limit {
            return Err(Error::TooManySequences { limit });
        }
        self.open_sequences += 1;
        let places = self.places;
        let mut state = self.spare.pop().unwrap_or_else(|| {
            let limits = &self.config.limits;
            let tokens_per_block = self.model.tokens_per_block();
            self.places += 1;
            let mut state =
                SequenceState::new(tokens_per_block, self.model.groups().len(), limits.sequence_tokens);
            state.id = SequenceId::new(places, 0);
            Box::new(state)
        });
        state.id = state.id.next_user();
        self.courses[state.id.index()] = Course::NONE;
        Ok(state)
    }

    /// Gives the memory back.
    pub(super) fn return_state(&mut self, mut state: Box<SequenceState>) {
        self.drop_course(&state);
        state.clear();
        self.spare.push(state);
        self.open_sequences -= 1;
    }

    /// Tells that a block can be matched in `tier`, as far as its anchor, or its first group, says so, and the tier is not lost.
    pub(super) fn announce_stored(&mut self, block: BlockId, group: GroupId, tier: TierId) {
        if !self.tells_of(group, tier, self.index.location(block, group, tier)) {
            return;
        }
        let parent = self.index.parent(block);
        let parent = parent.is_some().then(|| self.index.hash(parent));
        self.events.push(BlockEvent::Stored { hash: self.index.hash(block), parent, tier });
    }

    /// Tells that a block is gone from `slot` of `tier`.
    pub(super) fn announce_removed(&mut self, block: BlockId, group: GroupId, tier: TierId, slot: SlotId) {
        if self.tells_of(group, tier, slot) {
            let hash = self.index.hash(block);
            self.events.push(BlockEvent::Removed { hash, tier });
        }
    }

    /// Tells that a block made room in a slot of `source`, and is still in `target`.
    pub(super) fn announce_moved(
        &mut self,
        block: BlockId,
        group: GroupId,
        (source, slot): (TierId, SlotId),
        target: TierId,
    ) {
        if self.tells_of(group, source, slot) {
            let hash = self.index.view(block).hash;
            self.events.push(BlockEvent::Moved { hash, source, target });
        }
    }

    /// Whether the event stream tells of the part of `group` in `slot` of `tier`: of what is lost all was told.
    fn tells_of(&self, group: GroupId, tier: TierId, slot: SlotId) -> bool {
        group == self.told_group() && (!self.lost[tier.index()] || slot.index() >= self.untold[tier.index()])
    }

    /// The group whose parts the event stream tells of.
    fn told_group(&self) -> GroupId {
        self.model.anchor().unwrap_or(GroupId::FIRST)
    }
}
