//! Tiers and lanes of a small model, with patterns to tell slots apart.

use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::ids::{Fence, GroupId, MoveId, SlotId};
use kv_pager::layout::{Attention, DType, DeviceLayout, Entry, KvGroup, ModelLayout};
use kv_pager::tier::{Lane, Move, Signal, Ticket, Tier};
use kv_pager::units::{Bytes, Nanos};
use kv_pager_cuda::{
    CudaBackend, CudaBackendBuilder, Device, DeviceOptions, DeviceTier, Inner, LaneOptions, OwnedSlots,
};
use std::sync::Arc;

pub(crate) const GROUP: GroupId = GroupId::FIRST;

/// Two groups: keys and values of 4 KiB fragments, and a latent of 18 KiB.
pub(crate) fn model() -> ModelLayout {
    let group = |layers, entry| KvGroup { attention: Attention::Full, layers, entry, dtype: DType::BF16 };
    let groups =
        vec![group(6, Entry::KeyValue { kv_heads: 2, head_dim: 64 }), group(3, Entry::Latent { dim: 576 })];
    ModelLayout::new(16, groups).expect("valid")
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(MonotonicClock::new())
}

pub(crate) fn lane_options() -> LaneOptions {
    LaneOptions {
        staging_bytes: Bytes::mib(16),
        chunk_bytes: Bytes::mib(2),
        first_chunk_bytes: Bytes::new(256 << 10),
        stall: Nanos::from_millis(10_000),
        ..LaneOptions::default()
    }
}

pub(crate) fn backend(
    device: &Arc<Device>,
    ranks: usize,
    (layout, inner): (DeviceLayout, Inner),
    options: LaneOptions,
) -> CudaBackend {
    backend_with(device, ranks, (layout, inner), options, &DeviceOptions::default())
}

pub(crate) fn backend_with(
    device: &Arc<Device>,
    ranks: usize,
    layout: (DeviceLayout, Inner),
    lanes: LaneOptions,
    options: &DeviceOptions,
) -> CudaBackend {
    let devices: Vec<_> = (0..ranks).map(|_| Arc::clone(device)).collect();
    build(&devices, layout, lanes, options)
}

/// A rank on each of `devices`.
pub(crate) fn backend_on(
    devices: &[Arc<Device>],
    layout: (DeviceLayout, Inner),
    lanes: LaneOptions,
) -> CudaBackend {
    build(devices, layout, lanes, &DeviceOptions::default())
}

fn build(
    devices: &[Arc<Device>],
    (layout, inner): (DeviceLayout, Inner),
    lanes: LaneOptions,
    options: &DeviceOptions,
) -> CudaBackend {
    let model = model();
    let owned = OwnedSlots { slots: vec![96, 40], layout, inner };
    let tier = DeviceTier::with_own_memory(&model, devices, &owned, options).expect("a small tier");
    let ordinals = devices.iter().map(|device| device.ordinal()).collect();
    let builder = CudaBackendBuilder::new(model, ordinals, vec![128, 48]).with_lane_options(lanes);
    builder.without_calibration().build_over(tier, &clock()).expect("a small backend")
}

pub(crate) fn part_bytes(backend: &CudaBackend, group: GroupId) -> usize {
    backend.device.classes()[group.index()].slot_bytes.as_usize()
}

/// Bytes that differ for each seed, and within a part.
pub(crate) fn pattern(seed: usize, bytes: usize) -> Vec<u8> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..bytes).map(|_| next()).collect()
}

pub(crate) fn part(group: GroupId, source: usize, target: usize) -> Move {
    Move {
        id: MoveId(0),
        group,
        source: SlotId::from_index(source),
        target: SlotId::from_index(target),
        source_fence: Fence::OVER,
        target_fence: Fence::OVER,
    }
}

/// Waits until every move has ended.
pub(crate) fn wait(ticket: &Ticket) {
    let signal = Arc::new(Signal::new());
    ticket.attach(&signal);
    while !ticket.is_over() {
        let seen = signal.count();
        assert!(
            ticket.is_over() || signal.wait_past(seen, Nanos::from_millis(60_000)),
            "a ticket did not end"
        );
    }
}

pub(crate) fn assert_well(ticket: &Ticket) {
    wait(ticket);
    for index in 0..ticket.len() {
        assert_eq!(ticket.outcome(index), Some(Ok(())), "move {index}");
    }
}

pub(crate) fn run(lane: &dyn Lane, moves: &[Move]) {
    assert_well(&lane.submit(moves).expect("an idle lane has room"));
}

pub(crate) fn read_device(backend: &CudaBackend, group: GroupId, slot: usize) -> Vec<u8> {
    let mut bytes = vec![0; part_bytes(backend, group)];
    backend.device.read_slot(group, SlotId::from_index(slot), &mut bytes).expect("a device that works");
    bytes
}

pub(crate) fn write_device(backend: &CudaBackend, group: GroupId, slot: usize, bytes: &[u8]) {
    backend.device.write_slot(group, SlotId::from_index(slot), bytes).expect("a device that works");
}

pub(crate) fn read_host(backend: &CudaBackend, group: GroupId, slot: usize) -> Vec<u8> {
    let mut bytes = vec![0; part_bytes(backend, group)];
    backend.host.read_slot(group, SlotId::from_index(slot), &mut bytes);
    bytes
}

pub(crate) fn write_host(backend: &CudaBackend, group: GroupId, slot: usize, bytes: &[u8]) {
    backend.host.write_slot(group, SlotId::from_index(slot), bytes);
}
