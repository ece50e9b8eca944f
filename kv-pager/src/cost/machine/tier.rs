//! A tier without memory: it has slots, and says so.
//! Layer 6. Uses `ids`, `layout`, `tier`, `units`. Known by: `cost::machine`.

use super::VirtualTierSize;
use crate::error::Error;
use crate::ids::{Fence, GroupId, TierId};
use crate::layout::{Format, ModelLayout};
use crate::tier::{Health, Persistence, SlotClass, Tier};
use crate::units::Bytes;

/// Slots of no bytes. All work on it is done when the call returns: [`Fence::OVER`] is the only fence.
#[derive(Debug)]
pub struct VirtualTier {
    id: TierId,
    format: Format,
    classes: Vec<SlotClass>,
}

impl VirtualTier {
    /// A tier of this size. Every class has as many slots, so that a block fits whole or not at all.
    pub(super) fn new(model: &ModelLayout, size: VirtualTierSize) -> Result<Self, Error> {
        let slot_bytes = |group: GroupId| match size.tier {
            TierId::Device => model.part_bytes(group),
            TierId::Host | TierId::File => model.slot_bytes(group, size.format),
        };
        let block_bytes: Bytes = model.group_ids().map(slot_bytes).sum();
        let slots = u32::try_from(size.bytes.div_down(block_bytes)).unwrap_or(u32::MAX - 1);
        if slots == 0 {
            let why =
                format!("{} hold no block of {block_bytes}; give tier {} more bytes", size.bytes, size.tier);
            return Err(Error::Configuration { setting: "virtual tier", why });
        }
        let classes =
            model.group_ids().map(|group| SlotClass { slots, slot_bytes: slot_bytes(group) }).collect();
        Ok(Self { id: size.tier, format: size.format, classes })
    }
}

impl Tier for VirtualTier {
    fn id(&self) -> TierId {
        self.id
    }

    fn classes(&self) -> &[SlotClass] {
        &self.classes
    }

    fn format(&self) -> Format {
        self.format
    }

    fn is_fence_over(&self, fence: Fence) -> bool {
        fence == Fence::OVER
    }

    fn health(&self) -> Health {
        Health::Well
    }

    fn persistence(&self) -> Option<&dyn Persistence> {
        None
    }
}
