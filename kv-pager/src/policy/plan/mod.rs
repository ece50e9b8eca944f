//! Plans: for one request, what to load, what to compute again, and what to do at the same time.
//! Layer 8. Uses `ids`, `units`, `layout`, `tier`, `cost`. Known by: `policy`, `pager`.
//!
//! - **PL1** a plan is a pure function of its request (I9), and allocates nothing;
//! - **PL2** `ready, front, load, rest` follow each other without a gap and end with the request;
//! - **PL3** a load starts at a whole chunk from its end, or at the first block that is not ready.
//!
//! The front is computed while the back is loaded because computing is cheapest at the front, where there is little to attend
//! to, and needs nothing that comes later. The formulas, with an example, are in `docs/cost-model.md`.

mod counts;
mod ends;
mod loader;
mod onboard;
mod outcome;
mod prefix;
mod pressure;
mod request;
mod runs;
mod scan;
mod search;
mod split;

pub use loader::{Loader, Situation};
pub use outcome::{BlockSpan, Choice, Outcome, Plan, Prediction, Reasons};
pub use prefix::{Coming, GroupPrefix, Prefix, TierRun};
pub use pressure::{Fate, Verdict, Victim, judge};
pub use request::{Aim, EngineAbility, Loading, PlanRequest};
pub use runs::TierRuns;

use crate::cost::{TokenSpan, real};
use search::Search;
use split::Split;

/// The best plan for a request. `O(groups * log blocks)`, without heap.
///
/// # Panics
/// If the request has fewer tokens than cached blocks have, or more groups than a model.
pub fn plan(request: &PlanRequest<'_>) -> Plan {
    let search = Search::new(request);
    let cached_end = search.token(request.prefix.cached_blocks());
    assert!(cached_end <= request.tokens, "{cached_end} tokens cached of {}", request.tokens);
    let split = match request.loading {
        Loading::Adaptive => search.best(),
        Loading::AlwaysLoad => search.load(),
        Loading::AlwaysRecompute => search.recompute(),
    };
    let ready = request.prefix.ready_blocks;
    let latest_ns = latest_ns(request, &search, &split);
    Plan {
        front: BlockSpan { start: ready, end: ready + split.meet },
        load: BlockSpan { start: ready + split.meet, end: ready + split.end },
        rest: TokenSpan::between(search.token(split.end), request.tokens),
        cut_after: patience_ns(&search, &split)
            .map(|patience_ns| real::to_nanos(patience_ns.min(latest_ns.unwrap_or(f64::INFINITY)))),
        latest: latest_ns.map(real::to_nanos),
        predicted: predict(&search, &split),
        reasons: reasons(request, &split),
    }
}

/// Waiting for a load pays for as long again as computing it takes: then a lane that stands still costs at most that. `None` if
/// nothing is loaded.
fn patience_ns(search: &Search<'_>, split: &Split) -> Option<f64> {
    (split.meet < split.end).then(|| split.load_ns + search.compute_ns(split.meet, split.end))
}

/// A deadline shortens the patience to what leaves time to compute, but never below what the load should take. Nor to before the device
/// has done what is queued before this request, and its front: giving up the load while it could not be computed yet gains nothing.
fn latest_ns(request: &PlanRequest<'_>, search: &Search<'_>, split: &Split) -> Option<f64> {
    let deadline = request.deadline.filter(|_| split.meet < split.end)?;
    let is_free_ns = real::from_nanos(request.compute_queue) + split.front_ns;
    Some((real::from_nanos(deadline) - search.rest_ns(split.meet)).max(split.load_ns).max(is_free_ns))
}

fn predict(search: &Search<'_>, split: &Split) -> Prediction {
    Prediction {
        front: real::to_nanos(split.front_ns),
        load: real::to_nanos(split.load_ns),
        rest: real::to_nanos(split.rest_ns),
        finish: real::to_nanos(split.finish_ns),
        finish_by_load: real::to_nanos(search.load().finish_ns),
        finish_by_compute: real::to_nanos(search.recompute().finish_ns),
    }
}

fn reasons(request: &PlanRequest<'_>, split: &Split) -> Reasons {
    let cached = request.prefix.cached_blocks();
    let choice = match (split.meet, split.end) {
        _ if cached == 0 => Choice::NothingToLoad,
        (_, 0) => Choice::Recompute,
        (0, end) if end == cached => Choice::Load,
        (0, _) => Choice::LoadThenCompute,
        _ => Choice::TwoFronts,
    };
    Reasons {
        choice,
        is_forced: request.loading != Loading::Adaptive,
        is_load_bound: split.load_ns > real::from_nanos(request.compute_queue) + split.front_ns,
        is_late: request.deadline.is_some_and(|deadline| split.finish_ns > real::from_nanos(deadline)),
    }
}

#[cfg(test)]
mod tests;
