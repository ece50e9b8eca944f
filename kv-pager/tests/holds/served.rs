//! A pager over tiers that a long sequence turns over, its life, and what counts the blocks that holds of its lock look at.

use super::shape;
use kv_pager::clock::ManualClock;
use kv_pager::config::{DeviceOwner, Limits, Reserves, Watermarks};
use kv_pager::ids::{Fence, Salt, TokenId};
use kv_pager::layout::{Attention, ModelLayout};
use kv_pager::pager::{Deliveries, Delivery, Request, Sequence, Step};
use kv_pager::policy::{Decision, LoadPlan, Lru, Matched, Need, Policy, Steward, StewardSpec, View, Waiting};
use kv_pager::{Config, ErrorKind, Pager};
use kv_pager_testkit::tagged::{Machine, MachineSpec};
use std::sync::Arc;

pub(super) const TOKENS: u32 = 4;
/// The most that one hold may handle.
pub(super) const BLOCKS_A_HOLD: usize = 512;
/// Blocks of a long sequence: many slices.
pub(super) const LONG: u32 = 3000;

/// A model of full attention, or one whose other group looks through a window of 50 blocks.
pub(super) fn model(is_windowed: bool) -> ModelLayout {
    let window = Attention::SlidingWindow { window_tokens: 50 * TOKENS, sink_tokens: 0 };
    shape::model(TOKENS, is_windowed.then_some(window))
}

/// Tiers below the device: the lanes between them take few moves at a time.
pub(super) const TIERS: [(&str, MachineSpec); 3] = [
    ("a host", MachineSpec { device: 2 * LONG, host: 3 * LONG, file: 0, lane_limit: 32 }),
    ("a host and a file", MachineSpec { device: 2 * LONG, host: 2 * LONG, file: 5 * LONG, lane_limit: 32 }),
    (
        "a small host and a file",
        MachineSpec { device: 2 * LONG, host: LONG / 2, file: 5 * LONG, lane_limit: 32 },
    ),
];

pub(super) struct Served {
    pub(super) machine: Machine,
    pub(super) clock: Arc<ManualClock>,
    pub(super) pager: Pager,
}

pub(super) fn build(
    model: ModelLayout,
    spec: MachineSpec,
    owner: DeviceOwner,
    policy: Box<dyn Policy>,
) -> Served {
    let machine = Machine::new(&model, spec);
    let limits = Limits { sequence_tokens: 6 * LONG * TOKENS, ..Limits::default() };
    let config = Config {
        limits,
        device_owner: owner,
        watermarks: Watermarks { low: 0.02, high: 0.04 },
        reserves: Reserves { prefetched_share: 0.6, held_share: 0.3, ..Reserves::default() },
        ..Config::default()
    };
    let clock = Arc::new(ManualClock::new());
    let pager = Pager::new(model, config, machine.backend(), policy, Arc::clone(&clock) as _).expect("fits");
    Served { machine, clock, pager }
}

pub(super) fn policies() -> [Box<dyn Policy>; 2] {
    let spec = StewardSpec { has_shadows: true, ..StewardSpec::default() };
    [Box::new(Lru), Box::new(Steward::new(spec))]
}

/// Loads what is cached, and would rather compute than wait for any of it.
#[derive(Debug)]
pub(super) struct Impatient;

impl Policy for Impatient {
    fn name(&self) -> &'static str {
        "impatient"
    }

    fn meet(&mut self, _view: &View<'_>, waiting: &Waiting) -> usize {
        waiting.blocks.iter().sum::<u32>() as usize
    }

    fn plan(&mut self, view: &View<'_>, matched: &Matched<'_>) -> LoadPlan {
        Lru.plan(view, matched)
    }

    fn make_room(&mut self, view: &View<'_>, need: Need, decisions: &mut Vec<Decision>) {
        Lru.make_room(view, need, decisions);
    }
}

/// A prompt of `blocks` blocks and a token, of which the first `shared` are those of all others.
pub(super) fn tokens(blocks: u32, shared: u32, seed: u32) -> Vec<TokenId> {
    let token = |at| TokenId(if at < shared * TOKENS { at } else { (seed << 20) + at });
    (0..=blocks * TOKENS).map(token).collect()
}

/// Asserts that no hold so far looked at more blocks than it may, and that some looked at many.
pub(super) fn check(pager: &Pager, what: &str) {
    let holds = pager.hold_blocks();
    let most = holds.iter().rposition(|count| *count > 0).expect("some hold");
    assert!(most <= BLOCKS_A_HOLD, "{what}: a hold of the lock looked at {most} blocks");
}

/// Asserts that there were holds that looked at many blocks, so that the test shows something.
pub(super) fn check_long(pager: &Pager) {
    let holds = pager.hold_blocks();
    let long: u64 = holds[128..].iter().sum();
    assert!(long > 100, "only {long} holds looked at 128 blocks or more");
}

impl Served {
    pub(super) fn open(&self, request: &Request<'_>) -> Sequence {
        loop {
            match self.pager.open(request) {
                Ok(sequence) => return sequence,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
            }
            self.machine.advance_all();
        }
    }

    pub(super) fn compute(&self, sequence: &mut Sequence) {
        loop {
            match sequence.next_step(usize::MAX) {
                Ok(Step::Compute(range)) => sequence.commit(range, Fence::OVER).expect("as told"),
                Ok(Step::Ready) => return,
                Ok(Step::Wait) => _ = self.machine.advance_all(),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
                    self.machine.advance_all();
                }
            }
        }
    }

    /// A long request's whole life.
    pub(super) fn serve(&self, request: &Request<'_>, what: &str) {
        let mut sequence = self.open(request);
        check(&self.pager, &format!("{what}: open"));
        self.compute(&mut sequence);
        check(&self.pager, &format!("{what}: compute"));
        let fork = sequence.fork().expect("nothing is being copied");
        fork.close(Fence::OVER);
        check(&self.pager, &format!("{what}: fork"));
        let all = sequence.tokens().to_vec();
        sequence.truncate(all.len() / 2 + 1, Fence::OVER);
        check(&self.pager, &format!("{what}: truncate"));
        while sequence.append(&all[all.len() / 2 + 1..]).is_err() {
            self.machine.advance_all();
        }
        self.compute(&mut sequence);
        check(&self.pager, &format!("{what}: append"));
        sequence.close(Fence::OVER);
        check(&self.pager, &format!("{what}: close"));
    }

    /// Lets go on what goes on by itself.
    pub(super) fn go_on(&self, what: &str) {
        for _ in 0..150 {
            self.machine.advance_all();
            self.pager.poll();
        }
        check(&self.pager, what);
    }

    pub(super) fn settle(&self, deliveries: &mut Deliveries) -> usize {
        while !deliveries.is_over() {
            self.machine.advance_all();
        }
        deliveries.poll().iter().filter(|delivery| **delivery == Delivery::Done).count()
    }
}

/// Serves `prompts`, and then others until the former are nowhere near; those are erased, so that the device has room.
pub(super) fn leave_far(served: &Served, spec: MachineSpec, prompts: &[Vec<TokenId>]) {
    let others: Vec<Vec<TokenId>> = (0..=spec.device / LONG).map(|at| tokens(LONG, 0, 20 + at)).collect();
    let requests = prompts.iter().map(|prompt| Request::new(prompt));
    for request in requests.chain(others.iter().map(|prompt| Request::new(prompt).with_salt(Salt(1)))) {
        let mut sequence = served.open(&request);
        served.compute(&mut sequence);
        sequence.close(Fence::OVER);
    }
    served.go_on("left far");
    served.pager.invalidate(Salt(1)).expect("no drive");
    served.go_on("erased");
}
