//! How much longer a step of the prefill takes while a lane never idles.

use benches::cuda::{median, spin_until};
use kv_pager::Error;
use kv_pager::clock::Clock;
use kv_pager::cost::TokenSpan;
use kv_pager::ids::{Fence, GroupId, MoveId, SlotId};
use kv_pager::tier::{Lane, Move};
use kv_pager_cuda::{CudaBackend, CudaLane, PrefillGemms};
use std::sync::atomic::{AtomicBool, Ordering};

const STEP: TokenSpan = TokenSpan { start: 4096, tokens: 2048 };
const STEPS: usize = 15;
const PARTS: usize = 256;

/// The slow-down beside loads, and beside copies out of the device, as shares. The tiers hold nothing of use.
pub(crate) fn slow_downs(
    backend: &CudaBackend,
    gemms: &mut PrefillGemms,
    clock: &dyn Clock,
) -> Result<[f64; 2], Error> {
    time(gemms, clock)?;
    let alone = time(gemms, clock)?;
    let mut shares = [0.0; 2];
    for (share, lane) in shares.iter_mut().zip([&backend.onboard, &backend.offload]) {
        let is_over = AtomicBool::new(false);
        let beside = std::thread::scope(|scope| {
            scope.spawn(|| keep_busy(lane, &is_over));
            let beside = time(gemms, clock);
            is_over.store(true, Ordering::Relaxed);
            beside
        })?;
        *share = beside / alone - 1.0;
    }
    Ok(shares)
}

/// Median nanoseconds of a step.
#[expect(clippy::cast_precision_loss, reason = "milliseconds")]
fn time(gemms: &mut PrefillGemms, clock: &dyn Clock) -> Result<f64, Error> {
    let mut times = Vec::with_capacity(STEPS);
    for _ in 0..STEPS {
        let started = clock.now();
        gemms.compute(STEP)?;
        times.push(clock.now().since(started).as_u64());
    }
    Ok(median(&mut times) as f64)
}

/// Two batches are under way at any time.
fn keep_busy(lane: &CudaLane, is_over: &AtomicBool) {
    let batch = |first: usize| -> Vec<Move> {
        let one = |index: usize| {
            let slot = SlotId::from_index(first + index);
            let (id, group) = (MoveId(index as u64), GroupId::FIRST);
            Move {
                id,
                group,
                source: slot,
                target: slot,
                source_fence: Fence::OVER,
                target_fence: Fence::OVER,
            }
        };
        (0..PARTS).map(one).collect()
    };
    let batches = [batch(0), batch(PARTS)];
    let mut under_way = batches.each_ref().map(|moves| lane.submit(moves).expect("an idle lane has room"));
    while !is_over.load(Ordering::Relaxed) {
        for (ticket, moves) in under_way.iter_mut().zip(&batches) {
            spin_until(|| ticket.is_over());
            *ticket = lane.submit(moves).expect("half of the queue is free");
        }
    }
    for ticket in &under_way {
        spin_until(|| ticket.is_over());
    }
}
