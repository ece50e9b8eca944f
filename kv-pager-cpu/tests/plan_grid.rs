//! Plans against the best of all splits, executed on real tiers over a throttled lane.
//!
//! Costs are measured and fitted as `measure` does it, plans are made from them, and what a plan takes is what its moves take
//! on the lane: nothing is predicted by the model that made it. Time is virtual, bytes are copied.

use kv_pager::Error;
use kv_pager::clock::{Clock, ManualClock};
use kv_pager::cost::calibrate::{LaneProbe, PrefillProbe, measure_prefill, wait_for_end};
use kv_pager::cost::fit::{PrefillSample, fit_lane, fit_prefill};
use kv_pager::cost::{
    ByLane, CostModel, LaneProfile, Load, Node, PrefillCost, PrefillProfile, Profile, TokenSpan,
};
use kv_pager::ids::{Fence, GroupId, MoveId, SlotId, TierId};
use kv_pager::layout::shape;
use kv_pager::policy::plan::{
    Aim, Choice, EngineAbility, GroupPrefix, Loading, Plan, PlanRequest, Prefix, TierRun, plan,
};
use kv_pager::tier::{Lane, LaneEnds, Move, Ticket};
use kv_pager::units::{Bytes, Nanos};
use kv_pager_cpu::{CpuBackend, CpuSpec};
use kv_pager_testkit::throttled::{Rate, Throttled};
use std::sync::Arc;

const UP: LaneEnds = LaneEnds { source: TierId::Host, target: TierId::Device };
const BLOCK_BYTES: u64 = 8192;
const SLOTS: u32 = 400;
const STEP_TOKENS: u32 = 1024;
const NEW_TOKENS: u32 = 64;

/// A lane whose copies are done when `submit` returns, so that only the throttle tells when they end.
#[derive(Debug)]
struct Settled(Arc<dyn Lane>);

impl Lane for Settled {
    fn ends(&self) -> LaneEnds {
        self.0.ends()
    }

    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        let ticket = self.0.submit(batch)?;
        wait_for_end(&ticket);
        Ok(ticket)
    }
}

/// The device: what it takes, within 3 % up and down.
#[derive(Debug)]
struct Device {
    truth: PrefillCost,
    clock: Arc<ManualClock>,
    steps: u64,
}

impl PrefillProbe for Device {
    fn step_tokens_max(&self) -> u32 {
        STEP_TOKENS
    }

    fn prompt_tokens_max(&self) -> u32 {
        16_384
    }

    fn window_tokens(&self) -> Option<u32> {
        None
    }

    fn prefill(
        &mut self,
        prompt_tokens: u32,
        step_tokens: u32,
        on_step: &mut dyn FnMut(PrefillSample) -> bool,
    ) -> Result<(), Error> {
        let mut start = 0;
        while start < prompt_tokens {
            let step = TokenSpan::between(start, prompt_tokens.min(start + step_tokens));
            self.steps += 1;
            let noise = 970 + self.steps * 37 % 61;
            let took = Nanos::new(self.truth.step(step).as_u64() * noise / 1000);
            self.clock.advance(took);
            if !on_step(PrefillSample { step, took }) {
                break;
            }
            start = step.end();
        }
        Ok(())
    }
}

/// What a request is like: blocks in host memory, blocks before them, and blocks that the lane has to move first.
#[derive(Clone, Copy, Debug)]
struct Cell {
    cached: u32,
    ready: u32,
    queued: u32,
}

/// Blocks to compute first, blocks to load, what is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Split {
    meet: u32,
    end: u32,
}

/// Tiers, a throttled lane, and what they were measured to take.
#[derive(Debug)]
struct Machine {
    clock: Arc<ManualClock>,
    lane: Throttled,
    block_load: Nanos,
    truth: PrefillCost,
    costs: CostModel,
}

impl Machine {
    fn new(block_load: Nanos) -> Self {
        let mut spec = CpuSpec::new(shape("tiny").expect("known"), vec![SLOTS]);
        spec.host_slots = Some(vec![SLOTS]);
        let backend = CpuBackend::new(&spec).expect("a few MiB");
        let clock = Arc::new(ManualClock::new());
        let bytes_per_s = BLOCK_BYTES * 1_000_000_000 / block_load.as_u64();
        let rate = Rate { latency: Nanos::new(100_000), bytes_per_s };
        let inner = Arc::new(Settled(backend.new_lane(UP).expect("host memory is there")));
        let [device, host] = [backend.device(), backend.host().expect("asked for")];
        let lane = Throttled::stepped(inner, rate, &**host, Arc::<ManualClock>::clone(&clock));
        let at = |tokens, base_ns, context_ns| Node { tokens, base_ns, context_ns, window_ns: 0.0 };
        let nodes =
            [at(16, 1.0e6, 20.0), at(64, 1.6e6, 60.0), at(200, 4.2e6, 190.0), at(1024, 19.0e6, 1100.0)];
        let truth = PrefillCost::new(None, &nodes);
        let mut engine = Device { truth, clock: Arc::clone(&clock), steps: 0 };
        let prefill = measure_prefill(&mut engine, Nanos::from_millis(4000), &*clock).expect("never fails");
        let prefill = fit_prefill(&prefill, None).expect("enough samples");
        let probe = LaneProbe { lane: &lane, source: &**host, target: &**device, clock: &*clock };
        let wait = |ticket: &Ticket| wait_on(&lane, &clock, block_load, ticket);
        let samples = probe.measure(Nanos::from_millis(10_000), wait).expect("copies end well");
        let profile = Profile {
            version: Profile::VERSION,
            machine: "a throttled lane".to_owned(),
            model: "tiny".to_owned(),
            lanes: vec![LaneProfile::new(UP, &fit_lane(&samples).expect("enough samples"))],
            prefill: PrefillProfile::new(STEP_TOKENS, &prefill),
            codecs: Vec::new(),
        };
        let costs = CostModel::new(&profile).expect("plausible");
        Self { clock, lane, block_load, truth, costs }
    }

    fn plan(&self, cell: Cell) -> Plan {
        let runs = [TierRun { blocks: cell.cached, tier: Some(TierId::Host) }];
        let part_bytes = [Bytes::new(BLOCK_BYTES); TierId::COUNT];
        let groups = [GroupPrefix { window_blocks: None, part_bytes, runs: &runs }];
        let mut queues = ByLane::default();
        let ahead = Load { bytes: Bytes::new(BLOCK_BYTES * u64::from(cell.queued)), copies: cell.queued };
        *queues.get_mut(UP) = self.costs.lane(UP).expect("measured").busy(ahead);
        plan(&PlanRequest {
            costs: &self.costs,
            prefix: Prefix { tokens_per_block: 16, ready_blocks: cell.ready, groups: &groups },
            tokens: (cell.ready + cell.cached) * 16 + NEW_TOKENS,
            queues: &queues,
            compute_queue: Nanos::ZERO,
            engine: EngineAbility { can_overlap: true, step_tokens_max: STEP_TOKENS },
            deadline: None,
            aim: Aim::Latency,
            loading: Loading::Adaptive,
        })
    }

    /// How long the split takes, from submission to the last token.
    fn execute(&self, cell: Cell, split: Split) -> Nanos {
        let started = self.clock.now();
        let submit = |blocks: &mut dyn Iterator<Item = u32>| {
            let moves: Vec<Move> = blocks.map(order).collect();
            self.lane.submit(&moves).expect("the queue has room")
        };
        let queued = submit(&mut (cell.cached..cell.cached + cell.queued));
        let load = submit(&mut (split.meet..split.end).rev());
        let compute = |from: u32, to: u32| {
            let start = cell.ready * 16 + from;
            self.truth.in_steps(STEP_TOKENS).span(TokenSpan::between(start, cell.ready * 16 + to))
        };
        let front = started.after(compute(0, split.meet * 16));
        wait_on(&self.lane, &self.clock, self.block_load, &load);
        self.clock.advance_to(front);
        let rest = compute(split.end * 16, cell.cached * 16 + NEW_TOKENS);
        let took = self.clock.now().since(started).saturating_add(rest);
        wait_on(&self.lane, &self.clock, self.block_load, &queued);
        took
    }
}

/// Lets time go on until the ticket is over: at once to the last move, then in small steps.
fn wait_on(lane: &Throttled, clock: &ManualClock, block_load: Nanos, ticket: &Ticket) {
    lane.pump();
    while !ticket.is_over() {
        let left = u64::try_from(ticket.len() - ticket.ended()).expect("few");
        clock.advance(Nanos::new((block_load.as_u64() * (left - 1)).max(block_load.as_u64() / 50)));
        lane.pump();
    }
}

fn order(block: u32) -> Move {
    let slot = SlotId::from_index(block as usize);
    Move {
        id: MoveId(0),
        group: GroupId::FIRST,
        source: slot,
        target: slot,
        source_fence: Fence::OVER,
        target_fence: Fence::OVER,
    }
}

/// All splits with ends at quarters and meeting places at sixteenths, and computing all.
fn splits(cached: u32) -> Vec<Split> {
    let ends = (1..=4).map(|quarter| cached * quarter / 4);
    let fronts = ends.flat_map(|end| (0..16).map(move |part| Split { meet: end * part / 16, end }));
    fronts.chain([Split { meet: 0, end: 0 }]).collect()
}

#[test]
fn executed_plans_are_near_the_best_of_all_splits() {
    let mut ratios = Vec::new();
    let mut winners = Vec::new();
    for block_load_us in [20, 100, 300, 900, 4000] {
        let machine = Machine::new(Nanos::new(block_load_us * 1000));
        for (cached, ready) in [(16, 0), (64, 0), (64, 256), (240, 0), (240, 512)] {
            for queued in [0, 40] {
                let cell = Cell { cached, ready, queued };
                let made = machine.plan(cell);
                let split = Split { meet: made.load.start - ready, end: made.load.end - ready };
                let took = machine.execute(cell, split).as_secs_f64();
                let best = splits(cached).into_iter().map(|split| machine.execute(cell, split)).min();
                ratios.push((took / best.expect("many splits").as_secs_f64(), cell, made));
                winners.push(made.reasons.choice);
            }
        }
    }
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (median, worst) = (ratios[ratios.len() / 2].0, &ratios[ratios.len() - 1]);
    assert!(ratios.len() >= 40);
    assert!(median <= 1.05, "median {median}");
    assert!(worst.0 <= 1.15, "worst {worst:?}");
    for choice in [Choice::Load, Choice::Recompute, Choice::TwoFronts] {
        assert!(winners.contains(&choice), "{choice:?} wins nowhere");
    }
}
