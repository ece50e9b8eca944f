//! The pager over a card, pinned memory and a file: a walk of random operations, every byte read back from the card.
#![expect(clippy::print_stderr, reason = "a walk says how far it went")]

use crate::card;
use crate::rig::{clock, lane_options};
use kv_pager::config::Config;
use kv_pager::ids::{GroupId, SlotId, TierId};
use kv_pager::layout::{DeviceLayout, ModelLayout};
use kv_pager::pager::Backend;
use kv_pager_cpu::FileSpec;
use kv_pager_cuda::{CudaBackendBuilder, CudaFileSpec, Device, DeviceOptions, DeviceTier, Inner, OwnedSlots};
use kv_pager_testkit::engine::{KvMemory, PlanesRead, PlanesWrite};
use kv_pager_testkit::walk::{
    DEVICE_SLOTS, FILE_SLOTS, Ground, HOST_SLOTS, Walked, assert_went_everywhere, walk, walk_model,
};
use std::sync::Arc;

const OPERATIONS: usize = 1000;

/// Slots on the card, copied out and back by hand.
#[derive(Debug)]
struct CardMemory {
    device: Arc<DeviceTier>,
    model: ModelLayout,
}

impl CardMemory {
    fn part(&self, group: GroupId, slot: SlotId) -> Part {
        let mut bytes = vec![0; self.model.part_bytes(group).as_usize()];
        self.device.read_slot(group, slot, &mut bytes).expect("a device that works");
        Part { bytes, plane_bytes: self.model.fragment_bytes(group).as_usize() }
    }
}

impl KvMemory for CardMemory {
    fn read_part(&self, group: GroupId, slot: SlotId, visit: &mut dyn FnMut(&dyn PlanesRead)) {
        visit(&self.part(group, slot));
    }

    fn write_part(&self, group: GroupId, slot: SlotId, visit: &mut dyn FnMut(&mut dyn PlanesWrite)) {
        let mut part = self.part(group, slot);
        visit(&mut part);
        self.device.write_slot(group, slot, &part.bytes).expect("a device that works");
    }
}

/// A part, all ranks' slices one after the other; the walk only needs a token's place in it to stay the same.
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

fn walk_card(
    device: &Arc<Device>,
    ranks: usize,
    (layout, inner): (DeviceLayout, Inner),
    seed: u64,
) -> Walked {
    let directory = tempfile::tempdir().expect("a directory");
    let (model, config) = (walk_model(), Config::default());
    let devices: Vec<_> = (0..ranks).map(|_| Arc::clone(device)).collect();
    let owned = OwnedSlots { slots: vec![DEVICE_SLOTS; 2], layout, inner };
    let tier = DeviceTier::with_own_memory(&model, &devices, &owned, &DeviceOptions::default());
    let tier = tier.expect("a small tier");
    let file = FileSpec::new(directory.path(), vec![FILE_SLOTS; 2]);
    let cuda = CudaBackendBuilder::new(model.clone(), vec![0; ranks], vec![HOST_SLOTS; 2])
        .with_lane_options(lane_options())
        .with_file(CudaFileSpec::new(file, config.fingerprint, config.hash_key.0))
        .without_calibration()
        .build_over(tier, &clock())
        .expect("a small backend");
    let memory = CardMemory { device: Arc::clone(&cuda.device), model };
    let backend = Backend { tiers: cuda.tiers(), lanes: cuda.lanes() };
    let walked = walk(Ground { backend, memory: &memory }, seed, OPERATIONS);
    eprintln!(
        "{ranks} ranks, {layout:?}, {inner:?}, seed {seed}: {} computed, hits {:?}, {} read back, {} onboarded, {} from file, {} within",
        walked.computed_tokens,
        walked.hit_tokens,
        walked.read_tokens,
        walked.moves(TierId::Host, TierId::Device),
        walked.moves(TierId::File, TierId::Host),
        walked.moves(TierId::Device, TierId::Device),
    );
    walked
}

#[test]
fn every_byte_comes_back_to_layer_major_slots() {
    let Some(device) = card("every_byte_comes_back_to_layer_major_slots") else { return };
    let walks: Vec<_> =
        (0..4).map(|seed| walk_card(&device, 1, (DeviceLayout::LayerMajor, Inner::Nhd), seed)).collect();
    assert_went_everywhere(&walks);
}

#[test]
fn every_byte_comes_back_to_block_major_slots() {
    let Some(device) = card("every_byte_comes_back_to_block_major_slots") else { return };
    let walks: Vec<_> =
        (4..8).map(|seed| walk_card(&device, 1, (DeviceLayout::BlockMajor, Inner::Hnd), seed)).collect();
    assert_went_everywhere(&walks);
}

#[test]
fn every_byte_comes_back_to_two_ranks() {
    let Some(device) = card("every_byte_comes_back_to_two_ranks") else { return };
    for layout in [DeviceLayout::LayerMajor, DeviceLayout::BlockMajor] {
        let walks: Vec<_> = (8..10).map(|seed| walk_card(&device, 2, (layout, Inner::Nhd), seed)).collect();
        assert_went_everywhere(&walks);
    }
}
