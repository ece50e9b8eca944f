//! How long pinned memory takes to be there, beside the driver's own allocator.

use crate::{Bench, rate};
use benches::cuda::{Row, time_mem_host_alloc};
use kv_pager::Error;
use kv_pager::layout::{DeviceLayout, shape};
use kv_pager_cuda::{DeviceOptions, DeviceTier, Inner, OwnedSlots, PinnedTier};
use std::sync::Arc;

/// A first run makes the machine's memory warm.
pub(crate) fn run(bench: &mut Bench, bytes: u64) -> Result<(), Error> {
    let model = shape("llama3-8b").expect("known");
    let owned = OwnedSlots { slots: vec![1], layout: DeviceLayout::BlockMajor, inner: Inner::Nhd };
    let devices = [Arc::clone(&bench.device)];
    let device = DeviceTier::with_own_memory(&model, &devices, &owned, &DeviceOptions::default())?;
    let slots = u32::try_from(bytes / (2 << 20)).unwrap_or(1);
    let clock = Arc::clone(&bench.clock);
    drop(PinnedTier::new(&device, &[slots])?);
    let start = clock.now();
    let tier = PinnedTier::new(&device, &[slots])?;
    let ours = clock.now().since(start).as_u64();
    drop(tier);
    let size = usize::try_from(bytes).expect("it fits memory");
    let theirs = time_mem_host_alloc(&bench.device, size, clock.as_ref());
    for (how, took) in [("PinnedTier", ours), ("cuMemHostAlloc", theirs)] {
        bench.report.add(Row {
            what: format!("{} GiB of pinned memory", bytes >> 30),
            way: "start".to_owned(),
            parts: slots as usize,
            how: how.to_owned(),
            gb_per_s: rate(bytes, took),
            whole_ns: took,
            note: format!("{:.2} s, {:.2}x", rate(took, 1_000_000_000), rate(theirs, took)),
            ..Row::default()
        });
    }
    Ok(())
}
