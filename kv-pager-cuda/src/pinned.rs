//! The pinned tier: slots in host memory that devices read and write at the link's full speed.
//! Uses `mapping`, `driver::Registration`, `device`. Known by: `lane`, `backend`.
//!
//! - **H1** a rank's slices lie in one mapping on its device's node, page-locked from construction to drop;
//! - **H2** slot `s` of a group is at `offset + s * stride` of each rank's mapping, in whole pages;
//! - **H3** registration ends before the mapping does (fields drop in order).
#![expect(unsafe_code, reason = "a mapping is registered with the driver")]

use crate::device::DeviceTier;
use crate::driver::Registration;
use crate::fences::Fences;
use crate::mapping::Mapping;
use kv_pager::Error;
use kv_pager::ids::{Fence, GroupId, SlotId, TierId};
use kv_pager::layout::Format;
use kv_pager::tier::{Health, Persistence, SlotClass, Tier};
use kv_pager::units::Bytes;
use std::sync::Arc;

/// Where the slots of one group lie in each rank's mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClassPlace {
    pub(crate) offset: u64,
    pub(crate) stride: u64,
    pub(crate) slots: u32,
    part_bytes: u64,
}

/// One rank's slices.
#[derive(Debug)]
pub(crate) struct RankMemory {
    /// H3: before the mapping.
    registration: Registration,
    mapping: Mapping,
}

impl RankMemory {
    /// Where copies find the mapping.
    pub(crate) fn address(&self) -> u64 {
        self.mapping.start().addr() as u64
    }

    /// Where kernels find it.
    pub(crate) fn device_address(&self) -> u64 {
        self.registration.device_address()
    }
}

/// Slots in page-locked host memory.
#[derive(Debug)]
pub struct PinnedTier {
    ranks: Vec<RankMemory>,
    places: Vec<ClassPlace>,
    classes: Vec<SlotClass>,
    fences: Arc<Fences>,
}

impl PinnedTier {
    /// A tier for `device`'s parts with `slots` slots of each group. Blocks while memory is touched: 20 GiB/s or so.
    ///
    /// # Errors
    /// [`Error::Configuration`] if the numbers do not fit the model; [`Error::OutOfMemory`] if the machine, or what it lets
    /// a process lock, is too small.
    pub fn new(device: &DeviceTier, slots: &[u32]) -> Result<Self, Error> {
        let slice = device.slice();
        let wrong = |why: String| Error::Configuration { setting: "host slots", why };
        if slots.len() != slice.groups().len() || slots.contains(&0) {
            return Err(wrong(format!("{slots:?} slots for {} groups", slice.groups().len())));
        }
        let ranks = device.ranks().len() as u64;
        let mut places = Vec::with_capacity(slots.len());
        let mut bytes = Bytes::ZERO;
        for (group, count) in slice.group_ids().zip(slots) {
            let stride = slice.slot_bytes(group, Format::Raw);
            let part_bytes = slice.part_bytes(group).as_u64();
            places.push(ClassPlace {
                offset: bytes.as_u64(),
                stride: stride.as_u64(),
                slots: *count,
                part_bytes,
            });
            let class = stride.checked_mul(u64::from(*count)).and_then(|class| bytes.checked_add(class));
            bytes = class.ok_or_else(|| wrong("more bytes than there are".to_owned()))?;
        }
        let memory = |device: &Arc<crate::driver::Device>| {
            let mapping = Mapping::new(bytes.as_usize(), device.node());
            let mapping = mapping.map_err(|source| Error::Io {
                tier: TierId::Host,
                action: format!("mapping {bytes} of host memory"),
                source,
            })?;
            // SAFETY: A1: the mapping is private and, by H3, outlives the registration.
            let registration = unsafe { Registration::new(device, mapping.start(), mapping.bytes()) };
            let registration = registration.map_err(|error| {
                if error.is_out_of_memory() {
                    Error::OutOfMemory { tier: TierId::Host, wanted: bytes, available: Bytes::ZERO }
                } else {
                    error.tell(TierId::Host, "page-locking host memory")
                }
            })?;
            Ok(RankMemory { registration, mapping })
        };
        let memories = device.devices().iter().map(memory).collect::<Result<_, Error>>()?;
        let class = |place: &ClassPlace| SlotClass {
            slots: place.slots,
            slot_bytes: Bytes::new(place.stride * ranks),
        };
        let classes = places.iter().map(class).collect();
        Ok(Self { ranks: memories, places, classes, fences: Arc::clone(device.fences()) })
    }

    pub(crate) fn ranks(&self) -> &[RankMemory] {
        &self.ranks
    }

    pub(crate) fn place(&self, group: GroupId) -> ClassPlace {
        self.places[group.index()]
    }

    /// Copies the part in `slot` into `into`, all ranks' slices one after the other. Whoever calls has the slot: no move
    /// into it is under way.
    ///
    /// # Panics
    /// If there is no such slot, or `into` is no part long.
    pub fn read_slot(&self, group: GroupId, slot: SlotId, into: &mut [u8]) {
        let (offset, slice) = self.range(group, slot, into.len());
        for (rank, into) in self.ranks.iter().zip(into.chunks_exact_mut(slice)) {
            rank.mapping.read(offset, into);
        }
    }

    /// Copies `from` into `slot`, all ranks' slices one after the other. Whoever calls has the slot: no move from or into it
    /// is under way.
    ///
    /// # Panics
    /// If there is no such slot, or `from` is no part long.
    pub fn write_slot(&self, group: GroupId, slot: SlotId, from: &[u8]) {
        let (offset, slice) = self.range(group, slot, from.len());
        for (rank, from) in self.ranks.iter().zip(from.chunks_exact(slice)) {
            rank.mapping.write(offset, from);
        }
    }

    /// Where a slot begins in each mapping (H2), and the bytes of a slice.
    fn range(&self, group: GroupId, slot: SlotId, bytes: usize) -> (usize, usize) {
        let place = self.place(group);
        assert!(slot.as_u32() < place.slots, "slot {slot:?} of {}", place.slots);
        let slice = usize::try_from(place.part_bytes).expect("a part has at most 1 GiB");
        assert!(
            bytes == slice * self.ranks.len(),
            "{bytes} bytes for {} slices of {slice}",
            self.ranks.len()
        );
        let offset = place.offset + place.stride * u64::from(slot.as_u32());
        (usize::try_from(offset).expect("it lies in a mapping"), slice)
    }

    /// Leaves the memory mapped and locked for good: a copy into it never ended.
    pub(crate) fn give_up(&self) {
        self.ranks.iter().for_each(|rank| {
            rank.registration.give_up();
            rank.mapping.give_up();
        });
    }
}

impl Tier for PinnedTier {
    fn id(&self) -> TierId {
        TierId::Host
    }

    fn classes(&self) -> &[SlotClass] {
        &self.classes
    }

    fn format(&self) -> Format {
        Format::Raw
    }

    fn is_fence_over(&self, fence: Fence) -> bool {
        self.fences.is_over(fence)
    }

    fn health(&self) -> Health {
        Health::Well
    }

    fn persistence(&self) -> Option<&dyn Persistence> {
        None
    }
}
