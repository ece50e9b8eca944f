//! The pinned tier: slots in host memory that devices read and write at the link's full speed.
//! Uses the CPU backend's [`HostTier`], `mapping`, `driver::Registration`, `device`. Known by: `lane`, `backend`.
//!
//! - **H1** the memory is page-locked from construction to drop, and stays mapped for as long: the registration keeps the
//!   host tier;
//! - **H2** slot `s` of a group is at `offset + s * stride`, and rank `r`'s slice `r * slice_bytes` further in;
//! - **H3** memory that a device may still be writing is neither unlocked nor unmapped: it is given up instead.
//!
//! It stands on a [`HostTier`], so that lanes to and from files read and write the same memory directly.
#![expect(unsafe_code, reason = "a mapping is registered with the driver")]

use crate::device::DeviceTier;
use crate::driver::Registration;
use crate::fences::Fences;
use crate::mapping::{Placed, touched};
use crate::ranks::stacked_layout;
use kv_pager::Error;
use kv_pager::ids::{Fence, GroupId, SlotId, TierId};
use kv_pager::layout::{Format, ModelLayout};
use kv_pager::tier::{Health, Persistence, SlotClass, Tier};
use kv_pager::units::Bytes;
use kv_pager_cpu::HostTier;
use std::sync::Arc;

/// Where the slots of one group lie (H2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClassPlace {
    pub(crate) offset: u64,
    pub(crate) stride: u64,
    pub(crate) slice_bytes: u64,
}

/// Slots in page-locked host memory.
#[derive(Debug)]
pub struct PinnedTier {
    /// H1.
    registration: Registration,
    memory: Arc<HostTier>,
    layout: ModelLayout,
    places: Vec<ClassPlace>,
    fences: Arc<Fences>,
}

impl PinnedTier {
    /// A tier for `device`'s parts with `slots` slots of each group. Blocks while memory is touched and locked: at 6 GB/s.
    ///
    /// # Errors
    /// [`Error::Configuration`] if the numbers do not fit the model; [`Error::OutOfMemory`] if the machine, or what it lets
    /// a process lock, is too small.
    pub fn new(device: &DeviceTier, slots: &[u32]) -> Result<Self, Error> {
        let ranks = device.ranks().len();
        let layout = stacked_layout(device.slice(), ranks)?;
        let bytes = HostTier::host_bytes(&layout, Format::Raw, slots)?;
        let map =
            touched(bytes.as_usize(), &mut places(device, &layout, slots, bytes)).map_err(|source| {
                let action = format!("mapping {bytes} of host memory");
                Error::Io { tier: TierId::Host, action, source }
            })?;
        let memory = Arc::new(HostTier::host_over(&layout, Format::Raw, slots, map)?);
        let owner: Arc<dyn std::any::Any + Send + Sync> = Arc::<HostTier>::clone(&memory);
        // SAFETY: the mapping is private, and the host tier keeps it while it lives.
        let registration = unsafe { Registration::new(&device.devices()[0], memory.memory(), owner) };
        let registration = registration.map_err(|error| {
            if error.is_out_of_memory() {
                Error::OutOfMemory { tier: TierId::Host, wanted: bytes, available: Bytes::ZERO }
            } else {
                error.tell(TierId::Host, "page-locking host memory")
            }
        })?;
        let place = |group: GroupId| {
            let at = memory.slots_at(group);
            let slice_bytes = device.slice().part_bytes(group).as_u64();
            ClassPlace { offset: at.offset as u64, stride: at.stride as u64, slice_bytes }
        };
        let places = layout.group_ids().map(place).collect();
        Ok(Self { registration, memory, layout, places, fences: Arc::clone(device.fences()) })
    }

    /// The host tier that the memory belongs to: what lanes to and from files work with.
    pub fn memory(&self) -> &Arc<HostTier> {
        &self.memory
    }

    /// The layout of what a slot holds: all ranks' slices together.
    pub fn layout(&self) -> &ModelLayout {
        &self.layout
    }

    /// The fences of the device tier that this one was made for.
    pub(crate) fn fences(&self) -> &Fences {
        &self.fences
    }

    pub(crate) fn place(&self, group: GroupId) -> ClassPlace {
        self.places[group.index()]
    }

    /// Where copies find `rank`'s slice of slot 0.
    pub(crate) fn address(&self, group: GroupId, rank: usize) -> u64 {
        self.memory.memory().0.addr() as u64 + self.slice_offset(group, rank)
    }

    /// Where kernels find it.
    pub(crate) fn device_address(&self, group: GroupId, rank: usize) -> u64 {
        self.registration.device_address() + self.slice_offset(group, rank)
    }

    fn slice_offset(&self, group: GroupId, rank: usize) -> u64 {
        let place = self.place(group);
        place.offset + place.slice_bytes * rank as u64
    }

    /// Copies the part in `slot` into `into`, all ranks' slices one after the other. Whoever calls has the slot: no move
    /// into it is under way.
    ///
    /// # Panics
    /// If there is no such slot, a lane to or from a file is using it, or `into` is no part long.
    pub fn read_slot(&self, group: GroupId, slot: SlotId, into: &mut [u8]) {
        let lent = self.memory.read(group, slot).expect("whoever calls has the slot");
        into.copy_from_slice(lent.fragment(0));
    }

    /// Copies `from` into `slot`, all ranks' slices one after the other. Whoever calls has the slot: no move from or into it
    /// is under way.
    ///
    /// # Panics
    /// If there is no such slot, a lane to or from a file is using it, or `from` is no part long.
    pub fn write_slot(&self, group: GroupId, slot: SlotId, from: &[u8]) {
        let mut lent = self.memory.write(group, slot).expect("whoever calls has the slot");
        lent.fragment_mut(0).copy_from_slice(from);
    }

    /// H3.
    pub(crate) fn give_up(&self) {
        self.registration.give_up();
    }
}

/// Which bytes of the mapping should be near which card: each rank's slice of each slot near its own, or all of it anywhere
/// where that makes no difference.
fn places<'a>(
    device: &'a DeviceTier,
    layout: &'a ModelLayout,
    slots: &'a [u32],
    bytes: Bytes,
) -> Box<dyn Iterator<Item = Placed> + 'a> {
    let nodes: Vec<_> = device.devices().iter().map(|device| device.node()).collect();
    if nodes.iter().all(|node| *node == nodes[0]) {
        return Box::new(std::iter::once((0, bytes.as_usize(), nodes[0])));
    }
    let mut start = 0;
    Box::new(layout.group_ids().zip(slots).flat_map(move |(group, slots)| {
        let stride = layout.slot_bytes(group, Format::Raw).as_usize();
        let slice = device.slice().part_bytes(group).as_usize();
        let (first, nodes) = (start, nodes.clone());
        start += stride * *slots as usize;
        (0..*slots as usize).flat_map(move |slot| {
            let nodes = nodes.clone();
            (0..nodes.len()).map(move |rank| {
                let offset = slice * rank;
                let end = if rank + 1 == nodes.len() { stride } else { offset + slice };
                (first + slot * stride + offset, end - offset, nodes[rank])
            })
        })
    }))
}

impl Tier for PinnedTier {
    fn id(&self) -> TierId {
        TierId::Host
    }

    fn classes(&self) -> &[SlotClass] {
        self.memory.classes()
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
