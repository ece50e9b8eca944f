//! A plan, what it expects, and what it was worth afterwards.
//! Layer 8. Uses `units`, `cost`. Known by: `policy::plan`, `pager`.

use crate::cost::{TokenSpan, real};
use crate::units::Nanos;

/// Adjacent blocks of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct BlockSpan {
    /// The first.
    pub start: u32,
    /// The one after the last.
    pub end: u32,
}

impl BlockSpan {
    /// How many they are.
    pub fn blocks(self) -> u32 {
        self.end - self.start
    }

    /// The same blocks, counted from block `first`: those before it are left out.
    #[must_use]
    pub fn after(self, first: u32) -> Self {
        Self { start: self.start.saturating_sub(first), end: self.end.saturating_sub(first) }
    }
}

/// What a plan does with the cached blocks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Choice {
    /// There are none below the device.
    NothingToLoad,
    /// Loads them.
    Load,
    /// Computes them again.
    Recompute,
    /// Computes the front while the back is loaded.
    TwoFronts,
    /// Loads the front, then computes what follows.
    LoadThenCompute,
}

/// Why it does so.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Reasons {
    /// What it does.
    pub choice: Choice,
    /// Whether it was told to, by [`Loading`](super::Loading).
    pub is_forced: bool,
    /// Whether the rest waits for the load rather than for computing.
    pub is_load_bound: bool,
    /// Whether the deadline will be missed all the same.
    pub is_late: bool,
}

/// What a plan expects, from now on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Prediction {
    /// Computing the front.
    pub front: Nanos,
    /// Loading, what is queued before it included.
    pub load: Nanos,
    /// Computing what follows the load.
    pub rest: Nanos,
    /// When the last token is computed.
    pub finish: Nanos,
    /// When it would be if all cached blocks were loaded; [`Nanos::MAX`] if they can't be.
    pub finish_by_load: Nanos,
    /// When it would be if none were.
    pub finish_by_compute: Nanos,
}

/// What to do for a request: compute `front` while `load` is loaded from its back to its front, then compute `rest`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Plan {
    /// Blocks to compute while others are loaded.
    pub front: BlockSpan,
    /// Blocks to load; each group as far as its window before their end.
    pub load: BlockSpan,
    /// Tokens to compute when both are done.
    pub rest: TokenSpan,
    /// When to give up loading what is not there and compute it: how long from now. `None` if nothing is loaded.
    pub cut_after: Option<Nanos>,
    /// When to give it up though others have something to compute meanwhile: how long from now the deadline leaves the time to
    /// compute it, but not before the load should be there and the device is free to. `None` without a deadline, or if nothing is loaded.
    pub latest: Option<Nanos>,
    /// What it expects.
    pub predicted: Prediction,
    /// Why it is so.
    pub reasons: Reasons,
}

/// What happened to a plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Outcome {
    /// Computing the front took so long.
    pub front: Nanos,
    /// Loading took so long, waiting included.
    pub load: Nanos,
    /// Computing what followed took so long.
    pub rest: Nanos,
    /// The last token was computed so long after the plan was made.
    pub finish: Nanos,
}

impl Outcome {
    /// |predicted - observed| / observed, of the finish; zero if that took no time.
    pub fn prediction_error(&self, predicted: &Prediction) -> f64 {
        let (expected, observed) = (real::from_nanos(predicted.finish), real::from_nanos(self.finish));
        if observed > 0.0 { (expected - observed).abs() / observed } else { 0.0 }
    }

    /// How much later it finished than the better of loading all and computing all would have, as far as can be told
    /// afterwards: both are priced by the plan's prediction, times how wrong that turned out to be for what was done.
    pub fn regret(&self, predicted: &Prediction) -> Nanos {
        let computed =
            ratio(self.front.saturating_add(self.rest), predicted.front.saturating_add(predicted.rest));
        let loaded = ratio(self.load, predicted.load);
        let by_compute = real::from_nanos(predicted.finish_by_compute) * computed;
        let by_load = real::from_nanos(predicted.finish_by_load) * loaded.max(computed);
        real::to_nanos(real::from_nanos(self.finish) - by_compute.min(by_load))
    }
}

/// Observed over predicted; 1 where nothing was predicted.
fn ratio(observed: Nanos, predicted: Nanos) -> f64 {
    if predicted == Nanos::ZERO { 1.0 } else { real::from_nanos(observed) / real::from_nanos(predicted) }
}
