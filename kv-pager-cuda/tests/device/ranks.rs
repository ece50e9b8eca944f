//! Several ranks on one card: a part is all its slices, and as good as the worst of them.

use crate::card;
use crate::engine::{Engine, enter};
use crate::rig::{
    GROUP, assert_well, backend, backend_on, lane_options, part, part_bytes, pattern, read_device, read_host,
    run, wait, write_device, write_host,
};
use kv_pager::layout::DeviceLayout;
use kv_pager::tier::{Health, Lane, Move, MoveFault, Signal, Ticket, Tier};
use kv_pager::units::Nanos;
use kv_pager_cuda::{CudaBackend, Inner, LaneOptions, Path, Refusal, open_device};
use std::sync::Arc;

const LAYOUT: (DeviceLayout, Inner) = (DeviceLayout::LayerMajor, Inner::Nhd);

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
    let backend = backend(&device, 2, LAYOUT, options);
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
    let backend = backend(&device, 2, LAYOUT, lane_options());
    let (well, slow) = (Engine::new(&device), Engine::new(&device));
    slow.be_slow();
    let fence = backend.device.fence(&[well.raw(), slow.raw()]).expect("a fence");
    let ticket = backend.offload.submit(&[Move { source_fence: fence, ..part(GROUP, 0, 0) }]).expect("room");
    assert!(!ticket.is_over() || backend.device.is_fence_over(fence));
    assert_well(&ticket);
    assert!(backend.device.is_fence_over(fence), "a move ends when all its ranks have");
}

/// Copies slot 0 out while the first rank's share waits for `engine` and the second rank's card says `refusal`.
fn copy_refused(backend: &CudaBackend, engine: &Engine, refusal: Refusal) -> (Ticket, Vec<u8>) {
    let bytes = pattern(3, part_bytes(backend, GROUP));
    write_device(backend, GROUP, 0, &bytes);
    write_host(backend, GROUP, 0, &vec![0; bytes.len()]);
    engine.hold_up();
    let fence = backend.device.fence(&[engine.raw(), engine.raw()]).expect("a fence");
    backend.offload.refuse_rank_for_test(1, Some(refusal));
    let ticket = backend.offload.submit(&[Move { source_fence: fence, ..part(GROUP, 0, 0) }]).expect("room");
    (ticket, bytes)
}

/// A tenth of a second later it still isn't over: the first rank has yet to write its share.
fn assert_goes_on(ticket: &Ticket) {
    let signal = Arc::new(Signal::new());
    ticket.attach(&signal);
    signal.wait_past(signal.count(), Nanos::from_millis(100));
    assert!(!ticket.is_over(), "nothing may be told while a rank writes");
}

/// Until the first rank has written its share, the ticket must not say that anything is over: its target may be written.
fn let_go_and_see(backend: &CudaBackend, engine: &Engine, (ticket, bytes): (&Ticket, &[u8])) {
    assert_goes_on(ticket);
    engine.let_go();
    wait(ticket);
    let half = bytes.len() / 2;
    let there = read_host(backend, GROUP, 0);
    assert!(there[..half] == bytes[..half], "the first rank's share was written before the ticket told");
    assert!(there[half..].iter().all(|byte| *byte == 0), "the second rank's share never came");
}

#[test]
fn a_rank_that_fails_makes_the_part_a_miss_and_later_batches_go_on() {
    let Some(device) = card("a_rank_that_fails_makes_the_part_a_miss_and_later_batches_go_on") else {
        return;
    };
    for path in [Path::Gather, Path::Batch] {
        let options = LaneOptions { path: Some(path), ..lane_options() };
        let backend = backend(&device, 2, LAYOUT, options);
        let engine = Engine::new(&device);
        let (ticket, bytes) = copy_refused(&backend, &engine, Refusal::Call);
        let behind = backend.offload.submit(&[part(GROUP, 1, 1)]).expect("room");
        let_go_and_see(&backend, &engine, (&ticket, &bytes));
        assert_eq!(ticket.outcome(0), Some(Err(MoveFault::Io)));
        wait(&behind);
        assert_eq!(behind.outcome(0), Some(Err(MoveFault::Io)), "that rank still refuses");
        assert_eq!(backend.device.health(), Health::Well, "it was one call");
        run(backend.onboard.as_ref(), &[part(GROUP, 2, 2)]);
        backend.offload.refuse_rank_for_test(1, None);
        let later: Vec<_> = (0..50).map(|slot| part(GROUP, slot, slot)).collect();
        run(backend.offload.as_ref(), &later);
        assert!(read_host(&backend, GROUP, 0) == bytes, "both shares, by {path}");
    }
}

#[test]
fn a_rank_that_is_lost_leaves_what_another_may_still_write_alone() {
    let Some(device) = card("a_rank_that_is_lost_leaves_what_another_may_still_write_alone") else { return };
    let backend = backend(&device, 2, LAYOUT, lane_options());
    let engine = Engine::new(&device);
    let (ticket, bytes) = copy_refused(&backend, &engine, Refusal::Device);
    wait(&ticket);
    let fault = ticket.outcome(0).expect("it is over").expect_err("a rank is lost");
    assert_eq!(fault, MoveFault::Lost);
    assert!(fault.may_go_on(), "the first rank has yet to write its share: the slot goes to nobody");
    engine.let_go();
    engine.finish();
    let half = bytes.len() / 2;
    while read_host(&backend, GROUP, 0)[..half] != bytes[..half] {
        std::thread::yield_now();
    }
    assert!(matches!(backend.device.health(), Health::Lost { .. }));
    for lane in [&backend.offload, &backend.onboard] {
        let later = lane.submit(&[part(GROUP, 1, 1)]).expect("room");
        wait(&later);
        assert_eq!(later.outcome(0), Some(Err(MoveFault::DeviceLost)), "it never began");
    }
}

/// Two cards, of which the second is lost for good: run alone, as `faults::a_lost_device_ends_everything_as_lost`. The driver then
/// refuses every call of the process, while the first card goes on.
#[test]
fn what_a_card_goes_on_writing_after_another_was_lost_is_left_alone() {
    const NAME: &str = "what_a_card_goes_on_writing_after_another_was_lost_is_left_alone";
    let Some(device) = card(NAME) else { return };
    let Ok(second) = open_device(1) else {
        eprintln!("{NAME}: skipped: it takes two cards");
        return;
    };
    if std::env::var_os("KV_PAGER_TEST_LOST_DEVICE").is_none() {
        eprintln!("{NAME}: skipped: set KV_PAGER_TEST_LOST_DEVICE, and run it alone");
        return;
    }
    let both = backend_on(&[Arc::clone(&device), Arc::clone(&second)], LAYOUT, lane_options());
    let bytes = pattern(5, part_bytes(&both, GROUP));
    write_device(&both, GROUP, 0, &bytes);
    write_host(&both, GROUP, 0, &vec![0; bytes.len()]);
    let (ruined, first) = (Engine::new(&second), Engine::new(&device));
    first.hold_up();
    let fence = both.device.fence(&[first.raw(), ruined.raw()]).expect("a fence");
    let ticket = both.offload.submit(&[Move { source_fence: fence, ..part(GROUP, 0, 0) }]).expect("room");
    enter(&second);
    ruined.ruin();
    wait(&ticket);
    assert_eq!(ticket.outcome(0), Some(Err(MoveFault::Lost)), "nobody can say when it ends");
    let half = bytes.len() / 2;
    assert!(read_host(&both, GROUP, 0)[..half].iter().all(|byte| *byte == 0), "the first card is held up");
    first.let_go();
    while read_host(&both, GROUP, 0)[..half] != bytes[..half] {
        std::thread::yield_now();
    }
    let later = both.onboard.submit(&[part(GROUP, 0, 0)]).expect("room");
    wait(&later);
    assert_eq!(later.outcome(0), Some(Err(MoveFault::DeviceLost)));
    std::process::exit(0);
}
