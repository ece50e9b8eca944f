//! Several ranks on one card: a part is all its slices, and as good as the worst of them.

use crate::card;
use crate::engine::Engine;
use crate::rig::{
    GROUP, assert_well, backend, lane_options, part, part_bytes, pattern, read_device, read_host, run, wait,
    write_host,
};
use kv_pager::layout::DeviceLayout;
use kv_pager::tier::{Lane, Move, MoveFault, Tier};
use kv_pager::units::Nanos;
use kv_pager_cuda::{Inner, LaneOptions, Path};

#[test]
fn a_part_is_all_its_slices() {
    let Some(device) = card("a_part_is_all_its_slices") else { return };
    for ranks in [2, 4] {
        for layout in [DeviceLayout::LayerMajor, DeviceLayout::BlockMajor] {
            let backend = backend(&device, ranks, (layout, Inner::Nhd), lane_options());
            let bytes = part_bytes(&backend, GROUP);
            for path in Path::ALL {
                for slot in 0..50 {
                    write_host(&backend, GROUP, slot, &pattern(slot + ranks, bytes));
                    write_host(&backend, GROUP, slot + 60, &vec![0; bytes]);
                }
                let there: Vec<_> = (0..50).map(|slot| part(GROUP, slot, (slot * 7) % 96)).collect();
                let back: Vec<_> = (0..50).map(|slot| part(GROUP, (slot * 7) % 96, slot + 60)).collect();
                assert_well(&backend.onboard.submit_by_path(&there, path).expect("room"));
                assert!(
                    read_device(&backend, GROUP, 7) == pattern(1 + ranks, bytes),
                    "{ranks} ranks, {path}"
                );
                assert_well(&backend.offload.submit_by_path(&back, path).expect("room"));
                for slot in 0..50 {
                    assert!(
                        read_host(&backend, GROUP, slot + 60) == pattern(slot + ranks, bytes),
                        "{slot}, {path}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_rank_that_never_answers_makes_the_part_a_miss() {
    let Some(device) = card("a_rank_that_never_answers_makes_the_part_a_miss") else { return };
    let options = LaneOptions { stall: Nanos::from_millis(300), ..lane_options() };
    let backend = backend(&device, 2, (DeviceLayout::LayerMajor, Inner::Nhd), options);
    let (well, stuck) = (Engine::new(&device), Engine::new(&device));
    stuck.hold_up();
    let fence = backend.device.fence(&[well.raw(), stuck.raw()]).expect("a fence");
    let ticket = backend.offload.submit(&[Move { source_fence: fence, ..part(GROUP, 0, 0) }]).expect("room");
    wait(&ticket);
    assert_eq!(ticket.outcome(0), Some(Err(MoveFault::TimedOut)));
    run(backend.onboard.as_ref(), &[part(GROUP, 1, 1)]);
    stuck.let_go();
    for _ in 0..100_000 {
        let ticket = backend.offload.submit(&[part(GROUP, 1, 1)]).expect("room");
        wait(&ticket);
        if ticket.outcome(0) == Some(Ok(())) {
            return;
        }
        std::thread::yield_now();
    }
    panic!("the lane never recovered");
}

#[test]
fn a_slow_rank_only_makes_a_part_late() {
    let Some(device) = card("a_slow_rank_only_makes_a_part_late") else { return };
    let backend = backend(&device, 2, (DeviceLayout::LayerMajor, Inner::Nhd), lane_options());
    let (well, slow) = (Engine::new(&device), Engine::new(&device));
    slow.be_slow();
    let fence = backend.device.fence(&[well.raw(), slow.raw()]).expect("a fence");
    let ticket = backend.offload.submit(&[Move { source_fence: fence, ..part(GROUP, 0, 0) }]).expect("room");
    assert!(!ticket.is_over() || backend.device.is_fence_over(fence));
    assert_well(&ticket);
    assert!(backend.device.is_fence_over(fence), "a move ends when all its ranks have");
}
