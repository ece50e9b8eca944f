//! Layer-wise onboarding: the whole, and when the first layers are in place.

use crate::{Bench, rate};
use benches::cuda::{Inside, Rig, RigSpec, Row, median, spin_until};
use kv_pager::Error;
use kv_pager::tier::{Lane, Tier};
use kv_pager::units::Bytes;
use kv_pager_cuda::Direction;
use std::sync::Arc;

const PARTS: usize = 64;

pub(crate) fn run(bench: &mut Bench) -> Result<(), Error> {
    for piece_kib in [64_u64, 128, 256, 512] {
        let mut lanes = bench.lanes.clone();
        lanes.layer_piece_bytes = Bytes::new(piece_kib << 10);
        let spec = RigSpec {
            shape: "llama3-8b",
            inside: Inside::LayerMajor,
            device_slots: 1024,
            host_slots: 1024,
            devices: vec![bench.device.ordinal()],
            lanes,
        };
        let rig = Rig::new(&spec, &bench.clock)?;
        let bytes = rig.part_bytes * PARTS as u64;
        let size = usize::try_from(bytes).expect("it fits memory");
        let limit = bench.limit.time(Direction::Onboard, size, bench.repeats, bench.clock.as_ref());
        for is_churned in [false, true] {
            measure(bench, &rig, piece_kib, limit, is_churned);
        }
    }
    Ok(())
}

fn measure(bench: &mut Bench, rig: &Rig, piece_kib: u64, limit: u64, is_churned: bool) {
    let clock = Arc::clone(&bench.clock);
    let moves = rig.moves(Direction::Onboard, &rig.host_slots(PARTS, is_churned), 0);
    let (mut first, mut whole, mut host) = (Vec::new(), Vec::new(), Vec::new());
    for repeat in 0..bench.repeats + 2 {
        let start = clock.now();
        let ticket = rig.backend.onboard.submit_by_layer(&moves).expect("room");
        let called = clock.now().since(start).as_u64();
        let fence = ticket.layer_fence(0).expect("all of it is queued");
        spin_until(|| rig.backend.device.is_fence_over(fence));
        let there = clock.now().since(start).as_u64();
        spin_until(|| ticket.is_over());
        if repeat >= 2 {
            first.push(there);
            whole.push(clock.now().since(start).as_u64());
            host.push(called);
        }
    }
    let (first, whole) = (median(&mut first), median(&mut whole));
    bench.report.add(Row {
        what: "8B, 32 KiB fragments".to_owned(),
        way: "onboard".to_owned(),
        parts: PARTS,
        how: format!("{}, by layer, pieces of {piece_kib} KiB", if is_churned { "churned" } else { "fresh" }),
        gb_per_s: rate(rig.part_bytes * PARTS as u64, whole),
        share: rate(limit, whole),
        whole_ns: whole,
        host_ns: median(&mut host),
        note: format!(
            "first layer after {} µs, {:.1} % of the whole",
            first / 1000,
            100.0 * rate(first, whole)
        ),
        must: if is_churned { 0.0 } else { 0.93 },
        ..Row::default()
    });
}
