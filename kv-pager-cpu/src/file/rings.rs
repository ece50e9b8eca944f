//! The rings for the reads of one file, or for its writes, taken in turns.
//! Uses `file::ring`. Known by: `file::drive`.
//!
//! - **RT1** no more than were asked for are in use at once, so no more than that many times [`ring::DEPTH`](super::ring::DEPTH)
//!   requests are under way: who wants another waits, and others are at checksums or headers meanwhile;
//! - **RT2** there is one at least, so that who waits has somebody to wait for.

use super::ring::Ring;
use kv_pager::sync::{Condvar, Mutex};

/// Larger requests keep the drive busier than the processor: a thread makes each of them.
pub(super) const REQUEST_BYTES_MAX: usize = 64 << 10;

#[derive(Debug)]
struct State {
    idle: Vec<Ring>,
    made: usize,
    /// As many as are asked for, or the system gave.
    most: usize,
}

/// The rings of one file.
#[derive(Debug)]
pub(super) struct Rings {
    state: Mutex<State>,
    given_back: Condvar,
}

impl Rings {
    /// At most `most` of them, made as they are wanted; `None` where the system gives none.
    pub(super) fn new(most: usize) -> Option<Self> {
        let mut idle = Vec::with_capacity(most);
        match Ring::new() {
            Ok(ring) => idle.push(ring),
            Err(error) => {
                tracing::debug!(%error, "no io_uring: requests are made one by one");
                return None;
            }
        }
        let state = State { idle, made: 1, most };
        Some(Self { state: Mutex::new(state), given_back: Condvar::new() })
    }

    /// Waits for a ring for so many requests of so many bytes in all; `None` if it would be of no use.
    pub(super) fn take_for(&self, requests: usize, bytes: usize) -> Option<Turn<'_>> {
        if requests < 2 || bytes > requests * REQUEST_BYTES_MAX {
            return None;
        }
        Some(self.take())
    }

    fn take(&self) -> Turn<'_> {
        let mut state = self.state.lock();
        loop {
            if let Some(ring) = state.idle.pop() {
                return Turn { rings: self, ring: Some(ring) };
            }
            if state.made == state.most {
                self.given_back.wait(&mut state);
                continue;
            }
            match Ring::new() {
                Ok(ring) => {
                    state.made += 1;
                    return Turn { rings: self, ring: Some(ring) };
                }
                // There is one at least.
                Err(error) => {
                    tracing::debug!(%error, made = state.made, "no more rings");
                    state.most = state.made;
                }
            }
        }
    }
}

/// A ring, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    rings: &'a Rings,
    ring: Option<Ring>,
}

impl Turn<'_> {
    pub(super) fn ring(&mut self) -> &mut Ring {
        self.ring.as_mut().expect("it is given back when the turn is dropped")
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.rings.state.lock().idle.extend(self.ring.take());
        self.rings.given_back.notify_one();
    }
}
