//! Windows stay cached where requests have ended and where they have branched, whoever goes on first.

use kv_pager::clock::ManualClock;
use kv_pager::config::Limits;
use kv_pager::ids::{Fence, TokenId};
use kv_pager::layout::{Attention, DType, Entry, KvGroup, ModelLayout};
use kv_pager::pager::{Request, Sequence, Step};
use kv_pager::policy::Lru;
use kv_pager::{Config, Pager};
use kv_pager_testkit::tagged::{Machine, MachineSpec};
use std::sync::Arc;

/// Where all prompts part, in tokens: at the end of a block.
const FORK: u32 = 16;
const LENGTH: u32 = 40;

fn pager() -> Pager {
    let entry = Entry::KeyValue { kv_heads: 1, head_dim: 8 };
    let group = |attention| KvGroup { attention, layers: 1, entry, dtype: DType::F32 };
    let window = Attention::SlidingWindow { window_tokens: 8, sink_tokens: 0 };
    let model = ModelLayout::new(4, vec![group(Attention::Full), group(window)]).expect("valid");
    let machine = Machine::new(&model, MachineSpec { device: 100, host: 0, file: 0, lane_limit: 64 });
    let limits = Limits { sequence_tokens: 1024, ..Limits::default() };
    let config = Config { limits, ..Config::default() };
    Pager::new(model, config, machine.backend(), Box::new(Lru), Arc::new(ManualClock::new()))
        .expect("it fits")
}

/// `count` tokens, those after the fork being `branch`'s own.
fn tokens(branch: u32, count: u32) -> Vec<TokenId> {
    (0..count).map(|at| TokenId(if at < FORK { at } else { branch * 1000 + at })).collect()
}

/// Computes up to `end` tokens, a block at a time.
fn compute(sequence: &mut Sequence, end: u32) {
    while let Step::Compute(range) = sequence.next_step(4).expect("there is room") {
        let is_there = range.end >= end as usize;
        sequence.commit(range, Fence::OVER).expect("as it was told");
        if is_there {
            return;
        }
    }
}

fn opened(pager: &Pager, branch: u32, count: u32) -> Sequence {
    pager.open(&Request::new(&tokens(branch, count))).expect("there is room")
}

/// How many tokens a new request that branches at the fork finds.
fn found(pager: &Pager) -> u32 {
    pager.check();
    let matched = opened(pager, 9, LENGTH).matched_tokens();
    u32::try_from(matched).expect("few")
}

#[test]
fn where_a_request_branched_another_may_whoever_goes_on_first() {
    for is_trunk_first in [false, true] {
        let pager = pager();
        let mut trunk = opened(&pager, 1, LENGTH);
        compute(&mut trunk, FORK);
        let mut branch = opened(&pager, 2, LENGTH);
        assert_eq!(branch.matched_tokens(), FORK as usize);
        if is_trunk_first {
            compute(&mut trunk, LENGTH);
        }
        compute(&mut branch, LENGTH);
        branch.close(Fence::OVER);
        compute(&mut trunk, LENGTH);
        trunk.close(Fence::OVER);
        assert_eq!(found(&pager), FORK, "the trunk goes on first: {is_trunk_first}");
    }
}

#[test]
fn where_a_turn_ended_another_goes_on_though_others_have_moved_past() {
    let pager = pager();
    let mut trunk = opened(&pager, 1, LENGTH);
    compute(&mut trunk, FORK);
    let mut turn = opened(&pager, 2, FORK + 1);
    compute(&mut turn, FORK + 1);
    turn.close(Fence::OVER);
    compute(&mut trunk, LENGTH);
    trunk.close(Fence::OVER);
    assert_eq!(found(&pager), FORK);
}

#[test]
fn where_a_sequence_was_forked_another_may_go_on() {
    let pager = pager();
    let mut trunk = opened(&pager, 1, LENGTH);
    compute(&mut trunk, FORK);
    trunk.truncate(FORK as usize, Fence::OVER);
    let mut fork = trunk.fork().expect("nothing is being copied");
    for (sequence, branch) in [(&mut fork, 5), (&mut trunk, 1)] {
        sequence.append(&tokens(branch, LENGTH)[FORK as usize..]).expect("there is room");
        compute(sequence, LENGTH);
    }
    fork.close(Fence::OVER);
    trunk.close(Fence::OVER);
    assert_eq!(found(&pager), FORK);
}

#[test]
fn where_nobody_ended_or_branched_the_window_is_gone() {
    let pager = pager();
    let mut trunk = opened(&pager, 1, LENGTH);
    compute(&mut trunk, FORK);
    compute(&mut trunk, LENGTH);
    trunk.close(Fence::OVER);
    assert_eq!(found(&pager), 0);
}
