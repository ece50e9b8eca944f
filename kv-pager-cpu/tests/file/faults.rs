//! What a file tier makes of drives that fail, fill up or lie: a miss, never wrong bytes.

use crate::rig::{LONG, Labelled, Rig, SLOTS, recovered, slot};
use crate::shim::{Device, open_on};
use kv_pager::Error;
use kv_pager::ids::GroupId;
use kv_pager::tier::Tier;
use kv_pager::tier::{Health, MoveFault};
use kv_pager_cpu::file::Access;
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

#[test]
fn a_read_that_is_refused_for_a_while_is_a_miss_and_the_next_may_be_none() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = open_on(&rig, &device);
    let block = &Labelled::chain(1)[0];
    session.write(block, 3);
    Device::fail(&device.reads, Errno::NOMEM);
    assert_eq!(session.read(slot(3)), Err(MoveFault::Io));
    device.mend();
    assert_eq!(session.read(slot(3)), Ok(block.bytes()));
    assert_eq!(session.tier().health(), Health::Well);
}

#[test]
fn a_payload_that_cannot_be_read_is_as_good_as_damaged() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = open_on(&rig, &device);
    let block = &Labelled::chain(1)[0];
    session.write(block, 3);
    Device::fail(&device.reads, Errno::IO);
    assert_eq!(session.read(slot(3)), Err(MoveFault::Damaged));
    device.mend();
    assert_eq!(session.read(slot(3)), Err(MoveFault::Damaged), "it is not asked for again");
    assert_eq!(session.try_write(block, 3), Err(MoveFault::Unwritable));
    assert_eq!(session.tier().health(), Health::Well);
    drop(session);
    let session = rig.open();
    assert_eq!(recovered(&session), 0);
    session.write(block, 3);
}

#[test]
fn a_place_that_takes_no_bytes_is_not_written_again_until_the_tier_is_opened_anew() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = open_on(&rig, &device);
    let block = &Labelled::chain(1)[0];
    Device::fail(&device.payload_writes, Errno::IO);
    assert_eq!(session.try_write(block, 3), Err(MoveFault::Unwritable));
    device.mend();
    assert_eq!(session.try_write(block, 3), Err(MoveFault::Unwritable));
    session.write(block, 4);
    drop(session);
    let session = rig.open();
    assert_eq!(recovered(&session), 1);
    session.write(block, 3);
}

#[test]
fn a_header_that_cannot_be_written_keeps_no_other_from_being_told() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = open_on(&rig, &device);
    for (at, block) in Labelled::chain(3).iter().enumerate() {
        session.write(block, at);
    }
    device.fails_up_to.store(0, Ordering::Relaxed);
    Device::fail(&device.header_writes, Errno::IO);
    for at in [0, 1, 2] {
        session.void(at);
    }
    let persistence = session.tier().persistence().expect("it has");
    persistence.flush().expect_err("the first header can't be written");
    device.fails_up_to.store(u64::MAX, Ordering::Relaxed);
    drop(session);
    assert_eq!(recovered(&rig.open()), 1, "and the others were");
}

#[test]
fn a_failing_slot_does_not_fail_its_neighbours_in_one_request() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = open_on(&rig, &device);
    let chain = Labelled::chain(3);
    session.write_chain(&chain);
    Device::fail(&device.reads, Errno::IO);
    device.fails_up_to.store(0, Ordering::Relaxed);
    let outcomes = session.read_together(&[slot(0), slot(1)]);
    assert_eq!(outcomes, [Err(MoveFault::Damaged), Ok(())]);
}

#[test]
fn a_write_that_fails_leaves_nothing_to_be_found() {
    for (is_payload, had_one_before) in [(true, false), (true, true), (false, false), (false, true)] {
        let (rig, device) = (Rig::new(), Device::new());
        let session = open_on(&rig, &device);
        let chain = Labelled::chain(2);
        if had_one_before {
            session.write(&chain[0], 1);
        }
        Device::fail(if is_payload { &device.payload_writes } else { &device.header_writes }, Errno::IO);
        assert_eq!(session.try_write(&chain[1], 1), Err(MoveFault::Unwritable));
        assert_eq!(session.read(slot(1)), Err(MoveFault::Damaged), "there is nothing in it any more");
        device.mend();
        drop(session);
        assert_eq!(recovered(&rig.open()), 0, "payload: {is_payload}, before: {had_one_before}");
    }
}

#[test]
fn a_drive_that_fills_up_or_becomes_read_only_takes_nothing_in_but_still_gives() {
    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::ROFS] {
        let (rig, device) = (Rig::new(), Device::new());
        let session = open_on(&rig, &device);
        let chain = Labelled::chain(2);
        session.write(&chain[0], 0);
        Device::fail(&device.payload_writes, errno);
        assert_eq!(session.try_write(&chain[1], 1), Err(MoveFault::Io));
        assert!(matches!(session.tier().health(), Health::ReadOnly { .. }));
        assert_eq!(session.read(slot(0)), Ok(chain[0].bytes()));
    }
}

#[test]
fn what_was_given_up_while_it_was_written_is_told_without_anything_else_to_do() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = open_on(&rig, &device);
    device.hang();
    let ticket = session.write_later(&Labelled::chain(1)[0], 2);
    device.wait_for_hung(1);
    session.void(2);
    let seen = device.wrote_header.count();
    device.release();
    kv_pager_testkit::conformance::wait(&ticket);
    let state = || {
        let file = File::open(rig.path("kv-pager.0.headers")).expect("it is there");
        let mut state = [0; 4];
        file.read_exact_at(&mut state, 2 * 256 + 12).expect("it is that long");
        u32::from_ne_bytes(state)
    };
    // That it is full, then that it is void.
    assert!(device.wrote_header.wait_past(seen, LONG));
    assert!(device.wrote_header.wait_past(seen + 1, LONG), "state {}", state());
    assert_eq!(state(), 1);
}

#[test]
fn a_header_that_cannot_be_read_costs_its_own_count_and_not_the_flush() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = open_on(&rig, &device);
    let chain = Labelled::chain(3);
    session.write_chain(&chain);
    let persistence = session.tier().persistence().expect("it has");
    let count = || (0..3).for_each(|index| persistence.set_uses(GroupId::FIRST, slot(index), 50));
    count();
    Device::fail(&device.reads, Errno::IO);
    device.fails_up_to.store(0, Ordering::Relaxed);
    persistence.flush().expect("what was written is durable");
    device.mend();
    drop(session);
    let session = rig.open();
    let uses = session.tier().persistence().expect("it has").recover().into_iter().map(|block| block.uses);
    assert_eq!(uses.collect::<Vec<_>>(), [7, 50, 50]);
}

#[test]
fn what_a_flush_writes_is_counted_and_a_header_that_it_cannot_write_is_told() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = open_on(&rig, &device);
    let chain = Labelled::chain(3);
    session.write_chain(&chain);
    let persistence = session.tier().persistence().expect("it has");
    let count = || (0..3).for_each(|index| persistence.set_uses(GroupId::FIRST, slot(index), 50));
    count();
    persistence.flush().expect("a sound drive");
    let written = session.tier().bytes_written();
    assert_eq!((written.headers.as_u64(), written.voids.as_u64()), (3 * 256, 0));
    assert_eq!(written.uses.as_u64(), 3 * 256);
    count();
    Device::fail(&device.header_writes, Errno::IO);
    device.fails_up_to.store(0, Ordering::Relaxed);
    assert!(matches!(persistence.flush(), Err(Error::Io { .. })));
    assert_eq!(session.tier().bytes_written().uses.as_u64(), 5 * 256, "the others were written");
}

#[test]
fn a_truncated_payload_file_loses_what_lay_behind_and_nothing_else() {
    let rig = Rig::new();
    let chain = Labelled::chain(4);
    let session = rig.open();
    session.write_chain(&chain);
    // While it is open: no signal, and a miss.
    let truncate = |bytes| {
        let path = rig.path("kv-pager.0.payloads");
        File::options().write(true).open(path).expect("it is there").set_len(bytes).expect("it can be cut");
    };
    truncate(3 * 8192 + 100);
    assert_eq!(session.read(slot(3)), Err(MoveFault::Damaged));
    assert_eq!(session.read(slot(2)), Ok(chain[2].bytes()));
    drop(session);
    truncate(8192);
    let session = rig.open();
    assert_eq!(session.tier().damaged_at_open(), 2, "and one had been retired");
    assert_eq!(recovered(&session), 1);
    assert_eq!(session.read(slot(0)), Ok(chain[0].bytes()));
    session.write(&chain[1], 7);
}

#[test]
fn truncated_or_zeroed_headers_lose_their_slots_and_nothing_else() {
    for zeroed in [false, true] {
        let rig = Rig::new();
        let chain = Labelled::chain(4);
        let session = rig.open();
        session.write_chain(&chain);
        drop(session);
        let headers = File::options().write(true).open(rig.path("kv-pager.0.headers")).expect("it is there");
        headers.set_len(2 * 256 + 10).expect("it can be cut");
        if zeroed {
            headers.set_len(u64::from(SLOTS) * 256).expect("it can be grown");
        }
        let session = rig.open();
        assert_eq!(recovered(&session), 2);
        assert_eq!(session.read(slot(1)), Ok(chain[1].bytes()));
    }
}

#[test]
fn zeroed_pages_of_payloads_are_misses_and_nothing_else() {
    let rig = Rig::new();
    let chain = Labelled::chain(4);
    let session = rig.open();
    session.write_chain(&chain);
    drop(session);
    let payloads = File::options().write(true).open(rig.path("kv-pager.0.payloads")).expect("it is there");
    // The second page of slot 1, and all of slot 2.
    payloads.write_all_at(&[0; 4096], 8192 + 4096).expect("it can be written");
    payloads.write_all_at(&[0; 8192], 2 * 8192).expect("it can be written");
    let session = rig.open();
    let outcomes: Vec<_> = (0..4).map(|index| session.read(slot(index))).collect();
    let damaged = Err(MoveFault::Damaged);
    assert_eq!(outcomes, [Ok(chain[0].bytes()), damaged.clone(), damaged, Ok(chain[3].bytes())]);
}

#[test]
fn a_write_of_several_slots_that_fails_leaves_the_sound_ones_written() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = open_on(&rig, &device);
    let chain = Labelled::chain(3);
    Device::fail(&device.payload_writes, Errno::NOMEM);
    // The request for all three begins at the first slot, as does the one for the first alone: no other slot fails.
    device.fails_up_to.store(0, Ordering::Relaxed);
    let outcomes = session.write_together(&chain.iter().enumerate().collect::<Vec<_>>());
    assert_eq!(outcomes, [Err(MoveFault::Io), Ok(()), Ok(())]);
    device.mend();
    for (index, block) in chain.iter().enumerate().skip(1) {
        assert_eq!(session.read(slot(index)), Ok(block.bytes()), "slot {index}");
    }
    assert_eq!(session.read(slot(0)), Err(MoveFault::Io), "there is nothing in it");
    session.write(&chain[0], 0);
    drop(session);
    assert_eq!(recovered(&rig.open()), 3, "with their labels");
}

#[test]
fn of_small_slots_that_are_written_together_only_those_that_the_drive_refuses_fail() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = open_on(&rig, &device);
    let chain = Labelled::chain(4);
    // None lies behind the one before it: each is a request of its own.
    let places: Vec<_> = [6, 4, 2, 0].into_iter().zip(&chain).collect();
    Device::fail(&device.payload_writes, Errno::NOMEM);
    device.fails_up_to.store(2 * 8192, Ordering::Relaxed);
    let failed = Err(MoveFault::Io);
    assert_eq!(session.write_together(&places), [Ok(()), Ok(()), failed, failed]);
    device.mend();
    for (at, block) in &places[..2] {
        assert_eq!(session.read(slot(*at)), Ok(block.bytes()), "slot {at}");
    }
    assert_eq!(session.read(slot(0)), Err(MoveFault::Io), "there is nothing in it");
    drop(session);
    assert_eq!(recovered(&rig.open()), 2, "with their labels");
}

#[test]
fn scattered_slots_are_written_alike_with_rings_and_without() {
    for has_rings in [true, false] {
        let rig = Rig::new();
        let session = rig.open_with(|spec| spec.file.as_mut().expect("there is one").has_rings = has_rings);
        // Some adjacent, so that a request is of several slots.
        let order = [7, 2, 3, 0, 5, 6, 1, 4];
        let mut total = 0;
        for name in [1, 2] {
            let chain = Labelled::chain_named(SLOTS, name);
            let places: Vec<_> = order.into_iter().zip(&chain).collect();
            assert!(session.write_together(&places).iter().all(Result::is_ok));
            for (at, block) in places {
                assert_eq!(session.read(slot(at)), Ok(block.bytes()), "slot {at}");
                total += block.bytes().len() as u64;
            }
        }
        assert_eq!(session.tier().bytes_written().payloads.as_u64(), total, "each once");
        drop(session);
        assert_eq!(recovered(&rig.open()), SLOTS as usize);
    }
}

#[test]
fn of_many_slots_that_are_read_together_only_the_bad_ones_are_misses() {
    for (has_rings, access) in [(true, Access::Auto), (false, Access::Auto), (true, Access::Buffered)] {
        let rig = Rig::new();
        let session = rig.open_with(|spec| {
            let file = spec.file.as_mut().expect("there is one");
            (file.has_rings, file.access) = (has_rings, access);
        });
        let chain = Labelled::chain(SLOTS);
        session.write_chain(&chain);
        session.void(2);
        rig.flip("kv-pager.0.payloads", 5 * 8192 + 9);
        let payloads = File::options().write(true).open(rig.path("kv-pager.0.payloads"));
        payloads.expect("it is there").set_len(7 * 8192 + 100).expect("it can be cut");
        // Backwards, so that each is a request of its own.
        let slots: Vec<_> = (0..SLOTS as usize).rev().map(slot).collect();
        let outcomes = session.read_together(&slots);
        for ((host, from), outcome) in (1..).zip(&slots).zip(outcomes) {
            match from.index() {
                2 => assert_eq!(outcome, Err(MoveFault::Io), "it was given up"),
                5 | 7 => assert_eq!(outcome, Err(MoveFault::Damaged), "{from:?}"),
                index => {
                    assert_eq!(outcome, Ok(()), "{from:?}, rings: {has_rings}, {access:?}");
                    assert_eq!(session.host_bytes(slot(host)), chain[index].bytes());
                }
            }
        }
    }
}

#[test]
fn a_bit_flipped_anywhere_never_gives_wrong_bytes() {
    for name in ["kv-pager.0.headers", "kv-pager.0.payloads", "kv-pager.superblock"] {
        for step in 0..24 {
            let rig = Rig::new();
            let chain = Labelled::chain(2);
            let session = rig.open();
            session.write(&chain[0], 0);
            session.write(&chain[1], 1);
            drop(session);
            let bytes = std::fs::metadata(rig.path(name)).expect("it is there").len();
            rig.flip(name, bytes / 24 * step + step % 7);
            let session = rig.open();
            for found in session.tier().persistence().expect("it has").recover() {
                let expected = &chain[found.depth as usize];
                expected.assert_is(&found);
                match session.read(found.slot) {
                    Ok(bytes) => assert_eq!(bytes, expected.bytes(), "{name}, step {step}"),
                    Err(fault) => assert_eq!(fault, MoveFault::Damaged, "{name}, step {step}"),
                }
            }
        }
    }
}

#[test]
fn through_the_page_cache_the_same_is_kept() {
    let rig = Rig::new();
    let chain = Labelled::chain(3);
    let buffered =
        |rig: &Rig| rig.open_with(|spec| spec.file.as_mut().expect("there is one").access = Access::Buffered);
    let session = buffered(&rig);
    assert_eq!(session.tier().access(), Access::Buffered);
    session.write_chain(&chain);
    session.tier().persistence().expect("it has").flush().expect("a sound drive");
    drop(session);
    let session = buffered(&rig);
    assert_eq!(recovered(&session), 3);
    for (index, block) in chain.iter().enumerate() {
        assert_eq!(session.read(slot(index)), Ok(block.bytes()));
    }
}

#[test]
fn a_header_that_is_met_half_written_is_read_again() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = rig.open();
    session.write(&Labelled::chain(1)[0], 0);
    drop(session);
    device.is_torn.store(true, Ordering::SeqCst);
    let session = open_on(&rig, &device);
    assert!(!device.is_torn.load(Ordering::SeqCst), "one was");
    assert_eq!((session.tier().damaged_at_open(), recovered(&session)), (0, 1));
}

#[test]
fn headers_that_cannot_be_read_cost_their_slots_and_not_the_tier() {
    let (rig, device) = (Rig::new(), Device::new());
    let session = rig.open();
    session.write(&Labelled::chain(1)[0], 0);
    drop(session);
    Device::fail(&device.reads, Errno::IO);
    let session = open_on(&rig, &device);
    let persistence = session.tier().persistence().expect("it has");
    assert_eq!((persistence.recover().len(), persistence.retired().len()), (0, SLOTS as usize));
    assert_eq!(session.try_write(&Labelled::chain(1)[0], 0), Err(MoveFault::Unwritable));
    drop(session);
    assert_eq!(recovered(&rig.open()), 1, "nothing was overwritten, and the drive is well again");
}
