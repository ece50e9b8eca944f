//! A pager that is shut down, and one that starts over the same files: what was complete in the file is hit as before, what was
//! hot in host memory has been written out first, and a drive that doesn't answer keeps nobody from ending.

use crate::rig::Rig;
use crate::served::{
    PROMPT_BLOCKS, PROMPTS, ROOMY, SHARED_BLOCKS, STUCK, Slots, matched_blocks, prompt, serve, settle, spec,
    spec_on, start, start_kept, start_when_free,
};
use crate::shim::Device;
use kv_pager::ErrorKind;
use kv_pager::ids::{GroupId, PrefixHash, TokenId};
use kv_pager::layout::Format;
use kv_pager::pager::{Pager, Request, WrittenOut};
use kv_pager::policy::{FileWrites, StewardSpec};
use kv_pager::tier::Tier;
use kv_pager::units::Nanos;
use kv_pager_cpu::{CpuBackend, CpuSpec, FileTier};
use std::collections::HashSet;

fn names(pager: &Pager, prompt: &[TokenId]) -> Vec<PrefixHash> {
    pager.prepare(&Request::new(prompt)).names().to_vec()
}

/// What the files hold, by themselves.
fn names_in_file(spec: &CpuSpec) -> HashSet<PrefixHash> {
    let file = spec.file.as_ref().expect("there is one");
    let tier = FileTier::open(&spec.identity(), file).expect("nobody has it");
    tier.persistence().expect("it has").recover().iter().map(|block| block.hash).collect()
}

#[test]
fn hits_after_a_restart_equal_those_before_for_all_that_was_complete_in_the_file() {
    let starved = [
        Slots { file: 60, ..ROOMY },
        Slots { host: 40, ..ROOMY },
        Slots { host: 40, file: 60, ..ROOMY },
        Slots { host: 9, file: 30, ..ROOMY },
    ];
    for slots in [ROOMY].into_iter().chain(starved) {
        let rig = Rig::new();
        let spec = spec(&rig, slots);
        let prompts: Vec<_> = (0..PROMPTS).map(prompt).collect();
        let first = start(&spec);
        for prompt in &prompts {
            serve(&first, prompt);
        }
        // Of the last one nothing need be in host memory yet.
        serve(&first, &prompt(PROMPTS));
        let written = first.write_out(STUCK).expect("the drive is well");
        settle(&first);
        let before: Vec<_> = prompts.iter().map(|prompt| matched_blocks(&first, prompt)).collect();
        let names: Vec<_> = prompts.iter().map(|prompt| names(&first, prompt)).collect();
        drop(first);
        let in_file = names_in_file(&spec);
        let second = start(&spec);
        assert_eq!(second.stats().recovered, in_file.len() as u64, "all of it can be reached: {slots:?}");
        let complete =
            names.iter().map(|names| names.iter().take_while(|name| in_file.contains(name)).count());
        let complete: Vec<_> = complete.collect();
        let after: Vec<_> = prompts.iter().map(|prompt| matched_blocks(&second, prompt)).collect();
        assert_eq!(after, complete, "{slots:?}");
        if slots.file == ROOMY.file {
            assert_eq!(written.left, 0, "{slots:?}");
            assert_eq!(after, before, "{slots:?}");
        }
        if slots.host == ROOMY.host && slots.file == ROOMY.file {
            assert_eq!(after, [PROMPT_BLOCKS; PROMPTS as usize], "{slots:?}");
        }
    }
}

#[test]
fn what_is_hot_in_host_memory_goes_first_and_is_not_displaced_by_what_is_colder() {
    let rig = Rig::new();
    let spec = spec(&rig, Slots { file: 32, ..ROOMY });
    let first = start(&spec);
    for number in 0..PROMPTS {
        serve(&first, &prompt(number));
    }
    serve(&first, &prompt(1));
    serve(&first, &prompt(PROMPTS));
    // What was asked for last is on the device, and asked for again it comes to host memory, too.
    serve(&first, &prompt(1));
    let written = first.write_out(STUCK).expect("the drive is well");
    assert!(written.left > 0, "not all of it has room: {written:?}");
    drop(first);
    let second = start(&spec);
    assert_eq!(matched_blocks(&second, &prompt(1)), PROMPT_BLOCKS);
}

#[test]
fn what_was_hot_before_a_restart_outlives_what_was_cold() {
    let rig = Rig::new();
    let spec = spec(&rig, Slots { file: 130, ..ROOMY });
    let first = start(&spec);
    for number in 0..PROMPTS {
        serve(&first, &prompt(number));
    }
    // Asked for more often than the others, and before them.
    let hot = 1;
    for _ in 0..3 {
        serve(&first, &prompt(hot));
    }
    for number in 2..=PROMPTS {
        serve(&first, &prompt(number));
    }
    first.write_out(STUCK).expect("the drive is well");
    drop(first);
    let second = start(&spec);
    assert!(second.stats().recovered >= 120);
    // Half of what is there has to go.
    for number in 10..14 {
        serve(&second, &prompt(number));
    }
    second.write_out(STUCK).expect("the drive is well");
    drop(second);
    let third = start(&spec);
    let matched: Vec<_> = (0..PROMPTS).map(|number| matched_blocks(&third, &prompt(number))).collect();
    assert_eq!(matched[hot as usize], PROMPT_BLOCKS, "{matched:?}");
    assert!(matched.iter().any(|blocks| *blocks < PROMPT_BLOCKS), "{matched:?}");
}

#[test]
fn what_has_not_earned_its_write_is_not_written_out() {
    let rig = Rig::new();
    let spec = spec(&rig, ROOMY);
    let pager = start_kept(&spec, StewardSpec { file_writes: FileWrites::Earned, ..StewardSpec::default() });
    // Asked for twice, and not by the others.
    let asked_again = 2;
    for number in (0..PROMPTS).chain([asked_again]).chain(PROMPTS..2 * PROMPTS) {
        serve(&pager, &prompt(number));
    }
    let written = pager.write_out(STUCK).expect("the drive is well");
    let earned = names(&pager, &prompt(asked_again));
    assert!(written.left >= u64::from(PROMPTS - 1) * 20, "what was asked for once is left: {written:?}");
    settle(&pager);
    drop(pager);
    assert_eq!(names_in_file(&spec), earned.into_iter().collect());
}

#[test]
fn no_more_is_written_out_than_the_days_budget() {
    let rig = Rig::new();
    let spec = spec(&rig, ROOMY);
    // An hour's share is there at once.
    let hourly = 30;
    let slot_bytes = spec.model.slot_bytes(GroupId::FIRST, Format::Raw);
    let budget = slot_bytes.checked_mul(24 * hourly).expect("small");
    let kept = StewardSpec { write_bytes_per_day: Some(budget), ..StewardSpec::default() };
    let pager = start_kept(&spec, kept);
    for number in 0..2 * PROMPTS {
        serve(&pager, &prompt(number));
    }
    let written = pager.write_out(STUCK).expect("the drive is well");
    // Ancestors of the last one come along.
    let most = hourly + PROMPT_BLOCKS as u64;
    assert!((1..=most).contains(&written.blocks) && written.left > 0, "{written:?}");
    settle(&pager);
    // What is hottest has gone.
    let names = names(&pager, &prompt(0));
    drop(pager);
    let filed = names_in_file(&spec);
    assert!(names[..SHARED_BLOCKS].iter().all(|name| filed.contains(name)), "{filed:?}");
    // Starting again earns nothing.
    let pager = start_kept(&spec, kept);
    for number in 0..2 * PROMPTS {
        serve(&pager, &prompt(number));
    }
    assert_eq!(pager.write_out(STUCK).expect("the drive is well").blocks, 0);
}

#[test]
fn writing_out_ends_at_its_time_limit_though_the_drive_hangs() {
    let rig = Rig::new();
    let device = Device::new();
    let spec = spec_on(&rig, ROOMY, &device);
    let pager = start(&spec);
    for number in 0..PROMPTS {
        serve(&pager, &prompt(number));
    }
    let all = pager.write_out(Nanos::ZERO).expect("the drive is well");
    assert_eq!(all.blocks, 0, "there was no time");
    assert!(all.left > 0);
    device.hang();
    // Much less than the drive takes, and than the lane gives it.
    let hung = pager.write_out(Nanos::from_millis(50)).expect("what was written before can be made durable");
    assert_eq!((hung.blocks, hung.left), (0, all.left), "nothing was written");
    device.release();
    settle(&pager);
    let written = pager.write_out(STUCK).expect("the drive is well");
    assert_eq!(written.left, 0);
    // What the drive took late was asked for by the call before.
    let nothing = WrittenOut { blocks: 0, left: 0, is_durable: true };
    assert_eq!(pager.write_out(STUCK).expect("the drive is well"), nothing);
}

#[test]
fn making_it_durable_ends_at_the_time_limit_though_the_drive_hangs() {
    let rig = Rig::new();
    let device = Device::new();
    let spec = spec_on(&rig, ROOMY, &device);
    let pager = start(&spec);
    // The last one stays on the device.
    for number in 0..=PROMPTS {
        serve(&pager, &prompt(number));
    }
    let written = pager.write_out(STUCK).expect("the drive is well");
    assert_eq!((written.left, written.is_durable), (0, true), "{written:?}");
    device.hang_in_sync();
    let hung = pager.write_out(Nanos::from_millis(100)).expect("nothing was refused");
    assert_eq!(hung, WrittenOut { blocks: 0, left: 0, is_durable: false });
    // The pager goes at once. What hangs keeps the directory, so that nobody else writes there.
    drop(pager);
    let taken = CpuBackend::new(&spec).expect_err("somebody may be writing there still");
    assert_eq!(taken.kind(), ErrorKind::Configuration, "{taken}");
    device.release();
    let pager = start_when_free(&spec);
    for number in 0..PROMPTS {
        assert_eq!(matched_blocks(&pager, &prompt(number)), PROMPT_BLOCKS);
    }
    let again = pager.write_out(STUCK).expect("the drive is well");
    assert!(again.is_durable);
}
