//! Both lanes at once, beside two contiguous copies at once.

use crate::{Bench, LIMIT_BYTES, rate};
use benches::cuda::{Contiguous, Inside, Rig, RigSpec, Row, median, spin_until};
use kv_pager::Error;
use kv_pager::tier::Lane;
use kv_pager_cuda::Direction;
use std::sync::Arc;

const PARTS: usize = 256;

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
    let clock = Arc::clone(&bench.clock);
    let other = Contiguous::new(&bench.device, LIMIT_BYTES);
    let time = |work: &dyn Fn()| {
        let mut times = Vec::with_capacity(bench.repeats);
        for repeat in 0..bench.repeats + 2 {
            let start = clock.now();
            work();
            if repeat >= 2 {
                times.push(clock.now().since(start).as_u64());
            }
        }
        median(&mut times)
    };
    let limit = time(&|| {
        bench.limit.start(Direction::Offload, LIMIT_BYTES);
        other.start(Direction::Onboard, LIMIT_BYTES);
        bench.limit.wait();
        other.wait();
    });
    let all = rig.host_slots(2 * PARTS, false);
    let out = rig.moves(Direction::Offload, &all[..PARTS], 0);
    let back = rig.moves(Direction::Onboard, &all[PARTS..], PARTS);
    let lanes = time(&|| {
        let out = rig.backend.offload.submit(&out).expect("room");
        let back = rig.backend.onboard.submit(&back).expect("room");
        spin_until(|| out.is_over() && back.is_over());
    });
    let bytes = rig.part_bytes * PARTS as u64;
    bench.report.add(Row {
        what: "8B, 32 KiB fragments".to_owned(),
        way: "both".to_owned(),
        parts: PARTS,
        how: "fresh, both lanes at once".to_owned(),
        gb_per_s: rate(bytes, lanes),
        share: rate(limit, lanes),
        whole_ns: lanes,
        note: format!("limit {:.2} each way", rate(bytes, limit)),
        must: 0.98,
        ..Row::default()
    });
    Ok(())
}
