//! What a policy sees: read-only, and no more than it may decide on.
//! Layer 8. Uses `ids`, `clock`, `pool`, `prefix`. Known by: policies, `pager`.

use crate::clock::Time;
use crate::ids::{BlockId, GroupId, TierId};
use crate::pool::{SlotCounts, TierPools};
use crate::prefix::{BlockView, PrefixIndex};

/// The state of the pager at the moment of a decision.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pools: &'a TierPools,
    index: &'a PrefixIndex,
    demotable: [bool; TierId::COUNT],
    now: Time,
}

impl<'a> View<'a> {
    /// A view of these parts; `demotable` tells from which tiers blocks can be copied farther.
    pub fn new(
        pools: &'a TierPools,
        index: &'a PrefixIndex,
        demotable: [bool; TierId::COUNT],
        now: Time,
    ) -> Self {
        Self { pools, index, demotable, now }
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.now
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

    /// What is known of a block.
    pub fn block(&self, block: BlockId) -> BlockView<'a> {
        self.index.view(block)
    }

    /// Whether the part of `block` is whole in `tier`.
    pub fn is_in(&self, block: BlockId, group: GroupId, tier: TierId) -> bool {
        self.pools.has(tier)
            && self.pools.is_whole(tier, group, self.index.location(block, group, tier), block)
    }
}
