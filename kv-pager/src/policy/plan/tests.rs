use super::search::Search;
use super::{
    Aim, Choice, EngineAbility, GroupPrefix, Loading, Outcome, Plan, PlanRequest, Prefix, TierRun, plan,
};
use crate::cost::{ByLane, CostModel, Knot, Profile};
use crate::ids::TierId;
use crate::layout::Format;
use crate::tier::LaneEnds;
use crate::units::{Bytes, Nanos};
use proptest::prelude::*;

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
            formats: [Format::Raw; TierId::COUNT],
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

/// Runs of any tiers in any order.
fn runs() -> impl Strategy<Value = Vec<TierRun>> {
    let tier = prop_oneof![
        1 => Just(Some(TierId::Device)),
        6 => Just(Some(TierId::Host)),
        3 => Just(Some(TierId::File)),
    ];
    prop::collection::vec((1_u32..120, tier).prop_map(|(blocks, tier)| TierRun { blocks, tier }), 1..5)
}

/// As many blocks, of which no tier has any but the last `kept`, which lie in host memory.
fn window_of(runs: &[TierRun], kept: u32) -> Vec<TierRun> {
    let all: u32 = runs.iter().map(|run| run.blocks).sum();
    let kept = kept.min(all);
    [TierRun { blocks: all - kept, tier: None }, host(kept)]
        .into_iter()
        .filter(|run| run.blocks > 0)
        .collect()
}

/// The costs of the plan and of the best of all splits with whole chunks whose loads end at any of `ends`.
fn against_brute_force(request: &PlanRequest<'_>, ends: impl Iterator<Item = u32>) -> (f64, f64) {
    let made = plan(request);
    let ready = request.prefix.ready_blocks;
    let search = Search::new(request);
    let mut best_ns = search.recompute().cost_ns;
    for end in ends {
        let chunks =
            if request.engine.can_overlap { 1..=end.div_ceil(8) } else { end.div_ceil(8)..=end.div_ceil(8) };
        for meet in chunks.map(|chunks| end.saturating_sub(chunks * 8)) {
            best_ns = best_ns.min(search.split_at(meet, end).cost_ns);
        }
    }
    (search.split_at(made.load.start - ready, made.load.end - ready).cost_ns, best_ns)
}

/// What proptest varies apart from the runs.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    slowness: f64,
    ready_blocks: u32,
    new_tokens: u32,
    queue: Nanos,
    compute_queue: Nanos,
    can_overlap: bool,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let queues = (0_u64..100_000_000, 0_u64..50_000_000);
    (0.1_f64..60.0, 0_u32..2000, 1_u32..3000, queues, any::<bool>()).prop_map(
        |(slowness, ready_blocks, new_tokens, (queue, compute_queue), can_overlap)| Drawn {
            slowness,
            ready_blocks,
            new_tokens,
            queue: Nanos::new(queue),
            compute_queue: Nanos::new(compute_queue),
            can_overlap,
        },
    )
}

/// Calls `check` with the request that `drawn` means.
fn with_request<T>(
    drawn: Drawn,
    groups: &[GroupPrefix<'_>],
    aim: Aim,
    check: impl Fn(&PlanRequest<'_>) -> T,
) -> T {
    let Drawn { slowness, ready_blocks, new_tokens, can_overlap, .. } = drawn;
    let costs = costs(slowness);
    let mut queues = ByLane::default();
    *queues.get_mut(UP) = drawn.queue;
    let case = Case { costs: &costs, groups, queues: &queues, ready_blocks, new_tokens, can_overlap, aim };
    check(&PlanRequest { compute_queue: drawn.compute_queue, ..case.request() })
}

/// The ends of runs, in blocks.
fn cuts(groups: &[GroupPrefix<'_>]) -> Vec<u32> {
    let ends_of = |group: &GroupPrefix<'_>| {
        let sums = group.runs.iter().scan(0, |end, run| {
            *end += run.blocks;
            Some(*end)
        });
        sums.collect::<Vec<u32>>()
    };
    groups.iter().flat_map(ends_of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_fronts_are_faster(runs in runs(), kept in 1_u32..100, has_window in any::<bool>(), drawn in drawn()) {
        let window = window_of(&runs, kept);
        let mut groups = vec![group(&runs, None)];
        // Chunks have 8 blocks of 2 MiB, of one group or of two.
        if has_window {
            groups.push(group(&window, Some(32)));
            for of in &mut groups {
                of.part_bytes = [Bytes::mib(1); TierId::COUNT];
            }
        }
        let cuts = cuts(&groups);
        with_request(drawn, &groups, Aim::Latency, |request| {
            let (made, cached) = (plan(request), request.prefix.cached_blocks());
            prop_assert_eq!(made.front.start, drawn.ready_blocks);
            prop_assert_eq!(made.front.end, made.load.start);
            prop_assert_eq!(made.load.end * 16, made.rest.start);
            prop_assert_eq!(made.rest.end(), request.tokens);
            let from_front = (1..=cached).filter(|end| !drawn.can_overlap && end % 8 == 0);
            let (cost_ns, best_ns) = against_brute_force(request, from_front.chain(cuts.iter().copied()));
            prop_assert!(cost_ns <= best_ns * (1.0 + 1e-9), "{cost_ns} > {best_ns}: {made:?}");
            let (cost_ns, best_ns) = against_brute_force(request, (8..=cached).step_by(8));
            prop_assert!(cost_ns <= best_ns * 1.15, "{cost_ns} > {best_ns} with any end: {made:?}");
            Ok(())
        })?;
    }

    #[test]
    fn no_split_is_much_cheaper_for_those_who_wait(
        blocks in (1_u32..300, 0_u32..100),
        waiting in (0_u32..10, 0_u32..10),
        drawn in drawn(),
    ) {
        let runs = [host(blocks.0), file(blocks.1)];
        let groups = [group(&runs, None)];
        let aim = Aim::Throughput { compute_waiting: waiting.0, lanes_waiting: waiting.1 };
        with_request(drawn, &groups, aim, |request| {
            let cached = request.prefix.cached_blocks();
            let any_end = (8..=cached).step_by(8).chain([blocks.0, cached]);
            let (cost_ns, best_ns) = against_brute_force(request, any_end);
            prop_assert!(cost_ns <= best_ns * 1.15, "{cost_ns} > {best_ns}: {:?}", plan(request));
            Ok(())
        })?;
    }
}
