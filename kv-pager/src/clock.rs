//! Time, as the core sees it: nanoseconds since a clock's own start.
//! Layer 0. Uses `units`. Known by: everything that waits or measures.
//!
//! The core never asks the machine for the time, so that the same inputs and the same clock give the same decisions (I9),
//! and a modelled machine can run in virtual time.

use crate::units::Nanos;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

/// A moment: nanoseconds since the start of the clock that gave it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[repr(transparent)]
pub struct Time(u64);

impl Time {
    /// The clock's start.
    pub const START: Self = Self(0);
    /// Never.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `ns` nanoseconds after the start.
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the start.
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// The moment `span` later; [`Time::NEVER`] when there is none.
    #[must_use]
    pub fn after(self, span: Nanos) -> Self {
        Self(self.0.saturating_add(span.as_u64()))
    }

    /// The span since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> Nanos {
        Nanos::new(self.0.saturating_sub(earlier.0))
    }
}

/// Tells the time; never goes backwards.
pub trait Clock: Debug + Send + Sync {
    /// Now.
    fn now(&self) -> Time;
}

/// The machine's monotonic clock, counted from when this value was made.
#[derive(Debug)]
pub struct MonotonicClock {
    start: std::time::Instant,
}

impl MonotonicClock {
    /// A clock that starts now.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Time {
        Time(Nanos::from(self.start.elapsed()).as_u64())
    }
}

/// A clock that stands until it is told to go on.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ns: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at its start.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on to `time`, or stays if that has passed.
    pub fn advance_to(&self, time: Time) {
        self.now_ns.fetch_max(time.0, Ordering::Relaxed);
    }

    /// Goes on by `span`.
    pub fn advance(&self, span: Nanos) {
        self.now_ns.fetch_add(span.as_u64(), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        Time(self.now_ns.load(Ordering::Relaxed))
    }
}
