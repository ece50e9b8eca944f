//! What a plan costs: 512 cached blocks of llama3-8b, on the shipped H200 profile.
//! `cargo bench -p benches --bench plan`

use criterion::{Criterion, criterion_group, criterion_main};
use kv_pager::cost::{ByLane, CostModel, Profile};
use kv_pager::ids::TierId;
use kv_pager::policy::plan::{Aim, EngineAbility, GroupPrefix, Loading, PlanRequest, Prefix, TierRun, plan};
use kv_pager::units::{Bytes, Nanos};
use std::hint::black_box;

/// Runs of 512 blocks: how many in each, and where.
fn runs(pattern: &[(u32, TierId)]) -> Vec<TierRun> {
    pattern.iter().map(|&(blocks, tier)| TierRun { blocks, tier: Some(tier) }).collect()
}

fn plans(criterion: &mut Criterion) {
    let costs = CostModel::new(&Profile::h200_llama3_8b()).expect("the shipped profile is plausible");
    let queues = ByLane::default();
    let host = runs(&[(512, TierId::Host)]);
    let mixed = runs(&[(300, TierId::Host), (100, TierId::File), (12, TierId::Host), (100, TierId::File)]);
    let torn: Vec<_> =
        (0..16).map(|index| (32, if index % 2 == 0 { TierId::Host } else { TierId::File })).collect();
    let torn = runs(&torn);
    let part = |runs, window_blocks| GroupPrefix { window_blocks, part_bytes: [Bytes::mib(2); 3], runs };
    let small =
        |runs, window_blocks| GroupPrefix { window_blocks, part_bytes: [Bytes::new(64 << 10); 3], runs };
    let prefixes = [
        ("host", vec![part(&host, None)]),
        ("host_and_file", vec![part(&mixed, None)]),
        ("sixteen_runs", vec![part(&torn, None)]),
        ("two_groups_of_small_parts", vec![small(&host, None), small(&host, Some(64))]),
    ];
    let throughput = Aim::Throughput { compute_waiting: 3, lanes_waiting: 1 };
    for (name, groups) in &prefixes {
        for (mode, can_overlap, aim) in [
            ("latency", true, Aim::Latency),
            ("throughput", true, throughput),
            ("no_overlap", false, Aim::Latency),
        ] {
            let request = PlanRequest {
                costs: &costs,
                prefix: Prefix { tokens_per_block: 16, ready_blocks: 64, coming: None, groups },
                tokens: 576 * 16 + 300,
                queues: &queues,
                compute_queue: Nanos::ZERO,
                engine: EngineAbility { can_overlap, step_tokens_max: 8192 },
                deadline: None,
                aim,
                loading: Loading::Adaptive,
            };
            criterion.bench_function(&format!("plan_512/{name}/{mode}"), |bencher| {
                bencher.iter(|| plan(black_box(&request)));
            });
        }
    }
}

criterion_group!(benches, plans);
criterion_main!(benches);
