//! Several ranks behind one tier and one lane: a rank that fails, one that is slow, one that never answers.

use kv_pager::clock::{Clock, ManualClock};
use kv_pager::ids::{Fence, GroupId, MoveId, SlotId, TierId};
use kv_pager::layout::{ModelLayout, shape};
use kv_pager::pager::Backend;
use kv_pager::tier::{Lane, LaneEnds, Move, MoveFault, Ticket, Tier};
use kv_pager::units::Nanos;
use kv_pager_cpu::{CpuBackend, CpuSpec, HostTier};
use kv_pager_testkit::conformance::{End, LaneHarness, check_lane, check_tier, wait};
use kv_pager_testkit::engine::{KvMemory, PlanesRead, PlanesWrite};
use kv_pager_testkit::faulty::{FaultScript, Faulty};
use kv_pager_testkit::model::{MACHINES, Operation, POLICIES, Rig, operation};
use kv_pager_testkit::ranks::{RankedLane, RankedMachine, RankedTier};
use kv_pager_testkit::tagged::{Fate, Machine, MachineSpec, Tag};
use kv_pager_testkit::throttled::{Rate, Throttled};
use kv_pager_testkit::walk::{DEVICE_SLOTS, Ground, HOST_SLOTS, walk, walk_model};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use std::sync::Arc;

const RANKS: usize = 3;
const WINDOW: usize = 4;
const QUEUE: usize = 64;
const OFFLOAD: LaneEnds = LaneEnds { source: TierId::Device, target: TierId::Host };
const ONBOARD: LaneEnds = LaneEnds { source: TierId::Host, target: TierId::Device };
const WITHIN: LaneEnds = LaneEnds { source: TierId::Device, target: TierId::Device };

fn order(id: usize, group: GroupId, source: usize, target: usize) -> Move {
    Move {
        id: MoveId(id as u64),
        group,
        source: SlotId::from_index(source),
        target: SlotId::from_index(target),
        source_fence: Fence::OVER,
        target_fence: Fence::OVER,
    }
}

/// Moves of `slots` of the first group, each to the slot of the same number.
fn orders(slots: std::ops::Range<usize>) -> Vec<Move> {
    slots.map(|slot| order(slot, GroupId::FIRST, slot, slot)).collect()
}

// The model, over ranks one of which has the bad luck.

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
            Box::new(RankedMachine::local(model, spec, RANKS))
                as Box<dyn kv_pager_testkit::model::ModelMachine>
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

fn config() -> ProptestConfig {
    let cases = ProptestConfig::default().cases.div_ceil(2);
    ProptestConfig { cases, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn the_model_holds_over_ranks(sequential 1..120 => RigOver<0>);

    #[test]
    fn the_model_holds_over_ranks_with_windows(sequential 1..120 => RigOver<2>);
}

// Ranks in the CPU's memory.

/// A rank's tiers, and fresh lanes between them.
fn cpu_rank(model: &ModelLayout, device: u32, host: u32) -> CpuBackend {
    let slots = |count| vec![count; model.groups().len()];
    let spec = CpuSpec { host_slots: Some(slots(host)), ..CpuSpec::new(model.clone(), slots(device)) };
    CpuBackend::new(&spec).expect("small")
}

fn memory(rank: &CpuBackend, id: TierId) -> &Arc<HostTier> {
    if id == TierId::Device { rank.device() } else { rank.host().expect("each rank has some") }
}

fn lane(rank: &CpuBackend, ends: LaneEnds) -> Arc<dyn Lane> {
    rank.new_lane(ends).expect("there is such a lane")
}

/// A lane over ranks, all bytes of which are one part after the other.
struct Ranked {
    model: ModelLayout,
    ranks: Vec<CpuBackend>,
    tiers: [RankedTier; 2],
    lane: Option<RankedLane>,
}

impl Ranked {
    fn new(ends: LaneEnds) -> Self {
        let model = walk_model();
        let ranks: Vec<_> = (0..RANKS).map(|_| cpu_rank(&model, 8, 8)).collect();
        let lanes = ranks.iter().map(|rank| lane(rank, ends)).collect();
        let tier = |id| {
            let of_rank = |rank| Arc::<HostTier>::clone(memory(rank, id)) as Arc<dyn Tier>;
            RankedTier::new(ranks.iter().map(of_rank).collect())
        };
        let tiers = [tier(ends.source), tier(ends.target)];
        Self { tiers, model, ranks, lane: Some(RankedLane::new(lanes, WINDOW, QUEUE)) }
    }

    fn rank_bytes(&self, group: GroupId) -> usize {
        self.model.part_bytes(group).as_usize()
    }
}

impl LaneHarness for Ranked {
    fn lane(&self) -> &dyn Lane {
        self.lane.as_ref().expect("not dropped yet")
    }

    fn tier(&self, end: End) -> &dyn Tier {
        if end == End::Source { &self.tiers[0] } else { &self.tiers[1] }
    }

    fn part_bytes(&self, group: GroupId) -> usize {
        RANKS * self.rank_bytes(group)
    }

    fn fill(&self, end: End, group: GroupId, slot: SlotId, bytes: &[u8]) {
        for (rank, slice) in self.ranks.iter().zip(bytes.chunks(self.rank_bytes(group))) {
            fill(memory(rank, self.tier(end).id()), group, slot, slice);
        }
    }

    fn read(&self, end: End, group: GroupId, slot: SlotId) -> Vec<u8> {
        let of_rank = |rank| read(memory(rank, self.tier(end).id()), group, slot);
        self.ranks.iter().flat_map(of_rank).collect()
    }

    fn spoil(&self, _group: GroupId, _slot: SlotId) -> bool {
        false
    }

    fn moves_queued(&self) -> usize {
        QUEUE
    }

    fn drop_lane(&mut self) {
        self.lane = None;
    }
}

fn fill(tier: &HostTier, group: GroupId, slot: SlotId, bytes: &[u8]) {
    tier.write(group, slot).expect("nobody else uses it").fragment_mut(0).copy_from_slice(bytes);
}

fn read(tier: &HostTier, group: GroupId, slot: SlotId) -> Vec<u8> {
    tier.read(group, slot).expect("nobody writes it").fragment(0).to_vec()
}

#[test]
fn a_lane_over_ranks_keeps_its_contract() {
    for ends in [OFFLOAD, ONBOARD, WITHIN] {
        check_lane(|| Ranked::new(ends));
    }
    let ranked = Ranked::new(OFFLOAD);
    for end in [End::Source, End::Target] {
        check_tier(ranked.tier(end), &walk_model());
    }
}

// A rank that fails.

/// The ranks' device memory: each has its slice, which is told from the others'.
#[derive(Debug)]
struct Slices {
    devices: Vec<Arc<HostTier>>,
    planes: Vec<usize>,
}

/// What byte of a slice stands for one of the first rank's.
fn mark(rank: usize) -> u8 {
    u8::try_from(rank).expect("few").wrapping_mul(0x5b)
}

impl KvMemory for Slices {
    fn read_part(&self, group: GroupId, slot: SlotId, visit: &mut dyn FnMut(&dyn PlanesRead)) {
        let parts: Vec<_> = self.devices.iter().map(|device| device.read(group, slot).expect("I2")).collect();
        for plane in 0..self.planes[group.index()] {
            for (rank, part) in parts.iter().enumerate() {
                let is_slice = |(own, first): (&u8, &u8)| *own == first ^ mark(rank);
                let all = part.plane(plane).iter().zip(parts[0].plane(plane)).all(is_slice);
                assert!(all, "I4: rank {rank} has something else in plane {plane} of {slot:?}, {group:?}");
            }
        }
        visit(&parts[0]);
    }

    fn write_part(&self, group: GroupId, slot: SlotId, visit: &mut dyn FnMut(&mut dyn PlanesWrite)) {
        let mut first = self.devices[0].write(group, slot).expect("I5");
        visit(&mut first);
        for (rank, device) in self.devices.iter().enumerate().skip(1) {
            let mut part = device.write(group, slot).expect("I5");
            for plane in 0..self.planes[group.index()] {
                let bytes = part.plane_mut(plane);
                bytes.copy_from_slice(first.plane_mut(plane));
                for byte in bytes {
                    *byte ^= mark(rank);
                }
            }
        }
    }
}

#[test]
fn what_fails_on_one_rank_is_a_miss_on_all() {
    let model = walk_model();
    let (mut lost, mut loaded) = (0, 0);
    // Lanes move at their own pace, so a walk need not have met everything: there is another one then.
    for seed in 0..30 {
        let unlucky = seed % RANKS;
        if seed >= RANKS && lost > 0 && loaded > 0 {
            break;
        }
        let ranks: Vec<_> = (0..RANKS).map(|_| cpu_rank(&model, DEVICE_SLOTS, 4 * HOST_SLOTS)).collect();
        let ranked = |ends: LaneEnds| {
            let of_rank = |(number, rank): (usize, &CpuBackend)| {
                let lane = lane(rank, ends);
                let is_hit = number == unlucky && ends != WITHIN;
                let script = FaultScript { seed: 5, fail_per_mille: 250, ..FaultScript::default() };
                if is_hit { Arc::new(Faulty::new(lane, script)) as Arc<dyn Lane> } else { lane }
            };
            let lanes = ranks.iter().enumerate().map(of_rank).collect();
            Arc::new(RankedLane::new(lanes, 32, 4096)) as Arc<dyn Lane>
        };
        let tier = |id| {
            let of_rank = |rank| Arc::<HostTier>::clone(memory(rank, id)) as Arc<dyn Tier>;
            Arc::new(RankedTier::new(ranks.iter().map(of_rank).collect())) as Arc<dyn Tier>
        };
        let memory = Slices {
            devices: ranks.iter().map(|rank| Arc::clone(rank.device())).collect(),
            planes: model.groups().iter().map(|group| group.fragments() as usize).collect(),
        };
        let backend = Backend {
            tiers: vec![tier(TierId::Device), tier(TierId::Host)],
            lanes: [OFFLOAD, ONBOARD, WITHIN].map(ranked).to_vec(),
        };
        let walked = walk(Ground { backend, memory: &memory }, seed as u64, 800);
        lost += walked.stats.failed_loads;
        loaded += walked.hit_tokens[TierId::Host.index()];
    }
    assert!(lost > 0 && loaded > 0, "{lost} loads failed, and {loaded} tokens came");
}

// A rank that is slow.

const BATCHES: usize = 3;
const BATCH: usize = 4;

#[test]
fn a_slow_rank_holds_up_its_moves_and_no_other_rank() {
    let (machines, place) = machines();
    let clock = Arc::new(ManualClock::new());
    // A part a millisecond, and one in ten.
    let rate = |rank: usize| Rate {
        latency: Nanos::ZERO,
        bytes_per_s: machines[rank].device().classes()[0].slot_bytes.as_u64()
            * if rank == 1 { 100 } else { 1000 },
    };
    let throttled: Vec<_> = (0..RANKS)
        .map(|rank| {
            let clock = Arc::<ManualClock>::clone(&clock) as Arc<dyn Clock>;
            let inner = Arc::clone(&machines[rank].lanes()[place]) as Arc<dyn Lane>;
            Arc::new(Throttled::stepped(inner, rate(rank), &**machines[rank].device(), clock))
        })
        .collect();
    let lanes = throttled.iter().map(|lane| Arc::clone(lane) as Arc<dyn Lane>).collect();
    let ranked = RankedLane::stepped(lanes, WINDOW, QUEUE);
    let tickets: Vec<Ticket> = (0..BATCHES)
        .map(|batch| ranked.submit(&orders(batch * BATCH..(batch + 1) * BATCH)).expect("room"))
        .collect();
    let has = |rank: usize| (0..SLOTS as usize).filter(|slot| has(&machines[rank], rank, *slot)).count();
    // When the others had everything, and when the last move ended.
    let (mut others_done_ms, mut over_ms) = (None, None);
    for now_ms in 1..1000 {
        clock.advance(Nanos::from_millis(1));
        for (machine, lane) in machines.iter().zip(&throttled) {
            machine.advance_all();
            lane.pump();
        }
        ranked.pump();
        let ended: usize = tickets.iter().map(Ticket::ended).sum();
        assert!(ended <= has(1), "{ended} moves have ended, {} on the slowest rank", has(1));
        if others_done_ms.is_none() && has(0) == SLOTS as usize && has(2) == SLOTS as usize {
            others_done_ms = Some(now_ms);
        }
        if tickets.iter().all(Ticket::is_over) {
            over_ms = Some(now_ms);
            break;
        }
    }
    let (others_done_ms, over_ms) = (others_done_ms.expect("they end"), over_ms.expect("it ends"));
    assert!(over_ms >= 10 * SLOTS as usize, "{over_ms} ms for {SLOTS} parts of ten");
    assert!(others_done_ms * 4 < over_ms, "the others had all after {others_done_ms} of {over_ms} ms");
    for ticket in &tickets {
        assert!((0..BATCH).all(|index| ticket.outcome(index) == Some(Ok(()))));
    }
    assert!((0..RANKS).all(|rank| has(rank) == SLOTS as usize));
}

// A rank that never answers.

const SLOTS: u32 = 12;

/// Machines of tags that differ, and which of their lanes is the offload lane.
fn machines() -> (Vec<Machine>, usize) {
    let model = shape("tiny").expect("known");
    let spec = MachineSpec { device: SLOTS, host: SLOTS, file: 0, lane_limit: QUEUE };
    let machines: Vec<_> = (0..RANKS).map(|_| Machine::new(&model, spec)).collect();
    let place = machines[0].lanes().iter().position(|lane| lane.ends() == OFFLOAD).expect("there is one");
    for (rank, machine) in machines.iter().enumerate() {
        for slot in 0..SLOTS as usize {
            machine.device().write(GroupId::FIRST, SlotId::from_index(slot), 0, &[tag(rank, slot)]);
        }
    }
    (machines, place)
}

/// The same, with a lane over their offload lanes.
fn ranked_machines() -> (Vec<Machine>, RankedLane, usize) {
    let (machines, place) = machines();
    let lanes = machines.iter().map(|machine| Arc::clone(&machine.lanes()[place]) as Arc<dyn Lane>);
    let ranked = RankedLane::stepped(lanes.collect(), WINDOW, QUEUE);
    (machines, ranked, place)
}

fn tag(rank: usize, slot: usize) -> Tag {
    Tag((rank * 100 + slot + 1) as u64)
}

fn has(machine: &Machine, rank: usize, slot: usize) -> bool {
    machine.tiers()[1].read(GroupId::FIRST, SlotId::from_index(slot))[0] == tag(rank, slot)
}

#[test]
fn a_move_that_never_ends_on_one_rank_holds_up_nothing_else() {
    let (machines, ranked, place) = ranked_machines();
    let first = ranked.submit(&orders(0..4)).expect("room");
    let second = ranked.submit(&orders(4..8)).expect("room");
    machines[1].lanes()[place].advance(1, |_| Fate::Stalled);
    for _ in 0..4 {
        for machine in &machines {
            assert!(machine.advance_all() <= WINDOW);
        }
        ranked.pump();
    }
    assert_eq!((first.outcome(0), first.ended()), (None, 3));
    assert!(second.is_over() && (0..4).all(|index| second.outcome(index) == Some(Ok(()))));
    assert!((1..8).all(|slot| (0..RANKS).all(|rank| has(&machines[rank], rank, slot))));
    // It is not told as ended while the rank may still write it; with the lane it ends as lost (L3, L5).
    drop(ranked);
    assert!(matches!(first.outcome(0), Some(Err(MoveFault::Lost))), "{:?}", first.outcome(0));
}

#[test]
fn a_silent_rank_holds_up_no_other() {
    let (machines, ranked, _) = ranked_machines();
    let tickets: Vec<_> =
        [0..4, 4..8, 8..12].map(|slots| ranked.submit(&orders(slots)).expect("room")).into();
    for _ in 0..4 {
        for rank in [0, 2] {
            machines[rank].advance_all();
        }
        ranked.pump();
    }
    for rank in [0, 2] {
        assert!(
            (0..12).all(|slot| has(&machines[rank], rank, slot)),
            "rank {rank} has all batches behind it"
        );
    }
    assert!(tickets.iter().all(|ticket| ticket.ended() == 0));
    // What is not begun anywhere can be called off; of the third batch all has begun elsewhere.
    assert!(!tickets[2].cancel_move(3));
    for _ in 0..4 {
        machines[1].advance_all();
        ranked.pump();
    }
    assert!(tickets.iter().all(Ticket::is_over));
    assert!((0..12).all(|slot| has(&machines[1], 1, slot)));
}

#[test]
fn the_worst_fault_is_told_and_only_when_all_ranks_have_ended() {
    let (machines, ranked, place) = ranked_machines();
    let ticket = ranked.submit(&orders(0..2)).expect("room");
    machines[0].lanes()[place].advance(2, |_| Fate::Failed(MoveFault::TimedOut));
    machines[1].lanes()[place].advance(1, |_| Fate::Failed(MoveFault::Io));
    ranked.pump();
    assert_eq!(ticket.ended(), 0, "rank 2 still writes its slices");
    for machine in &machines {
        machine.advance_all();
    }
    ranked.pump();
    let timed_out = Some(Err(MoveFault::TimedOut));
    assert_eq!((ticket.outcome(0), ticket.outcome(1)), (timed_out, timed_out));
}

#[test]
fn what_no_rank_has_begun_can_be_called_off() {
    let (machines, ranked, _) = ranked_machines();
    let ticket = ranked.submit(&orders(0..6)).expect("room");
    assert!(!ticket.cancel_move(3), "within the window it has begun");
    assert!(ticket.cancel_move(4));
    for _ in 0..3 {
        for machine in &machines {
            machine.advance_all();
        }
        ranked.pump();
    }
    assert!(ticket.is_over());
    assert_eq!(ticket.outcome(4), Some(Err(MoveFault::Cancelled)));
    assert_eq!(ticket.outcome(5), Some(Ok(())));
    assert!((0..RANKS).all(|rank| !has(&machines[rank], rank, 4) && has(&machines[rank], rank, 5)));
}

#[test]
fn a_hanging_lane_ends_with_the_lane_over_it() {
    let model = shape("tiny").expect("known");
    let ranks: Vec<_> = (0..RANKS).map(|_| cpu_rank(&model, 4, 4)).collect();
    let hung = FaultScript { hang_per_mille: 1000, ..FaultScript::default() };
    let lanes = ranks.iter().enumerate().map(|(number, rank)| {
        let lane = lane(rank, OFFLOAD);
        if number == 1 { Arc::new(Faulty::new(lane, hung)) as Arc<dyn Lane> } else { lane }
    });
    let ranked = RankedLane::new(lanes.collect(), WINDOW, QUEUE);
    let ticket = ranked.submit(&orders(0..2)).expect("room");
    drop(ranked);
    wait(&ticket);
    for index in 0..2 {
        assert!(matches!(ticket.outcome(index), Some(Err(MoveFault::Lost | MoveFault::Cancelled))));
    }
}
