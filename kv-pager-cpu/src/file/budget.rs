//! A budget: how much may be written, so that a drive lasts as long as it was bought for.
//! Uses `kv_pager::{clock, units}`. Known by: `file`.
//!
//! - **BU1** in any span of time no more is granted than the span's share of a day's bytes, and an hour's share on top;
//! - **BU2** what is not used is saved for an hour, not longer: a quiet night doesn't pay for a burst in the morning.
//!
//! It starts with an hour's share over files that are new, and with nothing over files that are opened again: whoever starts every few
//! minutes writes no more in a day than who starts once.

use kv_pager::clock::Time;
use kv_pager::sync::Mutex;
use kv_pager::units::Bytes;

const DAY_NS: u128 = 24 * 3600 * 1_000_000_000;
const HOURS: u64 = 24;

/// Bytes granted as time goes by.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_per_day: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: u64,
    /// Up to when the budget was reckoned.
    reckoned: Time,
}

impl Budget {
    pub(super) fn new(bytes_per_day: Bytes, is_new: bool) -> Self {
        let bytes_per_day = bytes_per_day.as_u64();
        let left = if is_new { bytes_per_day / HOURS } else { 0 };
        let state = State { left, reckoned: Time::START };
        Self { bytes_per_day, state: Mutex::new(state) }
    }

    /// Takes `bytes` out of the budget, if they are in it.
    pub(super) fn take(&self, bytes: Bytes, now: Time) -> bool {
        let mut state = self.state.lock();
        let earned = u128::from(now.since(state.reckoned).as_u64()) * u128::from(self.bytes_per_day) / DAY_NS;
        // Time that earns less than a byte is kept for the next reckoning.
        if earned > 0 {
            let earned = u64::try_from(earned).unwrap_or(u64::MAX);
            state.left = state.left.saturating_add(earned).min(self.bytes_per_day / HOURS);
            state.reckoned = state.reckoned.max(now);
        }
        let is_granted = bytes.as_u64() <= state.left;
        if is_granted {
            state.left -= bytes.as_u64();
        }
        is_granted
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;
    use kv_pager::clock::Time;
    use kv_pager::units::Bytes;

    const HOUR_NS: u64 = 3600 * 1_000_000_000;

    #[test]
    fn an_hours_share_is_there_at_once_and_comes_back_in_an_hour() {
        let budget = Budget::new(Bytes::new(2400), true);
        let take = |bytes, hours: u64| budget.take(Bytes::new(bytes), Time::from_ns(hours * HOUR_NS));
        assert!(take(60, 0));
        assert!(take(40, 0));
        assert!(!take(1, 0));
        assert!(take(100, 1));
        assert!(!take(1, 1));
        assert!(!take(101, 20), "a night saves an hour's share");
        assert!(take(100, 20));
    }

    #[test]
    fn starting_again_and_again_saves_nothing_up() {
        let mut granted = 0;
        // Every six minutes, for a day.
        for _ in 0..240 {
            let budget = Budget::new(Bytes::new(2400), false);
            for minute in 0..6 {
                let now = Time::from_ns(minute * HOUR_NS / 60);
                granted += (0..100).filter(|_| budget.take(Bytes::new(1), now)).count();
            }
        }
        assert!((1000..=2400).contains(&granted), "{granted}");
    }

    #[test]
    fn looking_often_loses_nothing() {
        let budget = Budget::new(Bytes::new(2400), true);
        assert!(budget.take(Bytes::new(100), Time::START));
        for second in 0..3600 {
            assert!(!budget.take(Bytes::new(101), Time::from_ns(second * 1_000_000_000)));
        }
        assert!(budget.take(Bytes::new(98), Time::from_ns(HOUR_NS)));
    }
}
