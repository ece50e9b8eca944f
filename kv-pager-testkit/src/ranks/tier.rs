//! A tier over the tiers of several ranks.
//! Known by: tests of several ranks.

use kv_pager::ids::{Fence, TierId};
use kv_pager::layout::Format;
use kv_pager::tier::{Health, Persistence, SlotClass, Tier};
use kv_pager::units::Bytes;
use std::sync::Arc;

/// One tier whose slots lie on each rank (RA4).
#[derive(Debug)]
pub struct RankedTier {
    ranks: Vec<Arc<dyn Tier>>,
    classes: Vec<SlotClass>,
}

impl RankedTier {
    /// A tier over one tier a rank.
    ///
    /// # Panics
    /// If there is no rank, or they have different numbers of slots.
    pub fn new(ranks: Vec<Arc<dyn Tier>>) -> Self {
        let groups = ranks.first().expect("a tier over ranks has some").classes().len();
        let class = |group: usize| {
            let slots = ranks[0].classes()[group].slots;
            assert!(ranks.iter().all(|rank| rank.classes()[group].slots == slots), "all ranks have {slots}");
            let slot_bytes: Bytes = ranks.iter().map(|rank| rank.classes()[group].slot_bytes).sum();
            SlotClass { slots, slot_bytes }
        };
        let classes = (0..groups).map(class).collect();
        Self { ranks, classes }
    }
}

impl Tier for RankedTier {
    fn id(&self) -> TierId {
        self.ranks[0].id()
    }

    fn classes(&self) -> &[SlotClass] {
        &self.classes
    }

    fn format(&self) -> Format {
        self.ranks[0].format()
    }

    fn is_fence_over(&self, fence: Fence) -> bool {
        self.ranks.iter().all(|rank| rank.is_fence_over(fence))
    }

    fn health(&self) -> Health {
        let weight = |health: &Health| match health {
            Health::Well => 0,
            Health::ReadOnly { .. } => 1,
            _ => 2,
        };
        let worst = self.ranks.iter().map(|rank| rank.health()).max_by_key(weight);
        worst.unwrap_or(Health::Well)
    }

    fn persistence(&self) -> Option<&dyn Persistence> {
        None
    }
}
