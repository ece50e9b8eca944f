//! Batches of parts, each way, by shape, size, adjacency of host slots, and path.

use crate::{Bench, rate};
use benches::cuda::{Inside, Rig, RigSpec, Row, time_batches, time_plain_batch};
use kv_pager::Error;
use kv_pager::ids::GroupId;
use kv_pager_cuda::{Direction, Path};
use std::sync::Arc;

/// A shape, its sizes, and the shares of the limit that are asked for: `(parts, fresh, churned)`.
struct Case {
    shape: &'static str,
    inside: Inside,
    name: &'static str,
    sizes: &'static [(usize, f64, f64)],
}

const CASES: [Case; 5] = [
    Case {
        shape: "llama3-8b",
        inside: Inside::LayerMajor,
        name: "8B, 32 KiB fragments",
        sizes: &[(8, 0.92, 0.0), (64, 0.96, 0.95), (256, 0.98, 0.95)],
    },
    Case {
        shape: "qwen2.5-0.5b",
        inside: Inside::LayerMajor,
        name: "0.5B, 4 KiB fragments",
        sizes: &[(256, 0.94, 0.85)],
    },
    Case {
        shape: "deepseek-v3",
        inside: Inside::LayerMajor,
        name: "MLA, 18 KiB fragments",
        sizes: &[(64, 0.95, 0.90)],
    },
    Case {
        shape: "llama3-8b",
        inside: Inside::Pages,
        name: "8B, 64 KiB pages a layer",
        sizes: &[(64, 0.0, 0.0), (256, 0.0, 0.0)],
    },
    Case {
        shape: "llama3-8b",
        inside: Inside::BlockMajor,
        name: "8B, 2 MiB blocks",
        sizes: &[(64, 0.0, 0.0), (256, 0.0, 0.0)],
    },
];

pub(crate) fn run(bench: &mut Bench) -> Result<(), Error> {
    for case in &CASES {
        let spec = RigSpec {
            shape: case.shape,
            inside: case.inside,
            device_slots: 1024,
            host_slots: 4096,
            devices: vec![bench.device.ordinal()],
            lanes: bench.lanes.clone(),
        };
        let rig = Rig::new(&spec, &bench.clock)?;
        for direction in [Direction::Offload, Direction::Onboard] {
            for (parts, fresh, churned) in case.sizes {
                measure(bench, &rig, case.name, (direction, *parts), [*fresh, *churned]);
            }
        }
    }
    Ok(())
}

/// Fragments of a part, and their bytes, where a part has several.
fn case_fragments(rig: &Rig) -> Option<(usize, usize)> {
    let model = rig.backend.device.model();
    let fragments = model.group(GroupId::FIRST).fragments() as usize;
    (rig.inside == Inside::LayerMajor).then(|| (fragments, model.fragment_bytes(GroupId::FIRST).as_usize()))
}

fn measure(bench: &mut Bench, rig: &Rig, what: &str, (direction, parts): (Direction, usize), must: [f64; 2]) {
    let clock = Arc::clone(&bench.clock);
    let lane = if direction == Direction::Offload { &rig.backend.offload } else { &rig.backend.onboard };
    let bytes = rig.part_bytes * parts as u64;
    let size = usize::try_from(bytes).expect("it fits memory");
    let limit = bench.limit.time(direction, size, bench.repeats, clock.as_ref());
    let chosen =
        lane.paths()[0].iter().rfind(|(most, _)| *most <= parts).map_or(Path::Gather, |(_, path)| *path);
    let way = if direction == Direction::Offload { "offload" } else { "onboard" };
    let fragments = case_fragments(rig);
    if let Some((fragments, fragment_bytes)) = fragments {
        let sizes = (parts, fragments, fragment_bytes);
        let took = time_plain_batch(&bench.limit, direction, sizes, (bench.repeats, clock.as_ref()));
        bench.report.add(Row {
            what: what.to_owned(),
            way: way.to_owned(),
            parts,
            how: "fresh, a plain batch, layer by layer".to_owned(),
            gb_per_s: rate(bytes, took),
            share: rate(limit, took),
            whole_ns: took,
            note: format!("limit {:.2}", rate(bytes, limit)),
            ..Row::default()
        });
    }
    for (is_churned, must) in [false, true].into_iter().zip(must) {
        let state = if is_churned { "churned" } else { "fresh" };
        let host = rig.host_slots(parts, is_churned);
        let runs = 1 + host.windows(2).filter(|pair| pair[1].index() != pair[0].index() + 1).count();
        let moves = rig.moves(direction, &host, 0);
        for path in [None, Some(Path::Gather), Some(Path::Batch), Some(Path::ZeroCopy), Some(Path::Runs)] {
            let is_slow = path == Some(Path::Runs) && parts > 64;
            if is_slow || (is_churned && path.is_some()) {
                continue;
            }
            let repeats = if path == Some(Path::Runs) { 3 } else { bench.repeats };
            let timed = time_batches(lane, &moves, path, (repeats, clock.as_ref()));
            let how = path.map_or(format!("{state}, chosen: {chosen}"), |path| format!("{state}, {path}"));
            bench.report.add(Row {
                what: what.to_owned(),
                way: way.to_owned(),
                parts,
                how,
                gb_per_s: rate(bytes, timed.whole_ns),
                share: rate(limit, timed.whole_ns),
                whole_ns: timed.whole_ns,
                host_ns: timed.host_ns,
                allocations: timed.allocations,
                note: format!("limit {:.2}; {runs} runs", rate(bytes, limit)),
                must: if path.is_none() { must } else { 0.0 },
            });
        }
    }
}
