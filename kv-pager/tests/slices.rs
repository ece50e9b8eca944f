//! Calls in slices: what others see between two of them is consistent, and nobody waits for what a half-open sequence holds.

use kv_pager::clock::ManualClock;
use kv_pager::config::{Limits, Watermarks};
use kv_pager::error::ErrorKind;
use kv_pager::ids::{Fence, GroupId, TierId, TokenId};
use kv_pager::layout::shape;
use kv_pager::pager::{Request, Sequence, Step};
use kv_pager::policy::Lru;
use kv_pager::pool::SlotState;
use kv_pager::{Config, Pager};
use kv_pager_testkit::tagged::{Machine, MachineSpec};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const TOKENS: u32 = 16;
const THREADS: usize = 3;
const REQUESTS: u32 = 1500;

fn build(device: u32, host: u32) -> (Machine, Pager) {
    let model = shape("tiny").expect("known");
    let machine = Machine::new(&model, MachineSpec { device, host, file: 0, lane_limit: 64 });
    let limits = Limits { sequence_tokens: 4096, slice_blocks: 2, ..Limits::default() };
    let config = Config { limits, watermarks: Watermarks { low: 0.0, high: 0.0 }, ..Config::default() };
    let clock = Arc::new(ManualClock::new());
    let pager = Pager::new(model, config, machine.backend(), Box::new(Lru), clock).expect("fits");
    (machine, pager)
}

/// A prompt of 8 to 15 blocks, the first of which many share.
fn prompt(seed: u32) -> Vec<TokenId> {
    let blocks = 8 + seed % 8;
    let shared = seed % 5 * 2;
    (0..=blocks * TOKENS)
        .map(|at| TokenId(if at < shared * TOKENS { at } else { seed * 10_000 + at }))
        .collect()
}

/// Computes all that is to be computed; false if it must wait.
fn compute(sequence: &mut Sequence) -> bool {
    loop {
        match sequence.next_step(1000) {
            Ok(Step::Compute(range)) => sequence.commit(range, Fence::OVER).expect("as told"),
            Ok(Step::Ready) => return true,
            Ok(Step::Wait) => return false,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
        }
    }
}

/// A request's whole life, with a fork, a cut and more tokens on the way. False if it did not fit now.
fn serve(pager: &Pager, machine: &Machine, seed: u32) -> bool {
    let mut sequence = match pager.open(&Request::new(&prompt(seed))) {
        Ok(sequence) => sequence,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
            machine.advance_all();
            return false;
        }
    };
    while !compute(&mut sequence) {
        machine.advance_all();
    }
    sequence.check();
    let fork = sequence.fork().expect("nothing is being copied");
    fork.check();
    assert_eq!(fork.table(GroupId::FIRST), sequence.table(GroupId::FIRST), "a fork shares all blocks");
    fork.close(Fence::OVER);
    sequence.truncate(TOKENS as usize * 3, Fence::OVER);
    sequence.check();
    // Where there is no room nothing is added.
    let is_extended = sequence.append(&prompt(seed + 1)).is_ok();
    sequence.check();
    let expected = TOKENS as usize * 3 + if is_extended { prompt(seed + 1).len() } else { 0 };
    assert_eq!(sequence.len(), expected);
    sequence.close(Fence::OVER);
    true
}

/// Threads serve requests in slices of two blocks, while another checks every invariant whenever it gets the lock.
fn serve_and_check(device: u32, host: u32) {
    let (machine, pager) = build(device, host);
    let busy = AtomicUsize::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (machine, pager, busy) = (&machine, pager.clone(), &busy);
            scope.spawn(move || {
                for request in 0..REQUESTS {
                    let seed = request * 7 + u32::try_from(thread).expect("a few") * 3;
                    while !serve(&pager, machine, seed) {
                        std::thread::yield_now();
                    }
                }
                busy.fetch_sub(1, Ordering::Release);
            });
        }
        while busy.load(Ordering::Acquire) > 0 {
            pager.check();
            machine.advance_all();
            std::thread::yield_now();
        }
    });
    while machine.advance_all() > 0 {
        pager.poll();
    }
    pager.poll();
    pager.check();
    let counts = pager.occupancy(TierId::Device, GroupId::FIRST).expect("a device");
    let idle = counts.of(SlotState::Free) + counts.of(SlotState::Resident) + counts.of(SlotState::Leaving);
    assert_eq!(idle, device, "I7: nothing is held: {counts:?}");
}

#[test]
fn between_slices_all_invariants_hold_on_a_device_alone() {
    serve_and_check(60, 0);
}

#[test]
fn between_slices_all_invariants_hold_over_two_tiers() {
    serve_and_check(60, 90);
}

#[test]
fn a_long_sequence_that_does_not_fit_gives_everything_back() {
    let (_machine, pager) = build(20, 0);
    let long = prompt(0);
    let mut first = pager.open(&Request::new(&long)).expect("room");
    assert!(compute(&mut first));
    let free = |pager: &Pager| {
        pager.occupancy(TierId::Device, GroupId::FIRST).expect("a device").of(SlotState::Free)
    };
    let before = free(&pager);
    let other: Vec<TokenId> = long.iter().map(|token| TokenId(token.0 + 1_000_000)).collect();
    let more: Vec<TokenId> = other.iter().chain(&other).copied().collect();
    pager.open(&Request::new(&more)).expect_err("17 blocks do not fit beside 9");
    assert_eq!(free(&pager), before, "what earlier slices took is free again");
    first.append(&more).expect_err("nor do they as more of the same sequence");
    assert_eq!(first.len(), long.len(), "no token was added");
    first.check();
    pager.check();
    first.close(Fence::OVER);
    pager.check();
}
