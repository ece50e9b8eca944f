//! A lane over the lanes of several ranks.
//! Uses `ranks::books`. Known by: tests of several ranks.

use super::books::Books;
use kv_pager::Error;
use kv_pager::sync::Mutex;
use kv_pager::tier::{Lane, LaneEnds, Move, Signal, Ticket};
use kv_pager::units::Nanos;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

#[derive(Debug)]
struct Shared {
    books: Mutex<Books>,
    /// Rung by every rank's tickets.
    signal: Arc<Signal>,
    is_over: AtomicBool,
}

impl Shared {
    fn pump(&self) {
        self.books.lock().pump(&self.signal);
    }
}

/// One lane whose moves are carried out by each rank's (RA1 to RA3).
#[derive(Debug)]
pub struct RankedLane {
    ends: LaneEnds,
    shared: Arc<Shared>,
    limit: usize,
    pump: Option<JoinHandle<()>>,
}

impl RankedLane {
    /// A lane over one lane a rank, which takes at most `limit` moves at a time and gives each rank at most `window` of them. What
    /// waits for the window can be called off. A thread of its own takes in what ranks have ended.
    ///
    /// # Panics
    /// If there is no rank, or they join different tiers.
    pub fn new(ranks: Vec<Arc<dyn Lane>>, window: usize, limit: usize) -> Self {
        let mut lane = Self::stepped(ranks, window, limit);
        let shared = Arc::clone(&lane.shared);
        lane.pump = Some(thread::spawn(move || {
            while !shared.is_over.load(Ordering::Acquire) {
                let seen = shared.signal.count();
                shared.pump();
                shared.signal.wait_past(seen, Nanos::MAX);
            }
        }));
        lane
    }

    /// As [`RankedLane::new`], but what ranks have ended is taken in by [`RankedLane::pump`] and by submitting alone.
    ///
    /// # Panics
    /// As [`RankedLane::new`].
    pub fn stepped(ranks: Vec<Arc<dyn Lane>>, window: usize, limit: usize) -> Self {
        let ends = ranks.first().expect("a lane over ranks has some").ends();
        assert!(ranks.iter().all(|rank| rank.ends() == ends), "all ranks join {ends}");
        let books = Mutex::new(Books::new(ranks, window));
        let shared = Shared { books, signal: Arc::new(Signal::new()), is_over: AtomicBool::new(false) };
        Self { ends, shared: Arc::new(shared), limit, pump: None }
    }

    /// Takes in what ranks have ended, and gives them more.
    pub fn pump(&self) {
        self.shared.pump();
    }
}

impl Lane for RankedLane {
    fn ends(&self) -> LaneEnds {
        self.ends
    }

    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        let mut books = self.shared.books.lock();
        books.pump(&self.shared.signal);
        if books.len() + batch.len() > self.limit {
            return Err(Error::QueueFull { limit: self.limit });
        }
        let ticket = books.add(batch);
        books.pump(&self.shared.signal);
        Ok(ticket)
    }
}

impl Drop for RankedLane {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        self.shared.signal.ring();
        if let Some(pump) = self.pump.take() {
            // A pump that panicked has told so already.
            pump.join().ok();
        }
        self.shared.books.lock().wind_up();
    }
}
