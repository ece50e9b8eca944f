//! A card as the device of a replay: its tiers and lanes, and the engine's view of its memory.
//! Uses the CUDA backend. Known by: `replay::setup`.
//!
//! The reference engine computes on the CPU, so each part that it reads or writes is copied out of the card's memory and
//! back, and waited for; what lanes do meanwhile is as with an engine on the card.

use crate::failure::Failure;
use kv_pager::clock::Clock;
use kv_pager::ids::{GroupId, SlotId};
use kv_pager::layout::{DeviceLayout, ModelLayout};
use kv_pager::pager::Backend;
use kv_pager_cuda::{CudaBackendBuilder, CudaFileSpec, DeviceTier, Inner, OwnedSlots};
use kv_pager_testkit::engine::{KvMemory, PlanesRead, PlanesWrite};
use std::sync::Arc;

/// How large the tiers are.
#[derive(Clone, Debug)]
pub(super) struct CardSpec {
    pub(super) ordinal: u32,
    pub(super) device_slots: u32,
    pub(super) host_slots: u32,
    pub(super) file: Option<CudaFileSpec>,
}

/// Builds the tiers and lanes; also gives the memory that the engine works in.
///
/// # Errors
/// What the card or the machine refuses.
pub(super) fn build(
    layout: &ModelLayout,
    spec: CardSpec,
    clock: &Arc<dyn Clock>,
) -> Result<(Backend, Arc<dyn KvMemory>), Failure> {
    if spec.host_slots == 0 {
        let why = "a card's blocks are kept in host memory first; give it some".to_owned();
        return Err(Failure::Argument { option: "--host-bytes", why });
    }
    let owned =
        OwnedSlots { slots: vec![spec.device_slots], layout: DeviceLayout::LayerMajor, inner: Inner::Nhd };
    let mut builder = CudaBackendBuilder::new(layout.clone(), vec![spec.ordinal], vec![spec.host_slots]);
    if let Some(file) = spec.file {
        builder = builder.with_file(file);
    }
    let cuda = builder.build(&owned, clock)?;
    let memory = CardMemory { device: Arc::clone(&cuda.device), layout: layout.clone() };
    Ok((Backend { tiers: cuda.tiers(), lanes: cuda.lanes() }, Arc::new(memory)))
}

/// A card's slots as the engine sees them.
#[derive(Debug)]
struct CardMemory {
    device: Arc<DeviceTier>,
    layout: ModelLayout,
}

impl CardMemory {
    fn part(&self, group: GroupId, slot: SlotId) -> Part {
        let mut bytes = vec![0; self.layout.part_bytes(group).as_usize()];
        self.device.read_slot(group, slot, &mut bytes).unwrap_or_else(|error| panic!("{error}"));
        Part { bytes, plane_bytes: self.layout.fragment_bytes(group).as_usize() }
    }
}

impl KvMemory for CardMemory {
    fn read_part(&self, group: GroupId, slot: SlotId, visit: &mut dyn FnMut(&dyn PlanesRead)) {
        visit(&self.part(group, slot));
    }

    fn write_part(&self, group: GroupId, slot: SlotId, visit: &mut dyn FnMut(&mut dyn PlanesWrite)) {
        let mut part = self.part(group, slot);
        visit(&mut part);
        self.device.write_slot(group, slot, &part.bytes).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A part, copied out of the card's memory.
struct Part {
    bytes: Vec<u8>,
    plane_bytes: usize,
}

impl PlanesRead for Part {
    fn plane(&self, plane: usize) -> &[u8] {
        &self.bytes[plane * self.plane_bytes..][..self.plane_bytes]
    }
}

impl PlanesWrite for Part {
    fn plane_mut(&mut self, plane: usize) -> &mut [u8] {
        &mut self.bytes[plane * self.plane_bytes..][..self.plane_bytes]
    }
}
