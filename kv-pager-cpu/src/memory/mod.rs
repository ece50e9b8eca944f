//! Memory: a tier of slots in one anonymous mapping.
//! Uses `borrow`. Known by: `lane`, `backend`, engines on a CPU.
//!
//! - **H1** every page is there before the tier is: a size that the machine or its cgroup can't give is refused first;
//! - **H2** a slot's bytes are reached only through a guard: readers together, a writer alone, and nobody waits.
//!
//! As the device, a part lies as the engine wants it; as host memory, in one piece that starts at a page, so that direct
//! I/O can take it.

mod arena;
mod geometry;
mod guard;
mod headroom;
mod mapping;
mod place;

pub(crate) use arena::{RunRead, RunWrite};
pub use guard::{SlotRead, SlotWrite};
pub use headroom::Machine;
pub use place::{PlanesAt, SlotsAt};

use arena::Arena;
use geometry::Geometry;
use kv_pager::Error;
use kv_pager::ids::{Fence, GroupId, SlotId, TierId};
use kv_pager::layout::{DeviceLayout, Format, ModelLayout};
use kv_pager::tier::{Health, MoveFault, Persistence, SlotClass, Tier};
use std::ops::Range;

/// Someone else is using the slot in a way that excludes this one: a rule was broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("slot {slot:?} of group {group:?} in the {tier} tier is in use by someone else")]
pub struct SlotBusy {
    /// The tier.
    pub tier: TierId,
    /// The slot's class.
    pub group: GroupId,
    /// The slot, or the first of a run one of which it is.
    pub slot: SlotId,
}

impl From<SlotBusy> for MoveFault {
    fn from(_: SlotBusy) -> Self {
        Self::Busy
    }
}

/// Slots in this process's memory.
#[derive(Debug)]
pub struct HostTier {
    id: TierId,
    format: Format,
    classes: Box<[SlotClass]>,
    arena: Arena,
}

impl HostTier {
    /// Memory that plays the device: `slots[g]` slots for group `g`, in `layout`, with exact parts.
    ///
    /// Blocks until every page has been touched: about 0.2 s/GiB.
    ///
    /// # Errors
    /// [`Error::Configuration`] if a group has no slots; [`Error::OutOfMemory`] if the machine or its cgroup can't give so
    /// much (H1); [`Error::Io`] if the kernel refuses the mapping.
    pub fn device(model: &ModelLayout, layout: DeviceLayout, slots: &[u32]) -> Result<Self, Error> {
        let geometry = Geometry::of_device(model, layout, slots)?;
        Self::new(TierId::Device, Format::Raw, geometry, &Machine::here())
    }

    /// Host memory: `slots[g]` slots for group `g`, each in one piece at a page, in `format`.
    ///
    /// # Errors
    /// As [`HostTier::device`].
    pub fn host(model: &ModelLayout, format: Format, slots: &[u32]) -> Result<Self, Error> {
        let geometry = Geometry::of_host(model, format, slots)?;
        Self::new(TierId::Host, format, geometry, &Machine::here())
    }

    fn new(id: TierId, format: Format, geometry: Geometry, machine: &Machine) -> Result<Self, Error> {
        let (wanted, available) = (geometry.bytes(), machine.available());
        if wanted > available {
            return Err(Error::OutOfMemory { tier: id, wanted, available });
        }
        let classes = geometry.slot_classes();
        let map = mapping::touched(wanted).map_err(|source| Error::Io {
            tier: id,
            action: format!("map {wanted} of memory; choose a smaller size"),
            source,
        })?;
        Ok(Self { id, format, classes, arena: Arena::new(map, geometry) })
    }

    /// Lends `slot` for reading. Allocates nothing; nanoseconds.
    ///
    /// # Errors
    /// [`SlotBusy`] if someone is writing it.
    ///
    /// # Panics
    /// If the tier has no such slot.
    #[inline]
    pub fn read(&self, group: GroupId, slot: SlotId) -> Result<SlotRead<'_>, SlotBusy> {
        self.read_run(group, slot, 1).map(|run| SlotRead { run })
    }

    /// Lends `slot` for writing; its bytes stay as they are until they are written. Allocates nothing; nanoseconds.
    ///
    /// # Errors
    /// [`SlotBusy`] if someone is using it.
    ///
    /// # Panics
    /// If the tier has no such slot.
    #[inline]
    pub fn write(&self, group: GroupId, slot: SlotId) -> Result<SlotWrite<'_>, SlotBusy> {
        self.write_run(group, slot, 1).map(|run| SlotWrite { run })
    }

    #[inline]
    pub(crate) fn read_run(
        &self,
        group: GroupId,
        first: SlotId,
        slots: usize,
    ) -> Result<RunRead<'_>, SlotBusy> {
        let busy = SlotBusy { tier: self.id, group, slot: first };
        self.arena.try_read(group.index(), range(first, slots)).ok_or(busy)
    }

    #[inline]
    pub(crate) fn write_run(
        &self,
        group: GroupId,
        first: SlotId,
        slots: usize,
    ) -> Result<RunWrite<'_>, SlotBusy> {
        let busy = SlotBusy { tier: self.id, group, slot: first };
        self.arena.try_write(group.index(), range(first, slots)).ok_or(busy)
    }

    /// Bytes of a part of `group` as this tier keeps it, without padding.
    pub(crate) fn kept_bytes(&self, group: GroupId) -> usize {
        self.arena.geometry().classes()[group.index()].part_bytes()
    }
}

fn range(first: SlotId, slots: usize) -> Range<usize> {
    first.index()..first.index() + slots
}

impl Tier for HostTier {
    fn id(&self) -> TierId {
        self.id
    }

    fn classes(&self) -> &[SlotClass] {
        &self.classes
    }

    fn format(&self) -> Format {
        self.format
    }

    /// Work on a CPU is done when its call returns, so there are no other fences.
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

#[cfg(test)]
mod tests;
