//! A bell that rings when something ended, so that nobody polls and nobody sleeps.
//! Layer 5. Uses `sync`, `units`. Known by: `tier::ticket`, `pager`.

use crate::sync::{Condvar, Mutex};
use crate::units::Nanos;

/// Counts events; waiters sleep until the count they saw has passed.
#[derive(Debug, Default)]
pub struct Signal {
    count: Mutex<u64>,
    rung: Condvar,
}

impl Signal {
    /// A bell that has not rung.
    pub fn new() -> Self {
        Self::default()
    }

    /// How often it has rung. Take it before looking at the state that you may wait for.
    pub fn count(&self) -> u64 {
        *self.count.lock()
    }

    /// Rings.
    pub fn ring(&self) {
        *self.count.lock() += 1;
        self.rung.notify_all();
    }

    /// Blocks until it has rung since `seen` was taken, or for `timeout`. Returns whether it rang.
    pub fn wait_past(&self, seen: u64, timeout: Nanos) -> bool {
        let mut count = self.count.lock();
        if *count != seen {
            return true;
        }
        self.rung.wait_while_for(&mut count, |count| *count == seen, timeout.as_duration());
        *count != seen
    }
}
