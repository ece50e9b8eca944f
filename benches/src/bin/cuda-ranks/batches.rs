//! Batches over all ranks: each way and both, by layout, size, and adjacency of host slots.

use benches::cuda::{Contiguous, Inside, Report, Rig, RigSpec, Row, median, spin_until, time_batches};
use kv_pager::Error;
use kv_pager::clock::Clock;
use kv_pager::tier::Lane;
use kv_pager_cuda::{Device, Direction, LaneOptions};
use std::sync::Arc;

const LARGEST: usize = 256;

type Timing<'a> = (usize, &'a Arc<dyn Clock>);

pub(crate) fn run(
    report: &mut Report,
    shape: &'static str,
    cards: &[Arc<Device>],
    timing: Timing<'_>,
) -> Result<(), Error> {
    let devices: Vec<u32> = cards.iter().map(|card| card.ordinal()).collect();
    for inside in [Inside::LayerMajor, Inside::BlockMajor] {
        let (device_slots, host_slots, lanes) = (640, 1280, LaneOptions::default());
        let spec = RigSpec { shape, inside, device_slots, host_slots, devices: devices.clone(), lanes };
        let rig = Rig::new(&spec, timing.1)?;
        let slice = usize::try_from(rig.part_bytes).expect("small") / cards.len() * LARGEST;
        let limits: Vec<[Contiguous; 2]> =
            cards.iter().map(|card| [Contiguous::new(card, slice), Contiguous::new(card, slice)]).collect();
        let what = format!("{shape}, {inside:?}");
        for parts in [64, LARGEST] {
            for direction in [Direction::Offload, Direction::Onboard] {
                one_way(report, &rig, &limits, (&what, direction, parts), timing);
            }
            both_ways(report, &rig, &limits, (&what, parts), timing);
        }
    }
    Ok(())
}

/// Median nanoseconds of `work`.
fn time((repeats, clock): Timing<'_>, work: impl Fn()) -> u64 {
    let mut times = Vec::with_capacity(repeats);
    for repeat in 0..repeats + 2 {
        let start = clock.now();
        work();
        if repeat >= 2 {
            times.push(clock.now().since(start).as_u64());
        }
    }
    median(&mut times)
}

fn one_way(
    report: &mut Report,
    rig: &Rig,
    limits: &[[Contiguous; 2]],
    (what, direction, parts): (&str, Direction, usize),
    timing: Timing<'_>,
) {
    let bytes = rig.part_bytes * parts as u64;
    let slice = usize::try_from(bytes).expect("small") / limits.len();
    let limit = time(timing, || {
        for limit in limits {
            limit[0].start(direction, slice);
        }
        for limit in limits {
            limit[0].wait();
        }
    });
    let lane = if direction == Direction::Offload { &rig.backend.offload } else { &rig.backend.onboard };
    for is_churned in [false, true] {
        let moves = rig.moves(direction, &rig.host_slots(parts, is_churned), 0);
        let before = lane.rank_busy_ns();
        let timed = time_batches(lane, &moves, None, (timing.0, timing.1.as_ref()));
        let mut busy: Vec<u64> =
            lane.rank_busy_ns().iter().zip(&before).map(|(now, then)| now - then).collect();
        busy.sort_unstable();
        let slowest = busy.last().copied().unwrap_or(0);
        let (low, high) = (busy[(busy.len() - 1) / 2], busy[busy.len() / 2]);
        let typical = low.midpoint(high);
        report.add(Row {
            what: what.to_owned(),
            way: if direction == Direction::Offload { "offload" } else { "onboard" }.to_owned(),
            parts,
            how: if is_churned { "churned" } else { "fresh" }.to_owned(),
            gb_per_s: rate(bytes, timed.whole_ns),
            share: rate(limit, timed.whole_ns),
            whole_ns: timed.whole_ns,
            host_ns: timed.host_ns,
            allocations: timed.allocations,
            note: format!(
                "limit {:.2}; {:.0} µs of calls a rank; slowest rank {:.3}x the median",
                rate(bytes, limit),
                rate(timed.host_ns, 1000 * limits.len() as u64),
                rate(slowest, typical.max(1))
            ),
            must: if is_churned { 0.0 } else { 0.95 },
        });
    }
}

fn both_ways(
    report: &mut Report,
    rig: &Rig,
    limits: &[[Contiguous; 2]],
    (what, parts): (&str, usize),
    timing: Timing<'_>,
) {
    let bytes = rig.part_bytes * parts as u64;
    let slice = usize::try_from(bytes).expect("small") / limits.len();
    let limit = time(timing, || {
        for limit in limits {
            limit[0].start(Direction::Offload, slice);
            limit[1].start(Direction::Onboard, slice);
        }
        limits.iter().flatten().for_each(Contiguous::wait);
    });
    let all = rig.host_slots(2 * parts, false);
    let out = rig.moves(Direction::Offload, &all[..parts], 0);
    let back = rig.moves(Direction::Onboard, &all[parts..], parts);
    let lanes = time(timing, || {
        let out = rig.backend.offload.submit(&out).expect("room");
        let back = rig.backend.onboard.submit(&back).expect("room");
        spin_until(|| out.is_over() && back.is_over());
    });
    report.add(Row {
        what: what.to_owned(),
        way: "both".to_owned(),
        parts,
        how: "fresh, both lanes at once".to_owned(),
        gb_per_s: rate(bytes, lanes),
        share: rate(limit, lanes),
        whole_ns: lanes,
        note: format!("limit {:.2} each way", rate(bytes, limit)),
        must: 0.95,
        ..Row::default()
    });
}

/// Bytes a second in 1e9, or a ratio.
#[expect(clippy::cast_precision_loss, reason = "printed with two digits")]
fn rate(bytes: u64, nanoseconds: u64) -> f64 {
    bytes as f64 / nanoseconds as f64
}
