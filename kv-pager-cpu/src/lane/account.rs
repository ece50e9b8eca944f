//! The account of a lane's time: how long it worked, charged chunk by chunk.
//! Uses `kv_pager::{clock, units}`. Known by: `lane::crew`.
//!
//! - **A1** what chunks are charged adds up to no more than the time in which at least one thread worked, however they overlap, and
//!   to all of it where chunks end in the order in which they began.
//!
//! A chunk is charged what has passed since the last one ended, or since it began itself. Sharing its time among those that worked
//! when it began would count the first requests of a batch, which begin one after the other, several times over: a small batch
//! would look as if the drive were three times slower than it is.

use kv_pager::clock::Time;
use kv_pager::units::Nanos;

/// See the module.
#[derive(Debug)]
pub(super) struct Account {
    /// When the last chunk ended.
    progress: Time,
}

impl Account {
    /// Nothing has ended yet.
    pub(super) fn new() -> Self {
        Self { progress: Time::START }
    }

    /// A chunk that began at `began` ends at `now`. Returns what it is charged.
    pub(super) fn charge(&mut self, began: Time, now: Time) -> Nanos {
        let busy = now.since(self.progress.max(began));
        self.progress = self.progress.max(now);
        busy
    }
}

#[cfg(test)]
mod tests {
    use super::{Account, Nanos, Time};

    fn at(ns: u64) -> Time {
        Time::START.after(Nanos::new(ns))
    }

    #[test]
    fn a_wave_of_requests_is_charged_once() {
        let mut account = Account::new();
        let chunks = (0..16).map(|index| account.charge(at(1000 + index), at(3000 + index)).as_u64());
        assert_eq!(chunks.sum::<u64>(), 2015, "from the first beginning to the last end");
    }

    #[test]
    fn waiting_for_work_is_charged_to_nobody_and_a_request_that_hangs_costs_others_nothing() {
        let mut account = Account::new();
        assert_eq!(account.charge(at(10), at(30)), Nanos::new(20));
        // Another began at 40 and does not end.
        assert_eq!(account.charge(at(1000), at(1005)), Nanos::new(5));
        assert_eq!(account.charge(at(1000), at(1010)), Nanos::new(5));
    }
}
