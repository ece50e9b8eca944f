//! Whereabouts: in which tier a part of a block is, or from which it is coming.
//! Layer 9. Known by: `pager::{matching, planning, open, opening}`.

use super::core::Core;
use crate::ids::{BlockId, GroupId, TierId};
use crate::policy::MatchedBlock;
use crate::pool::SlotState;

/// Where a part of a block is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Whereabouts {
    /// The nearest tier where it is whole or, on the device, about to be.
    pub(super) tier: TierId,
    /// From where it is being loaded into the device, if it is.
    pub(super) coming_from: Option<TierId>,
}

impl Whereabouts {
    /// On the device, whole.
    pub(super) const READY: Self = Self { tier: TierId::Device, coming_from: None };

    /// Whether it is on the device, whole.
    pub(super) fn is_ready(self) -> bool {
        self == Self::READY
    }

    /// A match of `block`, which is there.
    pub(super) fn of(self, block: BlockId) -> MatchedBlock {
        MatchedBlock { block, nearest: self.tier, coming_from: self.coming_from }
    }

    /// Of two parts of a block that are both needed: where the block is, as far as these say.
    pub(super) fn with(self, other: Self) -> Self {
        Self { tier: self.tier.max(other.tier), coming_from: self.coming_from.max(other.coming_from) }
    }
}

impl From<MatchedBlock> for Whereabouts {
    fn from(found: MatchedBlock) -> Self {
        Self { tier: found.nearest, coming_from: found.coming_from }
    }
}

impl Core {
    /// The nearest tier where the part is whole or, on the device, about to be.
    pub(super) fn nearest_part(&self, block: BlockId, group: GroupId) -> Option<TierId> {
        self.find_part(block, group).map(|part| part.tier)
    }

    /// Where a part of a block is, if it is anywhere.
    #[inline]
    pub(super) fn find_part(&self, block: BlockId, group: GroupId) -> Option<Whereabouts> {
        let device_slot = self.index.location(block, group, TierId::Device);
        let is_lost = self.lost[TierId::Device.index()] || self.is_engines();
        let pool = self.pools.pool(TierId::Device, group);
        if device_slot.is_some() && !is_lost && pool.block(device_slot) == block {
            let is_coming = pool.state(device_slot) == SlotState::Filling;
            let coming_from = if is_coming { self.nearest_below(block, group) } else { None };
            return Some(Whereabouts { tier: TierId::Device, coming_from });
        }
        let tier = self.nearest_below(block, group)?;
        Some(Whereabouts { tier, coming_from: None })
    }

    /// The nearest tier below the device where the part is whole.
    pub(super) fn nearest_below(&self, block: BlockId, group: GroupId) -> Option<TierId> {
        [TierId::Host, TierId::File].into_iter().find(|tier| self.whole(block, group, *tier).is_some())
    }
}
