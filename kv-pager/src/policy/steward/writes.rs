//! Writes to the file: which are made, and how many in a day.
//! Layer 8. Uses `clock`, `units`. Known by: `steward`.
//!
//! - **WR1** from any moment on, no more is allowed in a day than a day's bytes and what one burst may have saved up;
//! - **WR2** over a file that an earlier process has left nothing is saved up at first: starting again and again earns nothing.

use crate::clock::Time;
use crate::cost::real;
use crate::units::Bytes;

/// What is written to the file tier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum FileWrites {
    /// All that host memory gives up.
    #[default]
    All,
    /// What was asked for at least twice.
    Earned,
}

/// Seconds of a day.
const DAY_S: f64 = 86_400.0;
/// The share of a day's bytes that may be saved up.
const BURST: f64 = 1.0 / 24.0;

/// A budget that fills evenly through the day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writes {
    bytes_per_day: Option<f64>,
    left: f64,
    filled: Time,
    /// What had been written at the last look, and what has been promised since.
    written: f64,
    promised: f64,
}

impl Writes {
    /// So many bytes a day; `None` for no limit.
    pub(super) fn new(bytes_per_day: Option<Bytes>) -> Self {
        let bytes_per_day = bytes_per_day.map(real::from_bytes);
        Self {
            bytes_per_day,
            left: bytes_per_day.unwrap_or(0.0) * BURST,
            filled: Time::START,
            written: 0.0,
            promised: 0.0,
        }
    }

    /// Gives up what is saved up.
    pub(super) fn start_empty(&mut self, now: Time) {
        (self.left, self.filled) = (0.0, now);
    }

    /// Looks at the clock, and at how many bytes have been written, or are about to be, since the pager was built. What was promised
    /// and not written is free again.
    pub(super) fn look(&mut self, written: Bytes, now: Time) {
        let Some(per_day) = self.bytes_per_day else { return };
        let passed_s = real::from_nanos(now.since(self.filled)) / 1e9;
        let written = real::from_bytes(written);
        self.left = (self.left + per_day * passed_s / DAY_S).min(per_day * BURST) - (written - self.written);
        (self.filled, self.written, self.promised) = (now, written, 0.0);
    }

    /// Whether `bytes` are left beside what has been promised.
    pub(super) fn has(&self, bytes: Bytes) -> bool {
        self.bytes_per_day.is_none() || self.promised + real::from_bytes(bytes) <= self.left
    }

    /// Promises `bytes`. False, and nothing promised, if there are not so many left.
    pub(super) fn promise(&mut self, bytes: Bytes) -> bool {
        let is_allowed = self.has(bytes);
        if is_allowed {
            self.promised += real::from_bytes(bytes);
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Time, Writes};

    #[test]
    fn a_day_allows_a_days_bytes_and_one_burst() {
        let mut writes = Writes::new(Some(Bytes::new(24_000)));
        let mut written = 0;
        for minute in 0..24 * 60 {
            let now = Time::from_ns(minute * 60_000_000_000);
            writes.look(Bytes::new(written), now);
            // Half of what is promised comes to nothing.
            while writes.promise(Bytes::new(20)) {
                written += 10;
            }
        }
        assert!((20_000..=25_000).contains(&written), "{written}");
    }

    #[test]
    fn what_starts_empty_earns_by_the_clock_alone() {
        let mut writes = Writes::new(Some(Bytes::new(24_000)));
        let hour = |hours: u64| Time::from_ns(hours * 3_600_000_000_000);
        writes.start_empty(hour(5));
        writes.look(Bytes::ZERO, hour(5));
        assert!(!writes.has(Bytes::new(1)));
        writes.look(Bytes::ZERO, hour(6));
        assert!(writes.has(Bytes::new(999)) && !writes.has(Bytes::new(1_001)));
    }

    #[test]
    fn without_a_limit_everything_may_be_written() {
        assert!(Writes::new(None).promise(Bytes::mib(1 << 20)));
    }
}
