//! Keepers: what is brought nearer ahead of need and kept there, for queued requests and for prompts and salts that are to stay.
//! Layer 9. Known by: `pager`.
//!
//! - **K1** a keeper holds slots and refers to records as a sequence does (I2, I6): root first, and gives them back leaf first;
//! - **K2** of each class, the keepers of one kind hold at most their share, a hold at most the quota of its salt, and what they
//!   start leaves free what the low watermark sets aside;
//! - **K3** no request fails for what is kept: a prefetch gives way as soon as a request finds no other room, a hold when
//!   nothing is under way and nothing else is left;
//! - **K4** what a keeper starts is queued behind all that requests wait for, until a request asks for it too;
//! - **K7** one call looks at, and gives back, no more than a slice of what keepers hold: one that holds something for nothing takes
//!   in nothing until it has given it back.
//!
//! A keeper takes blocks in from the root: it holds the part that is near enough, or starts a move and holds its target, so
//! that an `open` finds the part on its way and shares the move. One that can't go on is looked at again when something has ended.
//! A keeper of a salt has no prompt, and takes in what its [search](search::Search) finds.

mod advance;
mod give_back;
mod search;

use super::core::Core;
use crate::ids::{BlockId, GroupId, Salt, SlotId, TierId};
use crate::layout::ModelLayout;
use crate::pool::SlotState;
use crate::prefix::{PrefixIndex, UNLIMITED};
use crate::sequence::SequenceState;
use crate::transfer::{Goal, Priority};
use search::Search;

pub(in crate::pager) use search::Leaf;

/// The tiers in which something is kept.
const KEPT_IN: [TierId; 2] = [TierId::Device, TierId::Host];

/// Why something is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::pager) enum KeeperKind {
    /// A queued request will ask for it.
    Prefetch,
    /// It is to stay, in this tier or nearer.
    Hold(TierId),
}

impl KeeperKind {
    fn index(self) -> usize {
        usize::from(matches!(self, Self::Hold(_)))
    }
}

/// The name of a keeper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::pager) struct KeeperId(u64);

/// Where the blocks of a prompt, or of a salt, that is kept are now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// Blocks that are to be kept: for a prefetch, those that were cached when it began; for a hold by salt, as many as it may keep.
    pub wanted: usize,
    /// Blocks that are kept on the device.
    pub on_device: usize,
    /// Blocks that are kept in host memory.
    pub in_host: usize,
    /// Blocks a part of which is on its way.
    pub moving: usize,
}

/// How many slots of a tier are held ahead of need, all classes together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeptSlots {
    /// By prefetches.
    pub prefetched: u64,
    /// By holds.
    pub held: u64,
}

/// What is kept.
#[derive(Debug)]
enum Subject {
    /// The leading blocks of a prompt, with its names.
    Prompt(Box<SequenceState>),
    /// Whatever the salt has, or comes to have.
    Salt(Search),
}

/// One prompt, or one salt, that is kept.
#[derive(Debug)]
struct Keeper {
    id: KeeperId,
    kind: KeeperKind,
    /// Whose cache it is in.
    salt: Salt,
    subject: Subject,
    /// How many groups the model has.
    groups: usize,
    /// How many blocks are to be kept: the leading ones of a prompt.
    wanted: usize,
    /// Those taken in, each referred to once; parents before their children.
    blocks: Vec<BlockId>,
    /// The slots held: a block's, by group, on the device and in the host.
    slots: Vec<SlotId>,
    /// How many blocks are complete: each part held, wherever.
    far: usize,
    /// How many of those are on the device, or on their way there.
    near: usize,
    /// How many slots it holds, by tier and group.
    held: [[u32; ModelLayout::GROUPS_MAX]; KEPT_IN.len()],
    /// Whether it has given way or failed, and starts nothing until a sequence of its salt closes.
    is_waiting: bool,
    /// How many of its blocks have been looked at since a load failed or a block was erased (K7).
    sound: usize,
    /// From which one on it gives all back.
    broken: Option<usize>,
    /// Whether it is given up, or its prompt is being named anew: it starts nothing.
    is_away: bool,
}

impl Keeper {
    fn is_hold(&self) -> bool {
        self.kind != KeeperKind::Prefetch
    }

    /// It has given back what it should keep, and starts nothing until a sequence of its salt closes.
    fn put_off(&mut self) {
        self.is_waiting = true;
        self.search_again();
    }

    /// It gives back what it has from block `first` on, as the calls that follow come to it (K7).
    fn give_up_from(&mut self, first: usize) {
        self.broken = Some(self.broken.map_or(first, |broken| broken.min(first)));
        self.far = self.far.min(first);
        self.near = self.near.min(first);
        self.is_waiting = true;
    }

    /// It has given back something: it may be found again.
    fn search_again(&mut self) {
        if let Subject::Salt(search) = &mut self.subject {
            search.start_over();
        }
    }

    /// The nearest tier it brings blocks to.
    fn nearest(&self) -> TierId {
        match self.kind {
            KeeperKind::Prefetch => TierId::Device,
            KeeperKind::Hold(tier) => tier,
        }
    }

    fn place(&self, at: usize, group: GroupId, tier: TierId) -> usize {
        (at * self.groups + group.index()) * KEPT_IN.len() + tier.index()
    }

    fn slot(&self, at: usize, group: GroupId, tier: TierId) -> SlotId {
        self.slots[self.place(at, group, tier)]
    }

    /// The last block it took in of those that it holds in a class.
    fn last_in(&self, tier: TierId, group: GroupId) -> Option<usize> {
        (0..self.blocks.len()).rev().find(|at| self.slot(*at, group, tier).is_some())
    }

    fn is_done(&self) -> bool {
        let has_all = match &self.subject {
            Subject::Prompt(_) => false,
            Subject::Salt(search) => search.is_over() && self.far == self.blocks.len(),
        };
        (has_all || self.far == self.wanted) && (self.near == self.far || self.nearest() != TierId::Device)
    }
}

/// All keepers.
#[derive(Debug, Default)]
pub(in crate::pager) struct Keepers {
    list: Vec<Keeper>,
    next: u64,
    /// Whose turn it is.
    turn: usize,
    /// Whether a load has failed or a block was erased since the last look: a keeper may hold a slot for nothing.
    has_failed: bool,
    /// Slots held, by kind, tier and group.
    held: [[[u32; ModelLayout::GROUPS_MAX]; KEPT_IN.len()]; 2],
    /// By tier: whether the policy was asked for room in this call.
    has_asked: [bool; KEPT_IN.len()],
    /// How many records searches may look at in this call.
    looks_left: usize,
    /// How often a hold has given way to a request.
    gave_way: u64,
}

impl Keepers {
    /// Notes that what a keeper holds may have come to nothing.
    pub(in crate::pager) fn note_failure(&mut self) {
        self.has_failed = true;
    }

    /// How many there are of a kind.
    pub(in crate::pager) fn count(&self, kind: KeeperKind) -> usize {
        self.list.iter().filter(|keeper| keeper.kind.index() == kind.index()).count()
    }

    /// The holds of `salt`.
    pub(in crate::pager) fn holds_of(&self, salt: Salt) -> impl Iterator<Item = KeeperId> + '_ {
        let is_meant = move |keeper: &&Keeper| keeper.salt == salt && keeper.is_hold();
        self.list.iter().filter(is_meant).map(|keeper| keeper.id)
    }

    /// Slots held in `tier`.
    pub(in crate::pager) fn slots_in(&self, tier: TierId) -> KeptSlots {
        let sum = |kind: usize| {
            let by_group = self.held[kind].get(tier.index());
            by_group.map_or(0, |slots| slots.iter().map(|slots| u64::from(*slots)).sum())
        };
        KeptSlots { prefetched: sum(0), held: sum(1) }
    }

    /// How often a hold has given way.
    pub(in crate::pager) fn gave_way(&self) -> u64 {
        self.gave_way
    }

    /// Who holds each slot how often; for checks.
    pub(in crate::pager) fn holds(&self) -> impl Iterator<Item = (TierId, GroupId, SlotId)> + '_ {
        self.list.iter().flat_map(|keeper| {
            let groups = keeper.groups;
            keeper.slots.iter().enumerate().filter(|(_, slot)| slot.is_some()).map(move |(place, slot)| {
                let group = GroupId::from_index(place / KEPT_IN.len() % groups);
                (KEPT_IN[place % KEPT_IN.len()], group, *slot)
            })
        })
    }
}

impl Core {
    /// Begins to keep the leading `wanted` blocks of `prompt`.
    pub(in crate::pager) fn add_keeper(
        &mut self,
        kind: KeeperKind,
        prompt: SequenceState,
        wanted: usize,
    ) -> KeeperId {
        self.add(kind, prompt.salt, Subject::Prompt(Box::new(prompt)), wanted)
    }

    /// Begins to keep what `salt` has, `most` blocks of it.
    pub(in crate::pager) fn add_keeper_of_salt(
        &mut self,
        kind: KeeperKind,
        salt: Salt,
        most: usize,
    ) -> KeeperId {
        let records = self.index.capacity();
        self.add(kind, salt, Subject::Salt(Search::new(records)), most.min(records))
    }

    fn add(&mut self, kind: KeeperKind, salt: Salt, subject: Subject, wanted: usize) -> KeeperId {
        let id = KeeperId(self.keepers.next);
        self.keepers.next += 1;
        self.keepers.list.push(Keeper {
            id,
            kind,
            salt,
            subject,
            groups: self.groups().len(),
            wanted,
            blocks: Vec::new(),
            slots: Vec::new(),
            far: 0,
            near: 0,
            held: [[0; ModelLayout::GROUPS_MAX]; KEPT_IN.len()],
            is_waiting: false,
            sound: 0,
            broken: None,
            is_away: false,
        });
        id
    }

    /// How many slots of a class a hold of `salt` may keep: its quota.
    fn quota_of(&self, salt: Salt, tier: TierId, group: GroupId) -> u32 {
        let tenants = self.index.tenants();
        if !tenants.has_quotas() {
            return UNLIMITED;
        }
        let class = PrefixIndex::class(group, tier);
        tenants.find(salt).map_or(tenants.default_quota(class), |tenant| tenants.quota(tenant, class))
    }

    /// Gives back a slice of what a keeper holds, which ends, and calls off those moves to there that it has started, nobody else waits for
    /// and no lane has begun. Returns whether that was all: then the keeper is no more.
    pub(in crate::pager) fn end_keeper_slice(&mut self, id: KeeperId) -> bool {
        let Some(at) = self.keepers.list.iter().position(|keeper| keeper.id == id) else { return true };
        let mut keeper = self.keepers.list.remove(at);
        keeper.is_away = true;
        let first = keeper.blocks.len().saturating_sub(self.config.limits.slice_blocks as usize);
        let mut goals = std::mem::take(&mut self.goals);
        for at in first..keeper.blocks.len() {
            let block = keeper.blocks[at];
            for group in self.groups() {
                for tier in KEPT_IN {
                    let slot = keeper.slot(at, group, tier);
                    let is_coming = slot.is_some()
                        && self.pools.pool(tier, group).state(slot) == SlotState::Filling
                        && self.pools.pool(tier, group).block(slot) == block;
                    let goal = Goal { block, group, slot };
                    goals[tier.index()].extend(is_coming.then_some(goal));
                }
            }
        }
        self.cut_keeper(&mut keeper, first);
        let Self { engine, pools, .. } = self;
        for (from, to) in
            [(TierId::File, TierId::Host), (TierId::Host, TierId::Device), (TierId::Device, TierId::Host)]
        {
            engine.call_off(from, to, &goals[to.index()], |flight| {
                let holds = pools.pool(to, flight.part.group).holds(flight.part.target);
                flight.priority == Priority::Prefetch && holds == 0
            });
        }
        goals.iter_mut().for_each(Vec::clear);
        self.goals = goals;
        self.signal.ring();
        if first > 0 {
            self.keepers.list.insert(at, keeper);
        }
        first == 0
    }

    /// Counts where a slice of the blocks of a keeper are, from block `from` on. Returns whether that was the last.
    pub(in crate::pager) fn kept_slice(&self, id: KeeperId, from: &mut usize, kept: &mut Kept) -> bool {
        let Some(keeper) = self.keepers.list.iter().find(|keeper| keeper.id == id) else { return true };
        kept.wanted = keeper.wanted;
        let until = keeper.far.min(*from + self.config.limits.slice_blocks as usize);
        for at in *from..until {
            let slots = self
                .groups()
                .flat_map(|group| KEPT_IN.map(|tier| (tier, group, keeper.slot(at, group, tier))));
            let mut tiers = [false; KEPT_IN.len()];
            let mut is_moving = false;
            for (tier, group, slot) in slots.filter(|(_, _, slot)| slot.is_some()) {
                tiers[tier.index()] = true;
                is_moving |= self.pools.pool(tier, group).state(slot) == SlotState::Filling;
            }
            kept.moving += usize::from(is_moving);
            kept.in_host += usize::from(!is_moving && tiers[TierId::Host.index()]);
            kept.on_device += usize::from(!is_moving && !tiers[TierId::Host.index()]);
        }
        *from = until;
        until >= keeper.far
    }

    /// Asserts K2, and that no more holds are kept than slots have; for tests.
    ///
    /// # Panics
    /// If it does not hold.
    pub(in crate::pager) fn check_keepers(&self) {
        let mut counted = [[0_u32; ModelLayout::GROUPS_MAX]; KEPT_IN.len()];
        for (tier, group, slot) in self.keepers.holds() {
            counted[tier.index()][group.index()] += 1;
            assert!(
                self.pools.pool(tier, group).holds(slot) > 0,
                "K1: {tier} {slot:?} is kept, and not held"
            );
        }
        for (tier, group, pool) in self.pools.iter().filter(|(tier, ..)| KEPT_IN.contains(tier)) {
            let by_kind = [0, 1].map(|kind: usize| self.keepers.held[kind][tier.index()][group.index()]);
            let reserves = &self.config.reserves;
            let most = [reserves.prefetched_share, reserves.held_share];
            assert!(
                by_kind.iter().sum::<u32>() == counted[tier.index()][group.index()],
                "K2: {counted:?} slots of {tier} {group:?} are kept, and {by_kind:?} counted"
            );
            for (held, share) in by_kind.into_iter().zip(most) {
                let most = reserves.slots(share, pool.capacity());
                assert!(held <= most, "K2: {held} slots of {tier} {group:?} are held, at most {most} may be");
            }
        }
        for keeper in &self.keepers.list {
            keeper.check_search(|block| self.index.parent(block));
        }
    }
}
