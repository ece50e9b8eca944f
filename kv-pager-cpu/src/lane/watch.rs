//! The watch over a lane's threads: a call that hangs costs its own moves, and a thread, but not the lane.
//! Uses `lane::crew`. Known by: `lane::crew`.
//!
//! - **W2** a chunk that takes longer than the lane's timeout is given up: its moves end as timed out, and another thread is
//!   started, as long as there are fewer than twice the crew;
//! - **W3** when all of those hang, what waits in the queue is given up too, and the copier is told that its drive is gone.
//!
//! A thread that comes back late says that its moves are over (J1), and ends: its place was taken.

use super::crew::Shared;
use kv_pager::units::Nanos;
use std::sync::Arc;

/// How often the watch looks, within the timeout.
const LOOKS: u64 = 4;

/// A watch's life.
pub(super) fn keep(shared: &Arc<Shared>) {
    let pause = Nanos::new(shared.spec.chunk_timeout.as_u64() / LOOKS + 1);
    loop {
        {
            let mut hands = shared.hands.lock();
            if shared.queue.is_closed() {
                return;
            }
            shared.left.wait_for(&mut hands, pause.as_duration());
        }
        look(shared);
    }
}

fn look(shared: &Arc<Shared>) {
    let now = shared.clock.now();
    let mut hanging = 0;
    let mut to_hire = 0;
    let mut left = Vec::new();
    {
        let mut hands = shared.hands.lock();
        if shared.queue.is_closed() {
            return;
        }
        left.extend(hands.extract_if(.., |hand| hand.desk.is_left()));
        for hand in hands.iter() {
            let Some(work) = hand.desk.work() else { continue };
            if now.since(work.began) < shared.spec.chunk_timeout {
                continue;
            }
            hanging += 1;
            if hand.desk.relieve() {
                tracing::warn!(lane = %shared.copier.ends(), "a request hangs; its moves are given up");
                to_hire += 1;
            }
            if let Some(job) = work.job {
                job.give_up();
            }
        }
        to_hire = (shared.spec.workers * 2).saturating_sub(hands.len()).min(to_hire);
    }
    // They may still have their last references: whoever drops the lane must find none.
    for hand in left {
        if hand.thread.join().is_err() {
            tracing::error!(lane = %shared.copier.ends(), "a thread had panicked");
        }
    }
    if hanging >= shared.spec.workers * 2 {
        shared.copier.give_up();
        shared.queue.empty();
    }
    for _ in 0..to_hire {
        if let Err(error) = shared.hire() {
            tracing::warn!(%error, "a thread that hangs has no replacement");
        }
    }
}
