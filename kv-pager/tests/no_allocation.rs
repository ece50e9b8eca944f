//! After one turnover of the pool the core allocates nothing on the heap.
#![expect(unsafe_code, reason = "an allocator that counts is an allocator")]

use kv_pager::clock::ManualClock;
use kv_pager::config::Limits;
use kv_pager::ids::{Fence, TokenId};
use kv_pager::layout::shape;
use kv_pager::pager::{Prompt, Request, Step};
use kv_pager::policy::{Lru, Policy, Steward, StewardSpec};
use kv_pager::{Config, Pager};
use kv_pager_testkit::tagged::{Machine, MachineSpec};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts calls, and leaves the rest to the system.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

const BLOCKS: u32 = 16;

/// A prompt of which every second block is shared with that of the seed before.
fn prompt(pager: &Pager, seed: u32) -> Prompt {
    let front = (0..BLOCKS / 2 * 16).map(|at| TokenId(seed / 4 * 10_000 + at));
    let back = (0..BLOCKS / 2 * 16).map(|at| TokenId(1_000_000_000 + seed * 10_000 + at));
    let tokens: Vec<TokenId> = front.chain(back).collect();
    pager.prepare(&Request::new(&tokens))
}

/// Serves a request, and forks and truncates it on the way. Moves end when `advance` is called.
fn serve(pager: &Pager, prompt: &Prompt, advance: &mut impl FnMut()) {
    let mut sequence = loop {
        match pager.open_prompt(prompt) {
            Ok(sequence) => break sequence,
            Err(_busy) => advance(),
        }
    };
    loop {
        match sequence.next_step(64).expect("room") {
            Step::Compute(range) => sequence.commit(range, Fence::OVER).expect("as told"),
            Step::Wait => advance(),
            Step::Ready => break,
        }
    }
    let fork = sequence.fork().expect("nothing is being copied");
    sequence.truncate(BLOCKS as usize * 16 - 16, Fence::OVER);
    fork.close(Fence::OVER);
    sequence.close(Fence::OVER);
}

fn pager(machine: &Machine, policy: Box<dyn Policy>) -> Pager {
    let limits = Limits { sequences: 4, sequence_tokens: 1024, events: 64, ..Limits::default() };
    let config = Config { limits, ..Config::default() };
    let model = shape("tiny").expect("known");
    Pager::new(model, config, machine.backend(), policy, Arc::new(ManualClock::new())).expect("fits")
}

/// One test, for the count is the process's.
#[test]
fn nothing_is_allocated_after_a_turnover_but_what_lanes_do() {
    count(|| Box::new(Lru));
    count(|| Box::new(Steward::new(StewardSpec { has_shadows: true, ..StewardSpec::default() })));
}

fn count(policy: impl Fn() -> Box<dyn Policy>) {
    let model = shape("tiny").expect("known");
    let alone = Machine::new(&model, MachineSpec { device: 100, host: 0, file: 0, lane_limit: 4096 });
    let device_only = pager(&alone, policy());
    let prompts: Vec<Prompt> = (0..200).map(|seed| prompt(&device_only, seed)).collect();
    let (warm_up, counted) = prompts.split_at(100);
    for prompt in warm_up {
        serve(&device_only, prompt, &mut || ());
    }
    let before = CALLS.load(Ordering::Relaxed);
    for prompt in counted {
        serve(&device_only, prompt, &mut || ());
    }
    let calls = CALLS.load(Ordering::Relaxed) - before;
    assert_eq!(calls, 0, "the device alone: 100 requests");
    assert!(device_only.stats().evictions[0] > 1000, "the pool was turned over: {:?}", device_only.stats());

    let machine = Machine::new(&model, MachineSpec { device: 100, host: 150, file: 200, lane_limit: 4096 });
    let tiered = pager(&machine, policy());
    let mut in_lanes = 0;
    let mut run = |prompts: &[Prompt]| {
        let before = CALLS.load(Ordering::Relaxed);
        let mut outside = 0;
        for prompt in prompts {
            let mut advance = || {
                let before = CALLS.load(Ordering::Relaxed);
                machine.advance_all();
                outside += CALLS.load(Ordering::Relaxed) - before;
            };
            serve(&tiered, prompt, &mut advance);
        }
        in_lanes = CALLS.load(Ordering::Relaxed) - before - outside;
    };
    run(&prompts);
    let batches = |pager: &Pager| pager.stats().lanes.iter().map(|lane| lane.stats.batches).sum::<u64>();
    let before = batches(&tiered);
    run(&prompts);
    let batches = usize::try_from(batches(&tiered) - before).expect("a count");
    assert!(batches > 100, "only {batches} batches");
    // A ticket's two halves, its shared writer, and what has been told of each move.
    assert!(in_lanes <= 8 * batches, "{in_lanes} calls of the allocator for {batches} batches");
}
