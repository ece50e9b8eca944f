//! Loads that come too late, in virtual time: they are cut and computed, in every kind of model, begun or not, shared or not, and
//! where a deadline asks for it also while others have something to compute.

mod virtual_engine;

use kv_pager::config::Limits;
use kv_pager::cost::machine::{VirtualMachine, VirtualTierSize};
use kv_pager::cost::{CostModel, Profile, TokenSpan};
use kv_pager::error::Error;
use kv_pager::ids::{Fence, TierId, TokenId};
use kv_pager::layout::{Format, shape};
use kv_pager::pager::{Backend, Forecast, Request, Sequence, Step};
use kv_pager::policy::keeping::Study;
use kv_pager::policy::plan::EngineAbility;
use kv_pager::policy::{
    Changed, Decision, LoadPlan, Matched, Need, Policy, Setting, Steward, Told, Urgency, View, Waiting,
};
use kv_pager::sync::Mutex;
use kv_pager::units::Nanos;
use kv_pager::{Config, Pager};
use std::ops::Deref;
use std::sync::Arc;
use virtual_engine::Engine;

const ENGINE: EngineAbility = EngineAbility { can_overlap: true, step_tokens_max: 2048 };
/// How many times as long as the pager thinks a load takes on these machines: longer than any request would wait.
const SLOWER: f64 = 3000.0;
const SHAPES: [&str; 3] = ["llama3-8b", "gpt-oss-20b", "gemma3-12b"];

/// A pager whose costs are those of an H200, on a machine that loads much more slowly.
struct World {
    engine: Engine,
}

impl Deref for World {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl World {
    /// With a prompt in the host, and nowhere nearer, which it returns.
    fn new(name: &str) -> (Self, Vec<TokenId>) {
        Self::with_policy(name, Box::new(Steward::default()))
    }

    fn with_policy(name: &str, policy: Box<dyn Policy>) -> (Self, Vec<TokenId>) {
        let model = shape(name).expect("known");
        let profile = Profile::h200_llama3_8b();
        let mut slow = profile.clone();
        for lane in slow.lanes.iter_mut().filter(|lane| lane.ends.source > lane.ends.target) {
            lane.alpha_ns *= SLOWER;
            lane.knots.iter_mut().for_each(|knot| knot.copy_ns *= SLOWER);
        }
        let block_bytes = model.block_bytes();
        let size = |tier, blocks: u64| VirtualTierSize {
            tier,
            bytes: block_bytes.checked_mul(blocks).expect("small"),
            format: Format::Raw,
        };
        let sizes = [size(TierId::Device, 1100), size(TierId::Host, 4000)];
        let limits = Limits { sequence_tokens: 16_384, ..Limits::default() };
        let machine =
            VirtualMachine::new(&model, &slow, &sizes, limits.moves_queued as usize).expect("plausible");
        let backend = Backend { tiers: machine.tiers(), lanes: machine.lanes() };
        let config = Config { limits, ..Config::default() };
        let pager = Pager::new(model, config, backend, policy, machine.clock()).expect("fits");
        pager.set_costs(CostModel::new(&profile).expect("plausible"), ENGINE);
        let engine = Engine { machine, pager, profile, step_tokens: ENGINE.step_tokens_max };
        let world = Self { engine };
        for user in 0..8 {
            world.serve(world.open(&prompt(user, 4096), None));
        }
        while world.pager.is_busy() {
            world.tick();
        }
        let mut wanted = prompt(0, 4096);
        wanted.extend(prompt(100, 100));
        (world, wanted)
    }

    fn open(&self, tokens: &[TokenId], deadline: Option<Nanos>) -> Sequence {
        let urgency = Urgency { deadline, ..Urgency::default() };
        self.engine.open(&Request::new(tokens).with_urgency(urgency))
    }

    /// Serves what is open, and audits.
    fn serve(&self, sequence: Sequence) -> Option<Forecast> {
        let forecast = self.engine.serve(sequence);
        self.pager.check();
        forecast
    }

    /// Lets all that is under way end, and audits.
    fn settle(&self) {
        while self.pager.is_busy() {
            self.tick();
        }
        self.pager.check();
        assert_eq!(self.pager.stats().open_sequences, 0);
    }
}

fn prompt(user: u32, tokens: u32) -> Vec<TokenId> {
    (0..tokens).map(|at| TokenId(user << 20 | at)).collect()
}

/// The built-in policy, and what it was told of the device's queue when it last planned.
#[derive(Debug, Default)]
struct Watched {
    steward: Steward,
    queue: Arc<Mutex<Nanos>>,
}

impl Policy for Watched {
    fn name(&self) -> &'static str {
        self.steward.name()
    }

    fn start(&mut self, view: &View<'_>, setting: &Setting<'_>) -> bool {
        self.steward.start(view, setting)
    }

    fn follow(&mut self, view: &View<'_>, changed: &Changed<'_>) {
        self.steward.follow(view, changed);
    }

    fn study(&mut self, view: &View<'_>) -> Option<Arc<dyn Study>> {
        self.steward.study(view)
    }

    fn visit(&mut self, view: &View<'_>, told: &Told<'_>) -> bool {
        self.steward.visit(view, told)
    }

    fn meet(&mut self, view: &View<'_>, waiting: &Waiting) -> usize {
        self.steward.meet(view, waiting)
    }

    fn plan(&mut self, view: &View<'_>, matched: &Matched<'_>) -> LoadPlan {
        *self.queue.lock() = view.prospects().compute_queue;
        self.steward.plan(view, matched)
    }

    fn make_room(&mut self, view: &View<'_>, need: Need, decisions: &mut Vec<Decision>) {
        self.steward.make_room(view, need, decisions);
    }
}

#[test]
fn what_is_computed_because_its_load_was_late_counts_in_the_devices_queue() {
    for name in SHAPES {
        let queue = Arc::new(Mutex::new(Nanos::ZERO));
        let policy = Watched { steward: Steward::default(), queue: Arc::clone(&queue) };
        let (world, wanted) = World::with_policy(name, Box::new(policy));
        let mut sequence = world.open(&wanted, None);
        let mut computed = 0;
        loop {
            match sequence.next_step(ENGINE.step_tokens_max as usize) {
                Ok(Step::Compute(range)) => {
                    // Who comes now has all that is not computed yet before it, and nothing else.
                    world
                        .open(&prompt(200 + u32::try_from(range.start).expect("few"), 16), None)
                        .close(Fence::OVER);
                    let left = TokenSpan::between(u32::try_from(range.start).expect("few"), 4196);
                    let costs = world.pager.costs().expect("set");
                    let exactly = costs.prefill().in_steps(ENGINE.step_tokens_max).span(left).as_secs_f64();
                    let told = queue.lock().as_secs_f64();
                    // What was cut apart is priced apart, though one step computes it: by so much as the least step takes.
                    let most = exactly / 10.0 + 0.025;
                    assert!((told - exactly).abs() < most, "{name}, {range:?}: {told} s of {exactly} s");
                    computed += range.len();
                    world.compute(&mut sequence, range);
                }
                Ok(Step::Ready) => break,
                Ok(Step::Wait) | Err(Error::TierBusy { .. }) => world.tick(),
                Err(error) => panic!("{error}"),
            }
        }
        assert!(computed > 4000, "{name}: nothing came");
        sequence.close(Fence::OVER);
        world.open(&prompt(300, 16), None).close(Fence::OVER);
        assert_eq!(*queue.lock(), Nanos::ZERO, "{name}: nobody has anything to compute");
        world.settle();
    }
}

/// Asserts that a request whose load was cut cost no more than its patience, so many times, and computing all.
fn assert_cut(name: &str, forecast: Option<Forecast>, times: u64) {
    let Forecast { plan, outcome } = forecast.expect("costs are known");
    assert!(plan.load.blocks() > 0, "{name}: {plan:?}");
    let patience = plan.cut_after.expect("something is loaded").as_u64() * times;
    let most = (patience + plan.predicted.finish_by_compute.as_u64()) * 11 / 10;
    assert!(outcome.finish.as_u64() <= most, "{name}: {most} ns at most, {outcome:?} of {plan:?}");
}

#[test]
fn a_late_load_is_cut_whatever_the_model_looks_at() {
    for name in SHAPES {
        let (world, wanted) = World::new(name);
        let forecast = world.serve(world.open(&wanted, None));
        assert_cut(name, forecast, 1);
        world.settle();
    }
}

#[test]
fn a_deadline_cuts_a_late_load_though_others_have_something_to_compute() {
    for name in SHAPES {
        let (world, wanted) = World::new(name);
        let other = world.open(&prompt(200, 2048), None);
        let deadline = Nanos::from_millis(400);
        let Forecast { plan, outcome } =
            world.serve(world.open(&wanted, Some(deadline))).expect("costs are known");
        assert!(plan.load.blocks() > 0 && !plan.reasons.is_late, "{name}: {plan:?}");
        assert!(outcome.finish.as_u64() <= deadline.as_u64() * 11 / 10, "{name}: {outcome:?} of {plan:?}");
        other.close(Fence::OVER);
        world.settle();
    }
}

#[test]
fn a_load_that_another_request_ordered_is_planned_for_and_left_when_it_is_late() {
    for name in SHAPES {
        let (world, wanted) = World::new(name);
        let first = world.open(&wanted, None);
        let mut shared = prompt(0, 4096);
        shared.extend(prompt(300, 100));
        let forecast = world.serve(world.open(&shared, None));
        let plan = forecast.expect("costs are known").plan;
        assert!(
            plan.rest.end() == 4196 && plan.front.start < 4096 / 16,
            "{name}: nothing was ready: {plan:?}"
        );
        // The first one has something to compute meanwhile.
        assert_cut(name, forecast, 2);
        // The first one has waited long enough by now.
        let began = world.machine.now();
        let computing = world.serve(first).expect("costs are known").plan.predicted.finish_by_compute;
        let took = world.machine.now().since(began);
        assert!(took.as_u64() <= computing.as_u64() * 11 / 10, "{name}: {took:?} of {computing:?}");
        world.settle();
    }
}

#[test]
fn those_that_wait_for_lanes_have_nothing_to_compute_meanwhile() {
    let (world, wanted) = World::new("llama3-8b");
    let mut other = world.open(&prompt(1, 4096), None);
    assert_eq!(other.next_step(2048).expect("room"), Step::Wait);
    let forecast = world.serve(world.open(&wanted, None));
    assert_cut("beside another that waits", forecast, 1);
    other.close(Fence::OVER);
    world.settle();
}

#[test]
fn a_fork_waits_no_longer_for_its_parents_loads_than_that_would() {
    let (world, wanted) = World::new("llama3-8b");
    let mut parent = world.open(&wanted, None);
    assert_eq!(parent.next_step(2048).expect("room"), Step::Wait);
    let child = parent.fork().expect("nothing is computed for it");
    parent.close(Fence::OVER);
    let began = world.machine.now();
    world.serve(child);
    // Its parent's patience, and computing all.
    let took = world.machine.now().since(began);
    assert!(took < Nanos::from_millis(300), "{took:?}");
    world.settle();
}

#[test]
fn a_late_load_is_left_as_far_as_there_are_slots() {
    let (world, wanted) = World::new("llama3-8b");
    let first = world.open(&wanted, None);
    // Of 1,100 slots hardly a hundred are left.
    let other = world.open(&prompt(200, 740 * 16), None);
    let mut shared = prompt(0, 4096);
    shared.extend(prompt(300, 100));
    let mut sequence = world.open(&shared, None);
    let began = world.machine.now();
    let range = loop {
        match sequence.next_step(2048) {
            Ok(Step::Compute(range)) => break range,
            _ => world.tick(),
        }
    };
    let took = world.machine.now().since(began);
    assert!(took < Nanos::from_millis(300) && range.start == 0 && range.len() < 2048, "{took:?}: {range:?}");
    drop((sequence, other, first));
    world.settle();
}
