//! The gate that writes pass: while somebody reads, only few of them do.
//! Uses nothing. Known by: `file::{reading, writing}`.
//!
//! - **GA1** while chunks are read, no more than [`WRITES_BESIDE_READS`] requests to write begin: a burst of writes doesn't take
//!   the drives from whoever waits for a read;
//! - **GA2** writes always go on, however many reads there are;
//! - **GA3** of small writes that pass together no more than [`TOGETHER_MAX`] are under way: so many are before a read that comes next.
//!
//! With no reads a request that passes alone takes no lock. Who changes a count looks afterwards whether somebody waits, and who
//! waits says so before looking at the counts.

use super::drive::{WRITE_RINGS, WRITES_TOGETHER};
use kv_pager::sync::{AtomicU32, Condvar, Mutex, Ordering};

const WRITES_BESIDE_READS: u32 = 4;

/// As many as a file has rings for: who has passed doesn't wait for one.
#[expect(clippy::cast_possible_truncation, reason = "256")]
const TOGETHER_MAX: u32 = (WRITE_RINGS * WRITES_TOGETHER) as u32;

/// Who is at a tier's drives.
#[derive(Debug, Default)]
pub(super) struct Gate {
    reads: AtomicU32,
    writes: AtomicU32,
    /// Who waits, or is about to.
    waiters: AtomicU32,
    waiting: Mutex<()>,
    changed: Condvar,
}

/// A chunk that is read, until it is dropped.
#[derive(Debug)]
pub(super) struct Reading<'a>(&'a Gate);

/// Requests to write, until it is dropped.
#[derive(Debug)]
pub(super) struct Writing<'a> {
    gate: &'a Gate,
    count: u32,
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
        let is_crowded = || self.is_read() && self.writes.load(Ordering::SeqCst) >= WRITES_BESIDE_READS;
        if is_crowded() {
            self.wait_while(is_crowded);
        }
        self.pass(1)
    }

    /// `count` small requests are written together, once there are few enough (GA3); `None` while somebody reads: then they pass one
    /// by one.
    pub(super) fn write_together(&self, count: u32) -> Option<Writing<'_>> {
        let writes = || self.writes.load(Ordering::SeqCst);
        let is_crowded = || !self.is_read() && writes() > 0 && writes() + count > TOGETHER_MAX;
        if is_crowded() {
            self.wait_while(is_crowded);
        }
        if self.is_read() { None } else { Some(self.pass(count)) }
    }

    fn pass(&self, count: u32) -> Writing<'_> {
        Writing { gate: self, count, others: self.writes.fetch_add(count, Ordering::SeqCst) }
    }

    fn is_read(&self) -> bool {
        self.reads.load(Ordering::SeqCst) > 0
    }

    fn wait_while(&self, is_crowded: impl Fn() -> bool) {
        let mut waiting = self.waiting.lock();
        self.waiters.fetch_add(1, Ordering::SeqCst);
        while is_crowded() {
            self.changed.wait(&mut waiting);
        }
        self.waiters.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes with `notify`, if somebody waits.
    fn wake(&self, notify: impl FnOnce(&Condvar)) {
        if self.waiters.load(Ordering::SeqCst) > 0 {
            let _waiting = self.waiting.lock();
            notify(&self.changed);
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if self.0.reads.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.wake(|changed| {
                changed.notify_all();
            });
        }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.gate.writes.fetch_sub(self.count, Ordering::SeqCst);
        self.gate.wake(|changed| {
            changed.notify_one();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Gate, TOGETHER_MAX, WRITES_BESIDE_READS};
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

    #[test]
    fn small_writes_pass_together_up_to_a_number_and_not_beside_a_read() {
        let gate = Gate::default();
        let half = || gate.write_together(TOGETHER_MAX / 2).expect("nobody reads");
        let (first, second) = (half(), half());
        assert_eq!((first.others, second.others), (0, TOGETHER_MAX / 2));
        let passed = AtomicU32::new(0);
        thread::scope(|scope| {
            let pass = |count| {
                let write = gate.write_together(count);
                passed.fetch_add(1, Ordering::SeqCst);
                write.is_some()
            };
            let late = scope.spawn(move || pass(1));
            for _ in 0..1000 {
                thread::yield_now();
                assert_eq!(passed.load(Ordering::SeqCst), 0, "GA3");
            }
            // One that passes alone doesn't wait for them.
            drop(gate.write());
            drop(first);
            assert!(late.join().expect("GA2"), "there is room again");
        });
        let read = gate.read();
        assert!(gate.write_together(1).is_none(), "GA1");
        drop(read);
        drop(second);
        assert!(gate.write_together(TOGETHER_MAX + 1).is_some(), "nothing else is under way");
    }
}
