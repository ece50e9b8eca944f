mod pipeline;
mod search;

use super::{
    Aim, Choice, EngineAbility, GroupPrefix, Loading, Outcome, Plan, PlanRequest, Prefix, TierRun, plan,
};
use crate::cost::{ByLane, CostModel, Knot, Profile, TokenSpan};
use crate::ids::TierId;
use crate::tier::LaneEnds;
use crate::units::{Bytes, Nanos};

const UP: LaneEnds = LaneEnds { source: TierId::Host, target: TierId::Device };

/// The H200's costs, the host lane `slowness` times slower.
fn costs(slowness: f64) -> CostModel {
    let mut profile = Profile::h200_llama3_8b();
    for lane in profile.lanes.iter_mut().filter(|lane| lane.ends == UP) {
        lane.alpha_ns *= slowness;
        lane.knots =
            lane.knots.iter().map(|knot| Knot { copy_ns: knot.copy_ns * slowness, ..*knot }).collect();
    }
    CostModel::new(&profile).expect("as plausible as the shipped one")
}

fn host(blocks: u32) -> TierRun {
    TierRun { blocks, tier: Some(TierId::Host) }
}

fn file(blocks: u32) -> TierRun {
    TierRun { blocks, tier: Some(TierId::File) }
}

fn group(runs: &[TierRun], window_blocks: Option<u32>) -> GroupPrefix<'_> {
    GroupPrefix { window_blocks, part_bytes: [Bytes::mib(2); TierId::COUNT], runs }
}

/// What a test varies.
#[derive(Clone, Copy)]
struct Case<'a> {
    costs: &'a CostModel,
    groups: &'a [GroupPrefix<'a>],
    queues: &'a ByLane<Nanos>,
    ready_blocks: u32,
    new_tokens: u32,
    can_overlap: bool,
    aim: Aim,
}

impl<'a> Case<'a> {
    fn request(self) -> PlanRequest<'a> {
        let prefix = Prefix {
            tokens_per_block: 16,
            ready_blocks: self.ready_blocks,
            coming: None,
            groups: self.groups,
        };
        PlanRequest {
            costs: self.costs,
            prefix,
            tokens: (self.ready_blocks + prefix.cached_blocks()) * 16 + self.new_tokens,
            queues: self.queues,
            compute_queue: Nanos::ZERO,
            engine: EngineAbility { can_overlap: self.can_overlap, step_tokens_max: 2048 },
            deadline: None,
            aim: self.aim,
            loading: Loading::Adaptive,
        }
    }
}

/// A plan for 512 blocks of llama3-8b on the host lane, `slowness` times slower than an H200's.
fn plan_512(slowness: f64, can_overlap: bool, edit: impl Fn(&mut PlanRequest<'_>)) -> Plan {
    let costs = costs(slowness);
    let (runs, queues) = ([host(512)], ByLane::default());
    let groups = [group(&runs, None)];
    let aim = Aim::Latency;
    let case = Case {
        costs: &costs,
        groups: &groups,
        queues: &queues,
        ready_blocks: 0,
        new_tokens: 100,
        can_overlap,
        aim,
    };
    let mut request = case.request();
    edit(&mut request);
    plan(&request)
}

#[test]
fn a_fast_lane_loads_and_a_dead_one_computes() {
    let fast = plan_512(0.01, true, |_| ());
    assert!(fast.load.blocks() >= 504, "{fast:?}");
    let dead = plan_512(1e4, true, |_| ());
    assert_eq!(dead.reasons.choice, Choice::Recompute);
    assert_eq!(dead.predicted.finish, dead.predicted.finish_by_compute);
    assert_eq!(dead.cut_after, None);
}

#[test]
fn two_fronts_beat_both_when_lane_and_device_are_alike() {
    let both = plan_512(10.0, true, |_| ());
    assert_eq!(both.reasons.choice, Choice::TwoFronts);
    assert!(both.front.blocks() > 100 && both.load.blocks() > 100, "{both:?}");
    let better = both.predicted.finish_by_load.min(both.predicted.finish_by_compute);
    assert!(both.predicted.finish.as_secs_f64() < 0.7 * better.as_secs_f64(), "{both:?}");
    let apart = both.predicted.front.as_secs_f64() / both.predicted.load.as_secs_f64();
    assert!((0.9..1.1).contains(&apart), "the fronts meet: {both:?}");
}

#[test]
fn a_front_is_left_out_where_it_gains_less_than_its_steps_are_mispredicted() {
    let (runs, queues) = ([host(512)], ByLane::default());
    let groups = [group(&runs, None)];
    let choose = |slowness: f64, is_erratic: bool| {
        let mut costs = costs(slowness);
        for round in 0..if is_erratic { 200 } else { 0 } {
            let step = TokenSpan { start: 4096, tokens: 2048 };
            let predicted = costs.prefill().step(step).as_u64();
            let took = if round % 2 == 0 { predicted * 6 / 5 } else { predicted * 5 / 6 };
            costs.observe_prefill(step, Nanos::new(took));
        }
        let case = Case {
            costs: &costs,
            groups: &groups,
            queues: &queues,
            ready_blocks: 0,
            new_tokens: 100,
            can_overlap: true,
            aim: Aim::Latency,
        };
        let made = plan(&case.request());
        let gained = made.predicted.finish_by_load.as_secs_f64() - made.predicted.finish.as_secs_f64();
        (made.reasons.choice, gained / made.predicted.front.as_secs_f64())
    };
    let (exact, gained) = choose(1.0, false);
    assert_eq!(exact, Choice::TwoFronts);
    assert!((0.0..0.2).contains(&gained), "{gained} of the front");
    assert_eq!(choose(1.0, true).0, Choice::Load);
    assert_eq!(choose(10.0, true).0, Choice::TwoFronts, "much is gained");
}

#[test]
fn without_overlap_the_front_is_loaded_and_the_back_computed() {
    let split = plan_512(1.0, false, |_| ());
    assert_eq!(split.front.blocks(), 0);
    assert_eq!(split.reasons.choice, Choice::Load);
}

#[test]
fn a_far_tail_is_left_where_it_is_when_computing_it_is_cheaper() {
    let costs = costs(1.0);
    let (runs, queues) = ([host(256), file(16)], ByLane::default());
    let groups = [group(&runs, None)];
    let case = Case {
        costs: &costs,
        groups: &groups,
        queues: &queues,
        ready_blocks: 0,
        new_tokens: 100,
        can_overlap: false,
        aim: Aim::Latency,
    };
    let left = plan(&case.request());
    assert_eq!((left.load.end, left.reasons.choice), (256, Choice::LoadThenCompute), "{left:?}");
}

#[test]
fn a_window_loads_only_what_lies_before_the_end() {
    let costs = costs(1.0);
    let (mut queues, runs) = (ByLane::default(), [host(512)]);
    *queues.get_mut(UP) = Nanos::new(1);
    let full = [group(&runs, None)];
    let sliding = [group(&runs, Some(64))];
    let time = |groups: &[GroupPrefix<'_>]| {
        let case = Case {
            costs: &costs,
            groups,
            queues: &queues,
            ready_blocks: 0,
            new_tokens: 16,
            can_overlap: true,
            aim: Aim::Latency,
        };
        plan(&PlanRequest { loading: Loading::AlwaysLoad, ..case.request() }).predicted.load.as_secs_f64()
    };
    let share = time(&sliding) / time(&full);
    assert!((0.12..0.14).contains(&share), "{share}");
}

#[test]
fn what_no_tier_has_is_computed_and_never_loaded() {
    let costs = costs(1.0);
    let queues = ByLane::default();
    let (all, holed) = ([host(100)], [host(40), TierRun { blocks: 30, tier: None }, host(30)]);
    let groups = [group(&all, None), group(&holed, Some(20))];
    let case = Case {
        costs: &costs,
        groups: &groups,
        queues: &queues,
        ready_blocks: 10,
        new_tokens: 16,
        can_overlap: true,
        aim: Aim::Latency,
    };
    let made = plan(&case.request());
    assert!(made.predicted.finish < Nanos::MAX, "{made:?}");
    let loaded = plan(&PlanRequest { loading: Loading::AlwaysLoad, ..case.request() });
    assert_eq!(
        (loaded.load.start, loaded.load.end),
        (10, 110),
        "the hole lies before the window: {loaded:?}"
    );
}

#[test]
fn a_busy_device_makes_loading_cheaper_and_waiting_requests_too() {
    let idle = plan_512(10.0, true, |_| ());
    let queued = plan_512(10.0, true, |request| request.compute_queue = Nanos::from_millis(60));
    assert!(queued.load.blocks() > idle.load.blocks(), "{queued:?}");
    let waiting = plan_512(10.0, true, |request| {
        request.aim = Aim::Throughput { compute_waiting: 8, lanes_waiting: 0 };
    });
    assert!(waiting.load.blocks() > idle.load.blocks(), "{waiting:?}");
    let lane_waiting = plan_512(10.0, true, |request| {
        request.aim = Aim::Throughput { compute_waiting: 0, lanes_waiting: 8 };
    });
    assert!(lane_waiting.load.blocks() < idle.load.blocks(), "{lane_waiting:?}");
}

#[test]
fn a_deadline_comes_before_the_others_and_is_told_when_it_cannot_be_met() {
    let aim = Aim::Throughput { compute_waiting: 50, lanes_waiting: 0 };
    let free = plan_512(10.0, true, |request| request.aim = aim);
    let best = plan_512(10.0, true, |_| ());
    let deadline = Nanos::new(best.predicted.finish.as_u64() * 11 / 10);
    assert!(free.predicted.finish > deadline, "{free:?}");
    let bound = plan_512(10.0, true, |request| (request.aim, request.deadline) = (aim, Some(deadline)));
    assert!(bound.predicted.finish <= deadline && !bound.reasons.is_late, "{bound:?}");
    let late = plan_512(10.0, true, |request| request.deadline = Some(Nanos::new(1000)));
    assert!(late.reasons.is_late);
}

#[test]
fn a_deadline_gives_up_no_load_before_the_device_could_compute_it() {
    let latest = |deadline_ms, queue_ms| {
        let made = plan_512(1.0, false, |request| {
            request.deadline = Some(Nanos::from_millis(deadline_ms));
            request.compute_queue = Nanos::from_millis(queue_ms);
        });
        assert!(made.load.blocks() > 500, "{made:?}");
        let latest = made.latest.expect("something is loaded, by a deadline");
        assert!(made.cut_after.is_some_and(|cut_after| cut_after <= latest), "{made:?}");
        (latest, made.predicted.load, made.predicted.finish_by_compute)
    };
    // Some 20 ms to load, more than 200 to compute.
    let (unqueued, _, computing) = latest(500, 0);
    assert_eq!(unqueued, Nanos::new(Nanos::from_millis(500).as_u64() - computing.as_u64()));
    assert_eq!(latest(500, 100).0, unqueued, "what is queued is done by then");
    let (too_late, load, _) = latest(150, 0);
    assert_eq!(too_late, load);
    assert_eq!(latest(150, 100).0, Nanos::from_millis(100), "the device is busy until then");
}

#[test]
fn regret_is_what_the_better_end_would_have_saved() {
    let predicted = plan_512(10.0, true, |_| ()).predicted;
    let as_planned = Outcome {
        front: predicted.front,
        load: predicted.load,
        rest: predicted.rest,
        finish: predicted.finish,
    };
    assert_eq!(as_planned.regret(&predicted), Nanos::ZERO);
    assert!(as_planned.prediction_error(&predicted) < 1e-9);
    let stalled = Nanos::new(predicted.load.as_u64() * 10);
    let finish = stalled.saturating_add(predicted.rest);
    let regret = Outcome { load: stalled, finish, ..as_planned }.regret(&predicted);
    assert_eq!(regret.as_u64(), finish.as_u64() - predicted.finish_by_compute.as_u64());
}
