//! The gate that writes pass: while somebody reads, only few of them do.
//! Uses nothing. Known by: `file::{reading, writing}`.
//!
//! - **GA1** while chunks are read, no more than [`WRITES_BESIDE_READS`] requests to write begin: a burst of writes doesn't take
//!   the drives from whoever waits for a read;
//! - **GA2** writes always go on, however many reads there are.
//!
//! With no reads a request to write takes no lock. What changes a count that a waiter looks at takes it afterwards, to wake.

use kv_pager::sync::{AtomicU32, Condvar, Mutex, Ordering};

const WRITES_BESIDE_READS: u32 = 4;

/// Who is at a tier's drives.
#[derive(Debug, Default)]
pub(super) struct Gate {
    reads: AtomicU32,
    writes: AtomicU32,
    waiting: Mutex<()>,
    changed: Condvar,
}

/// A chunk that is read, until it is dropped.
#[derive(Debug)]
pub(super) struct Reading<'a>(&'a Gate);

/// A request to write, until it is dropped.
#[derive(Debug)]
pub(super) struct Writing<'a> {
    gate: &'a Gate,
    /// How many others there were when it began.
    pub(super) others: u32,
}

impl Gate {
    /// A chunk is read. Never waits.
    pub(super) fn read(&self) -> Reading<'_> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        Reading(self)
    }

    /// Something is written, once there are few enough beside what is read.
    pub(super) fn write(&self) -> Writing<'_> {
        if self.is_crowded() {
            let mut waiting = self.waiting.lock();
            while self.is_crowded() {
                self.changed.wait(&mut waiting);
            }
        }
        Writing { gate: self, others: self.writes.fetch_add(1, Ordering::SeqCst) }
    }

    fn is_crowded(&self) -> bool {
        self.reads.load(Ordering::SeqCst) > 0 && self.writes.load(Ordering::SeqCst) >= WRITES_BESIDE_READS
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if self.0.reads.fetch_sub(1, Ordering::SeqCst) == 1 {
            let _waiting = self.0.waiting.lock();
            self.0.changed.notify_all();
        }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.gate.writes.fetch_sub(1, Ordering::SeqCst);
        if self.gate.reads.load(Ordering::SeqCst) > 0 {
            let _waiting = self.gate.waiting.lock();
            self.gate.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Gate, WRITES_BESIDE_READS};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    #[test]
    fn few_writes_pass_beside_a_read_one_for_each_that_ends_and_all_of_them_after_it() {
        let gate = Gate::default();
        let passed = AtomicU32::new(0);
        let read = gate.read();
        let mut writes: Vec<_> = (0..WRITES_BESIDE_READS).map(|_| gate.write()).collect();
        thread::scope(|scope| {
            let pass = || {
                let write = gate.write();
                passed.fetch_add(1, Ordering::SeqCst);
                drop(write);
            };
            let late = scope.spawn(pass);
            for _ in 0..1000 {
                thread::yield_now();
                assert_eq!(passed.load(Ordering::SeqCst), 0, "GA1");
            }
            writes.pop();
            late.join().expect("GA2");
            writes.push(gate.write());
            let late = [scope.spawn(pass), scope.spawn(pass)];
            drop(read);
            for late in late {
                late.join().expect("nobody reads");
            }
        });
    }
}
