//! A lane's thread: sees what is over, tells the tickets, issues what had to wait.
//! Uses `lane::{books, issue}`. Known by: `lane`.
//!
//! - **Z1** the lane's lock is held for one look at a time, so a submitter waits for a few driver calls at most;
//! - **Z2** the thread sleeps while nothing is under way, and until shortly before the oldest chunk should be over; then it
//!   looks again and again for a short while, because a sleep costs more than the end of a transfer should.

use super::{Shared, State};
use crate::driver::{DriverError, Visit};
use kv_pager::clock::Time;
use kv_pager::sync::MutexGuard;
use kv_pager::tier::MoveFault;
use kv_pager::units::Nanos;
use std::num::NonZeroU64;
use std::time::Duration;

/// How long before the expected end the thread stops sleeping: the length of a sleep's own delay.
const WAKE_AHEAD: Nanos = Nanos::new(120_000);
/// How long past the expected end it looks without sleeping, and half of what was expected more.
const WATCH: Nanos = Nanos::new(400_000);
/// The longest sleep while something is under way.
const NAP: Duration = Duration::from_millis(1);
/// The least bytes of a chunk that a rate is taken from.
const RATE_BYTES_MIN: u64 = 4 << 20;
/// The sleep when an end is overdue.
const OVERDUE_NAP: Duration = Duration::from_micros(20);

impl State {
    /// Takes in what a chunk took. A higher rate counts at once and is forgotten slowly: to look too early costs little, and
    /// most chunks wait for something besides the link.
    fn learn_rate(&mut self, bytes: u64, took: Nanos) {
        if bytes < RATE_BYTES_MIN || took == Nanos::ZERO {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
        let rate = (bytes as f64 / took.as_secs_f64()).clamp(1e9, 1e12);
        self.bytes_per_s = rate.max(self.bytes_per_s.mul_add(0.98, rate * 0.02));
    }
}

impl Shared {
    /// The thread's whole life.
    pub(super) fn work(&self) {
        // N5: looking at an event, too, would invalidate a capture that another thread began in the global mode.
        let _visit = Visit::begin();
        if let Err(error) = rustix::thread::set_current_timer_slack(NonZeroU64::new(1_000)) {
            tracing::debug!(%error, "a lane's sleeps are longer than they need to be");
        }
        let mut state = self.state.lock();
        loop {
            self.look(&mut state);
            if state.is_stopping {
                state.books.end_waiting(MoveFault::Cancelled);
                if state.books.flights.is_empty() {
                    return;
                }
                if state.books.flights.iter().all(|flight| flight.timed_out) {
                    self.leave(&state);
                    return;
                }
            }
            if state.books.flights.is_empty() && !state.books.aside.is_empty() {
                self.bell.wait_for(&mut state, NAP);
            } else if state.books.flights.is_empty() || self.is_lost() {
                state.is_idle = true;
                while state.is_idle {
                    self.bell.wait(&mut state);
                }
            } else {
                self.rest(&mut state);
            }
        }
    }

    /// Ends what is over, times out what takes too long, issues what can be issued.
    fn look(&self, state: &mut State) {
        let was = state.books.flights.len();
        while let Some(oldest) = state.books.flights.front().copied().filter(|_| !self.is_lost()) {
            let is_over = match self.look_at_oldest(state) {
                Ok(is_over) => is_over,
                Err(error) => {
                    self.give_up(state, &error.to_string());
                    break;
                }
            };
            if !is_over {
                let since = self.clock.now().since(state.books.progress.max(oldest.issued));
                if since >= self.options.stall && !oldest.timed_out {
                    tracing::error!(
                        lane = %self.direction.ends(),
                        "nothing ended for {:.1} s: what is under way counts as timed out",
                        since.as_secs_f64()
                    );
                    state.books.abandon(MoveFault::TimedOut);
                }
                break;
            }
            let now = self.clock.now();
            // Of several that are over at once, only the first one's time is known.
            if state.books.flights.len() == was {
                state.learn_rate(oldest.bytes, now.since(state.books.progress.max(oldest.issued)));
            }
            state.issuer.ranks.iter_mut().for_each(|rank| rank.release(oldest.chunk));
            state.books.end_oldest(now);
        }
        if state.books.flights.len() < was {
            self.issue(state);
        }
        if !state.books.aside.is_empty() && !state.is_quiet {
            let ends = (self.device.as_ref(), self.host.as_ref());
            let how = (self.direction, &self.options);
            let State { books, issuer, .. } = &mut *state;
            if let Err(error) = issuer.issue_aside(books, ends, how, self.clock.as_ref()) {
                self.give_up(state, &error.to_string());
            }
        }
    }

    /// Whether all ranks are over with the oldest chunk; takes down when each is.
    fn look_at_oldest(&self, state: &mut State) -> Result<bool, DriverError> {
        let State { books, issuer, rank_busy_ns, .. } = state;
        let progress = books.progress;
        let oldest = books.flights.front_mut().expect("something is under way");
        for (index, rank) in issuer.ranks.iter().enumerate() {
            if oldest.ranks_over >> index & 1 == 0 && rank.is_over(oldest.chunk)? {
                oldest.ranks_over |= 1 << index;
                rank_busy_ns[index] += self.clock.now().since(progress.max(oldest.issued)).as_u64();
            }
        }
        Ok(oldest.ranks_over.count_ones() as usize == issuer.ranks.len())
    }

    /// Z2.
    fn rest(&self, state: &mut MutexGuard<'_, State>) {
        let oldest = *state.books.flights.front().expect("something is under way");
        let start = state.books.progress.max(oldest.issued);
        // Chunks without moves of their own are layers of a part: nobody waits for their ends here.
        let without = state.books.flights.iter().take_while(|flight| flight.moves == 0).count();
        let bytes: u64 = state.books.flights.iter().take(without + 1).map(|flight| flight.bytes).sum();
        #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "far below the range, and positive"
        )]
        let expected = Nanos::new((bytes as f64 / state.bytes_per_s * 1e9) as u64);
        let end = start.after(expected);
        let now = self.clock.now();
        if now.after(WAKE_AHEAD) < end {
            let ahead = end.since(now.after(WAKE_AHEAD)).as_duration();
            self.bell.wait_for(state, ahead.min(NAP));
        } else if now < end.after(WATCH).after(Nanos::new(expected.as_u64() / 2)) && !oldest.timed_out {
            MutexGuard::unlocked(state, || self.watch_pause(now));
        } else {
            let nap = if oldest.timed_out { NAP } else { OVERDUE_NAP };
            self.bell.wait_for(state, nap);
        }
    }

    /// A microsecond without the lock.
    fn watch_pause(&self, from: Time) {
        while self.clock.now().since(from) < Nanos::new(1_000) {
            std::hint::spin_loop();
        }
    }

    /// X2: something never ended. Its memory stays where it is.
    fn leave(&self, state: &State) {
        tracing::error!(lane = %self.direction.ends(), "a lane ends with copies under way that never ended");
        state.issuer.ranks.iter().for_each(super::RankLane::give_up);
        self.host.give_up();
        self.device.give_up();
    }
}
