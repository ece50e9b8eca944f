//! The pools of all tiers, by tier and group.
//! Layer 2. Uses `ids`. Known by: `policy`, `pager`.

use super::{SlotPool, SlotState};
use crate::ids::{BlockId, GroupId, SlotId, TierId};

/// One pool for each tier that there is and each group of the model.
#[derive(Debug)]
pub struct TierPools {
    tiers: [Vec<SlotPool>; TierId::COUNT],
}

impl TierPools {
    /// Pools of the given capacities: by tier, then by group; a tier that is not there has none.
    pub fn new(capacities: [Vec<u32>; TierId::COUNT]) -> Self {
        Self { tiers: capacities.map(|groups| groups.into_iter().map(SlotPool::new).collect()) }
    }

    /// Whether there is such a tier.
    pub fn has(&self, tier: TierId) -> bool {
        !self.tiers[tier.index()].is_empty()
    }

    /// The pool of `group` in `tier`.
    ///
    /// # Panics
    /// If there is no such tier or group.
    pub fn pool(&self, tier: TierId, group: GroupId) -> &SlotPool {
        &self.tiers[tier.index()][group.index()]
    }

    /// The same, to be changed.
    ///
    /// # Panics
    /// If there is no such tier or group.
    pub fn pool_mut(&mut self, tier: TierId, group: GroupId) -> &mut SlotPool {
        &mut self.tiers[tier.index()][group.index()]
    }

    /// Whether `slot` of `tier` holds the whole part of `block`: resident, or leaving and still there.
    pub fn is_whole(&self, tier: TierId, group: GroupId, slot: SlotId, block: BlockId) -> bool {
        slot.is_some() && {
            let pool = self.pool(tier, group);
            pool.block(slot) == block && matches!(pool.state(slot), SlotState::Resident | SlotState::Leaving)
        }
    }

    /// All pools that there are.
    pub fn iter(&self) -> impl Iterator<Item = (TierId, GroupId, &SlotPool)> {
        TierId::ALL.into_iter().flat_map(move |tier| {
            let pools = self.tiers[tier.index()].iter().enumerate();
            pools.map(move |(group, pool)| (tier, GroupId::from_index(group), pool))
        })
    }
}
