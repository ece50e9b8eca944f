//! Desks: what each thread of a lane is at, for the watch to see.
//! Uses `lane::job`. Known by: `lane::{crew, watch}`.
//!
//! - **W1** a thread that works has its job, and when it began, on its desk.

use super::job::Job;
use kv_pager::clock::Time;
use kv_pager::sync::{AtomicBool, Mutex, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

/// One piece of work: a chunk of a job, or housekeeping.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) job: Option<Arc<Job>>,
    pub(super) began: Time,
}

/// One thread's.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// W1.
    work: Mutex<Option<Work>>,
    /// Another thread was started in its place: it ends when it comes back.
    is_relieved: AtomicBool,
    /// The thread does nothing more but end.
    is_left: AtomicBool,
}

impl Desk {
    pub(super) fn begin(&self, job: Option<&Arc<Job>>, began: Time) {
        *self.work.lock() = Some(Work { job: job.cloned(), began });
    }

    pub(super) fn end(&self) {
        self.work.lock().take();
    }

    pub(super) fn work(&self) -> Option<Work> {
        self.work.lock().clone()
    }

    /// True for the first caller.
    pub(super) fn relieve(&self) -> bool {
        !self.is_relieved.swap(true, Ordering::AcqRel)
    }

    pub(super) fn is_relieved(&self) -> bool {
        self.is_relieved.load(Ordering::Acquire)
    }

    pub(super) fn leave(&self) {
        self.end();
        self.is_left.store(true, Ordering::Release);
    }

    pub(super) fn is_left(&self) -> bool {
        self.is_left.load(Ordering::Acquire)
    }
}

/// A thread that was started, and its desk.
#[derive(Debug)]
pub(super) struct Hand {
    pub(super) desk: Arc<Desk>,
    pub(super) thread: JoinHandle<()>,
}
