//! Lanes that are believed far too slow: they are tried, and asked again once they are found fast, whatever the engine can do; what is
//! slow in truth costs no request anything.

mod virtual_engine;

use kv_pager::config::{Limits, Promotion};
use kv_pager::cost::machine::{VirtualMachine, VirtualTierSize};
use kv_pager::cost::{CostModel, LaneCost, LaneProfile, Profile};
use kv_pager::ids::{Fence, GroupId, TierId, TokenId};
use kv_pager::layout::{Format, shape};
use kv_pager::pager::{Backend, Forecast, Request, Step};
use kv_pager::policy::Steward;
use kv_pager::policy::plan::EngineAbility;
use kv_pager::pool::SlotState;
use kv_pager::tier::{Lane, LaneEnds, MoveFault};
use kv_pager::units::{Bytes, Nanos};
use kv_pager::{Config, Pager};
use kv_pager_testkit::tagged::{Fate, Machine, MachineSpec};
use std::sync::Arc;
use virtual_engine::Engine;

const UP: LaneEnds = LaneEnds { source: TierId::Host, target: TierId::Device };
const READ: LaneEnds = LaneEnds { source: TierId::File, target: TierId::Host };
/// Blocks of a prompt, without its last tokens.
const BLOCKS: u32 = 100;
const STEP_TOKENS: u32 = 2048;
/// After so many plans a lane that nothing has come over is tried, and after so many tries it is believed.
const PLANS: u32 = 64;
const TRIES: u32 = 8;

/// Lanes that load much sooner than this machine computes.
fn true_profile() -> Profile {
    let mut profile = Profile::h200_llama3_8b();
    for lane in &mut profile.lanes {
        let rate = if lane.ends == READ { 20e9 } else { 50e9 };
        *lane = LaneProfile::new(lane.ends, &LaneCost::uniform(20_000.0, 5_000.0, rate, Bytes::mib(16)));
    }
    profile
}

/// The same where these lanes take so many times as long.
fn slowed(lanes: &[LaneEnds], slower: f64) -> Profile {
    let mut profile = true_profile();
    for lane in profile.lanes.iter_mut().filter(|lane| lanes.contains(&lane.ends)) {
        lane.alpha_ns *= slower;
        lane.knots.iter_mut().for_each(|knot| knot.copy_ns *= slower);
    }
    profile
}

/// A pager in virtual time, over a device that holds three prompts and a host that holds as many as it is given.
struct World {
    engine: Engine,
}

impl World {
    fn new(truth: &Profile, believed: &Profile, can_overlap: bool, host_prompts: u64) -> Self {
        let model = shape("llama3-8b").expect("known");
        let block_bytes = model.block_bytes();
        let size = |tier, prompts: u64| VirtualTierSize {
            tier,
            bytes: block_bytes.checked_mul(prompts * u64::from(BLOCKS + 4)).expect("small"),
            format: Format::Raw,
        };
        let sizes = [size(TierId::Device, 3), size(TierId::Host, host_prompts), size(TierId::File, 60)];
        let limits = Limits { sequence_tokens: 4096, ..Limits::default() };
        let machine =
            VirtualMachine::new(&model, truth, &sizes, limits.moves_queued as usize).expect("plausible");
        let backend = Backend { tiers: machine.tiers(), lanes: machine.lanes() };
        // What is promoted would tell of the lane from the file.
        let config = Config { limits, promotion: Promotion::Never, ..Config::default() };
        let policy = Box::new(Steward::default());
        let pager = Pager::new(model, config, backend, policy, machine.clock()).expect("fits");
        let ability = EngineAbility { can_overlap, step_tokens_max: STEP_TOKENS };
        pager.set_costs(CostModel::new(believed).expect("plausible"), ability);
        Self { engine: Engine { machine, pager, profile: true_profile(), step_tokens: STEP_TOKENS } }
    }

    /// Serves one of the users' prompts; what the engine has to do elsewhere takes a second then.
    fn serve(&self, user: u32) -> Forecast {
        let tokens: Vec<TokenId> = (0..BLOCKS * 16 + 40).map(|at| TokenId(user << 16 | at)).collect();
        let sequence = self.engine.open(&Request::new(&tokens));
        let forecast = self.engine.serve(sequence).expect("costs are known");
        let until = self.engine.machine.now().after(Nanos::from_millis(1000));
        while self.engine.machine.now() < until {
            self.engine.machine.run_until(self.engine.machine.next_event().min(until));
            self.engine.pager.poll();
        }
        forecast
    }

    /// What a lane has moved, and what of it failed.
    fn moved(&self, ends: LaneEnds) -> (u64, u64) {
        let stats = self.engine.pager.stats();
        let lane = stats.lanes.iter().find(|lane| lane.ends == ends).expect("there is one");
        (lane.stats.moves, lane.stats.failed)
    }
}

#[test]
fn a_lane_that_is_fast_again_is_found_out_whichever_it_is_and_whatever_the_engine_can_do() {
    // A host that holds all prompts, and one that holds four of twenty: then they come from the file.
    for (lanes, host_prompts) in [(&[UP][..], 40), (&[READ][..], 4), (&[UP, READ][..], 4)] {
        for can_overlap in [false, true] {
            for slower in [100.0, 1000.0, 3000.0] {
                let what = format!("{lanes:?}, overlap {can_overlap}, {slower} times");
                let world = World::new(&true_profile(), &slowed(lanes, slower), can_overlap, host_prompts);
                let loads: Vec<bool> =
                    (0..200).map(|round| world.serve(round % 20).plan.load.blocks() > BLOCKS / 2).collect();
                world.engine.pager.check();
                let first = loads.iter().position(|loads| *loads).unwrap_or(loads.len());
                // Those that find nothing cached count too, and where nothing came to the host for long, that has to be filled.
                let most = (PLANS + TRIES + 2 * 20) as usize;
                assert!(first <= most, "{what}: no load in {first} requests");
                let used = loads[150..].iter().filter(|loads| **loads).count();
                assert!(used >= 45, "{what}: {used} of the last 50 requests were loaded");
            }
        }
    }
}

#[test]
fn what_is_slow_in_truth_costs_no_request_anything_and_is_tried_rarely() {
    for can_overlap in [false, true] {
        let slow = slowed(&[UP, READ], 3000.0);
        let world = World::new(&slow, &slow, can_overlap, 4);
        let rounds = 6 * PLANS;
        for round in 0..rounds {
            let Forecast { plan, outcome } = world.serve(round % 20);
            let computing = plan.predicted.finish_by_compute.as_u64();
            assert!(outcome.finish.as_u64() <= computing * 101 / 100, "{round}: {outcome:?} of {plan:?}");
        }
        world.engine.pager.check();
        let (moves, failed) = world.moved(UP);
        assert!((1..=u64::from(rounds / PLANS) + 1).contains(&moves), "{moves} moves");
        assert_eq!(failed, 0, "no try takes longer than a move may");
    }
}

#[test]
fn a_lane_that_plans_would_ask_is_not_tried_however_long_it_is_silent() {
    let mut profile = true_profile();
    let read = profile.lanes.iter_mut().find(|lane| lane.ends == READ).expect("there is one");
    // A drive that takes some time to begin: with the engine computing beside, it is worth asking all the same.
    *read = LaneProfile::new(READ, &LaneCost::uniform(500_000.0, 0.0, 2e9, Bytes::new(65_536)));
    let world = World::new(&profile, &profile, true, 4);
    (0..60).for_each(|round| _ = world.serve(round % 20));
    world.serve(0);
    let before = world.moved(READ);
    (0..4 * PLANS).for_each(|_| _ = world.serve(0));
    assert_eq!(world.moved(READ), before, "the device has all of it");
}

/// A pager over a machine whose moves end as it is told, that believes these lanes to be slow.
fn believing(lanes: &[LaneEnds]) -> (Machine, Pager) {
    let model = shape("tiny").expect("known");
    let block = model.block_bytes();
    let machine = Machine::new(&model, MachineSpec { device: 24, host: 24, file: 400, lane_limit: 64 });
    let limits = Limits { sequence_tokens: 4096, batch_moves: 64, ..Limits::default() };
    let config = Config { limits, promotion: Promotion::Never, ..Config::default() };
    let clock = Arc::new(kv_pager::clock::ManualClock::new());
    let pager =
        Pager::new(model, config, machine.backend(), Box::new(Steward::default()), clock).expect("fits");
    let mut profile = Profile::h200_llama3_8b();
    for lane in &mut profile.lanes {
        let rate = if lanes.contains(&lane.ends) { 2e6 } else { 2e10 };
        *lane = LaneProfile::new(lane.ends, &LaneCost::uniform(1_000.0, 1_000.0, rate, block));
    }
    let costs = CostModel::new(&profile).expect("plausible");
    pager.set_costs(costs, EngineAbility { can_overlap: false, step_tokens_max: 256 });
    (machine, pager)
}

#[test]
fn a_try_that_fails_hangs_or_finds_damage_leaves_nothing_behind() {
    let faults = [MoveFault::Io, MoveFault::Damaged, MoveFault::Unwritable];
    let fates = faults.map(Fate::Failed).into_iter().chain([Fate::Done, Fate::Stalled]);
    let fates = fates.chain([Fate::Failed(MoveFault::TimedOut)]);
    // Where the lane to the device is believed slow the host holds nothing, where the other one is, the file holds much.
    for (fate, tried) in fates.flat_map(|fate| [(fate, UP), (fate, READ)]) {
        let (machine, pager) = believing(&[tried]);
        let lane = || machine.lanes().iter().find(|lane| lane.ends() == tried).expect("there is one");
        for round in 0..4 * PLANS {
            let letter = round % 9;
            let tokens: Vec<TokenId> = (0..=8 * 16).map(|at| TokenId(letter << 16 | at)).collect();
            let mut sequence = loop {
                match pager.open(&Request::new(&tokens)) {
                    Ok(sequence) => break sequence,
                    Err(_busy) => _ = machine.advance_all(),
                }
            };
            loop {
                match sequence.next_step(1000).expect("room") {
                    Step::Compute(range) => sequence.commit(range, Fence::OVER).expect("as told"),
                    Step::Wait => _ = machine.advance_all(),
                    Step::Ready => break,
                }
            }
            sequence.close(Fence::OVER);
            lane().advance(64, |_| fate);
            machine.advance_all();
            pager.poll();
            pager.check();
        }
        let report = pager.stats().lanes.into_iter().find(|lane| lane.ends == tried).expect("there is one");
        let is_under_way = report.bytes_in_flight > Bytes::ZERO;
        assert!(is_under_way == (fate == Fate::Stalled), "{fate:?}: {report:?}");
        assert!(is_under_way || report.stats.moves + report.stats.failed > 0, "{fate:?}: {report:?}");
        for _ in 0..4 {
            lane().release_stalled();
            machine.advance_all();
            pager.poll();
            pager.check();
        }
        assert!(!pager.is_busy(), "{fate:?}");
        let waiting = |tier| pager.occupancy(tier, GroupId::FIRST).expect("there is one");
        let filling = [TierId::Device, TierId::Host].map(|tier| waiting(tier).of(SlotState::Filling));
        assert_eq!(filling, [0; 2], "{fate:?}: slots of tries are free again");
    }
}
