use super::super::search::Search;
use super::{Case, UP, costs, file, group, host};
use crate::cost::ByLane;
use crate::ids::TierId;
use crate::policy::plan::{Aim, GroupPrefix, PlanRequest, TierRun, plan};
use crate::units::{Bytes, Nanos};
use proptest::prelude::*;

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
