//! Waiting until the pager has got on.
//! Known by: `pager`, `sequence`.

use kv_pager::pager::{Pager, Progress};
use kv_pager::units::Nanos;

/// Ends when something has ended or was closed since `seen` was taken, or when the pager must be looked after. Cancel-safe.
pub(crate) async fn progressed(pager: &Pager, seen: Progress) {
    let (nap, progressed) = (pager.nap(), pager.progressed(seen));
    if nap == Nanos::MAX {
        progressed.await;
    } else {
        // That the time is over is as good a reason to look as any.
        tokio::time::timeout(nap.as_duration(), progressed).await.ok();
    }
    pager.poll();
}
