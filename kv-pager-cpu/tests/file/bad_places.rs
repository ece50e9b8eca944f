//! A pager over a drive with bad places, or that takes nothing: each bad block is a miss and is counted, no slot that is bad is tried
//! again and again, and a shutdown says what it could not write.

use crate::rig::Rig;
use crate::served::{
    PROMPT_BLOCKS, PROMPTS, ROOMY, STUCK, matched_blocks, prompt, serve, settle, spec, spec_on, start,
    start_over,
};
use crate::shim::Device;
use kv_pager::ids::{GroupId, TierId};
use kv_pager::pager::Pager;
use kv_pager::pool::SlotState;
use kv_pager::tier::Tier;
use kv_pager::units::Bytes;
use kv_pager_cpu::{CpuBackend, FileTier};
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn served(rig: &Rig, device: &Arc<Device>) -> Pager {
    let pager = start(&spec_on(rig, ROOMY, device));
    // The last one stays on the device.
    for number in 0..=PROMPTS {
        serve(&pager, &prompt(number));
    }
    pager
}

fn retired(pager: &Pager) -> u32 {
    pager.occupancy(TierId::File, GroupId::FIRST).expect("there is one").of(SlotState::Retired)
}

fn failed_moves(pager: &Pager) -> u64 {
    pager.stats().lanes.iter().map(|lane| lane.stats.failed).sum()
}

#[test]
fn what_the_drive_cannot_read_or_has_damaged_is_a_miss_once_and_is_counted() {
    for is_refused in [true, false] {
        let (rig, device) = (Rig::new(), Device::new());
        let first = served(&rig, &device);
        assert_eq!(first.write_out(STUCK).expect("the drive is well").left, 0);
        drop(first);
        if !is_refused {
            rig.flip("kv-pager.0.payloads", 77);
        }
        let second = start(&spec_on(&rig, ROOMY, &device));
        if is_refused {
            device.fails_up_to.store(0, Ordering::Relaxed);
            Device::fail(&device.reads, Errno::IO);
        }
        // One of them stands on what lies in the first slot.
        for number in 0..PROMPTS {
            serve(&second, &prompt(number));
        }
        assert_eq!((second.stats().damaged, retired(&second)), (1, 1), "refused: {is_refused}");
        let before = second.stats().failed_loads;
        assert!(before > 0);
        for number in 0..PROMPTS {
            assert_eq!(matched_blocks(&second, &prompt(number)), PROMPT_BLOCKS);
        }
        assert_eq!(second.stats().failed_loads, before, "it is not asked for again");
    }
}

#[test]
fn a_place_that_takes_no_bytes_costs_one_slot() {
    let (rig, device) = (Rig::new(), Device::new());
    let pager = served(&rig, &device);
    device.fails_up_to.store(0, Ordering::Relaxed);
    Device::fail(&device.payload_writes, Errno::IO);
    let written = pager.write_out(STUCK).expect("it can be made durable");
    assert_eq!(written.left, 0, "{written:?}");
    assert_eq!((failed_moves(&pager), retired(&pager)), (1, 1));
}

#[test]
fn a_slot_that_scrubbing_has_retired_is_not_tried_again_and_again() {
    let rig = Rig::new();
    let spec = spec(&rig, ROOMY);
    let cpu = CpuBackend::new(&spec).expect("small tiers");
    let pager = start_over(&spec, &cpu);
    for number in 0..=PROMPTS {
        serve(&pager, &prompt(number));
    }
    pager.write_out(STUCK).expect("the drive is well");
    rig.flip("kv-pager.0.payloads", 77);
    let tier: &Arc<FileTier> = cpu.file().expect("there is one");
    assert_eq!(tier.scrub().expect("there is memory").damaged, 1);
    pager.invalidate_all().expect("the drive is well");
    for number in 10..=10 + PROMPTS {
        serve(&pager, &prompt(number));
    }
    let written = pager.write_out(STUCK).expect("the drive is well");
    assert_eq!(written.left, 0, "{written:?}");
    assert_eq!((failed_moves(&pager), retired(&pager)), (1, 1));
    assert_eq!(tier.persistence().expect("it has").retired().len(), 1);
}

#[test]
fn a_shutdown_keeps_to_the_budget_for_writes() {
    let rig = Rig::new();
    let mut spec = spec(&rig, ROOMY);
    // An hour's share is ten blocks.
    spec.file.as_mut().expect("there is one").write_bytes_per_day = Some(Bytes::new(24 * 10 * 8192));
    let cpu = CpuBackend::new(&spec).expect("small tiers");
    let pager = start_over(&spec, &cpu);
    for number in 0..=PROMPTS {
        serve(&pager, &prompt(number));
    }
    let written = pager.write_out(STUCK).expect("the drive is well");
    assert!(written.left > 0, "{written:?}");
    // Some of it may have gone down before.
    let bytes = cpu.file().expect("there is one").bytes_written().payloads;
    assert!((8192..=10 * 8192).contains(&bytes.as_u64()), "{bytes:?}, {written:?}");
}

#[test]
fn a_shutdown_says_what_a_drive_that_takes_nothing_has_not() {
    for errno in [Errno::NOMEM, Errno::ROFS] {
        let (rig, device) = (Rig::new(), Device::new());
        let pager = served(&rig, &device);
        let in_host = |pager: &Pager| {
            let occupancy = pager.occupancy(TierId::Host, GroupId::FIRST).expect("there is one");
            u64::from(occupancy.of(SlotState::Resident))
        };
        Device::fail(&device.payload_writes, errno);
        for _ in 0..2 {
            let expected = in_host(&pager);
            let written = pager.write_out(STUCK).expect("it can be made durable");
            assert_eq!((written.blocks, written.left), (0, expected), "{errno}");
        }
        // Each call tries a part once, and once more when what it stands on has come down from the device. A tier that has said that
        // it is read-only is not tried.
        let most = 3 * in_host(&pager);
        assert!(failed_moves(&pager) <= most, "{} failed moves, {errno}", failed_moves(&pager));
        device.mend();
        settle(&pager);
        let written = pager.write_out(STUCK).expect("it can be made durable");
        if errno == Errno::ROFS {
            assert_eq!((written.blocks, written.left), (0, in_host(&pager)), "it stays read-only");
        } else {
            // Though demotion rests after so many failures.
            assert_eq!(written.left, 0, "{written:?}");
            assert!(written.blocks > 0);
        }
    }
}
