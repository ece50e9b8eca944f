//! What a policy sees: read-only, and no more than it may decide on.
//! Layer 8. Uses `ids`, `clock`, `pool`, `prefix`, `cost`. Known by: policies, `pager`.

use super::plan::EngineAbility;
use crate::clock::Time;
use crate::cost::{ByLane, CostModel};
use crate::ids::{BlockId, GroupId, PrefixHash, SlotId, TierId};
use crate::pool::{SlotCounts, SlotState, TierPools};
use crate::prefix::{BlockView, PrefixIndex};
use crate::units::{Bytes, Nanos};

/// What things take, and what they wait for.
#[derive(Clone, Copy, Debug)]
pub struct Prospects<'a> {
    /// What moves and prefill take here; `None` while nobody has measured them.
    pub costs: Option<&'a CostModel>,
    /// What the engine can do.
    pub engine: EngineAbility,
    /// How long each lane is busy with what is before a new load or, on the way down, a new write.
    pub queues: &'a ByLane<Nanos>,
    /// Bytes that were written to the file since the pager was built, or are about to be.
    pub written: Bytes,
    /// How long the device is busy with what open sequences have still to compute or, where the slots are the engine's, as it has said.
    pub compute_queue: Nanos,
    /// How many open sequences wait for moves, with nothing to compute meanwhile; where the device slots are an engine's, how many of its
    /// onboards have not ended.
    pub lanes_waiting: u32,
}

/// The state of the pager at the moment of a decision.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pools: &'a TierPools,
    index: &'a PrefixIndex,
    prospects: Prospects<'a>,
    demotable: [bool; TierId::COUNT],
    now: Time,
}

impl<'a> View<'a> {
    /// A view of these parts; `demotable` tells from which tiers blocks can be copied farther.
    pub fn new(
        pools: &'a TierPools,
        index: &'a PrefixIndex,
        prospects: Prospects<'a>,
        demotable: [bool; TierId::COUNT],
        now: Time,
    ) -> Self {
        Self { pools, index, prospects, demotable, now }
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.now
    }

    /// What things take, and what they wait for.
    pub fn prospects(&self) -> &Prospects<'a> {
        &self.prospects
    }

    /// Whether there is such a tier.
    pub fn has(&self, tier: TierId) -> bool {
        self.pools.has(tier)
    }

    /// How many slots a class has.
    ///
    /// # Panics
    /// If there is no such tier or group.
    pub fn capacity(&self, tier: TierId, group: GroupId) -> u32 {
        self.pools.pool(tier, group).capacity()
    }

    /// Whose part `slot` holds or will hold; `NONE` if nobody's.
    ///
    /// # Panics
    /// If there is no such tier, group or slot.
    pub fn block_in(&self, tier: TierId, group: GroupId, slot: SlotId) -> BlockId {
        self.pools.pool(tier, group).block(slot)
    }

    /// The slot that holds, or will hold, the part of `block`; `NONE` if there is none.
    pub fn slot_of(&self, block: BlockId, group: GroupId, tier: TierId) -> SlotId {
        self.index.location(block, group, tier)
    }

    /// Whether `slot` is resident and held by no sequence. A move may still read it.
    ///
    /// # Panics
    /// If there is no such tier, group or slot.
    pub fn is_idle(&self, tier: TierId, group: GroupId, slot: SlotId) -> bool {
        let pool = self.pools.pool(tier, group);
        pool.state(slot) == SlotState::Resident && pool.holds(slot) == 0
    }

    /// Whether a move reads or writes `slot`.
    ///
    /// # Panics
    /// If there is no such tier, group or slot.
    pub fn is_moving(&self, tier: TierId, group: GroupId, slot: SlotId) -> bool {
        self.pools.pool(tier, group).is_moving(slot)
    }

    /// How many children of `block` have a slot in this tier: while one has, the block's part there is not evicted, if the group
    /// needs every block. `O(1)` for the first such group, `O(children)` for others.
    pub fn children_in(&self, block: BlockId, group: GroupId, tier: TierId) -> u32 {
        self.index.children_in(block, group, tier)
    }

    /// Whether children in nearer tiers keep the copy in `tier` from going, if the block then lies in `after`.
    pub fn is_kept_by_nearer(&self, block: BlockId, group: GroupId, tier: TierId, after: TierId) -> bool {
        self.index.is_kept_by_nearer(block, group, tier, after)
    }

    /// Whether blocks of `tier` can be copied to the next one: it is there, in health, and a lane leads to it.
    pub fn can_demote_from(&self, tier: TierId) -> bool {
        self.demotable[tier.index()]
    }

    /// How many slots of a class are in each state.
    ///
    /// # Panics
    /// If there is no such tier or group.
    pub fn occupancy(&self, tier: TierId, group: GroupId) -> SlotCounts {
        self.pools.pool(tier, group).counts()
    }

    /// The blocks with a resident part that no sequence holds, least recently used first. `O(1)` a step.
    ///
    /// # Panics
    /// If there is no such tier or group.
    pub fn coldest(&self, tier: TierId, group: GroupId) -> impl Iterator<Item = BlockId> + use<'a> {
        let pool = self.pools.pool(tier, group);
        pool.coldest().filter(move |slot| !pool.is_moving(*slot)).map(move |slot| pool.block(slot))
    }

    /// The name of a block.
    pub fn hash(&self, block: BlockId) -> PrefixHash {
        self.index.hash(block)
    }

    /// The block before it; `NONE` for the first of a chain.
    pub fn parent(&self, block: BlockId) -> BlockId {
        self.index.parent(block)
    }

    /// What is known of a block.
    pub fn block(&self, block: BlockId) -> BlockView<'a> {
        self.index.view(block)
    }

    /// Whether `block` has come with a request that has not been told.
    pub fn is_untold(&self, block: BlockId) -> bool {
        self.index.view(block).uses == 0
    }

    /// Whether the part of `block` is whole in `tier`, or on its way there.
    pub fn is_bound_for(&self, block: BlockId, group: GroupId, tier: TierId) -> bool {
        let slot = self.index.location(block, group, tier);
        slot.is_some() && self.pools.has(tier) && self.pools.pool(tier, group).block(slot) == block
    }

    /// Whether the part of `block` is whole in `tier`.
    pub fn is_in(&self, block: BlockId, group: GroupId, tier: TierId) -> bool {
        self.pools.has(tier)
            && self.pools.is_whole(tier, group, self.index.location(block, group, tier), block)
    }
}
