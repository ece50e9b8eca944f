//! What `inspect` says of a tier's files, sound or not.

use crate::rig::{Labelled, Rig, SLOTS, slot};
use kv_pager::Error;
use kv_pager::tier::Tier;
use kv_pager_cpu::file::{Depth, Inspection, Making};
use kv_pager_cpu::{FileTier, inspect};
use std::fs::{self, File};

fn look(rig: &Rig, depth: Depth) -> Inspection {
    inspect(&rig.spec().directories, depth).expect("it can be read")
}

/// Two chains of 3 and 2 blocks that share nothing.
fn filled() -> Rig {
    let rig = Rig::new();
    let session = rig.open();
    for (index, block) in Labelled::chain_named(3, 1).iter().chain(&Labelled::chain_named(2, 2)).enumerate() {
        session.write(block, index);
    }
    rig
}

#[test]
fn a_sound_tier_is_counted() {
    let found = look(&filled(), Depth::Verify);
    assert_eq!(found.making, Making::Complete);
    assert_eq!((found.files, found.slots, found.used_slots), (2, u64::from(SLOTS), 5));
    assert_eq!((found.blocks, found.chains, found.tenants), (5, 2, 1));
    assert_eq!((found.payload_bytes, found.verified_bytes), (5 * 8192, 5 * 8192));
    assert_eq!((found.damaged_slots, found.interrupted_slots, found.orphaned_blocks), (0, 0, 0));
    assert_eq!(found.formats, ["raw"]);
    let (oldest, newest) = found.written_s.expect("something was written");
    assert!(1_600_000_000 < oldest && oldest <= newest, "from {oldest} to {newest}");
    assert_eq!((found.hottest[0].uses, found.hottest[0].depth), (9, 2));
    assert!(!found.is_damaged());
}

#[test]
fn an_open_tier_can_be_looked_at_but_not_repaired() {
    let rig = filled();
    let session = rig.open();
    assert_eq!(look(&rig, Depth::Verify).used_slots, 5);
    let refusal = inspect(&rig.spec().directories, Depth::Repair).expect_err("it is in use");
    assert!(matches!(refusal, Error::Configuration { .. }));
    drop(session);
}

#[test]
fn damage_is_found_by_reading_and_repaired_by_retiring() {
    let rig = filled();
    rig.flip("kv-pager.0.payloads", 8192 + 5);
    rig.flip("kv-pager.0.headers", 4 * 256 + 70);
    rig.flip("kv-pager.superblock", 4096 + 9);
    let shallow = look(&rig, Depth::Look);
    assert_eq!((shallow.damaged_slots, shallow.damages.len()), (1, 2), "payloads were not read");
    let found = look(&rig, Depth::Verify);
    assert_eq!((found.damaged_slots, found.damages.len()), (2, 3));
    // Slot 1 was in the middle of the first chain: what came after it can't be reached.
    assert_eq!((found.used_slots, found.blocks, found.orphaned_blocks), (3, 2, 1));
    assert!(found.is_damaged());
    assert_eq!(look(&rig, Depth::Repair), found, "it tells what it found");
    let repaired = look(&rig, Depth::Verify);
    assert!(!repaired.is_damaged(), "{:?}", repaired.damages);
    assert_eq!((repaired.retired_slots, repaired.damaged_slots), (2, 0));
    let session = rig.open();
    assert_eq!(session.tier().persistence().expect("it has").recover().len(), 2);
    assert!(session.read(slot(0)).is_ok());
}

#[test]
fn slots_whose_payloads_are_gone_are_retired_as_it_is_said() {
    let rig = filled();
    let path = rig.path("kv-pager.0.payloads");
    File::options().write(true).open(&path).expect("it is there").set_len(3 * 8192).expect("it can be cut");
    let found = look(&rig, Depth::Verify);
    assert_eq!((found.damaged_slots, found.used_slots), (2, 3));
    assert_eq!(look(&rig, Depth::Repair), found, "it tells what it found");
    let repaired = look(&rig, Depth::Verify);
    assert!(!repaired.is_damaged(), "{:?}", repaired.damages);
    assert_eq!((repaired.retired_slots, repaired.used_slots), (2, 3));
    assert_eq!(fs::metadata(path).expect("it is there").len(), u64::from(SLOTS) * 8192, "and it is whole");
}

#[test]
fn a_file_that_is_missing_is_told_and_the_rest_is_shown() {
    for (name, damaged_slots) in [("kv-pager.0.payloads", 5), ("kv-pager.0.headers", 0)] {
        let rig = filled();
        fs::remove_file(rig.path(name)).expect("it is there");
        let before = rig.files(&[""]);
        for depth in [Depth::Look, Depth::Verify] {
            let found = look(&rig, depth);
            assert_eq!((found.slots, found.used_slots, found.damaged_slots), (8, 0, damaged_slots));
            let (missing, slots) = found.damages.split_first().expect("it is damaged");
            assert!(missing.what.contains(&format!("{name} is missing")), "{missing:?}");
            assert_eq!((missing.group, missing.slot, slots.len() as u64), (Some(0), None, damaged_slots));
            assert_eq!(rig.files(&[""]), before, "looking writes nothing");
        }
        assert_eq!(look(&rig, Depth::Repair).damages.len() as u64, 1 + damaged_slots);
        let repaired = look(&rig, Depth::Verify);
        assert_eq!((repaired.damages.len(), repaired.retired_slots), (0, damaged_slots), "{name}");
        // Each gets another chance.
        let session = rig.open();
        session.write(&Labelled::chain(1)[0], 0);
    }
}

#[test]
fn a_tier_in_several_directories_is_repaired_in_any_order() {
    let rig = Rig::new();
    let mut spec = rig.spec();
    spec.directories = vec![rig.path("b"), rig.path("a")];
    spec.slots = vec![2048];
    drop(FileTier::open(&rig.identity(), &spec).expect("there is room"));
    let before = rig.files(&["a", "b"]);
    rig.flip("a/kv-pager.superblock", 4096 + 9);
    fs::remove_file(rig.path("b/kv-pager.0.payloads")).expect("it is there");
    spec.directories.reverse();
    let found = inspect(&spec.directories, Depth::Repair).expect("it can be repaired");
    assert_eq!(found.damages.len(), 2, "{:?}", found.damages);
    assert!(rig.files(&["a", "b"]) == before, "a tier that held nothing is what it was");
}

#[test]
fn nothing_and_half_of_something_are_told_apart() {
    let rig = Rig::new();
    let directory = &rig.spec().directories[0];
    assert!(inspect(&rig.spec().directories, Depth::Look).is_err(), "there is no such directory");
    fs::create_dir(directory).expect("it can be made");
    assert_eq!(look(&rig, Depth::Repair).making, Making::Empty);
    assert!(rig.files(&[""]).is_empty(), "not even a lock is left");
    fs::write(rig.path("kv-pager.0.payloads"), [1; 100]).expect("it can be written");
    assert_eq!(look(&rig, Depth::Verify).making, Making::HalfCreated);
    fs::write(rig.path("kv-pager.superblock"), []).expect("it can be written");
    assert_eq!(look(&rig, Depth::Repair).making, Making::HalfCreated);
    assert!(fs::exists(rig.path("kv-pager.0.payloads")).expect("it can be asked"), "and left alone");
    let session = rig.open();
    session.write(&Labelled::chain(1)[0], 0);
    assert_eq!(look(&rig, Depth::Verify).used_slots, 1);
}

#[test]
fn directories_that_do_not_belong_together_are_refused() {
    let (one, other) = (filled(), filled());
    let mixed = [one.spec().directories[0].clone(), other.spec().directories[0].clone()];
    assert!(matches!(inspect(&mixed, Depth::Look), Err(Error::Configuration { .. })));
}
