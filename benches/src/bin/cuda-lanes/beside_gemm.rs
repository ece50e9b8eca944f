//! A matrix product beside a lane: what each costs the other.

use crate::{Bench, rate};
use benches::cuda::{Gemm, Inside, Rig, RigSpec, Row, median, spin_until};
use kv_pager::Error;
use kv_pager::tier::Lane;
use kv_pager_cuda::{CudaLane, Direction};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const PARTS: usize = 256;
const PRODUCTS: usize = 100;

pub(crate) fn run(bench: &mut Bench) -> Result<(), Error> {
    let spec = RigSpec {
        shape: "llama3-8b",
        inside: Inside::LayerMajor,
        device_slots: 1024,
        host_slots: 1024,
        devices: vec![bench.device.ordinal()],
        lanes: bench.lanes.clone(),
    };
    let rig = Rig::new(&spec, &bench.clock)?;
    let gemm = Gemm::new(&bench.device);
    let clock = Arc::clone(&bench.clock);
    let alone = || {
        let mut times: Vec<u64> = (0..PRODUCTS).map(|_| gemm.run(clock.as_ref())).collect();
        median(&mut times)
    };
    alone();
    for _ in 0..2 {
        let before = alone();
        for (lane, direction) in
            [(&rig.backend.offload, Direction::Offload), (&rig.backend.onboard, Direction::Onboard)]
        {
            let (beside, copied) = beside(bench, &rig, &gemm, (lane, direction));
            bench.report.add(Row {
                what: "8192x8192x8192 bf16 beside 8B".to_owned(),
                way: if direction == Direction::Offload { "offload" } else { "onboard" }.to_owned(),
                parts: PARTS,
                how: "fresh, two batches in flight".to_owned(),
                gb_per_s: copied,
                whole_ns: beside,
                note: format!(
                    "product alone {:.3} ms, beside {:.3} ms: {:+.1} %",
                    rate(before, 1_000_000),
                    rate(beside, 1_000_000),
                    100.0 * (rate(beside, before) - 1.0)
                ),
                ..Row::default()
            });
        }
    }
    Ok(())
}

/// Median nanoseconds of a product while the lane never idles, and what the lane carried meanwhile, in 1e9 bytes a second.
fn beside(bench: &Bench, rig: &Rig, gemm: &Gemm, (lane, direction): (&CudaLane, Direction)) -> (u64, f64) {
    let clock = bench.clock.as_ref();
    let host = rig.host_slots(2 * PARTS, false);
    let batches = [rig.moves(direction, &host[..PARTS], 0), rig.moves(direction, &host[PARTS..], PARTS)];
    let (is_over, parts) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut under_way = batches.each_ref().map(|moves| lane.submit(moves).expect("room"));
            while !is_over.load(Ordering::Relaxed) {
                for (ticket, moves) in under_way.iter_mut().zip(&batches) {
                    spin_until(|| ticket.is_over());
                    parts.fetch_add(PARTS as u64, Ordering::Relaxed);
                    *ticket = lane.submit(moves).expect("room");
                }
            }
            for ticket in &under_way {
                spin_until(|| ticket.is_over());
            }
        });
        spin_until(|| parts.load(Ordering::Relaxed) >= 4 * PARTS as u64);
        let (start, before) = (clock.now(), parts.load(Ordering::Relaxed));
        let mut times: Vec<u64> = (0..PRODUCTS).map(|_| gemm.run(clock)).collect();
        let carried = (parts.load(Ordering::Relaxed) - before) * rig.part_bytes;
        let took = clock.now().since(start).as_u64();
        is_over.store(true, Ordering::Relaxed);
        (median(&mut times), rate(carried, took))
    })
}
