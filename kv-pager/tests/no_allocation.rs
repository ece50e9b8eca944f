//! After one turnover of the pool the core allocates nothing on the heap.
#![expect(unsafe_code, reason = "an allocator that counts is an allocator")]

use kv_pager::clock::{Clock, ManualClock};
use kv_pager::config::{Limits, Watermarks};
use kv_pager::cost::{ByLane, CostModel, LaneCost, LaneProfile, Profile};
use kv_pager::ids::{BlockId, Fence, TierId, TokenId};
use kv_pager::layout::{Format, shape};
use kv_pager::pager::{PlanCounts, Prompt, Request, Stats, Step};
use kv_pager::policy::keeping::Arm;
use kv_pager::policy::plan::{Aim, EngineAbility, Loader, Loading, Situation, TierRuns};
use kv_pager::policy::{Lru, Matched, MatchedBlock, Policy, Steward, StewardSpec, Urgency};
use kv_pager::tier::{Lane, LaneEnds, Move, Ticket};
use kv_pager::units::Nanos;
use kv_pager::{Config, Error, Pager};
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

/// What a prompt's tokens are computed in, at most.
const STEP_TOKENS: u32 = 64;
/// How long an engine waits before it looks again.
const STEP: Nanos = Nanos::from_millis(1);

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
        match sequence.next_step(STEP_TOKENS as usize).expect("room") {
            Step::Compute(range) => {
                sequence.observe(range.clone(), STEP);
                sequence.commit(range, Fence::OVER).expect("as told");
            }
            Step::Wait => advance(),
            Step::Ready => break,
        }
    }
    let fork = sequence.fork().expect("nothing is being copied");
    sequence.truncate(BLOCKS as usize * 16 - 16, Fence::OVER);
    fork.close(Fence::OVER);
    sequence.close(Fence::OVER);
}

/// A lane whose own calls of the allocator are not the pager's.
#[derive(Debug)]
struct Aside {
    lane: Arc<dyn Lane>,
    calls: Arc<AtomicUsize>,
}

impl Lane for Aside {
    fn ends(&self) -> LaneEnds {
        self.lane.ends()
    }

    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        let before = CALLS.load(Ordering::Relaxed);
        let ticket = self.lane.submit(batch);
        self.calls.fetch_add(CALLS.load(Ordering::Relaxed) - before, Ordering::Relaxed);
        ticket
    }
}

/// A pager over `machine`, whose lanes count their calls of the allocator in `aside`. A block takes its lanes as long as computing.
fn pager(
    machine: &Machine,
    policy: Box<dyn Policy>,
    clock: &Arc<ManualClock>,
    aside: &Arc<AtomicUsize>,
) -> Pager {
    let limits = Limits { sequences: 4, sequence_tokens: 1024, events: 64, ..Limits::default() };
    let watermarks = Watermarks { low: 0.0, high: 0.1 };
    let config = Config { limits, watermarks, ..Config::default() };
    let model = shape("tiny").expect("known");
    let block = model.block_bytes();
    let mut backend = machine.backend();
    for lane in &mut backend.lanes {
        *lane = Arc::new(Aside { lane: Arc::clone(lane), calls: Arc::clone(aside) });
    }
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    let pager = Pager::new(model, config, backend, policy, clock).expect("fits");
    let mut profile = Profile::h200_llama3_8b();
    for lane in &mut profile.lanes {
        *lane = LaneProfile::new(lane.ends, &LaneCost::uniform(1_000.0, 1_000.0, 4e7, block));
    }
    let costs = CostModel::new(&profile).expect("plausible");
    pager.set_costs(costs, EngineAbility { can_overlap: true, step_tokens_max: STEP_TOKENS });
    pager
}

/// One test, for the count is the process's.
#[test]
fn nothing_is_allocated_after_a_turnover_but_what_lanes_do() {
    a_plan_allocates_nothing();
    count(|| Box::new(Lru));
    let spec = StewardSpec { has_shadows: true, ..StewardSpec::default() };
    for stats in count(|| Box::new(Steward::new(spec))) {
        let PlanCounts { loads, recomputes, two_fronts, loads_then_computes, .. } = stats.plans;
        assert!(loads + recomputes + two_fronts + loads_then_computes > 100, "{stats:?}");
        assert!(stats.promoted.parts > 0, "{stats:?}");
    }
    // Each hit is loaded, so that more comes and goes.
    let loading = Loading::AlwaysLoad;
    count(|| Box::new(Steward::new(StewardSpec { loading, keeping: Arm::Lru, ..StewardSpec::default() })));
}

/// Plans for 512 blocks, wherever they lie and whatever counts.
fn a_plan_allocates_nothing() {
    let costs = CostModel::new(&Profile::h200_llama3_8b()).expect("the shipped profile is plausible");
    let queues = ByLane::default();
    let place = |block: u32| match block % 100 {
        0..60 => TierId::Host,
        _ => TierId::File,
    };
    let blocks: Vec<MatchedBlock> = (0..512)
        .map(|at| MatchedBlock {
            block: BlockId::from_index(at as usize),
            nearest: place(at),
            coming_from: None,
        })
        .collect();
    let runs = TierRuns::new(blocks.iter().map(|found| Some(found.nearest)));
    let matched = Matched {
        blocks: &blocks,
        runs: &runs,
        coming: None,
        prompt_tokens: 512 * 16 + 300,
        ready_blocks: 0,
        can_end_early: true,
        urgency: Urgency::default(),
    };
    for can_overlap in [true, false] {
        for aim in [Aim::Latency, Aim::Throughput { compute_waiting: 3, lanes_waiting: 1 }] {
            let engine = EngineAbility { can_overlap, step_tokens_max: 8192 };
            let model = shape("llama3-8b").expect("known");
            let loader = Loader::new(&model, [Format::Raw; TierId::COUNT], engine, Loading::Adaptive);
            let (costs, queues) = (&costs, &queues);
            let situation =
                Situation { costs, queues, compute_queue: Nanos::ZERO, deadline: Some(STEP), aim };
            let before = CALLS.load(Ordering::Relaxed);
            for _ in 0..100 {
                let plan = loader.plan(&matched, &situation);
                assert!(plan.load.blocks() <= 512);
            }
            let calls = CALLS.load(Ordering::Relaxed) - before;
            assert_eq!(calls, 0, "100 plans, {aim:?}, overlapping: {can_overlap}");
        }
    }
}

/// Counts on a device alone, and with a large host over a small file, and the other way round; tells what these two have done.
fn count(policy: impl Fn() -> Box<dyn Policy>) -> [Stats; 2] {
    let model = shape("tiny").expect("known");
    let (clock, aside) = (Arc::new(ManualClock::new()), Arc::new(AtomicUsize::new(0)));
    let alone = Machine::new(&model, MachineSpec { device: 100, host: 0, file: 0, lane_limit: 4096 });
    let device_only = pager(&alone, policy(), &clock, &aside);
    // Some come back when they are in the host, and when they are in the file.
    let with_old = |seed: u32| [Some(seed), seed.checked_sub(9), seed.checked_sub(30)];
    let seeds = (0..200).flat_map(with_old).flatten();
    let prompts: Vec<Prompt> = seeds.map(|seed| prompt(&device_only, seed)).collect();
    let (warm_up, counted) = prompts.split_at(prompts.len() / 2);
    for prompt in warm_up {
        serve(&device_only, prompt, &mut || ());
    }
    let before = CALLS.load(Ordering::Relaxed);
    for prompt in counted {
        serve(&device_only, prompt, &mut || ());
    }
    let calls = CALLS.load(Ordering::Relaxed) - before;
    assert_eq!(calls, 0, "the device alone: {} requests", counted.len());
    assert!(device_only.stats().evictions[0] > 1000, "the pool was turned over: {:?}", device_only.stats());
    [(150, 200), (24, 400)].map(|(host, file)| {
        let machine = Machine::new(&model, MachineSpec { device: 100, host, file, lane_limit: 4096 });
        let pager = pager(&machine, policy(), &clock, &aside);
        count_tiered(&machine, &pager, &clock, &aside, &prompts);
        pager.stats()
    })
}

/// Serves `prompts` three times, and counts in the last round.
fn count_tiered(
    machine: &Machine,
    pager: &Pager,
    clock: &ManualClock,
    aside: &AtomicUsize,
    prompts: &[Prompt],
) {
    let run = || {
        let (before, before_aside) = (CALLS.load(Ordering::Relaxed), aside.load(Ordering::Relaxed));
        let mut outside = 0;
        for prompt in prompts {
            let mut advance = || {
                let before = CALLS.load(Ordering::Relaxed);
                clock.advance(STEP);
                machine.advance_all();
                outside += CALLS.load(Ordering::Relaxed) - before;
            };
            serve(pager, prompt, &mut advance);
        }
        let aside = aside.load(Ordering::Relaxed) - before_aside;
        CALLS.load(Ordering::Relaxed) - before - outside - aside
    };
    let batches = || pager.stats().lanes.iter().map(|lane| lane.stats.batches).sum::<u64>();
    run();
    run();
    let before = batches();
    let calls = run();
    let batches = usize::try_from(batches() - before).expect("a count");
    assert!(batches > 100, "only {batches} batches");
    // What has been told of each move of a batch; and now and then a buffer that is kept is longer than ever.
    assert!(calls <= batches + batches / 100, "{calls} calls of the allocator for {batches} batches");
}
