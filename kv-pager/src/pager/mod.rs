//! The pager: everything below it behind one lock, and the handles that engines hold.
//! Layer 9. Uses all modules before it. Known by: engines.
//!
//! An engine opens a [`Sequence`] for a request, asks it what to do next, computes what it is told through the block tables,
//! commits that, and closes. Everything slow happens outside the lock: tokens are hashed by the caller, bytes move on lanes.
//!
//! - **G1** a call handles what has ended before it decides, and starts what it has queued before it returns;
//! - **G2** nothing waits under the lock: what can't be had yet is an error of kind
//!   [`Retry`](crate::error::ErrorKind::Retry) or [`Step::Wait`];
//! - **G3** a hit is counted, and its bytes shown, only once its transfer has ended well (I3).

mod build;
mod check;
mod chores;
mod close;
mod commit;
mod core;
mod costs;
mod course;
mod deliveries;
mod demote;
mod durable;
mod epoch;
mod external;
mod falls;
mod faults;
mod finding;
mod handle;
mod hold;
mod invalidate;
mod keepers;
mod last_resort;
mod loads;
mod matching;
mod meeting;
mod onboarding;
mod open;
mod opening;
mod planning;
mod prefetch;
mod pressure;
mod probe;
mod progressed;
mod promote;
mod recover;
mod served;
mod settle;
mod shutdown;
mod slices;
mod spans;
mod standing;
mod stats;
mod step;
mod telling;
mod tenants;
mod whereabouts;

pub use crate::sequence::RequestPriority;
pub use build::Backend;
pub use course::Forecast;
pub use deliveries::{Deliveries, Delivery};
pub use external::BlockAt;
pub use handle::{Prompt, Request, Sequence};
pub use hold::Hold;
pub use keepers::{Kept, KeptSlots};
pub use prefetch::Prefetch;
pub use progressed::Progressed;
pub use shutdown::WrittenOut;
pub use spans::Spans;
pub use stats::{Evictions, LaneReport, PlanCounts, Promoted, SequenceReport, Stats, TierReport};
pub use step::Step;
pub use tenants::TenantReport;

use self::core::Core;
use self::opening::Opening;
use self::telling::Telling;
use crate::clock::{Clock, Time};
use crate::config::Config;
use crate::error::Error;
use crate::event::BlockEvent;
use crate::ids::{GroupId, TierId};
use crate::layout::ModelLayout;
use crate::policy::{Answer, Policy};
use crate::pool::SlotCounts;
use crate::prefix::PrefixHasher;
use crate::sync::{AtomicU64, Mutex, Timed};
use crate::tier::Signal;
use crate::units::Nanos;
use std::sync::Arc;

/// How often a waiter looks whether a fence is over: well below what one step of compute takes.
const FENCE_POLL: Nanos = Nanos::new(200_000);

/// What all handles share.
#[derive(Debug)]
struct Shared {
    core: Timed<Core>,
    clock: Arc<dyn Clock>,
    signal: Arc<Signal>,
    hasher: PrefixHasher,
    /// The epoch, for those who name blocks without the lock; what counts is the core's.
    epoch: AtomicU64,
    tokens_per_block: u32,
    /// How far the long sequence at hand has been opened (SL3).
    opening: Mutex<Opening>,
    /// The request that the policy is being told of (SL4), if it is to be told of any.
    telling: Mutex<Telling>,
    tells: bool,
    slice_blocks: usize,
    /// Blocks of the longest request.
    request_blocks: usize,
    model: ModelLayout,
}

/// A moment in the life of a pager, to wait for the next one. Take it before the call that may have to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress(u64);

impl Progress {
    /// The moment of that number, for languages that know only numbers.
    pub fn from_u64(count: u64) -> Self {
        Self(count)
    }

    /// Its number.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

/// A paged KV cache over tiers. Cheap to clone; used from any number of threads.
#[derive(Clone, Debug)]
pub struct Pager {
    shared: Arc<Shared>,
}

impl Pager {
    /// A pager of `model`'s blocks over the tiers and lanes of `backend`. Takes all memory for its bookkeeping, and takes in
    /// what a tier has kept from an earlier process.
    ///
    /// # Errors
    /// [`Error::Configuration`] if the settings, the model and the backend do not fit together.
    pub fn new(
        model: ModelLayout,
        config: Config,
        backend: Backend,
        policy: Box<dyn Policy>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let signal = Arc::new(Signal::new());
        let hasher = PrefixHasher::new(config.hash_key, config.fingerprint);
        let tokens_per_block = model.tokens_per_block();
        let epoch = AtomicU64::new(config.epoch.0);
        let core = Core::new(model.clone(), config, backend, policy, Arc::clone(&signal), clock.now())?;
        let tells = core.tells();
        let request_blocks = config.limits.sequence_tokens.div_ceil(tokens_per_block) as usize;
        let shared = Shared {
            core: Timed::new(core),
            clock,
            signal,
            hasher,
            epoch,
            tokens_per_block,
            opening: Mutex::new(Opening::default()),
            telling: Mutex::new(Telling::with_capacity(if tells { request_blocks } else { 0 })),
            tells,
            slice_blocks: config.limits.slice_blocks as usize,
            request_blocks,
            model,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Opens a sequence for a request: matches its prefix, holds or loads what was found, and takes device slots for the rest.
    /// Never blocks. Costs a hash a block outside the lock; `docs/benchmarks.md` has what
    /// it costs under it.
    ///
    /// # Errors
    /// [`Error::TierBusy`] and [`Error::TierFull`] if there are not enough free device slots: wait, then try again.
    /// [`Error::TooManySequences`] at the limit. [`Error::SequenceTooLong`] if it can never fit. Nothing has changed then.
    #[tracing::instrument(level = "debug", skip_all, fields(tokens = request.tokens().len()))]
    pub fn open(&self, request: &Request<'_>) -> Result<Sequence, Error> {
        handle::open(self, request)
    }

    /// Names the blocks of a request, without the lock, so that opening it does not have to: about 15 ns a block of 16 tokens, once,
    /// however often it is tried.
    pub fn prepare(&self, request: &Request<'_>) -> Prompt {
        handle::prepare(self, request)
    }

    /// Opens a sequence for a request that is prepared, as [`Pager::open`] does.
    ///
    /// # Errors
    /// Those of [`Pager::open`].
    #[tracing::instrument(level = "debug", skip_all, fields(tokens = prompt.tokens().len()))]
    pub fn open_prompt(&self, prompt: &Prompt) -> Result<Sequence, Error> {
        handle::open_prompt(self, prompt)
    }

    /// Where the pager stands; take it before a call that may have to wait.
    pub fn progress(&self) -> Progress {
        Progress(self.shared.signal.count())
    }

    /// Blocks until something has ended or was closed since `seen` was taken, or for `timeout`. Returns whether it did. Fences of
    /// compute ring no bell: while something waits for one, it looks every 200 µs.
    pub fn wait(&self, seen: Progress, timeout: Nanos) -> bool {
        let mut left = timeout;
        loop {
            let (next_look, waits_for_fence) = self.next_look();
            let nap = left.min(next_look);
            let has_rung = self.shared.signal.wait_past(seen.0, nap);
            self.poll();
            left = Nanos::new(left.as_u64() - nap.as_u64());
            if has_rung || self.progress() != seen || left == Nanos::ZERO || !waits_for_fence {
                return has_rung || self.progress() != seen;
            }
        }
    }

    /// Waits as [`Pager::wait`] does, as a future and without an end.
    pub fn progressed(&self, seen: Progress) -> Progressed<'_> {
        Progressed::new(self, seen)
    }

    /// How long it may be left alone though nobody rings: until the next deadline of a move, until a load that a sequence waits for is
    /// late, or the next look at a fence.
    pub fn nap(&self) -> Nanos {
        self.next_look().0
    }

    /// How many tasks wait for it to get on.
    pub fn waiting_tasks(&self) -> usize {
        self.shared.signal.tasks()
    }

    /// When it must look by itself, and whether that is for a fence.
    fn next_look(&self) -> (Nanos, bool) {
        let (deadline, waits_for_fence) = {
            let core = self.shared.core.lock();
            (core.next_deadline(), core.waits_for_fence())
        };
        let until_deadline =
            if deadline == Time::NEVER { Nanos::MAX } else { deadline.since(self.shared.clock.now()) };
        (until_deadline.min(if waits_for_fence { FENCE_POLL } else { Nanos::MAX }), waits_for_fence)
    }

    /// Takes in what has ended and starts what waits. Every other call does it too.
    pub fn poll(&self) {
        slices::keep_house(&self.shared, self.shared.clock.now());
    }

    /// Whether any move waits or is under way.
    pub fn is_busy(&self) -> bool {
        self.shared.core.lock().is_busy()
    }

    /// Counters since the start.
    pub fn stats(&self) -> Stats {
        self.shared.core.lock().stats()
    }

    /// What other policies, or other sizes of memory, would have hit, if the policy runs such shadows. Allocates.
    pub fn answers(&self) -> Vec<Answer> {
        // What reads names may be at it: no one should wait for that with the lock.
        let _telling = self.shared.telling.lock();
        self.shared.core.lock().policy.answers()
    }

    /// What the pager's clock says.
    pub fn now(&self) -> Time {
        self.shared.clock.now()
    }

    /// Empty histograms that fit this pager, for [`Pager::take_spans`]. Allocates.
    pub fn empty_spans(&self) -> Spans {
        let mut spans = self.shared.core.lock().spans.clone();
        spans.clear();
        spans
    }

    /// Exchanges the histograms of how long things took for `spans`, which are cleared first, so that each span is told once: one
    /// reader takes them. `O(1)` under the lock.
    ///
    /// # Panics
    /// If `spans` are those of a pager with other lanes.
    pub fn take_spans(&self, spans: &mut Spans) {
        spans.clear();
        let mut core = self.shared.core.lock();
        assert!(core.spans.has_lanes_of(spans), "the spans are those of a pager with other lanes");
        std::mem::swap(&mut core.spans, spans);
    }

    /// How many slots of a class are in each state; `None` if there is no such tier.
    pub fn occupancy(&self, tier: TierId, group: GroupId) -> Option<SlotCounts> {
        let core = self.shared.core.lock();
        core.pools.has(tier).then(|| core.pools.pool(tier, group).counts())
    }

    /// Moves the block events since the last call to `into`, and returns the number of the first (V1). One reader drains them.
    pub fn drain_events(&self, into: &mut Vec<BlockEvent>) -> u64 {
        slices::drain_events(&self.shared, into)
    }

    /// How many holds of the pager's lock took how many times 100 ns, rounded down; the last counts all that took longer. For
    /// measuring.
    #[cfg(feature = "hold-times")]
    pub fn hold_times(&self) -> Vec<u64> {
        self.shared.core.hold_times()
    }

    /// How many holds of the pager's lock looked at how many different blocks; the last counts those that looked at more. For tests.
    #[cfg(feature = "hold-blocks")]
    pub fn hold_blocks(&self) -> Vec<u64> {
        self.shared.core.lock().index.holds()
    }

    /// Asserts the invariants of everything that the pager knows. `O(slots + blocks)`; for tests.
    ///
    /// # Panics
    /// If one of them does not hold.
    pub fn check(&self) {
        let core = self.shared.core.lock();
        core.check();
        #[cfg(feature = "hold-blocks")]
        core.index.forget_hold();
    }
}
