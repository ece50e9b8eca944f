//! Layer-wise onboarding: whole in the end, and each layer there when its fence is over.

use crate::card;
use crate::engine::Engine;
use crate::rig::{
    GROUP, assert_well, backend, lane_options, part, part_bytes, pattern, read_device, write_device,
    write_host,
};
use kv_pager::layout::DeviceLayout;
use kv_pager::tier::{Lane, Tier};
use kv_pager::units::Bytes;
use kv_pager_cuda::{Inner, LaneOptions};

const PARTS: usize = 60;
const LAYERS: usize = 6;

#[test]
fn each_layer_is_there_when_its_fence_is_over() {
    let Some(device) = card("each_layer_is_there_when_its_fence_is_over") else { return };
    // Without batch copies each run of host slots is a copy of its own.
    for (inner, batch_copies) in [(Inner::Nhd, true), (Inner::Hnd, true), (Inner::Nhd, false)] {
        let options = LaneOptions { layer_piece_bytes: Bytes::new(8 << 10), batch_copies, ..lane_options() };
        let backend = backend(&device, 1, (DeviceLayout::LayerMajor, inner), options);
        let bytes = part_bytes(&backend, GROUP);
        for slot in 0..PARTS {
            write_device(&backend, GROUP, slot, &vec![0; bytes]);
            write_host(&backend, GROUP, slot * 2, &pattern(slot, bytes));
        }
        let moves: Vec<_> = (0..PARTS).map(|slot| part(GROUP, slot * 2, slot)).collect();
        let ticket = backend.onboard.submit_by_layer(&moves).expect("room");
        let fences: Vec<_> =
            (0..LAYERS).map(|layer| ticket.layer_fence(u32::try_from(layer).expect("few"))).collect();
        let layer_bytes = bytes / LAYERS;
        for (layer, fence) in fences.iter().enumerate() {
            let fence = fence.expect("all of it is queued");
            let engine = Engine::new(&device);
            backend.device.wait_for_fence(0, engine.raw(), fence).expect("it was recorded");
            engine.finish();
            assert!(backend.device.is_fence_over(fence));
            for slot in 0..PARTS {
                let read = read_device(&backend, GROUP, slot);
                let range = layer * layer_bytes..(layer + 1) * layer_bytes;
                assert!(read[range.clone()] == pattern(slot, bytes)[range], "layer {layer} of slot {slot}");
            }
        }
        assert_well(&ticket);
        assert_ne!(fences[0], fences[LAYERS - 1], "layers come one after the other");
    }
}

#[test]
fn a_later_layer_is_not_there_before_its_fence() {
    let Some(device) = card("a_later_layer_is_not_there_before_its_fence") else { return };
    let options = LaneOptions { layer_piece_bytes: Bytes::new(8 << 10), ..lane_options() };
    let backend = backend(&device, 1, (DeviceLayout::LayerMajor, Inner::Nhd), options);
    let engine = Engine::new(&device);
    engine.hold_up();
    let mut moves: Vec<_> = (0..PARTS).map(|slot| part(GROUP, slot, slot)).collect();
    moves[0].target_fence = backend.device.fence(&[engine.raw()]).expect("a fence");
    let ticket = backend.onboard.submit_by_layer(&moves).expect("room");
    let fence = ticket.layer_fence(0).expect("all of it is queued");
    assert!(!backend.device.is_fence_over(fence), "the target is still read by compute");
    assert!(!ticket.is_over());
    engine.let_go();
    assert_well(&ticket);
    assert!(backend.device.is_fence_over(fence));
}

#[test]
fn parts_that_are_one_piece_come_whole() {
    let Some(device) = card("parts_that_are_one_piece_come_whole") else { return };
    let backend = backend(&device, 1, (DeviceLayout::BlockMajor, Inner::Nhd), lane_options());
    let bytes = part_bytes(&backend, GROUP);
    write_host(&backend, GROUP, 1, &pattern(1, bytes));
    let ticket = backend.onboard.submit_by_layer(&[part(GROUP, 1, 2)]).expect("room");
    assert_eq!(ticket.layer_fence(0), ticket.fence());
    assert_well(&ticket);
    assert!(read_device(&backend, GROUP, 2) == pattern(1, bytes));
}
