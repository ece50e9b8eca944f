//! Calls in slices: what others see between two of them is consistent, and nobody waits for what a half-open sequence holds.

mod shape;

use kv_pager::clock::ManualClock;
use kv_pager::config::{Limits, Watermarks};
use kv_pager::error::ErrorKind;
use kv_pager::ids::{Fence, GroupId, Salt, TierId, TokenId};
use kv_pager::layout::{Attention, ModelLayout};
use kv_pager::pager::{Request, Sequence, Step};
use kv_pager::policy::{Lru, Policy, Steward, StewardSpec};
use kv_pager::pool::SlotState;
use kv_pager::{Config, Pager};
use kv_pager_testkit::tagged::{Machine, MachineSpec};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const TOKENS: u32 = 16;
const THREADS: usize = 3;
const REQUESTS: u32 = 300;

/// A model of full attention, or one whose other group looks through a window of five blocks, after a sink.
fn model(is_windowed: bool) -> ModelLayout {
    let window = Attention::SlidingWindow { window_tokens: 5 * TOKENS, sink_tokens: 3 };
    shape::model(TOKENS, is_windowed.then_some(window))
}

fn build(model: ModelLayout, device: u32, host: u32, policy: Box<dyn Policy>) -> (Machine, Pager) {
    let machine = Machine::new(&model, MachineSpec { device, host, file: 0, lane_limit: 64 });
    let limits = Limits { sequence_tokens: 4096, slice_blocks: 2, ..Limits::default() };
    let config = Config { limits, watermarks: Watermarks { low: 0.0, high: 0.0 }, ..Config::default() };
    let clock = Arc::new(ManualClock::new());
    let pager = Pager::new(model, config, machine.backend(), policy, clock).expect("fits");
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
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
                return false;
            }
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
fn serve_and_check(model: ModelLayout, device: u32, host: u32, policy: Box<dyn Policy>) {
    let groups = model.group_ids();
    let (machine, pager) = build(model, device, host, policy);
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
    for group in groups {
        let counts = pager.occupancy(TierId::Device, group).expect("a device");
        let idle =
            counts.of(SlotState::Free) + counts.of(SlotState::Resident) + counts.of(SlotState::Leaving);
        assert_eq!(idle, device, "I7: nothing is held: {counts:?}");
    }
}

#[test]
fn between_slices_all_invariants_hold_on_a_device_alone() {
    serve_and_check(model(false), 60, 0, Box::new(Lru));
}

#[test]
fn between_slices_all_invariants_hold_over_two_tiers() {
    serve_and_check(model(false), 60, 90, Box::new(Lru));
}

#[test]
fn between_slices_all_invariants_hold_with_windows_on_a_device_alone() {
    serve_and_check(model(true), 60, 0, Box::new(Lru));
}

#[test]
fn between_slices_all_invariants_hold_with_windows_over_two_tiers() {
    serve_and_check(model(true), 60, 90, Box::new(Lru));
}

#[test]
fn between_slices_of_what_a_policy_is_told_all_invariants_hold() {
    for is_windowed in [false, true] {
        let spec = StewardSpec { has_shadows: true, ..StewardSpec::default() };
        serve_and_check(model(is_windowed), 60, 90, Box::new(Steward::new(spec)));
    }
}

/// Threads serve while blocks are erased beside them; what is left can be found, and so can be erased.
#[test]
fn what_is_committed_between_slices_of_an_invalidation_stands_on_nothing_erased() {
    for is_windowed in [false, true] {
        let (_machine, pager) = build(model(is_windowed), 400, 0, Box::new(Lru));
        for round in 0..100 {
            let busy = AtomicUsize::new(THREADS);
            std::thread::scope(|scope| {
                for thread in 0..THREADS {
                    let (pager, busy) = (pager.clone(), &busy);
                    scope.spawn(move || {
                        for request in 0..4 {
                            let first = u32::try_from(thread * 4 + request).expect("a few") * 10_000;
                            // A block a commit: many of them, between any two slices.
                            commit_by_blocks(&pager, first, 30 + round % 7);
                        }
                        busy.fetch_sub(1, Ordering::Release);
                    });
                }
                scope.spawn(|| {
                    while busy.load(Ordering::Acquire) > 0 {
                        pager.check();
                        std::thread::yield_now();
                    }
                });
                while busy.load(Ordering::Acquire) > 0 {
                    pager.invalidate(Salt::default()).expect("nothing outlives this machine");
                }
            });
            pager.check();
        }
        pager.invalidate_all().expect("nothing outlives this machine");
        pager.check();
        let counts = pager.occupancy(TierId::Device, GroupId::FIRST).expect("a device");
        assert_eq!(counts.of(SlotState::Free), 400, "{counts:?}");
    }
}

/// Computes and names what is not cached of a prompt, a block at a time, and closes.
fn commit_by_blocks(pager: &Pager, first: u32, blocks: u32) {
    let tokens: Vec<TokenId> = (0..blocks * TOKENS).map(|at| TokenId(first + at)).collect();
    let mut sequence = pager.open(&Request::new(&tokens)).expect("room for all");
    while let Step::Compute(range) = sequence.next_step(TOKENS as usize).expect("it has its slots") {
        sequence.commit(range, Fence::OVER).expect("as told");
    }
}

#[test]
fn a_long_match_ends_where_its_windows_are_and_is_loaded_from_there() {
    let (machine, pager) = build(model(true), 24, 60, Box::new(Lru));
    let long: Vec<TokenId> = (0..20 * TOKENS).map(TokenId).collect();
    let turn = |blocks: u32, tail: u32| {
        let mut tokens = long[..(blocks * TOKENS) as usize].to_vec();
        tokens.push(TokenId(1_000_000 + tail));
        tokens
    };
    let serve = |tokens: &[TokenId]| {
        let mut sequence = loop {
            match pager.open(&Request::new(tokens)) {
                Ok(sequence) => break sequence,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
            }
            machine.advance_all();
        };
        while !compute(&mut sequence) {
            machine.advance_all();
            pager.check();
        }
        let matched = sequence.matched_tokens();
        let hits: u64 = sequence.report().hit_tokens.iter().sum();
        sequence.close(Fence::OVER);
        pager.check();
        (matched / TOKENS as usize, hits / u64::from(TOKENS))
    };
    assert_eq!(serve(&turn(12, 0)), (0, 0));
    assert_eq!(serve(&turn(18, 0)), (12, 12));
    // Windows are kept at the ends of turns, so between them a match goes back to the last one.
    assert_eq!(serve(&turn(15, 1)), (12, 12));
    for other in 1..4 {
        let others: Vec<TokenId> = (0..20 * TOKENS).map(|at| TokenId(other * 10_000 + at)).collect();
        serve(&others);
    }
    assert_eq!(serve(&turn(18, 2)), (18, 18), "from the host, with the window of its end");
}

#[test]
fn a_long_sequence_that_does_not_fit_gives_everything_back() {
    let (_machine, pager) = build(model(false), 20, 0, Box::new(Lru));
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

#[test]
fn an_append_that_could_not_open_has_matched_nothing() {
    // In one go, and in slices.
    for blocks in [2, 6] {
        let (_machine, pager) = build(model(false), 8, 0, Box::new(Lru));
        let tokens: Vec<TokenId> = (0..=blocks * TOKENS).map(TokenId).collect();
        let mut first = pager.open(&Request::new(&tokens[..tokens.len() - 1])).expect("there is room");
        assert!(compute(&mut first));
        let others: Vec<TokenId> = (1000..1000 + (8 - blocks) * TOKENS).map(TokenId).collect();
        let other = pager.open(&Request::new(&others)).expect("there is room");
        let mut empty = pager.open(&Request::new(&[])).expect("nothing needs no room");
        let error = empty.append(&tokens).expect_err("all slots are held");
        assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
        assert_eq!((empty.len(), empty.matched_tokens()), (0, 0));
        empty.check();
        other.close(Fence::OVER);
        empty.append(&tokens).expect("a slot is free");
        assert_eq!(empty.matched_tokens(), (blocks * TOKENS) as usize);
    }
}
