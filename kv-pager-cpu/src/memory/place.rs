//! Memory that someone else mapped: a host tier over it, and where its slots lie.
//! Uses `memory`. Known by: backends of devices, which page-lock the memory and copy from and to it by address.
//!
//! A device's copy engine makes no reference into the memory, so no guard is needed for it: the pager gives a slot to one
//! move at a time (I2), and the guards of this tier's own readers and writers come and go within theirs.

use super::arena::Arena;
use super::geometry::Geometry;
use super::{HostTier, Machine};
use kv_pager::Error;
use kv_pager::ids::{GroupId, TierId};
use kv_pager::layout::{Format, ModelLayout};
use kv_pager::units::Bytes;
use memmap2::MmapRaw;

/// Where the slots of one group lie in a tier's mapping: slot `s` at `offset + s * stride`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotsAt {
    /// Of slot 0.
    pub offset: usize,
    /// From slot to slot.
    pub stride: usize,
    /// How many there are.
    pub slots: usize,
}

/// Where the planes of one group's parts lie: plane `p` of slot `s` at `offset + p * plane_stride + s * slot_stride`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlanesAt {
    /// Of plane 0 of slot 0.
    pub offset: usize,
    /// From plane to plane.
    pub plane_stride: usize,
    /// From slot to slot.
    pub slot_stride: usize,
    /// How many slots there are.
    pub slots: usize,
}

impl HostTier {
    /// Bytes of the mapping that [`HostTier::host_over`] needs for the same arguments.
    ///
    /// # Errors
    /// [`Error::Configuration`] if a group has no slots; [`Error::OutOfMemory`] if the machine or its cgroup can't give so
    /// much.
    pub fn host_bytes(model: &ModelLayout, format: Format, slots: &[u32]) -> Result<Bytes, Error> {
        let wanted = Geometry::of_host(model, format, slots)?.bytes();
        let available = Machine::here().available();
        if wanted > available {
            return Err(Error::OutOfMemory { tier: TierId::Host, wanted, available });
        }
        Ok(wanted)
    }

    /// Host memory in `map`, every page of which the caller has touched; as [`HostTier::host`] otherwise.
    ///
    /// # Errors
    /// [`Error::Configuration`] if a group has no slots.
    ///
    /// # Panics
    /// If `map` is smaller than [`HostTier::host_bytes`].
    pub fn host_over(
        model: &ModelLayout,
        format: Format,
        slots: &[u32],
        map: MmapRaw,
    ) -> Result<Self, Error> {
        let geometry = Geometry::of_host(model, format, slots)?;
        let classes = geometry.slot_classes();
        Ok(Self { id: TierId::Host, format, classes, arena: Arena::new(map, geometry) })
    }

    /// Where the tier's memory is, and how long. It stays there while the tier lives.
    pub fn memory(&self) -> (*mut u8, usize) {
        self.arena.memory()
    }

    /// Where the slots of `group` lie in it, for a tier whose parts are one piece.
    ///
    /// # Panics
    /// If the tier has no such group, or its parts are several pieces.
    pub fn slots_at(&self, group: GroupId) -> SlotsAt {
        let class = &self.arena.geometry().classes()[group.index()];
        assert!(class.regions() == 1, "parts of {} pieces", class.regions());
        SlotsAt { offset: class.run(0, &(0..0)).start, stride: class.stride(), slots: class.slots() }
    }

    /// Where the planes of `group` lie in it, in either layout.
    ///
    /// # Panics
    /// If the tier has no such group.
    pub fn planes_at(&self, group: GroupId) -> PlanesAt {
        let class = &self.arena.geometry().classes()[group.index()];
        PlanesAt {
            offset: class.run(0, &(0..0)).start,
            plane_stride: class.plane_stride(),
            slot_stride: class.stride(),
            slots: class.slots(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::HostTier;
    use kv_pager::ids::{GroupId, SlotId};
    use kv_pager::layout::{DeviceLayout, Format, shape};
    use memmap2::MmapOptions;

    #[test]
    fn planes_lie_where_it_is_said() {
        let model = shape("tiny").expect("known");
        for layout in [DeviceLayout::LayerMajor, DeviceLayout::BlockMajor] {
            let tier = HostTier::device(&model, layout, &[5]).expect("small");
            let (at, start) = (tier.planes_at(GroupId::FIRST), tier.memory().0);
            for slot in 0..at.slots {
                let lent = tier.read(GroupId::FIRST, SlotId::from_index(slot)).expect("free");
                for plane in 0..model.group(GroupId::FIRST).fragments() as usize {
                    let offset = at.offset + plane * at.plane_stride + slot * at.slot_stride;
                    assert_eq!(lent.plane(plane).as_ptr(), start.wrapping_add(offset).cast_const());
                }
            }
        }
    }

    #[test]
    fn slots_lie_where_it_is_said() {
        let model = shape("tiny").expect("known");
        let bytes = HostTier::host_bytes(&model, Format::Raw, &[4]).expect("small");
        let map = MmapOptions::new().len(bytes.as_usize()).map_anon().expect("small");
        let start = map.as_ptr();
        let tier = HostTier::host_over(&model, Format::Raw, &[4], map.into()).expect("valid");
        let place = tier.slots_at(GroupId::FIRST);
        assert_eq!((place.offset, place.stride, place.slots), (0, 8192, 4));
        assert_eq!(tier.memory().0.cast_const(), start);
        let slot = tier.read(GroupId::FIRST, SlotId::from_index(3)).expect("free");
        assert_eq!(slot.fragment(0).as_ptr(), start.wrapping_add(3 * 8192));
    }
}
