//! What does not end, ends: as timed out, called off, or with the lane.

use crate::card;
use crate::engine::Engine;
use crate::rig::{GROUP, assert_well, backend, clock, lane_options, part, wait};
use kv_pager::layout::DeviceLayout;
use kv_pager::tier::{Lane, Move, MoveFault, Ticket, Tier};
use kv_pager::units::Nanos;
use kv_pager_cuda::{CudaBackend, CudaLane, Direction, Inner, LaneOptions};

const LAYOUT: (DeviceLayout, Inner) = (DeviceLayout::LayerMajor, Inner::Nhd);

fn impatient() -> LaneOptions {
    LaneOptions { stall: Nanos::from_millis(300), ..lane_options() }
}

fn outcome(ticket: &Ticket) -> Result<(), MoveFault> {
    wait(ticket);
    ticket.outcome(0).expect("it is over")
}

/// Submits until a move ends well again.
fn recover(backend: &CudaBackend) {
    for _ in 0..100_000 {
        if outcome(&backend.offload.submit(&[part(GROUP, 2, 2)]).expect("room")).is_ok() {
            return;
        }
        std::thread::yield_now();
    }
    panic!("the lane never recovered");
}

#[test]
fn what_waits_too_long_times_out_and_the_lane_recovers() {
    let Some(device) = card("what_waits_too_long_times_out_and_the_lane_recovers") else { return };
    let backend = backend(&device, 1, LAYOUT, impatient());
    let engine = Engine::new(&device);
    engine.hold_up();
    let fence = backend.device.fence(&[engine.raw()]).expect("a fence");
    let stuck = backend.offload.submit(&[Move { source_fence: fence, ..part(GROUP, 0, 0) }]).expect("room");
    let behind = backend.offload.submit(&[part(GROUP, 1, 1)]).expect("room");
    assert_eq!(outcome(&stuck), Err(MoveFault::TimedOut));
    assert!(outcome(&behind).is_err());
    let later = backend.offload.submit(&[part(GROUP, 2, 2)]).expect("room");
    assert_eq!(outcome(&later), Err(MoveFault::Cancelled), "it never began, so its slots are free");
    assert_well(&backend.onboard.submit(&[part(GROUP, 3, 3)]).expect("room"));
    engine.let_go();
    recover(&backend);
}

#[test]
fn a_lane_that_is_dropped_ends_its_tickets() {
    let Some(device) = card("a_lane_that_is_dropped_ends_its_tickets") else { return };
    let engine = Engine::new(&device);
    let options = LaneOptions { chunks_in_flight: 1, ..impatient() };
    let backend = backend(&device, 1, LAYOUT, lane_options());
    let lane =
        CudaLane::new(&backend.device, &backend.host, Direction::Offload, options, &clock()).expect("a lane");
    engine.be_slow();
    let fence = backend.device.fence(&[engine.raw()]).expect("a fence");
    let begun = lane.submit(&[Move { source_fence: fence, ..part(GROUP, 0, 0) }]).expect("room");
    let waiting = lane.submit(&[part(GROUP, 1, 1)]).expect("room");
    drop(lane);
    assert!(begun.is_over() && waiting.is_over());
    assert_eq!(waiting.outcome(0), Some(Err(MoveFault::Cancelled)));
}

#[test]
fn memory_is_given_back_while_the_engine_is_held_up() {
    let Some(device) = card("memory_is_given_back_while_the_engine_is_held_up") else { return };
    let engine = Engine::new(&device);
    let backend = backend(&device, 1, LAYOUT, impatient());
    engine.hold_up();
    assert_well(&backend.offload.submit(&[part(GROUP, 0, 0)]).expect("room"));
    drop(backend);
    engine.let_go();
}

#[test]
fn a_full_queue_refuses_whole_batches() {
    let Some(device) = card("a_full_queue_refuses_whole_batches") else { return };
    let options = LaneOptions { moves_max: 8, ..lane_options() };
    let backend = backend(&device, 1, LAYOUT, options);
    let moves: Vec<_> = (0..9).map(|slot| part(GROUP, slot, slot)).collect();
    let error = backend.offload.submit(&moves).expect_err("nine in a queue of eight");
    assert_eq!(error.kind(), kv_pager::ErrorKind::Retry);
    assert_well(&backend.offload.submit(&moves[..8]).expect("eight fit"));
}

#[test]
fn a_lost_device_ends_everything_as_lost() {
    let Some(device) = card("a_lost_device_ends_everything_as_lost") else { return };
    if std::env::var_os("KV_PAGER_TEST_LOST_DEVICE").is_none() {
        eprintln!(
            "a_lost_device_ends_everything_as_lost: skipped: set KV_PAGER_TEST_LOST_DEVICE, and run it alone"
        );
        return;
    }
    let backend = backend(&device, 1, LAYOUT, impatient());
    let engine = Engine::new(&device);
    engine.ruin();
    let ticket = backend.offload.submit(&[part(GROUP, 0, 0)]).expect("the queue has room");
    assert_eq!(outcome(&ticket), Err(MoveFault::Lost), "nobody can say what of it the device still does");
    assert!(matches!(backend.device.health(), kv_pager::tier::Health::Lost { .. }));
    let ticket = backend.onboard.submit(&[part(GROUP, 0, 0)]).expect("the queue has room");
    assert_eq!(outcome(&ticket), Err(MoveFault::DeviceLost));
    std::process::exit(0);
}
