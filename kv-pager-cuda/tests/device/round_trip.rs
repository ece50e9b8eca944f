//! What goes out and comes back is what was there, in every layout, by every path.

use crate::card;
use crate::rig::{
    assert_well, backend, backend_with, lane_options, part, part_bytes, pattern, read_device, read_host, run,
    write_device, write_host,
};
use kv_pager::ids::GroupId;
use kv_pager::layout::DeviceLayout;
use kv_pager::tier::Lane;
use kv_pager_cuda::{CudaBackend, CudaLane, DeviceOptions, Inner, LaneOptions, Path};

const LAYOUTS: [(DeviceLayout, Inner); 4] = [
    (DeviceLayout::LayerMajor, Inner::Nhd),
    (DeviceLayout::LayerMajor, Inner::Hnd),
    (DeviceLayout::BlockMajor, Inner::Nhd),
    (DeviceLayout::BlockMajor, Inner::Hnd),
];

/// Slots in an order with runs and gaps, `count` of `0..limit`.
fn slots(count: usize, limit: usize, step: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..limit).map(|index| index * step % limit).collect();
    order.truncate(count);
    order
}

fn submit(lane: &CudaLane, moves: &[kv_pager::tier::Move], path: Path) {
    assert_well(&lane.submit_by_path(moves, path).expect("an idle lane has room"));
}

fn there_and_back(backend: &CudaBackend, path: Path, counts: &[usize]) {
    for (group, device_limit, host_limit) in [(0, 96, 128), (1, 40, 48)] {
        let group = GroupId::from_index(group);
        let bytes = part_bytes(backend, group);
        for count in counts.iter().filter(|count| **count <= device_limit) {
            let device = slots(*count, device_limit, 7);
            let from = slots(*count, host_limit, 5);
            for (index, slot) in from.iter().enumerate() {
                write_host(backend, group, *slot, &pattern(index * 31 + count, bytes));
            }
            let moves: Vec<_> = from.iter().zip(&device).map(|(from, to)| part(group, *from, *to)).collect();
            submit(&backend.onboard, &moves, path);
            for (index, slot) in device.iter().enumerate() {
                let is_same = read_device(backend, group, *slot) == pattern(index * 31 + count, bytes);
                assert!(is_same, "{path}, {group:?}, {count} parts: device slot {slot}");
            }
            let to: Vec<usize> = (0..*count).collect();
            for slot in &to {
                write_host(backend, group, *slot, &vec![0; bytes]);
            }
            let moves: Vec<_> = device.iter().zip(&to).map(|(from, to)| part(group, *from, *to)).collect();
            submit(&backend.offload, &moves, path);
            for (index, slot) in to.iter().enumerate() {
                let is_same = read_host(backend, group, *slot) == pattern(index * 31 + count, bytes);
                assert!(is_same, "{path}, {group:?}, {count} parts: host slot {slot}");
            }
        }
    }
}

#[test]
fn every_path_keeps_the_bytes_of_every_layout() {
    let Some(device) = card("every_path_keeps_the_bytes_of_every_layout") else { return };
    for layout in LAYOUTS {
        let backend = backend(&device, 1, layout, lane_options());
        for path in Path::ALL {
            there_and_back(&backend, path, &[1, 7, 40, 90]);
        }
    }
}

#[test]
fn without_kernels_copies_serve() {
    let Some(device) = card("without_kernels_copies_serve") else { return };
    let options = DeviceOptions { kernels: false, ..DeviceOptions::default() };
    let backend = backend_with(&device, 1, LAYOUTS[1], lane_options(), &options);
    there_and_back(&backend, Path::Runs, &[7]);
    there_and_back(&backend, Path::Batch, &[7]);
    assert!(backend.onboard.submit_by_path(&[part(GroupId::FIRST, 0, 0)], Path::Gather).is_err());
    let (device_slot, host_slot) = (5, 9);
    let bytes = pattern(3, part_bytes(&backend, GroupId::FIRST));
    write_device(&backend, GroupId::FIRST, device_slot, &bytes);
    run(backend.offload.as_ref(), &[part(GroupId::FIRST, device_slot, host_slot)]);
    assert!(read_host(&backend, GroupId::FIRST, host_slot) == bytes);
}

#[test]
fn without_batch_copies_every_path_keeps_the_bytes() {
    let Some(device) = card("without_batch_copies_every_path_keeps_the_bytes") else { return };
    let options = || LaneOptions { batch_copies: false, ..lane_options() };
    for layout in LAYOUTS {
        let backend = backend(&device, 1, layout, options());
        assert_no_batches(&backend);
        for path in Path::ALL {
            there_and_back(&backend, path, &[1, 7, 40]);
        }
    }
    // Nor are there kernels: what a machine with an old driver and no NVRTC has.
    let without = DeviceOptions { kernels: false, ..DeviceOptions::default() };
    let backend = backend_with(&device, 1, LAYOUTS[0], options(), &without);
    assert_no_batches(&backend);
    there_and_back(&backend, Path::Runs, &[7]);
    let bytes = pattern(3, part_bytes(&backend, GroupId::FIRST));
    write_device(&backend, GroupId::FIRST, 5, &bytes);
    run(backend.offload.as_ref(), &[part(GroupId::FIRST, 5, 9)]);
    assert!(read_host(&backend, GroupId::FIRST, 9) == bytes);
}

#[test]
fn without_batch_copies_calibration_chooses_among_the_rest() {
    let Some(device) = card("without_batch_copies_calibration_chooses_among_the_rest") else { return };
    let backend = backend(&device, 1, LAYOUTS[0], LaneOptions { batch_copies: false, ..lane_options() });
    let (tiers, lanes) =
        ((backend.device.as_ref(), backend.host.as_ref()), (&*backend.onboard, &*backend.offload));
    let calibration = kv_pager_cuda::Calibration::run(tiers, lanes, crate::rig::clock().as_ref());
    let measured = calibration.expect("a device that works").measured;
    assert!(measured.iter().any(|measured| measured.path == Path::Runs));
    assert!(measured.iter().all(|measured| measured.path != Path::Batch));
    assert_no_batches(&backend);
}

/// No lane would send a batch of copies.
fn assert_no_batches(backend: &CudaBackend) {
    for lane in [&backend.onboard, &backend.offload] {
        for (parts, path) in lane.paths().into_iter().flatten() {
            assert_ne!(path, Path::Batch, "{parts} parts, {:?}", lane.direction());
        }
    }
}

#[test]
fn compiled_kernels_are_kept_in_a_directory() {
    let Some(device) = card("compiled_kernels_are_kept_in_a_directory") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let options =
        DeviceOptions { kernel_directory: Some(directory.path().to_owned()), ..DeviceOptions::default() };
    let backend = backend_with(&device, 1, LAYOUTS[0], lane_options(), &options);
    let files: Vec<_> = std::fs::read_dir(directory.path()).expect("it is there").collect();
    assert_eq!(files.len(), 1, "one image for one architecture");
    there_and_back(&backend, Path::Gather, &[7]);
}

#[test]
fn moves_within_the_device_keep_the_bytes() {
    let Some(device) = card("moves_within_the_device_keep_the_bytes") else { return };
    for layout in LAYOUTS {
        let backend = backend(&device, 1, layout, lane_options());
        let bytes = part_bytes(&backend, GroupId::FIRST);
        for slot in 0..40 {
            write_device(&backend, GroupId::FIRST, slot, &pattern(slot, bytes));
        }
        let moves: Vec<_> = (0..40).map(|slot| part(GroupId::FIRST, slot, 95 - slot)).collect();
        for path in [Path::Gather, Path::Runs] {
            for slot in 0..40 {
                write_device(&backend, GroupId::FIRST, 95 - slot, &vec![0; bytes]);
            }
            submit(&backend.within, &moves, path);
            for slot in 0..40 {
                assert!(
                    read_device(&backend, GroupId::FIRST, 95 - slot) == pattern(slot, bytes),
                    "{path} {slot}"
                );
            }
        }
    }
}

#[test]
fn calibration_keeps_what_the_device_holds() {
    let Some(device) = card("calibration_keeps_what_the_device_holds") else { return };
    let backend = backend(&device, 1, LAYOUTS[0], lane_options());
    let bytes = part_bytes(&backend, GroupId::FIRST);
    for slot in 0..96 {
        write_device(&backend, GroupId::FIRST, slot, &pattern(slot, bytes));
    }
    let clock = crate::rig::clock();
    let (tiers, lanes) =
        ((backend.device.as_ref(), backend.host.as_ref()), (&*backend.onboard, &*backend.offload));
    let calibration =
        kv_pager_cuda::Calibration::run(tiers, lanes, clock.as_ref()).expect("a device that works");
    assert!(calibration.measured.len() > 16);
    for slot in 0..96 {
        assert!(read_device(&backend, GroupId::FIRST, slot) == pattern(slot, bytes), "slot {slot}");
    }
}

#[test]
fn slots_that_are_not_there_are_refused() {
    let Some(device) = card("slots_that_are_not_there_are_refused") else { return };
    let backend = backend(&device, 1, LAYOUTS[0], lane_options());
    for moves in
        [[part(GroupId::FIRST, 96, 0)], [part(GroupId::FIRST, 0, 128)], [part(GroupId::from_index(2), 0, 0)]]
    {
        let error = backend.offload.submit(&moves).expect_err("no such slot");
        assert_eq!(error.kind(), kv_pager::ErrorKind::Configuration, "{error}");
    }
}
