//! A pager that is shut down, and one that starts over the same files: what was complete in the file is hit as before, what was
//! hot in host memory has been written out first, and a drive that doesn't answer keeps nobody from ending.

use crate::rig::Rig;
use crate::shim::{Device, Shim};
use kv_pager::ErrorKind;
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::config::Config;
use kv_pager::ids::{Fence, PrefixHash, TokenId};
use kv_pager::layout::shape;
use kv_pager::pager::{Backend, Pager, Request, Step, WrittenOut};
use kv_pager::policy::Steward;
use kv_pager::tier::Tier;
use kv_pager::units::Nanos;
use kv_pager_cpu::{CpuBackend, CpuSpec, FileSpec, FileTier};
use std::collections::HashSet;
use std::sync::Arc;

/// Nobody waits so long unless something is stuck.
const STUCK: Nanos = Nanos::from_millis(20_000);

const BLOCK_TOKENS: usize = 16;
/// Blocks that all prompts begin with, and that each has in all.
const SHARED_BLOCKS: usize = 4;
const PROMPT_BLOCKS: usize = 24;
const PROMPTS: u32 = 6;

/// Slots of the tiers.
#[derive(Clone, Copy, Debug)]
struct Slots {
    device: u32,
    host: u32,
    file: u32,
}

const ROOMY: Slots = Slots { device: 40, host: 400, file: 400 };

/// A prompt of so many blocks and a token, so that all of its blocks can be matched.
fn prompt(number: u32) -> Vec<TokenId> {
    let token = |place: usize| {
        let own = if place < SHARED_BLOCKS * BLOCK_TOKENS { 0 } else { number + 1 };
        TokenId(own * 1000 + u32::try_from(place).expect("small"))
    };
    (0..=PROMPT_BLOCKS * BLOCK_TOKENS).map(token).collect()
}

fn spec(rig: &Rig, slots: Slots) -> CpuSpec {
    let config = Config::default();
    CpuSpec {
        fingerprint: config.fingerprint,
        hash_key: config.hash_key.0,
        host_slots: Some(vec![slots.host]),
        file: Some(FileSpec::new(rig.path(""), vec![slots.file])),
        ..CpuSpec::new(shape("tiny").expect("known"), vec![slots.device])
    }
}

fn start(spec: &CpuSpec) -> Pager {
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let cpu = CpuBackend::with_clock(spec, &clock).expect("small tiers");
    let backend = Backend { tiers: cpu.tiers(), lanes: cpu.lanes() };
    Pager::new(spec.model.clone(), Config::default(), backend, Box::new(Steward::default()), clock)
        .expect("it fits")
}

/// Opens a sequence once there is room for it.
fn open(pager: &Pager, prompt: &[TokenId]) -> kv_pager::pager::Sequence {
    loop {
        let seen = pager.progress();
        match pager.open(&Request::new(prompt)) {
            Ok(sequence) => return sequence,
            Err(error) if error.kind() == ErrorKind::Retry => {
                assert!(pager.wait(seen, STUCK), "no room comes: {error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Serves a prompt; what it computes are the bytes that are there.
fn serve(pager: &Pager, prompt: &[TokenId]) {
    let mut sequence = open(pager, prompt);
    loop {
        match sequence.next_step(prompt.len()).expect("nothing is shared that it writes") {
            Step::Compute(tokens) => sequence.commit(tokens, Fence::OVER).expect("as it was told"),
            Step::Wait => assert!(sequence.wait(STUCK), "a load does not end"),
            Step::Ready => break,
        }
    }
    sequence.close(Fence::OVER);
    settle(pager);
}

/// Waits until nothing is under way.
fn settle(pager: &Pager) {
    loop {
        let seen = pager.progress();
        pager.poll();
        if !pager.is_busy() {
            break;
        }
        assert!(pager.wait(seen, STUCK), "a transfer does not end");
    }
    pager.check();
}

fn matched_blocks(pager: &Pager, prompt: &[TokenId]) -> usize {
    let sequence = open(pager, prompt);
    let tokens = sequence.matched_tokens();
    sequence.close(Fence::OVER);
    settle(pager);
    tokens / BLOCK_TOKENS
}

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
fn writing_out_ends_at_its_time_limit_though_the_drive_hangs() {
    let rig = Rig::new();
    let device = Device::new();
    let mut spec = spec(&rig, ROOMY);
    spec.file.as_mut().expect("there is one").interpose = Some(Arc::new(Shim(Arc::clone(&device))));
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
    let mut spec = spec(&rig, ROOMY);
    spec.file.as_mut().expect("there is one").interpose = Some(Arc::new(Shim(Arc::clone(&device))));
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
    let second = loop {
        if let Ok(cpu) = CpuBackend::new(&spec) {
            break cpu;
        }
        std::thread::yield_now();
    };
    drop(second);
    let pager = start(&spec);
    for number in 0..PROMPTS {
        assert_eq!(matched_blocks(&pager, &prompt(number)), PROMPT_BLOCKS);
    }
    let again = pager.write_out(STUCK).expect("the drive is well");
    assert!(again.is_durable);
}
