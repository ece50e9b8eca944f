//! The search for the best split of a request.
//! Layer 8. Uses `units`, `cost`, `policy::plan::{onboard, outcome, request}`. Known by: `policy::plan`.
//!
//! - **Q1** the number of splits looked at does not grow with the number of blocks, and none allocates;
//! - **Q2** for a load that ends at a given block, the two fronts of least finish are found exactly;
//! - **Q3** a front is computed beside a load only if that is better than the best without one by more than its steps have been found
//!   to be mispredicted.
//!
//! As the meeting place moves back, computing the front grows and loading shrinks (C2, O1): the larger of the two is least
//! where they cross, which lines and then bisection find. Every other aim is not so well behaved; there a grid is looked at, then what
//! lies between its best neighbours. A load may end where a run ends, for a far tier may be worth leaving where it is.

use super::ends::Ends;
use super::onboard::{OnboardUntil, Onboarding};
use super::scan::{refine, scan};
use super::split::Split;
use super::{Aim, PlanRequest};
use crate::cost::{Steps, TokenSpan, real};

/// Places where the fronts may meet that are looked at for each end, where bisection can't tell.
const MEETS: u32 = 8;
/// Loads from the front that are looked at for an engine that can't overlap.
const FRONTS: u32 = 64;

/// Crossings of lines that are looked at for each end before bisection takes over.
const GUESSES: u32 = 4;

/// All that splits of one request are priced with.
#[derive(Debug)]
pub(super) struct Search<'a> {
    request: &'a PlanRequest<'a>,
    steps: Steps<'a>,
    onboarding: Onboarding<'a>,
    cached: u32,
    chunk: u32,
    compute_queue_ns: f64,
    compute_price: f64,
    lanes_price: f64,
    deadline_ns: f64,
}

impl<'a> Search<'a> {
    pub(super) fn new(request: &'a PlanRequest<'a>) -> Self {
        let onboarding = Onboarding::new(request);
        let chunk = onboarding.blocks_per_chunk();
        let (compute_price, lanes_price, deadline) = match request.aim {
            Aim::Latency => (0, 0, None),
            Aim::Throughput { compute_waiting, lanes_waiting } => {
                (compute_waiting, lanes_waiting, request.deadline)
            }
        };
        Self {
            request,
            steps: request.costs.prefill().in_steps(request.engine.step_tokens_max),
            onboarding,
            cached: request.prefix.cached_blocks(),
            chunk,
            compute_queue_ns: real::from_nanos(request.compute_queue),
            compute_price: f64::from(compute_price),
            lanes_price: f64::from(lanes_price),
            deadline_ns: deadline.map_or(f64::INFINITY, real::from_nanos),
        }
    }

    /// The token at which a block starts.
    pub(super) fn token(&self, block: u32) -> u32 {
        (self.request.prefix.ready_blocks + block) * self.request.prefix.tokens_per_block
    }

    pub(super) fn compute_ns(&self, start: u32, end: u32) -> f64 {
        self.steps.span_ns(TokenSpan::between(self.token(start), self.token(end)))
    }

    pub(super) fn rest_ns(&self, end: u32) -> f64 {
        self.steps.span_ns(TokenSpan::between(self.token(end), self.request.tokens))
    }

    fn split(&self, until: &OnboardUntil<'_, '_>, meet: u32, end: u32, rest_ns: f64) -> Split {
        let front_ns = self.compute_ns(0, meet);
        let load = until.from(meet);
        let finish_ns = load.end_ns.max(self.compute_queue_ns + front_ns) + rest_ns;
        let computing_ns = self.compute_price * (front_ns + rest_ns);
        // An infinite load times no price is no number.
        let loading_ns = if self.lanes_price > 0.0 { self.lanes_price * load.busy_ns } else { 0.0 };
        Split {
            meet,
            end,
            front_ns,
            load_ns: load.end_ns,
            rest_ns,
            finish_ns,
            late_ns: (finish_ns - self.deadline_ns).max(0.0),
            cost_ns: finish_ns + computing_ns + loading_ns,
        }
    }

    /// Any split.
    #[cfg(test)]
    pub(super) fn split_at(&self, meet: u32, end: u32) -> Split {
        self.split(&self.onboarding.until(end), meet, end, self.rest_ns(end))
    }

    /// Computes all.
    pub(super) fn recompute(&self) -> Split {
        self.load_until(0)
    }

    /// Loads all up to `end`.
    pub(super) fn load_until(&self, end: u32) -> Split {
        self.split(&self.onboarding.until(end), 0, end, self.rest_ns(end))
    }

    /// Loads as much as can be loaded.
    pub(super) fn load(&self) -> Split {
        let all = self.load_until(self.cached);
        if all.load_ns.is_finite() {
            return all;
        }
        let ends = self.ends();
        let loads = ends.iter().map(|end| self.load_until(end)).filter(|split| split.load_ns.is_finite());
        loads.max_by_key(|split| split.end).unwrap_or(self.recompute())
    }

    /// The best split.
    pub(super) fn best(&self) -> Split {
        let best = self.recompute();
        let nobody_waits = self.compute_price + self.lanes_price <= 0.0;
        match (self.cached, self.request.engine.can_overlap) {
            (0, _) => best,
            (_, false) => self.best_from_front(best),
            (_, true) => {
                let best = *best.better(&self.hidden());
                let pair = Pair { sequential: best, fronts: best };
                let pair = if nobody_waits { self.best_crossing(pair) } else { self.best_seen(pair) };
                self.surer(&pair)
            }
        }
    }

    /// What a split costs if its front lasts longer than predicted, as steps have been found to.
    fn doubted(&self, split: &Split) -> Split {
        let doubt_ns = self.request.costs.prefill_error() * split.front_ns;
        Split { cost_ns: split.cost_ns + doubt_ns, ..*split }
    }

    /// The best split with a front, if something clear is gained by that (Q3). What a load or the rest is mispredicted by, the other
    /// bears too.
    fn surer(&self, pair: &Pair) -> Split {
        let doubted = self.doubted(&pair.fronts);
        if pair.sequential.better(&doubted) == &pair.sequential { pair.sequential } else { pair.fronts }
    }

    /// The best of `best` and what an engine that can't overlap may do.
    fn best_from_front(&self, mut best: Split) -> Split {
        let at = |chunks: u32| self.load_until(self.whole_chunks(chunks));
        let chunks = self.cached.div_ceil(self.chunk);
        let seen = scan(chunks, FRONTS, at);
        best = *best.better(&refine(seen, chunks, FRONTS, at));
        for end in self.ends().iter() {
            best = *best.better(&self.load_until(end));
        }
        best
    }

    /// The better ones of `best` and, for every end, of the load of all and the two fronts that meet at the same time.
    fn best_crossing(&self, mut best: Pair) -> Pair {
        for end in self.ends().iter() {
            if let Some(fronts) = self.fronts(end, &best.fronts) {
                let whole = fronts.whole();
                best.sequential = *best.sequential.better(&whole);
                best.fronts = *best.fronts.better(&fronts.crossing(&whole));
            }
        }
        best
    }

    /// The better ones of `best` and a grid over all ends, refined at the best of these.
    fn best_seen(&self, mut best: Pair) -> Pair {
        let mut near = None;
        for end in self.ends().iter() {
            let Some(fronts) = self.fronts(end, &best.fronts) else { continue };
            let seen = scan(fronts.chunks, MEETS, |chunks| fronts.at(chunks));
            best.sequential = *best.sequential.better(&fronts.whole());
            if best.fronts.better(&seen.split) != &best.fronts {
                best.fronts = seen.split;
                near = Some((end, seen));
            }
        }
        let Some((end, seen)) = near else { return best };
        let fronts = Fronts::new(self, end, self.rest_ns(end));
        best.fronts = *best.fronts.better(&refine(seen, fronts.chunks, MEETS, |chunks| fronts.at(chunks)));
        best
    }

    /// Splits with a load that ends at `end`, unless the rest alone costs as much as `best` when that is doubted.
    fn fronts(&self, end: u32, best: &Split) -> Option<Fronts<'_, 'a>> {
        let rest_ns = self.rest_ns(end);
        let least_ns = self.compute_queue_ns + rest_ns * (1.0 + self.compute_price);
        let is_open = best.late_ns > 0.0 || self.doubted(best).cost_ns > least_ns;
        is_open.then(|| Fronts::new(self, end, rest_ns))
    }

    /// Loads from the front as much as is there before the device is free: it costs no time, and leaves one step to compute
    /// where two fronts need two.
    fn hidden(&self) -> Split {
        let is_free = self.compute_queue_ns <= 0.0;
        let (mut low, mut high) = (0, if is_free { 0 } else { self.cached.div_ceil(self.chunk) });
        while low < high {
            let middle = low.midpoint(high + 1);
            if self.onboarding.until(self.whole_chunks(middle)).from(0).end_ns <= self.compute_queue_ns {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        let next = self.load_until(self.whole_chunks(low + 1));
        *self.load_until(self.whole_chunks(low)).better(&next)
    }

    /// The block where so many chunks from the front end.
    fn whole_chunks(&self, chunks: u32) -> u32 {
        chunks.saturating_mul(self.chunk).min(self.cached)
    }

    /// Where a load may end: at the end of the cached blocks and of runs, the last first; then, while there is room, ever
    /// more chunks before the end: the step that computes the rest takes some blocks more in hardly more time.
    fn ends(&self) -> Ends {
        let mut ends = Ends::new();
        let mut before = self.cached + 1;
        while !ends.is_full() {
            let cuts = self.onboarding.cuts(self.cached).chain([self.cached]);
            let Some(cut) = cuts.filter(|&cut| cut < before).max() else { break };
            ends.add(cut);
            before = cut;
        }
        let shortened = std::iter::successors(Some(self.chunk), |left| left.checked_mul(2))
            .map_while(|left| self.cached.checked_sub(left));
        for end in [self.fullest_steps()].into_iter().chain(shortened) {
            ends.add(end.next_multiple_of(self.chunk).min(self.cached));
        }
        ends
    }

    /// The first block from which the rest is computed in no more steps than what is new anyway.
    fn fullest_steps(&self) -> u32 {
        let request = self.request;
        let (step, new) = (request.engine.step_tokens_max, request.tokens - self.token(self.cached));
        let first = request.tokens.saturating_sub(new.div_ceil(step).saturating_mul(step));
        first.div_ceil(request.prefix.tokens_per_block).saturating_sub(request.prefix.ready_blocks)
    }
}

/// The best splits so far: without a front, and with or without one.
#[derive(Clone, Copy, Debug)]
struct Pair {
    sequential: Split,
    fronts: Split,
}

/// Two fronts: all splits whose load ends at one block.
#[derive(Debug)]
struct Fronts<'s, 'a> {
    search: &'s Search<'a>,
    until: OnboardUntil<'s, 'a>,
    end: u32,
    rest_ns: f64,
    /// The most that can be loaded.
    chunks: u32,
}

impl<'s, 'a> Fronts<'s, 'a> {
    fn new(search: &'s Search<'a>, end: u32, rest_ns: f64) -> Self {
        let until = search.onboarding.until(end);
        Self { search, until, end, rest_ns, chunks: end.div_ceil(search.chunk) }
    }

    /// The split that loads so many chunks.
    fn at(&self, chunks: u32) -> Split {
        let meet = self.end.saturating_sub(chunks.saturating_mul(self.search.chunk));
        self.search.split(&self.until, meet, self.end, self.rest_ns)
    }

    /// The split that loads all of them.
    fn whole(&self) -> Split {
        self.search.split(&self.until, 0, self.end, self.rest_ns)
    }

    /// The better of the two splits where loading overtakes computing (Q2), `whole` being the one that loads all chunks. At least one
    /// chunk is loaded.
    ///
    /// Both times are nearly straight lines, so the places where lines would cross are looked at first.
    fn crossing(&self, whole: &Split) -> Split {
        let queue_ns = self.search.compute_queue_ns;
        let lead_ns = |split: &Split| split.load_ns - (queue_ns + split.front_ns);
        let (mut low, mut high) = (0, self.chunks);
        let (mut low_ns, mut high_ns) = (-(queue_ns + self.search.compute_ns(0, self.end)), lead_ns(whole));
        let (mut below, mut found) = (None, *whole);
        // Where loading all never overtakes, the last two are the best.
        if high_ns < 0.0 {
            let before = (high > 1).then(|| self.at(high - 1));
            return before.map_or(found, |before| *found.better(&before));
        }
        let mut guesses = if high_ns.is_finite() { GUESSES } else { 0 };
        while high - low > 1 {
            let middle = if guesses > 0 {
                guesses -= 1;
                low + between(low_ns, high_ns, high - low)
            } else {
                low.midpoint(high)
            };
            let split = self.at(middle);
            if split.load_ns >= queue_ns + split.front_ns {
                (high, high_ns, found) = (middle, lead_ns(&split), split);
            } else {
                (low, low_ns, below) = (middle, lead_ns(&split), Some(split));
            }
        }
        below.map_or(found, |below| *found.better(&below))
    }
}

/// How many of `count` steps from `low_ns`, below zero, to `high_ns` a straight line takes to reach zero: at least one, and not all.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a count, in its range"
)]
fn between(low_ns: f64, high_ns: f64, count: u32) -> u32 {
    let steps = f64::from(count) * (low_ns / (low_ns - high_ns));
    (steps.ceil() as u32).clamp(1, count - 1)
}
