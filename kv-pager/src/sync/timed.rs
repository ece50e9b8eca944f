//! A lock that tells how long it was held, where the feature `hold-times` asks for it; a plain one otherwise.
//! Layer 0. Uses `sync::turns`. Known by: `pager`.

use super::MutexGuard;
use super::turns::Turns;
#[cfg(feature = "hold-times")]
use super::{AtomicU64, Ordering};

/// Width of a bucket, and how many there are; the last counts all that took longer.
#[cfg(feature = "hold-times")]
const BUCKET_NS: u64 = 100;
#[cfg(feature = "hold-times")]
const BUCKETS: usize = 10_000;

/// The lock.
#[derive(Debug)]
pub(crate) struct Timed<T> {
    inner: Turns<T>,
    #[cfg(feature = "hold-times")]
    buckets: Box<[AtomicU64]>,
}

/// Gives the lock back when dropped.
#[derive(Debug)]
pub(crate) struct TimedGuard<'a, T> {
    guard: MutexGuard<'a, T>,
    turns: &'a Turns<T>,
    #[cfg(feature = "hold-times")]
    _count: Count<'a>,
}

/// Counts a hold when it is over: dropped after the guard.
#[cfg(feature = "hold-times")]
#[derive(Debug)]
struct Count<'a> {
    buckets: &'a [AtomicU64],
    start: std::time::Instant,
}

/// What is behind the lock, if it wants to know of each hold.
pub(crate) trait Held {
    /// A hold begins.
    fn begin_hold(&mut self) {}
}

impl<T: Held> Timed<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            inner: Turns::new(value),
            #[cfg(feature = "hold-times")]
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(crate) fn lock(&self) -> TimedGuard<'_, T> {
        let mut guard = self.inner.lock();
        guard.begin_hold();
        TimedGuard {
            guard,
            turns: &self.inner,
            #[cfg(feature = "hold-times")]
            _count: Count::begin(&self.buckets),
        }
    }

    /// How many holds took how many times [`BUCKET_NS`], rounded down.
    #[cfg(feature = "hold-times")]
    pub(crate) fn hold_times(&self) -> Vec<u64> {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect()
    }
}

impl<T> TimedGuard<'_, T> {
    /// Gives the lock to who waits for it, if anybody does.
    pub(crate) fn pass(self) {
        self.turns.pass(self.guard);
    }
}

impl<T> std::ops::Deref for TimedGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> std::ops::DerefMut for TimedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[cfg(feature = "hold-times")]
impl<'a> Count<'a> {
    #[expect(clippy::disallowed_methods, reason = "the machine's time is what is measured")]
    fn begin(buckets: &'a [AtomicU64]) -> Self {
        Self { buckets, start: std::time::Instant::now() }
    }
}

#[cfg(feature = "hold-times")]
impl Drop for Count<'_> {
    fn drop(&mut self) {
        let took = self.start.elapsed().as_nanos() / u128::from(BUCKET_NS);
        let bucket = usize::try_from(took).unwrap_or(BUCKETS).min(BUCKETS - 1);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
    }
}
