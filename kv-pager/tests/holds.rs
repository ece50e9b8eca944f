//! How much one hold of the pager's lock handles: however long a sequence is, no more than 512 blocks, where room is made on the device
//! or in the host alone.
//!
//! What ends at once is handled at once, so lanes here have little under way.

use kv_pager::clock::ManualClock;
use kv_pager::config::{DeviceOwner, Limits, Watermarks};
use kv_pager::ids::{Fence, GroupId, Salt, SlotId, TokenId};
use kv_pager::layout::{Attention, DType, Entry, KvGroup, ModelLayout};
use kv_pager::pager::{BlockAt, Deliveries, Delivery, Prompt, Request, Sequence, Step};
use kv_pager::policy::{Lru, Policy, Steward, StewardSpec};
use kv_pager::units::Nanos;
use kv_pager::{Config, ErrorKind, Pager};
use kv_pager_testkit::tagged::{Machine, MachineSpec};
use std::sync::Arc;

const TOKENS: u32 = 4;
/// The most that one hold may handle.
const BLOCKS_A_HOLD: usize = 512;
/// Blocks of a long sequence: many slices.
const LONG: u32 = 3000;

fn model(is_windowed: bool) -> ModelLayout {
    let group = |attention| {
        let entry = Entry::KeyValue { kv_heads: 1, head_dim: 8 };
        KvGroup { attention, layers: 1, entry, dtype: DType::F32 }
    };
    let mut groups = vec![group(Attention::Full)];
    if is_windowed {
        groups.push(group(Attention::SlidingWindow { window_tokens: 50 * TOKENS, sink_tokens: 0 }));
    }
    ModelLayout::new(TOKENS, groups).expect("valid")
}

struct Served {
    machine: Machine,
    clock: Arc<ManualClock>,
    pager: Pager,
}

fn build(model: ModelLayout, spec: MachineSpec, owner: DeviceOwner, policy: Box<dyn Policy>) -> Served {
    let machine = Machine::new(&model, spec);
    let limits = Limits { sequence_tokens: 6 * LONG * TOKENS, ..Limits::default() };
    let config = Config {
        limits,
        device_owner: owner,
        watermarks: Watermarks { low: 0.02, high: 0.04 },
        ..Config::default()
    };
    let clock = Arc::new(ManualClock::new());
    let pager = Pager::new(model, config, machine.backend(), policy, Arc::clone(&clock) as _).expect("fits");
    Served { machine, clock, pager }
}

fn policies() -> [Box<dyn Policy>; 2] {
    let spec = StewardSpec { has_shadows: true, ..StewardSpec::default() };
    [Box::new(Lru), Box::new(Steward::new(spec))]
}

/// A prompt of `blocks` blocks and a token, of which the first `shared` are those of all others.
fn tokens(blocks: u32, shared: u32, seed: u32) -> Vec<TokenId> {
    let token = |at| TokenId(if at < shared * TOKENS { at } else { (seed << 20) + at });
    (0..=blocks * TOKENS).map(token).collect()
}

/// Asserts that no hold so far looked at more blocks than it may, and that some looked at many.
fn check(pager: &Pager, what: &str) {
    let holds = pager.hold_blocks();
    let most = holds.iter().rposition(|count| *count > 0).expect("some hold");
    assert!(most <= BLOCKS_A_HOLD, "{what}: a hold of the lock looked at {most} blocks");
}

/// Asserts that there were holds that looked at many blocks, so that the test shows something.
fn check_long(pager: &Pager) {
    let holds = pager.hold_blocks();
    let long: u64 = holds[128..].iter().sum();
    assert!(long > 100, "only {long} holds looked at 128 blocks or more");
}

impl Served {
    fn open(&self, request: &Request<'_>) -> Sequence {
        loop {
            match self.pager.open(request) {
                Ok(sequence) => return sequence,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
            }
            self.machine.advance_all();
        }
    }

    fn compute(&self, sequence: &mut Sequence) {
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
    fn serve(&self, request: &Request<'_>, what: &str) {
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

    fn settle(&self, deliveries: &mut Deliveries) -> usize {
        while !deliveries.is_over() {
            self.machine.advance_all();
        }
        deliveries.poll().iter().filter(|delivery| **delivery == Delivery::Done).count()
    }
}

#[test]
fn sequences_that_turn_over_a_device() {
    for is_windowed in [false, true] {
        for policy in policies() {
            let spec = MachineSpec { device: 2 * LONG, host: 0, file: 0, lane_limit: 32 };
            let served = build(model(is_windowed), spec, DeviceOwner::Managed, policy);
            for seed in 1..5 {
                let prompt = tokens(LONG, LONG / 2, seed);
                served.serve(&Request::new(&prompt), "a device alone");
            }
            check_long(&served.pager);
            let erased = served.pager.invalidate(Salt::default()).expect("nothing outlives this machine");
            assert!(erased > u64::from(LONG), "{erased} blocks of long chains");
            check(&served.pager, "invalidate");
            served.pager.check();
        }
    }
}

#[test]
fn sequences_with_a_time_to_live() {
    let spec = MachineSpec { device: 3 * LONG, host: 0, file: 0, lane_limit: 32 };
    let served = build(model(false), spec, DeviceOwner::Managed, Box::new(Lru));
    for seed in 1..3 {
        let prompt = tokens(LONG, 0, seed);
        served.serve(&Request::new(&prompt).with_time_to_live(Nanos::new(1000)), "mortal");
    }
    served.clock.advance(Nanos::new(10_000));
    for _ in 0..100 {
        served.pager.poll();
    }
    assert!(served.pager.stats().expired > u64::from(LONG), "{:?}", served.pager.stats());
    check(&served.pager, "expired");
}

#[test]
fn what_an_earlier_epoch_has_left() {
    for is_windowed in [false, true] {
        let spec = MachineSpec { device: 3 * LONG, host: 0, file: 0, lane_limit: 32 };
        let served = build(model(is_windowed), spec, DeviceOwner::Managed, Box::new(Lru));
        for seed in 1..3 {
            let prompt = tokens(LONG, 0, seed);
            served.serve(&Request::new(&prompt), "of an epoch");
        }
        check_long(&served.pager);
        let before = served.pager.stats().drops;
        served.pager.advance_epoch();
        for _ in 0..100 {
            served.pager.poll();
        }
        check(&served.pager, "an epoch that has ended");
        let dropped = served.pager.stats().drops - before;
        assert!(dropped >= u64::from(2 * LONG), "{dropped} blocks of long chains");
    }
}

#[test]
fn an_engine_with_slots_of_its_own() {
    for policy in policies() {
        let spec = MachineSpec { device: 2 * LONG, host: 3 * LONG, file: 0, lane_limit: 32 };
        let served = build(model(false), spec, DeviceOwner::Engine, policy);
        for seed in [1, 2, 1] {
            let prompt: Prompt = served.pager.prepare(&Request::new(&tokens(LONG, LONG / 2, seed)));
            let at = |block: u32| BlockAt { block: block as usize, slot: SlotId::from_index(block as usize) };
            let all: Vec<BlockAt> = (0..LONG).map(at).collect();
            let cached = served.pager.lookup(&prompt).len();
            let mut loads =
                served.pager.onboard(&prompt, &all[..cached], Fence::OVER).expect("slots are free");
            assert_eq!(served.settle(&mut loads), cached);
            for BlockAt { slot, .. } in &all[cached..] {
                served.machine.device().write(GroupId::FIRST, *slot, 0, &[]);
            }
            let mut copies = served.pager.offload(&prompt, &all[cached..], Fence::OVER).expect("free");
            assert_eq!(served.settle(&mut copies), all.len() - cached);
            check(&served.pager, "an engine's slots");
        }
    }
}
