//! Fronts that are computed while what comes after them is loaded: in models with windows, from where a window lies on the device.

use kv_pager::clock::ManualClock;
use kv_pager::config::{Limits, Watermarks};
use kv_pager::error::ErrorKind;
use kv_pager::ids::{Fence, GroupId, TokenId};
use kv_pager::layout::{Attention, DType, Entry, KvGroup, ModelLayout};
use kv_pager::pager::{Request, Sequence, Step};
use kv_pager::policy::{Decision, LoadPlan, Lru, Matched, Need, Policy, Reason, View};
use kv_pager::{Config, Pager};
use kv_pager_testkit::tagged::{Machine, MachineSpec};
use std::sync::Arc;

const TOKENS: usize = 4;

/// Loads the last block of a match, and computes what lies between it and what is ready.
#[derive(Debug)]
struct LastBlock(Lru);

impl Policy for LastBlock {
    fn name(&self) -> &'static str {
        "last block"
    }

    fn plan(&mut self, _view: &View<'_>, matched: &Matched<'_>) -> LoadPlan {
        let start = matched.len().saturating_sub(1).max(matched.ready_blocks);
        LoadPlan { is_from_back: true, ..LoadPlan::of(start..matched.len(), Reason::Cheapest) }
    }

    fn make_room(&mut self, view: &View<'_>, need: Need, decisions: &mut Vec<Decision>) {
        self.0.make_room(view, need, decisions);
    }
}

fn open(machine: &Machine, pager: &Pager, tokens: &[TokenId]) -> Sequence {
    for _ in 0..1000 {
        match pager.open(&Request::new(tokens)) {
            Ok(sequence) => return sequence,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
        }
        machine.advance_all();
    }
    panic!("never opened: {:?}", pager.open(&Request::new(tokens)).err());
}

/// Serves a request; before each range that is computed, all that its first token looks at is in the tables. Returns where ranges began.
fn serve(machine: &Machine, pager: &Pager, tokens: &[TokenId], window: usize) -> Vec<usize> {
    let mut sequence = open(machine, pager, tokens);
    let mut starts = Vec::new();
    loop {
        match sequence.next_step(TOKENS).expect("room") {
            Step::Compute(range) => {
                let table = sequence.table(GroupId::from_index(1));
                let first = (range.start + 1).saturating_sub(window) / TOKENS;
                let seen = &table[first..range.end.div_ceil(TOKENS)];
                assert!(
                    seen.iter().all(|slot| slot.is_some()),
                    "{seen:?} is seen from token {}",
                    range.start
                );
                starts.push(range.start);
                sequence.commit(range, Fence::OVER).expect("as told");
            }
            Step::Wait => _ = machine.advance_all(),
            Step::Ready => break,
        }
    }
    sequence.close(Fence::OVER);
    while machine.advance_all() > 0 || pager.is_busy() {
        pager.poll();
    }
    pager.check();
    starts
}

#[test]
fn a_front_finds_its_window_where_it_begins() {
    const WINDOW: usize = 6;
    for slice_blocks in [2, 256] {
        let group = |attention| {
            let entry = Entry::KeyValue { kv_heads: 1, head_dim: 8 };
            KvGroup { attention, layers: 1, entry, dtype: DType::F32 }
        };
        let window = Attention::SlidingWindow { window_tokens: 6, sink_tokens: 0 };
        let model = ModelLayout::new(4, vec![group(Attention::Full), group(window)]).expect("valid");
        let machine = Machine::new(&model, MachineSpec { device: 14, host: 40, file: 0, lane_limit: 64 });
        let limits = Limits { sequence_tokens: 64, slice_blocks, ..Limits::default() };
        let config = Config { limits, watermarks: Watermarks { low: 0.0, high: 0.0 }, ..Config::default() };
        let clock = Arc::new(ManualClock::new());
        let pager =
            Pager::new(model, config, machine.backend(), Box::new(LastBlock(Lru)), clock).expect("fits");
        let long: Vec<TokenId> = (0..41).map(TokenId).collect();
        let turn = |blocks: usize| {
            let mut tokens = long[..blocks * TOKENS].to_vec();
            tokens.push(TokenId(1000));
            tokens
        };
        serve(&machine, &pager, &turn(4), WINDOW);
        serve(&machine, &pager, &long, WINDOW);
        // What is farther from the root goes to the host; the first turn, asked for again, stays.
        serve(&machine, &pager, &turn(4), WINDOW);
        let others: Vec<TokenId> = (0..33).map(|at| TokenId(5000 + at)).collect();
        serve(&machine, &pager, &others, WINDOW);
        let starts = serve(&machine, &pager, &long, WINDOW);
        assert!(starts.len() > 1 && starts[0] > 0, "a front is computed after what is ready: {starts:?}");
        assert!(starts.last() > Some(&36), "and the last block is loaded: {starts:?}");
    }
}
