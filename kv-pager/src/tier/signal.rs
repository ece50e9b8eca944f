//! A bell that rings when something ended, so that nobody polls and nobody sleeps.
//! Layer 5. Uses `sync`, `units`. Known by: `tier::ticket`, `pager`.
//!
//! - **B1** whoever saw a count is woken by the next ring, thread or task, or told at once that it has passed;
//! - **B2** a task that waits has one waker here; it goes when the bell rings or its [`WakerPlace`] is given back (I8).

use crate::sync::{Condvar, Mutex};
use crate::units::Nanos;
use std::task::{Context, Poll, Waker};

/// Counts events; waiters sleep until the count they saw has passed.
#[derive(Debug, Default)]
pub struct Signal {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct State {
    count: u64,
    /// Of tasks, each with the number of its place.
    wakers: Vec<(u64, Waker)>,
    places: u64,
}

/// Where a task waits. It belongs to one bell.
#[derive(Debug, Default)]
pub struct WakerPlace {
    number: Option<u64>,
}

impl Signal {
    /// A bell that has not rung.
    pub fn new() -> Self {
        Self::default()
    }

    /// How often it has rung. Take it before looking at the state that you may wait for.
    pub fn count(&self) -> u64 {
        self.state.lock().count
    }

    /// Rings. A waker that runs its task at once must not come back to whoever rings: no executor's does.
    pub fn ring(&self) {
        let mut state = self.state.lock();
        state.count += 1;
        state.wakers.drain(..).for_each(|(_, waker)| waker.wake());
        self.rung.notify_all();
    }

    /// Blocks until it has rung since `seen` was taken, or for `timeout`. Returns whether it rang.
    pub fn wait_past(&self, seen: u64, timeout: Nanos) -> bool {
        let mut state = self.state.lock();
        if state.count != seen {
            return true;
        }
        self.rung.wait_while_for(&mut state, |state| state.count == seen, timeout.as_duration());
        state.count != seen
    }

    /// Whether it has rung since `seen` was taken; if not, `context`'s task is woken when it does (B1). `O(tasks that wait)`.
    pub fn poll_past(&self, seen: u64, place: &mut WakerPlace, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        let waits = place.number.and_then(|number| state.wakers.iter().position(|(own, _)| *own == number));
        if state.count != seen {
            if let Some(index) = waits {
                state.wakers.swap_remove(index);
            }
            place.number = None;
            return Poll::Ready(());
        }
        if let Some(index) = waits {
            state.wakers[index].1.clone_from(context.waker());
        } else {
            let number = state.places;
            state.places += 1;
            state.wakers.push((number, context.waker().clone()));
            place.number = Some(number);
        }
        Poll::Pending
    }

    /// The task does not wait any more (B2).
    pub fn give_back(&self, place: &mut WakerPlace) {
        if let Some(number) = place.number.take() {
            self.state.lock().wakers.retain(|(own, _)| *own != number);
        }
    }

    /// How many tasks wait.
    pub fn tasks(&self) -> usize {
        self.state.lock().wakers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Signal, WakerPlace};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Context, Wake, Waker};

    #[derive(Default)]
    struct Counter(AtomicU32);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_is_woken_once_by_each_ring_that_it_waits_for() {
        let (signal, counter) = (Signal::new(), Arc::new(Counter::default()));
        let waker = Waker::from(Arc::clone(&counter));
        let context = Context::from_waker(&waker);
        let mut place = WakerPlace::default();
        assert!(signal.poll_past(0, &mut place, &context).is_pending());
        assert!(signal.poll_past(0, &mut place, &context).is_pending());
        assert_eq!(signal.tasks(), 1, "B2");
        signal.ring();
        signal.ring();
        assert_eq!((counter.0.load(Ordering::Relaxed), signal.tasks()), (1, 0));
        assert!(signal.poll_past(0, &mut place, &context).is_ready());
        assert!(signal.poll_past(2, &mut place, &context).is_pending());
        signal.give_back(&mut place);
        signal.ring();
        assert_eq!((counter.0.load(Ordering::Relaxed), signal.tasks()), (1, 0), "it had given up");
    }
}
