//! What a file tier makes of drives that do not answer: moves end at their deadline, and nobody is kept.

use crate::rig::{LONG, Labelled, Rig, recovered, slot};
use crate::shim::{Device, Shim, open_on};
use kv_pager::tier::Tier;
use kv_pager::tier::{Health, MoveFault, Signal};
use kv_pager::units::{Bytes, Nanos};
use kv_pager_cpu::FileTier;
use std::sync::Arc;

#[test]
fn a_read_that_hangs_ends_at_its_deadline_and_the_lane_goes_on() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = open_on(&rig, &device);
    let block = &Labelled::chain(1)[0];
    session.write(block, 0);
    device.hang();
    assert_eq!(session.read(slot(0)), Err(MoveFault::TimedOut));
    device.release();
    // Another host slot: the hung request may still have been writing the first.
    assert_eq!(session.read_into(slot(0), slot(0)), Ok(block.bytes()));
    assert_eq!(session.tier().health(), Health::Well);
}

#[test]
fn a_drive_that_is_gone_is_told_and_keeps_nobody() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = open_on(&rig, &device);
    session.write(&Labelled::chain(1)[0], 0);
    device.hang();
    // More than twice the threads; each hangs in the one before's place, until the lane gives up what waits.
    let tickets: Vec<_> = (1..8).map(|host| session.read_later(slot(0), slot(host))).collect();
    let outcome = |ticket| {
        kv_pager_testkit::conformance::wait(ticket);
        ticket.outcome(0).expect("it is over")
    };
    let outcomes: Vec<_> = tickets.iter().map(outcome).collect();
    let (hung, waited) = (Err(MoveFault::TimedOut), Err(MoveFault::Cancelled));
    assert_eq!(outcomes, [hung, hung, hung, hung, waited, waited, waited]);
    let health = session.tier().health();
    assert!(matches!(&health, Health::Lost { why } if why.contains("does not answer")), "{health:?}");
    drop(session);
    device.release();
}

#[test]
fn a_header_that_hangs_costs_its_own_move_and_keeps_nobody() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = open_on(&rig, &device);
    let chain = Labelled::chain(2);
    session.write(&chain[0], 0);
    device.hang_in_headers();
    // Both threads: the second waits for the first one's turn at the headers.
    assert_eq!(session.try_write(&chain[1], 1), Err(MoveFault::TimedOut));
    assert_eq!(session.read(slot(0)), Ok(chain[0].bytes()), "payloads are read");
    device.release();
    drop(session);
    let session = rig.open_when_free();
    assert_eq!(session.tier().damaged_at_open(), 0);
    assert!((1..=2).contains(&recovered(&session)));
    assert_eq!(session.read(slot(0)), Ok(chain[0].bytes()));
}

#[test]
fn a_lane_that_is_dropped_leaves_a_header_that_hangs_behind() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = open_on(&rig, &device);
    device.hang_in_headers();
    let ticket = session.write_later(&Labelled::chain(1)[0], 1);
    device.wait_for_hung(1);
    drop(session);
    assert_eq!(ticket.outcome(0), Some(Err(MoveFault::TimedOut)));
    device.release();
    assert_eq!(rig.open_when_free().tier().damaged_at_open(), 0);
}

#[test]
fn a_scrubber_that_hangs_is_not_waited_for() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = rig.open();
    session.write(&Labelled::chain(1)[0], 0);
    drop(session);
    device.hang();
    let session = rig.open_with(|spec| {
        let file = spec.file.as_mut().expect("there is one");
        file.interpose = Some(Arc::new(Shim(Arc::clone(&device))));
        file.scrub_bytes_per_s = Some(Bytes::mib(100));
        spec.file_lanes.chunk_timeout = Nanos::from_millis(100);
    });
    device.wait_for_hung(1);
    let dropped = Arc::new(Signal::new());
    let own = Arc::clone(&dropped);
    let thread = std::thread::spawn(move || {
        drop(session);
        own.ring();
    });
    let is_dropped = dropped.wait_past(0, LONG);
    assert!(FileTier::open(&rig.identity(), &rig.spec()).is_err(), "who hangs there has its directory");
    device.release();
    thread.join().expect("it does not panic");
    assert!(is_dropped, "it waits for the drive");
    assert_eq!(recovered(&rig.open_when_free()), 1);
}

#[test]
fn what_hangs_while_it_is_given_up_is_not_found_again() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = open_on(&rig, &device);
    device.hang();
    assert_eq!(session.try_write(&Labelled::chain(1)[0], 2), Err(MoveFault::TimedOut));
    session.void(2);
    device.release();
    drop(session);
    assert_eq!(recovered(&rig.open_when_free()), 0);
}
