//! A lock on what is larger than a core's cache: whoever has it keeps it for a while.
//! Layer 0. Uses `sync`. Known by: `sync::timed`.
//!
//! Threads that take turns at every call carry the state from one core's cache to another's each time, and are together slower
//! than one of them. Here a thread whose calls follow one another gets the lock again and again, until who waits for it has waited
//! for some [`PAUSES`]; and only one waits for the lock: the others wait behind it, and leave it alone.
//!
//! - **T1** one thread has the lock at a time;
//! - **T2** nobody goes past one whose turn has come: when its pauses are over, or when the holder [passes it on](Turns::pass).

use super::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering};
use std::time::Duration;

/// How long the first in line leaves the lock alone before it tries again, and how often it does so before its turn has come: a
/// millisecond in all, or two where timers are coarse.
const PAUSE: Duration = Duration::from_micros(50);
const PAUSES: usize = 20;
/// How often one whose turn has come looks whether the lock is free before it sleeps until it is: most are held for less.
const LOOKS: usize = 100;

/// The lock.
#[derive(Debug)]
pub(super) struct Turns<T> {
    state: Mutex<T>,
    /// Held by the first in line.
    line: Mutex<()>,
    has_line: AtomicBool,
    /// Whether the turn of the first in line has come.
    is_due: AtomicBool,
    /// Where it waits, and what rings if its turn comes early.
    rest: Mutex<()>,
    passed: Condvar,
}

impl<T> Turns<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            state: Mutex::new(value),
            line: Mutex::new(()),
            has_line: AtomicBool::new(false),
            is_due: AtomicBool::new(false),
            rest: Mutex::new(()),
            passed: Condvar::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        if !self.is_due.load(Ordering::Relaxed)
            && let Some(guard) = self.state.try_lock()
        {
            return guard;
        }
        self.lock_in_line()
    }

    #[cold]
    fn lock_in_line(&self) -> MutexGuard<'_, T> {
        let _first = self.line.lock();
        self.has_line.store(true, Ordering::Relaxed);
        let guard = self.wait_for_turn();
        self.has_line.store(false, Ordering::Relaxed);
        self.is_due.store(false, Ordering::Relaxed);
        guard
    }

    fn wait_for_turn(&self) -> MutexGuard<'_, T> {
        for _ in 0..PAUSES {
            if let Some(guard) = self.state.try_lock() {
                return guard;
            }
            let mut rest = self.rest.lock();
            if self.is_due.load(Ordering::Relaxed) {
                break;
            }
            self.passed.wait_for(&mut rest, PAUSE);
        }
        self.is_due.store(true, Ordering::Relaxed);
        for _ in 0..LOOKS {
            if let Some(guard) = self.state.try_lock() {
                return guard;
            }
            std::thread::yield_now();
        }
        self.state.lock()
    }

    /// Gives the lock to the first in line, if there is one.
    pub(super) fn pass(&self, guard: MutexGuard<'_, T>) {
        if self.has_line.load(Ordering::Relaxed) {
            let rest = self.rest.lock();
            self.is_due.store(true, Ordering::Relaxed);
            drop(rest);
            self.passed.notify_one();
        }
        drop(guard);
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;
    use crate::sync::{AtomicBool, Ordering};
    use std::thread;

    #[test]
    fn one_thread_has_it_at_a_time() {
        let turns = Turns::new(0_u64);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for step in 0..20_000 {
                        let mut guard = turns.lock();
                        *guard += 1;
                        if step % 64 == 0 {
                            turns.pass(guard);
                        }
                    }
                });
            }
        });
        assert_eq!(*turns.lock(), 80_000, "T1");
    }

    #[test]
    fn who_waits_gets_it_from_one_that_never_stops() {
        for passes in [false, true] {
            let turns = Turns::new(());
            let (has_begun, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        let guard = turns.lock();
                        has_begun.store(true, Ordering::Relaxed);
                        if passes {
                            turns.pass(guard);
                        }
                    }
                });
                while !has_begun.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
                // T2: or this test never ends.
                (0..20).for_each(|_| drop(turns.lock()));
                is_over.store(true, Ordering::Relaxed);
            });
        }
    }
}
