//! A drive that answers after its requests were given up: what they kept is used again, and not before.

use crate::rig::{LONG, Labelled, Rig, slot};
use crate::shim::{Device, Shim};
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::config::Config;
use kv_pager::ids::{Fence, GroupId, TierId, TokenId};
use kv_pager::layout::shape;
use kv_pager::pager::{Backend, Pager, Request, Step};
use kv_pager::policy::Steward;
use kv_pager::pool::SlotState;
use kv_pager::tier::{MoveFault, Signal, Ticket};
use kv_pager::units::Nanos;
use kv_pager_cpu::file::Interpose;
use kv_pager_cpu::{CpuBackend, CpuSpec, FileSpec};
use std::sync::Arc;

const TIMEOUT: Nanos = Nanos::from_millis(100);

fn wait_for_conclusion(ticket: &Ticket) {
    let signal = Arc::new(Signal::new());
    ticket.attach(&signal);
    loop {
        let seen = signal.count();
        if ticket.is_concluded(0) {
            return;
        }
        assert!(signal.wait_past(seen, LONG), "nobody says that it is over");
    }
}

#[test]
fn a_request_that_was_given_up_is_concluded_when_it_comes_back_and_its_end_stays() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = rig.open_with(|spec| {
        let file = spec.file.as_mut().expect("there is one");
        file.interpose = Some(Arc::new(Shim(Arc::clone(&device))));
        spec.file_lanes.chunk_timeout = TIMEOUT;
    });
    let chain = Labelled::chain(2);
    session.write(&chain[0], 0);
    device.hang();
    let (read, write) = (session.read_later(slot(0), slot(1)), session.write_later(&chain[1], 1));
    let timed_out = Some(Err(MoveFault::TimedOut));
    for ticket in [&read, &write] {
        kv_pager_testkit::conformance::wait(ticket);
        assert_eq!((ticket.outcome(0), ticket.is_concluded(0)), (timed_out, false), "it hangs still");
    }
    device.release();
    for ticket in [&read, &write] {
        wait_for_conclusion(ticket);
        assert_eq!(ticket.outcome(0), timed_out);
    }
    // The same slots at both ends: nothing of the late calls is in the way, nor writes them any more.
    assert_eq!(session.read_into(slot(0), slot(1)), Ok(chain[0].bytes()));
    session.write(&chain[1], 1);
    assert_eq!(session.read(slot(1)), Ok(chain[1].bytes()));
}

const BLOCKS: u32 = 10;

/// A pager over a device that has room for a prompt and a half, and a host that has room for many.
fn start(rig: &Rig, device: Option<&Arc<Device>>) -> Pager {
    let config = Config::default();
    let mut file = FileSpec::new(rig.path(""), vec![100]);
    file.interpose = device.map(|device| Arc::new(Shim(Arc::clone(device))) as Arc<dyn Interpose>);
    let mut spec = CpuSpec {
        fingerprint: config.fingerprint,
        hash_key: config.hash_key.0,
        host_slots: Some(vec![BLOCKS * 10]),
        file: Some(file),
        ..CpuSpec::new(shape("tiny").expect("known"), vec![BLOCKS * 3 / 2])
    };
    spec.file_lanes.workers = 2;
    spec.file_lanes.chunk_timeout = TIMEOUT;
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let cpu = CpuBackend::with_clock(&spec, &clock).expect("small tiers");
    let backend = Backend { tiers: cpu.tiers(), lanes: cpu.lanes() };
    Pager::new(spec.model, config, backend, Box::new(Steward::default()), clock).expect("it fits")
}

/// Serves a prompt; what it computes are the bytes that are there. Returns its tokens that came from the file.
fn serve(pager: &Pager, number: u32) -> u64 {
    let prompt: Vec<TokenId> = (0..=16 * BLOCKS).map(|place| TokenId(number * 1000 + place)).collect();
    let mut sequence = loop {
        let seen = pager.progress();
        match pager.open(&Request::new(&prompt)) {
            Ok(sequence) => break sequence,
            Err(error) => assert!(pager.wait(seen, LONG), "no room comes: {error}"),
        }
    };
    loop {
        match sequence.next_step(prompt.len()).expect("nothing is shared that it writes") {
            Step::Compute(tokens) => sequence.commit(tokens, Fence::OVER).expect("as it was told"),
            Step::Wait => assert!(sequence.wait(LONG), "a load does not end"),
            Step::Ready => break,
        }
    }
    let hits = sequence.report().hit_tokens[TierId::File.index()];
    sequence.close(Fence::OVER);
    wait_until(pager, || !pager.is_busy());
    hits
}

fn wait_until(pager: &Pager, is_so: impl Fn() -> bool) {
    loop {
        let seen = pager.progress();
        pager.poll();
        if is_so() {
            break;
        }
        assert!(pager.wait(seen, LONG), "it never comes");
    }
    pager.check();
}

#[test]
fn slots_of_a_load_that_hung_are_used_again_once_the_drive_has_answered() {
    let (rig, device) = (Rig::new(), Device::new());
    let pager = start(&rig, None);
    // What comes after pushes it down to the host.
    for number in 0..4 {
        assert_eq!(serve(&pager, number), 0);
    }
    pager.write_out(LONG).expect("a sound drive");
    drop(pager);
    let pager = start(&rig, Some(&device));
    let quarantined = || {
        let counts = pager.occupancy(TierId::Host, GroupId::FIRST).expect("there is one");
        counts.of(SlotState::Quarantined)
    };
    device.hang();
    assert_eq!(serve(&pager, 0), 0, "it was computed instead");
    let hung = quarantined();
    assert!(hung > 0, "a late read may still write them");
    assert_eq!(serve(&pager, 9), 0);
    assert_eq!(quarantined(), hung, "the drive has not answered");
    device.release();
    wait_until(&pager, || quarantined() == 0);
    drop(pager);
    // What was there is there still.
    let pager = start(&rig, None);
    assert!(serve(&pager, 0) > 0);
}
