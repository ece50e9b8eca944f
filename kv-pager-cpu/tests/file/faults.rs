//! What a file tier makes of drives that fail, fill up, hang or lie: a miss, never wrong bytes and never a stuck request.

use crate::rig::{Labelled, Rig, SLOTS, Session, slot};
use crate::shim::{Device, Shim};
use kv_pager::Error;
use kv_pager::ids::{GroupId, TierId};
use kv_pager::layout::Format;
use kv_pager::tier::{Health, MoveFault, Signal, Tier};
use kv_pager::units::{Bytes, Nanos};
use kv_pager_cpu::FileTier;
use kv_pager_cpu::file::{Access, Identity};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

fn open_on(rig: &Rig, device: &Arc<Device>) -> Session {
    rig.open_with(|spec| {
        let shim = Shim(Arc::clone(device));
        spec.file.as_mut().expect("there is one").interpose = Some(Arc::new(shim));
        spec.file_lanes.workers = 2;
        spec.file_lanes.chunk_timeout = Nanos::from_millis(100);
    })
}

fn recovered(session: &Session) -> usize {
    session.tier().persistence().expect("it has").recover().len()
}

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
    for (index, block) in chain.iter().enumerate() {
        session.write(block, index);
    }
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
    for (index, block) in chain.iter().enumerate() {
        session.write(block, index);
    }
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
    for (index, block) in chain.iter().enumerate() {
        session.write(block, index);
    }
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

/// Much longer than anything here takes that does not hang.
const LONG: Nanos = Nanos::from_millis(30_000);

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

#[test]
fn a_truncated_payload_file_loses_what_lay_behind_and_nothing_else() {
    let rig = Rig::new();
    let chain = Labelled::chain(4);
    let session = rig.open();
    for (index, block) in chain.iter().enumerate() {
        session.write(block, index);
    }
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
        for (index, block) in chain.iter().enumerate() {
            session.write(block, index);
        }
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
    for (index, block) in chain.iter().enumerate() {
        session.write(block, index);
    }
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
        for (index, block) in chain.iter().enumerate() {
            session.write(block, index);
        }
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
fn a_directory_that_cannot_be_written_or_is_a_file_is_an_error_that_says_what_to_do() {
    let rig = Rig::new();
    let mut spec = rig.spec();
    spec.directories = vec!["/proc/no-such-place".into()];
    let refusal = FileTier::open(&rig.identity(), &spec).expect_err("nothing can be made there");
    assert!(matches!(refusal, Error::Io { tier: TierId::File, .. }));
    assert!(refusal.to_string().contains("choose"), "{refusal}");
    let file = tempfile::NamedTempFile::new().expect("a file");
    spec.directories = vec![file.path().to_owned()];
    assert!(FileTier::open(&rig.identity(), &spec).is_err());
    assert!(file.path().exists(), "and it was left alone");
}

#[test]
fn more_than_the_drive_has_is_refused_at_once_and_nothing_is_left_behind() {
    let rig = Rig::new();
    let mut spec = rig.spec();
    spec.slots = vec![u32::MAX - 1];
    spec.directories = vec![rig.path("deeply/nested")];
    let refusal = FileTier::open(&rig.identity(), &spec).expect_err("no drive has 32 TiB to spare");
    assert!(matches!(refusal, Error::OutOfMemory { tier: TierId::File, .. }), "{refusal}");
    assert!(!rig.path("").exists(), "all directories were its own");
}

/// Changes the superblock of `rig`'s directory, and makes its checksums hold again.
fn forge(rig: &Rig, offset: u64, bytes: &[u8]) {
    let path = rig.path("kv-pager.superblock");
    let file = File::options().read(true).write(true).open(path).expect("it is there");
    for copy in [0, 4096] {
        file.write_all_at(bytes, copy + offset).expect("it can be written");
        let mut page = [0; 4096];
        file.read_exact_at(&mut page, copy).expect("it is that long");
        let checksum = xxh3_64_with_seed(&page[24..], xxh3_64(&page[..16]));
        file.write_all_at(&checksum.to_ne_bytes(), copy + 16).expect("it can be written");
    }
}

/// What makes a tier another than the one that is opened.
type Change = fn(&Rig, &mut Identity);

#[test]
fn what_another_version_machine_format_or_model_wrote_is_refused_and_left_alone() {
    let changes: [(&str, Change); 7] = [
        ("version 2", |rig, _| forge(rig, 12, &2_u32.to_ne_bytes())),
        ("byte order", |rig, _| forge(rig, 8, &0x0a0b_0c0d_u32.swap_bytes().to_ne_bytes())),
        ("no file of kv-pager's", |rig, _| forge(rig, 0, b"SOMEBODY")),
        ("in another format", |_, identity| identity.format = Format::Int8),
        ("for another model", |_, identity| identity.fingerprint.0 += 1),
        ("another hash key", |_, identity| identity.hash_key += 1),
        ("split over 1 rank", |_, identity| identity.ranks = 2),
    ];
    for (said, change) in changes {
        let rig = Rig::new();
        let session = rig.open();
        session.write(&Labelled::chain(1)[0], 0);
        drop(session);
        let mut identity = rig.identity();
        change(&rig, &mut identity);
        let before = rig.files(&[""]);
        // Neither if it is opened as it was, nor if it is to become smaller.
        for slots in [SLOTS, 1] {
            let mut spec = rig.spec();
            spec.slots = vec![slots];
            let refusal = FileTier::open(&identity, &spec).expect_err(said);
            assert!(matches!(refusal, Error::Configuration { .. }), "{refusal}");
            assert!(refusal.to_string().contains(said), "{refusal}");
            assert_eq!(rig.files(&[""]), before, "{said}");
        }
    }
}

#[test]
fn a_refused_directory_gets_not_even_a_lock() {
    let rig = Rig::new();
    std::fs::create_dir(rig.path("")).expect("it can be made");
    std::fs::write(rig.path("kv-pager.superblock"), [7; 100]).expect("it can be written");
    let before = rig.files(&[""]);
    assert!(FileTier::open(&rig.identity(), &rig.spec()).is_err());
    assert_eq!(rig.files(&[""]), before);
}

#[test]
fn of_a_tier_that_lost_a_superblock_nothing_is_removed() {
    let rig = Rig::new();
    let mut spec = rig.spec();
    spec.directories = vec![rig.path("a"), rig.path("b")];
    spec.slots = vec![2048];
    drop(FileTier::open(&rig.identity(), &spec).expect("there is room"));
    for is_gone in [false, true] {
        let superblock = rig.path("b/kv-pager.superblock");
        if is_gone {
            std::fs::remove_file(superblock).expect("it is there");
        } else {
            File::options()
                .write(true)
                .open(superblock)
                .expect("it is there")
                .set_len(0)
                .expect("it can be cut");
        }
        let before = rig.files(&["a", "b"]);
        assert!(before.len() > 6, "{:?}", before.keys());
        let refusal = FileTier::open(&rig.identity(), &spec).expect_err("it holds no tier");
        assert!(refusal.to_string().contains("no superblock"), "{refusal}");
        assert_eq!(rig.files(&["a", "b"]), before);
    }
}

#[test]
fn what_is_left_of_a_larger_model_that_was_never_made_is_removed() {
    let rig = Rig::new();
    std::fs::create_dir(rig.path("")).expect("it can be made");
    for name in ["kv-pager.0.headers", "kv-pager.7.headers", "kv-pager.7.payloads", "kv-pager.superblock.new"]
    {
        std::fs::write(rig.path(name), [7; 100]).expect("it can be written");
    }
    let session = rig.open();
    assert_eq!((recovered(&session), session.tier().damaged_at_open()), (0, 0));
    let names: Vec<_> = rig.files(&[""]).into_keys().collect();
    let own =
        ["0.headers", "0.payloads", "lock", "superblock"].map(|name| rig.path(&format!("kv-pager.{name}")));
    assert_eq!(names, own);
}

#[test]
fn zero_sizes_are_refused() {
    let rig = Rig::new();
    let mut spec = rig.spec();
    for slots in [vec![], vec![0], vec![1, 1], vec![u32::MAX]] {
        spec.slots = slots;
        assert!(matches!(FileTier::open(&rig.identity(), &spec), Err(Error::Configuration { .. })));
    }
    spec = rig.spec();
    spec.directories.clear();
    assert!(matches!(FileTier::open(&rig.identity(), &spec), Err(Error::Configuration { .. })));
}

#[test]
fn through_the_page_cache_the_same_is_kept() {
    let rig = Rig::new();
    let chain = Labelled::chain(3);
    let buffered =
        |rig: &Rig| rig.open_with(|spec| spec.file.as_mut().expect("there is one").access = Access::Buffered);
    let session = buffered(&rig);
    assert_eq!(session.tier().access(), Access::Buffered);
    for (index, block) in chain.iter().enumerate() {
        session.write(block, index);
    }
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
