//! A scheduler and its workers as processes: the model over them, and workers that are killed at any moment.

use kv_pager::clock::MonotonicClock;
use kv_pager::config::{Limits, Watermarks};
use kv_pager::ids::{Epoch, Fence, GroupId, MoveId, SlotId, TierId, TokenId};
use kv_pager::layout::{Attention, DType, Entry, KvGroup, ModelLayout, shape};
use kv_pager::pager::{Backend, LaneReport, Progress, Request, Sequence, Step};
use kv_pager::policy::Lru;
use kv_pager::tier::{Health, Lane, Move, MoveFault, Signal, Tier};
use kv_pager::units::Nanos;
use kv_pager::{Config, Error, ErrorKind, Pager};
use kv_pager_testkit::conformance::wait;
use kv_pager_testkit::model::{MACHINES, ModelMachine, Operation, POLICIES, Rig, operation};
use kv_pager_testkit::random::{Random, mix};
use kv_pager_testkit::ranks::{Rank, RankedLane, RankedMachine, RankedTier};
use kv_pager_testkit::remote::{Pace, ToWorker, WorkerProcess};
use kv_pager_testkit::tagged::{MachineSpec, Tag};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use rustix::process::{Pid, Signal as SystemSignal, kill_process};
use std::cell::Cell;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread;

fn worker(model: &ModelLayout, spec: MachineSpec, pace: Pace) -> WorkerProcess {
    let program = Path::new(env!("CARGO_BIN_EXE_kv-pager-worker"));
    WorkerProcess::start(program, model, spec, pace).expect("processes can be started")
}

// The model, over two workers.

#[derive(Clone, Debug, Default)]
struct Operations;

impl ReferenceStateMachine for Operations {
    /// Which of the machines, and which policy.
    type State = (usize, usize);
    type Transition = Operation;

    fn init_state() -> BoxedStrategy<(usize, usize)> {
        (0..MACHINES.len(), 0..POLICIES).boxed()
    }

    fn transitions(_spec: &(usize, usize)) -> BoxedStrategy<Operation> {
        operation().boxed()
    }

    fn apply(spec: (usize, usize), _operation: &Operation) -> (usize, usize) {
        spec
    }
}

struct RigOver<const KIND: usize>(Rig);

impl<const KIND: usize> StateMachineTest for RigOver<KIND> {
    type SystemUnderTest = Self;
    type Reference = Operations;

    fn init_test((machine, policy): &(usize, usize)) -> Self {
        let build = |model: &ModelLayout, spec: MachineSpec| {
            let rank = |_| Box::new(worker(model, spec, Pace::Told)) as Box<dyn Rank>;
            Box::new(RankedMachine::new((0..2).map(rank).collect(), spec.lane_limit)) as Box<dyn ModelMachine>
        };
        Self(Rig::over(KIND, *machine, *policy, build))
    }

    fn apply(mut rig: Self, _spec: &(usize, usize), operation: Operation) -> Self {
        rig.0.apply(&operation);
        rig
    }

    fn check_invariants(rig: &Self, _spec: &(usize, usize)) {
        rig.0.check();
    }

    fn teardown(rig: Self, _spec: (usize, usize)) {
        rig.0.finish();
    }
}

/// A case takes two processes and a few hundred messages, so there are fewer than elsewhere.
fn config() -> ProptestConfig {
    let cases = ProptestConfig::default().cases.div_ceil(8);
    ProptestConfig { cases, max_shrink_iters: 500, failure_persistence: None, ..ProptestConfig::default() }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn the_model_holds_over_processes(sequential 1..120 => RigOver<0>);

    #[test]
    fn the_model_holds_over_processes_with_a_window(sequential 1..120 => RigOver<1>);
}

// Workers that are killed.

const RANKS: usize = 3;
const TOKENS_PER_BLOCK: usize = 4;
const SPEC: MachineSpec = MachineSpec { device: 20, host: 16, file: 40, lane_limit: 256 };
const SEQUENCES_MAX: usize = 3;
const NAP: Nanos = Nanos::from_millis(20);
/// Naps in a row that nothing ends in: a minute and more. A bound for faults, not a measure.
const NAPS_MAX: usize = 6_000;

fn model() -> ModelLayout {
    let entry = Entry::KeyValue { kv_heads: 1, head_dim: 8 };
    let group = KvGroup { attention: Attention::Full, layers: 1, entry, dtype: DType::F32 };
    ModelLayout::new(u32::try_from(TOKENS_PER_BLOCK).expect("small"), vec![group]).expect("valid")
}

/// What a rank has for a token: it depends on all tokens up to it.
fn tag(rank: usize, tokens: &[TokenId], at: usize) -> Tag {
    Tag(tokens[..=at].iter().fold(mix(rank as u64 + 1), |hash, token| mix(hash ^ u64::from(token.0))))
}

/// A branch of a tree of prompts that fork after 12 and 28 tokens.
fn prompt(branch: u32, len: usize) -> Vec<TokenId> {
    let side = |place| match place {
        0..12 => branch % 2,
        12..28 => branch % 4,
        _ => branch,
    };
    (0..len).map(|place| TokenId(side(place) * 1000 + u32::try_from(place).expect("short"))).collect()
}

/// Why an engine stops serving.
#[derive(Debug)]
struct Stopped;

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        assert_eq!(error.kind(), ErrorKind::DeviceLost, "{error}");
        Self
    }
}

/// An engine over workers that move at their own pace: each writes its slices and reads them back.
struct Engine<'a> {
    workers: &'a [WorkerProcess],
    pager: Pager,
    sequences: Vec<Sequence>,
    random: Random,
    last_fence: u64,
    naps: usize,
    has_lost: Cell<bool>,
    host_tokens: u64,
    read_tokens: u64,
}

impl<'a> Engine<'a> {
    fn new(workers: &'a [WorkerProcess], seed: u64) -> Self {
        let (tiers, lanes): (Vec<_>, Vec<_>) =
            workers.iter().map(|worker| (worker.tiers(), worker.lanes())).unzip();
        let tier = |at: usize| {
            let of_ranks = tiers.iter().map(|of_rank| Arc::clone(&of_rank[at])).collect();
            Arc::new(RankedTier::new(of_ranks)) as Arc<dyn Tier>
        };
        let lane = |at: usize| {
            let of_ranks = lanes.iter().map(|of_rank| Arc::clone(&of_rank[at])).collect();
            Arc::new(RankedLane::new(of_ranks, 16, SPEC.lane_limit)) as Arc<dyn Lane>
        };
        let backend = Backend {
            tiers: (0..tiers[0].len()).map(tier).collect(),
            lanes: (0..lanes[0].len()).map(lane).collect(),
        };
        let limits = Limits { sequences: 8, sequence_tokens: 72, batch_moves: 8, ..Limits::default() };
        let config = Config { limits, watermarks: Watermarks { low: 0.1, high: 0.3 }, ..Config::default() };
        let clock = Arc::new(MonotonicClock::new());
        let pager = Pager::new(model(), config, backend, Box::new(Lru), clock).expect("it fits");
        Self {
            workers,
            pager,
            sequences: Vec::new(),
            random: Random::new(seed),
            last_fence: 0,
            naps: 0,
            has_lost: Cell::new(false),
            host_tokens: 0,
            read_tokens: 0,
        }
    }

    /// One thing of what an engine does.
    fn advance(&mut self) -> Result<(), Stopped> {
        let kind = self.random.below(10);
        if self.sequences.is_empty() || kind < 2 {
            return self.open();
        }
        let count = u32::try_from(self.sequences.len()).expect("few");
        let at = self.random.below(count) as usize;
        match kind {
            2 => self.append(at),
            3 => {
                self.close(at);
                Ok(())
            }
            _ => self.step(at).map(|_| ()),
        }
    }

    fn open(&mut self) -> Result<(), Stopped> {
        if self.sequences.len() == SEQUENCES_MAX {
            return Ok(());
        }
        let (branch, len) = (self.random.below(16), self.random.between(1, 60) as usize);
        let seen = self.pager.progress();
        match self.pager.open(&Request::new(&prompt(branch, len))) {
            Ok(sequence) => {
                self.sequences.push(sequence);
                Ok(())
            }
            Err(error) => self.make_room(seen, error),
        }
    }

    /// What an engine does when there is no slot: it waits for one, or gives some up.
    fn make_room(&mut self, seen: Progress, error: Error) -> Result<(), Stopped> {
        match error {
            Error::TierFull { .. } if !self.sequences.is_empty() => self.close(0),
            error if error.kind() == ErrorKind::Retry => {
                self.pager.wait(seen, NAP);
            }
            error => return Err(error.into()),
        }
        Ok(())
    }

    fn append(&mut self, at: usize) -> Result<(), Stopped> {
        let token = TokenId(50_000 + self.random.below(3));
        match self.sequences[at].append(&[token]) {
            Err(error) if !matches!(error.kind(), ErrorKind::Retry | ErrorKind::Configuration) => {
                Err(error.into())
            }
            _ => Ok(()),
        }
    }

    fn close(&mut self, at: usize) {
        let sequence = self.sequences.swap_remove(at);
        self.host_tokens += sequence.report().hit_tokens[TierId::Host.index()];
        sequence.close(Fence(self.last_fence));
    }

    /// Takes a step; returns whether everything is there.
    fn step(&mut self, at: usize) -> Result<bool, Stopped> {
        let tokens_max = self.random.between(1, 30) as usize;
        let seen = self.pager.progress();
        let step = match self.sequences[at].next_step(tokens_max) {
            Ok(step) => step,
            Err(error) => return self.make_room(seen, error).map(|()| false),
        };
        match step {
            Step::Wait => {
                self.naps = if self.sequences[at].wait(NAP) { 0 } else { self.naps + 1 };
                assert!(self.naps < NAPS_MAX, "a sequence hangs: {:?}", self.pager.stats());
            }
            Step::Ready => {
                let end = self.sequences[at].len();
                self.last_fence += 1;
                self.read(at, end);
                self.compute()?;
                return Ok(true);
            }
            Step::Compute(range) => {
                self.last_fence += 1;
                self.read(at, range.start);
                self.write(at, range.clone());
                self.compute()?;
                let fence = Fence(self.last_fence);
                self.sequences[at].commit(range, fence).expect("the range of the step");
            }
        }
        Ok(false)
    }

    /// Launches something on a worker. Each launches its own: when one is lost, the others go on to the end of the step.
    fn launch(&self, worker: &WorkerProcess, message: ToWorker) {
        let is_lost = worker.link().send(message).is_err();
        self.has_lost.set(self.has_lost.get() || is_lost);
    }

    /// Every worker reads all tokens before `end` through the table.
    fn read(&mut self, at: usize, end: usize) {
        let sequence = &self.sequences[at];
        let (tokens, table) = (sequence.tokens(), sequence.table(GroupId::FIRST));
        for (rank, worker) in self.workers.iter().enumerate() {
            for first in (0..end).step_by(TOKENS_PER_BLOCK) {
                let last = end.min(first + TOKENS_PER_BLOCK);
                let read = ToWorker::Read {
                    fence: Fence(self.last_fence),
                    group: GroupId::FIRST,
                    slot: table[first / TOKENS_PER_BLOCK],
                    first: 0,
                    expected: (first..last).map(|place| tag(rank, tokens, place)).collect(),
                    what: format!("tokens {first}..{last} of {:?} on rank {rank}", sequence.id()),
                };
                self.launch(worker, read);
            }
        }
        self.read_tokens += end as u64;
    }

    fn write(&self, at: usize, range: Range<usize>) {
        let sequence = &self.sequences[at];
        let table = sequence.table(GroupId::FIRST);
        for (rank, worker) in self.workers.iter().enumerate() {
            for place in range.clone() {
                let write = ToWorker::Write {
                    fence: Fence(self.last_fence),
                    group: GroupId::FIRST,
                    slot: table[place / TOKENS_PER_BLOCK],
                    first: u32::try_from(place % TOKENS_PER_BLOCK).expect("small"),
                    tags: vec![tag(rank, sequence.tokens(), place)],
                };
                self.launch(worker, write);
            }
        }
    }

    fn compute(&self) -> Result<(), Stopped> {
        for worker in self.workers {
            self.launch(worker, ToWorker::Compute { until: Fence(self.last_fence) });
        }
        if self.has_lost.get() { Err(Stopped) } else { Ok(()) }
    }

    /// Closes everything, and waits until nothing is under way: no ticket is left without an end (I7, L3).
    fn stop(&mut self) {
        while !self.sequences.is_empty() {
            self.close(0);
        }
        for _ in 0..NAPS_MAX {
            let seen = self.pager.progress();
            self.pager.poll();
            if !self.pager.is_busy() {
                return self.pager.check();
            }
            self.pager.wait(seen, NAP);
        }
        panic!("a move never ends: {:?}", self.pager.stats());
    }
}

/// Asserts that no byte was wrong on any worker, and that all but `killed` are well.
fn assert_right(workers: &[WorkerProcess], killed: Option<usize>) {
    for (rank, worker) in workers.iter().enumerate() {
        let settled = worker.link().settle();
        assert_eq!(worker.link().wrong(), None, "rank {rank}");
        assert!(settled.is_ok() || killed == Some(rank), "rank {rank}: {settled:?}");
    }
}

fn begin(workers: &[WorkerProcess], epoch: u32) {
    for worker in workers {
        worker.begin(Epoch(epoch), &model(), SPEC, Pace::Own).expect("it was just started, or is well");
    }
}

#[test]
fn workers_serve_at_their_own_pace() {
    let workers: Vec<_> = (0..RANKS).map(|_| worker(&model(), SPEC, Pace::Own)).collect();
    let mut engine = Engine::new(&workers, 1);
    // Workers move at their own pace: it goes on until something has gone every way.
    let has_seen_all = |engine: &Engine<'_>| {
        let lanes = engine.pager.stats().lanes;
        let is_used = |lane: &LaneReport| lane.ends.source == lane.ends.target || lane.stats.moves > 0;
        engine.host_tokens > 0 && lanes.iter().all(is_used)
    };
    for round in 0..1_000_000_u32 {
        engine.advance().expect("no worker is killed");
        if round % 1000 == 999 && has_seen_all(&engine) {
            break;
        }
    }
    assert!(has_seen_all(&engine) && engine.read_tokens > 0, "{:?}", engine.pager.stats());
    engine.stop();
    drop(engine);
    assert_right(&workers, None);
    for worker in workers {
        assert!(worker.finish().expect("it ends").success(), "a worker ends well when its scheduler goes");
    }
}

#[test]
fn a_worker_killed_at_any_moment_gives_misses() {
    let mut workers: Vec<_> = (0..RANKS).map(|_| worker(&model(), SPEC, Pace::Own)).collect();
    let mut random = Random::new(8);
    for life in 0..24_u32 {
        begin(&workers, life + 2);
        let (victim, after, spins) = (random.below(3) as usize, random.below(400), random.below(200_000));
        let clock = Signal::new();
        let mut engine = Engine::new(&workers, u64::from(life));
        thread::scope(|scope| {
            scope.spawn(|| {
                while clock.count() < u64::from(after) {
                    clock.wait_past(clock.count(), NAP);
                }
                (0..spins).for_each(|_| std::hint::spin_loop());
                workers[victim].kill().expect("it is a process of this one's");
            });
            // A life begins with nothing: what an earlier one had cached is a miss.
            let first = engine.pager.open(&Request::new(&prompt(0, 40)));
            assert!(first.is_err() || first.is_ok_and(|sequence| sequence.matched_tokens() == 0));
            let stopped = (0..10_000_000_u32).find_map(|_| {
                clock.ring();
                engine.advance().err()
            });
            assert!(stopped.is_some(), "the loss of a worker is never told");
        });
        engine.stop();
        for round in 0..=NAPS_MAX {
            let error = engine.pager.open(&Request::new(&prompt(0, 40))).err();
            if error.is_some_and(|error| error.kind() == ErrorKind::DeviceLost) {
                break;
            }
            assert!(round < NAPS_MAX, "a request is served by a worker that is gone");
            engine.pager.wait(engine.pager.progress(), NAP);
        }
        drop(engine);
        assert_right(&workers, Some(victim));
        workers[victim] = worker(&model(), SPEC, Pace::Own);
    }
    // And those that are left serve on.
    begin(&workers, 100);
    let mut engine = Engine::new(&workers, 99);
    for _ in 0..500 {
        engine.advance().expect("no worker is killed any more");
    }
    engine.stop();
    drop(engine);
    assert_right(&workers, None);
}

fn order(slot: usize) -> Move {
    let slot = SlotId::from_index(slot);
    Move {
        id: MoveId(1),
        group: GroupId::FIRST,
        source: slot,
        target: slot,
        source_fence: Fence::OVER,
        target_fence: Fence::OVER,
    }
}

/// The lane from the device to the host.
fn offload(worker: &WorkerProcess) -> Arc<dyn Lane> {
    let is_it =
        |lane: &Arc<dyn Lane>| (lane.ends().source, lane.ends().target) == (TierId::Device, TierId::Host);
    worker.lanes().into_iter().find(is_it).expect("there is one")
}

#[test]
fn a_worker_that_stands_still_holds_up_no_caller_and_dies_with_its_moves() {
    let (model, spec) = (shape("tiny").expect("known"), MachineSpec { lane_limit: 8, ..SPEC });
    let stopped = worker(&model, spec, Pace::Own);
    stopped.link().settle().expect("it is well");
    let pid = i32::try_from(stopped.id()).ok().and_then(Pid::from_raw).expect("a process has a number");
    kill_process(pid, SystemSignal::STOP).expect("it is a process of this one's");
    let lane = offload(&stopped);
    let tickets: Vec<_> = (0..8).map(|slot| lane.submit(&[order(slot)]).expect("room for eight")).collect();
    assert!(lane.submit(&[order(8)]).is_err(), "RE3: a full queue says so, and nobody waits");
    assert!(tickets.iter().all(|ticket| ticket.ended() == 0));
    let device = &stopped.tiers()[0];
    assert!(device.health() == Health::Well && !device.is_fence_over(Fence(1)));
    stopped.kill().expect("it is a process of this one's");
    for ticket in &tickets {
        wait(ticket);
        assert_eq!(ticket.outcome(0), Some(Err(MoveFault::DeviceLost)));
    }
    assert!(matches!(device.health(), Health::Lost { .. }));
    assert!(device.is_fence_over(Fence(1)), "what waits for compute that is gone waits no more");
    let after = lane.submit(&[order(0)]).expect("it is taken, and ends");
    assert_eq!(after.outcome(0), Some(Err(MoveFault::DeviceLost)));
}

#[test]
fn a_wrong_byte_on_a_worker_is_told() {
    let worker = worker(&model(), SPEC, Pace::Own);
    let (group, slot) = (GroupId::FIRST, SlotId::from_index(3));
    let write = |tag| ToWorker::Write { fence: Fence(1), group, slot, first: 0, tags: vec![Tag(tag)] };
    let what = "token 0".to_owned();
    let read = ToWorker::Read { fence: Fence(2), group, slot, first: 0, expected: vec![Tag(7)], what };
    for message in [write(8), read, ToWorker::Compute { until: Fence(2) }] {
        worker.link().send(message).expect("it is well");
    }
    worker.link().settle().expect_err("it has ended");
    assert!(
        worker.link().wrong().is_some_and(|what| what.contains("I4: token 0")),
        "{:?}",
        worker.link().wrong()
    );
}
