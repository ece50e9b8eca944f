//! What a file tier still has when it is opened again (S1, S2), and what it refuses to open.

use crate::rig::{Labelled, Rig, slot};
use kv_pager::Error;
use kv_pager::ids::{GroupId, ModelFingerprint};
use kv_pager::layout::shape;
use kv_pager::tier::{Health, MoveFault, Tier};
use kv_pager::units::Bytes;
use kv_pager_cpu::FileTier;
use kv_pager_cpu::file::Identity;

#[test]
fn what_was_written_is_found_again_with_its_label_parents_first() {
    let rig = Rig::new();
    let session = rig.open();
    let chain = Labelled::chain(6);
    // Children at lower slots than their parents.
    for (block, at) in chain.iter().zip([5, 4, 3, 2, 1, 0]) {
        session.write(block, at);
    }
    session.void(0);
    drop(session);
    let session = rig.open();
    let found = session.tier().persistence().expect("it has").recover();
    assert_eq!(found.len(), 5);
    for (found, expected) in found.iter().zip(&chain) {
        expected.assert_is(found);
        assert_eq!(session.read(found.slot), Ok(expected.bytes()));
    }
    assert!(session.tier().persistence().expect("it has").recover().is_empty(), "only once");
}

#[test]
fn a_slot_that_is_written_again_has_its_new_label_only() {
    let rig = Rig::new();
    let session = rig.open();
    let chain = Labelled::chain(2);
    session.write(&chain[1], 3);
    session.write(&chain[0], 3);
    drop(session);
    let session = rig.open();
    let found = session.tier().persistence().expect("it has").recover();
    assert_eq!(found.len(), 1);
    chain[0].assert_is(&found[0]);
}

#[test]
fn a_block_whose_parent_is_gone_is_dropped_and_stays_dropped() {
    let rig = Rig::new();
    let session = rig.open();
    let chain = Labelled::chain(4);
    session.write_chain(&chain);
    session.void(1);
    drop(session);
    for _ in 0..2 {
        let session = rig.open();
        let found = session.tier().persistence().expect("it has").recover();
        assert_eq!(found.iter().map(|block| block.slot).collect::<Vec<_>>(), [slot(0)]);
    }
}

#[test]
fn a_damaged_payload_is_a_miss_and_its_slot_is_retired_until_it_had_another_chance() {
    let rig = Rig::new();
    let session = rig.open();
    let block = &Labelled::chain(1)[0];
    session.write(block, 2);
    drop(session);
    for strike in 1..=2 {
        rig.flip("kv-pager.0.payloads", 2 * 8192 + 77);
        let session = rig.open();
        assert_eq!(session.tier().persistence().expect("it has").recover().len(), 1, "strike {strike}");
        assert_eq!(session.read(slot(2)), Err(MoveFault::Damaged));
        assert_eq!(
            session.try_write(block, 2),
            Err(MoveFault::Unwritable),
            "a spoiled slot takes nothing in"
        );
        drop(session);
        let session = rig.open();
        let persistence = session.tier().persistence().expect("it has");
        assert!(persistence.recover().is_empty());
        if strike == 1 {
            assert!(persistence.retired().is_empty());
            session.write(block, 2);
        } else {
            assert_eq!(persistence.retired(), [(GroupId::FIRST, slot(2))]);
            assert_eq!(session.try_write(block, 2), Err(MoveFault::Unwritable));
        }
    }
}

#[test]
fn a_second_opener_is_refused_and_disturbs_nothing() {
    let rig = Rig::new();
    let session = rig.open();
    let refusal = FileTier::open(&rig.identity(), &rig.spec()).expect_err("it is in use");
    assert!(matches!(refusal, Error::Configuration { .. }));
    assert!(refusal.to_string().contains("process"), "{refusal}");
    assert_eq!(session.tier().health(), Health::Well);
    drop(session);
    rig.open();
}

#[test]
fn another_identity_is_refused_and_the_files_are_left_alone() {
    let rig = Rig::new();
    let session = rig.open();
    let block = &Labelled::chain(1)[0];
    session.write(block, 0);
    drop(session);
    let own = rig.identity();
    let model = shape("smollm2-135m").expect("known");
    for other in [
        Identity { fingerprint: ModelFingerprint(1), ..own.clone() },
        Identity { hash_key: 1, ..own.clone() },
        Identity { model, ..own.clone() },
    ] {
        let refusal = FileTier::open(&other, &rig.spec()).expect_err("it is another's").to_string();
        assert!(refusal.contains("left alone"), "{refusal}");
    }
    let session = rig.open();
    assert_eq!(session.tier().persistence().expect("it has").recover().len(), 1);
}

#[test]
fn another_number_of_ranks_is_refused_with_both_numbers() {
    let rig = Rig::new();
    let split = |ranks| Identity { ranks, ..rig.identity() };
    drop(FileTier::open(&split(4), &rig.spec()).expect("it is made"));
    for (ranks, told) in [(1, "1 rank;"), (2, "2 ranks;"), (8, "8 ranks;")] {
        let refusal = FileTier::open(&split(ranks), &rig.spec()).expect_err("its slices are not those");
        assert!(matches!(refusal, Error::Configuration { .. }));
        let refusal = refusal.to_string();
        assert!(refusal.contains("split over 4 ranks") && refusal.contains(told), "{refusal}");
    }
    // With another number of ranks heads may be replicated, so that the layout differs as well: ranks are what is told.
    let model = shape("smollm2-135m").expect("known");
    let other = Identity { model, ..split(2) };
    let refusal = FileTier::open(&other, &rig.spec()).expect_err("another layout").to_string();
    assert!(refusal.contains("split over 4 ranks"), "{refusal}");
    drop(FileTier::open(&split(4), &rig.spec()).expect("as it was"));
    let none = FileTier::open(&split(0), &rig.spec()).expect_err("nobody would have anything");
    assert!(none.to_string().contains("0 ranks"), "{none}");
}

#[test]
fn hot_blocks_are_hot_again_after_a_flush() {
    let rig = Rig::new();
    let session = rig.open();
    let chain = Labelled::chain(2);
    session.write(&chain[0], 0);
    session.write(&chain[1], 1);
    let persistence = session.tier().persistence().expect("it has");
    persistence.set_uses(GroupId::FIRST, slot(1), 1000);
    persistence.set_uses(GroupId::FIRST, slot(5), 3);
    persistence.flush().expect("a sound drive");
    drop(session);
    let session = rig.open();
    let found = session.tier().persistence().expect("it has").recover();
    assert_eq!(found.iter().map(|block| block.uses).collect::<Vec<_>>(), [7, 1000]);
    assert_eq!(session.read(slot(1)), Ok(chain[1].bytes()));
}

#[test]
fn scrubbing_finds_damage_before_it_is_asked_for() {
    let rig = Rig::new();
    let session = rig.open();
    for (index, block) in Labelled::chain(4).iter().enumerate() {
        session.write(block, index);
    }
    assert_eq!(session.tier().scrub().expect("there is memory").damaged, 0);
    rig.flip("kv-pager.0.payloads", 2 * 8192 + 8191);
    let scrubbed = session.tier().scrub().expect("there is memory");
    assert_eq!((scrubbed.damaged, scrubbed.bytes.as_u64()), (1, 2 * 4 * 8192));
    assert_eq!(session.read(slot(2)), Err(MoveFault::Damaged), "and it is told as such");
    assert_eq!(session.tier().scrub().expect("there is memory").damaged, 1, "once");
}

#[test]
fn a_tier_scrubs_itself_when_told_to() {
    let rig = Rig::new();
    let session = rig.open();
    session.write(&Labelled::chain(1)[0], 3);
    drop(session);
    rig.flip("kv-pager.0.payloads", 3 * 8192);
    let session = rig.open_with(|spec| {
        spec.file.as_mut().expect("there is one").scrub_bytes_per_s = Some(Bytes::mib(100));
    });
    while session.tier().scrubbed().damaged == 0 {
        std::thread::yield_now();
    }
    assert_eq!(session.read(slot(3)), Err(MoveFault::Damaged));
}
