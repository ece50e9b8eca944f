//! Geometry: where the bytes of each slot stand in a tier's mapping.
//! Uses `kv_pager::layout`. Known by: `memory::arena`, `memory`.
//!
//! - **G1** every slot of every region of every class lies within `0..bytes`;
//! - **G2** no two of them share a byte: regions are laid one after the other, slots at multiples of their stride.
//!
//! A region holds one fragment of each slot of a class, so that adjacent slots are adjacent bytes in each region.

use kv_pager::Error;
use kv_pager::ids::{GroupId, TierId};
use kv_pager::layout::{DeviceLayout, Format, ModelLayout};
use kv_pager::tier::SlotClass;
use kv_pager::units::Bytes;
use std::ops::Range;

/// How the slots of one group lie.
#[derive(Debug)]
pub(crate) struct Class {
    slots: usize,
    /// Where each region starts.
    regions: Box<[usize]>,
    /// From a slot to the next in a region.
    stride: usize,
    /// The share of a part that lies in one region; the rest of the stride is padding.
    fragment_bytes: usize,
    /// One layer and side of a part.
    plane_bytes: usize,
}

impl Class {
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    pub(crate) fn regions(&self) -> usize {
        self.regions.len()
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// From a plane to the next, of one slot: regions are equally far apart.
    pub(crate) fn plane_stride(&self) -> usize {
        if let [first, second, ..] = *self.regions { second - first } else { self.plane_bytes }
    }

    pub(crate) fn fragment_bytes(&self) -> usize {
        self.fragment_bytes
    }

    /// Bytes of a whole part, without padding.
    pub(crate) fn part_bytes(&self) -> usize {
        self.fragment_bytes * self.regions.len()
    }

    /// The bytes of adjacent `slots` in `region`, padding included.
    ///
    /// # Panics
    /// If there are no such slots, or no such region.
    #[inline]
    pub(crate) fn run(&self, region: usize, slots: &Range<usize>) -> Range<usize> {
        assert!(slots.end <= self.slots, "slots {slots:?} of {}", self.slots);
        let start = self.regions[region];
        start + slots.start * self.stride..start + slots.end * self.stride
    }

    /// `bytes` bytes of `slot`'s part from `part_offset`, which must not leave a fragment.
    ///
    /// # Panics
    /// If there is no such slot, or the bytes leave their fragment.
    pub(crate) fn piece(&self, slot: usize, part_offset: usize, bytes: usize) -> Range<usize> {
        let (region, offset) = (part_offset / self.fragment_bytes, part_offset % self.fragment_bytes);
        self.piece_of_region(slot, region, offset, bytes)
    }

    /// Plane `index` of `slot`'s part. Engines come here all the time, so nothing is divided: that would take longer than
    /// being lent the slot.
    ///
    /// # Panics
    /// If there is no such slot or plane.
    #[inline]
    pub(crate) fn plane(&self, slot: usize, index: usize) -> Range<usize> {
        let (region, nth) = if self.regions.len() == 1 { (0, index) } else { (index, 0) };
        self.piece_of_region(slot, region, nth * self.plane_bytes, self.plane_bytes)
    }

    #[inline]
    fn piece_of_region(&self, slot: usize, region: usize, offset: usize, bytes: usize) -> Range<usize> {
        assert!(offset + bytes <= self.fragment_bytes, "{bytes} bytes from {offset} leave their fragment");
        let start = self.run(region, &(slot..slot + 1)).start + offset;
        start..start + bytes
    }
}

/// How the slots of all groups lie in one mapping.
#[derive(Debug)]
pub(crate) struct Geometry {
    classes: Box<[Class]>,
    bytes: Bytes,
}

impl Geometry {
    /// Slots as an engine's device has them: exact parts, in `layout`.
    ///
    /// # Errors
    /// [`Error::Configuration`] if a group has no slots, or there are more or fewer counts than groups.
    pub(crate) fn of_device(model: &ModelLayout, layout: DeviceLayout, slots: &[u32]) -> Result<Self, Error> {
        Self::new(TierId::Device, model, slots, |group| {
            let fragments = layout.fragments(model, group);
            let regions = fragments.len();
            let bytes = model.part_bytes(group).as_usize() / regions;
            Shape { regions, stride: bytes, fragment_bytes: bytes }
        })
    }

    /// Slots outside the device: one piece each, in `format`, padded to pages (Y3).
    ///
    /// # Errors
    /// As [`Geometry::of_device`].
    pub(crate) fn of_host(model: &ModelLayout, format: Format, slots: &[u32]) -> Result<Self, Error> {
        Self::new(TierId::Host, model, slots, |group| Shape {
            regions: 1,
            stride: model.slot_bytes(group, format).as_usize(),
            fragment_bytes: format
                .encoded_bytes(model.part_bytes(group), model.group(group).dtype)
                .as_usize(),
        })
    }

    fn new(
        tier: TierId,
        model: &ModelLayout,
        slots: &[u32],
        shape: impl Fn(GroupId) -> Shape,
    ) -> Result<Self, Error> {
        let wrong = |why: String| Error::Configuration { setting: "tier size", why };
        let groups = model.groups().len();
        if slots.len() != groups {
            return Err(wrong(format!(
                "{} slot counts for a model of {groups} groups; give one each",
                slots.len()
            )));
        }
        let mut end = Bytes::ZERO;
        let mut classes = Vec::with_capacity(groups);
        for (group, &count) in model.group_ids().zip(slots) {
            if count == 0 || count == u32::MAX {
                let index = group.index();
                return Err(wrong(format!(
                    "{count} slots for group {index} of the {tier} tier; give it 1 or more"
                )));
            }
            let Shape { regions, stride, fragment_bytes } = shape(group);
            let region_bytes = Bytes::new(stride as u64)
                .checked_mul(u64::from(count))
                .and_then(|bytes| bytes.round_up(Bytes::PAGE))
                .ok_or_else(|| wrong(format!("{count} slots exceed any address space")))?;
            let mut starts = Vec::with_capacity(regions);
            for _ in 0..regions {
                starts.push(end.as_usize());
                end = end
                    .checked_add(region_bytes)
                    .filter(|end| isize::try_from(end.as_u64()).is_ok())
                    .ok_or_else(|| wrong(format!("{count} slots exceed any address space")))?;
            }
            let plane_bytes = model.fragment_bytes(group).as_usize();
            let regions = starts.into_boxed_slice();
            classes.push(Class { slots: count as usize, regions, stride, fragment_bytes, plane_bytes });
        }
        Ok(Self { classes: classes.into_boxed_slice(), bytes: end })
    }

    pub(crate) fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Bytes of the mapping.
    pub(crate) fn bytes(&self) -> Bytes {
        self.bytes
    }

    /// What the tier tells of its slots.
    pub(crate) fn slot_classes(&self) -> Box<[SlotClass]> {
        let told = |class: &Class| SlotClass {
            slots: u32::try_from(class.slots).expect("made from a u32"),
            slot_bytes: Bytes::new((class.stride * class.regions.len()) as u64),
        };
        self.classes.iter().map(told).collect()
    }
}

/// What a class is built from.
struct Shape {
    regions: usize,
    stride: usize,
    fragment_bytes: usize,
}
