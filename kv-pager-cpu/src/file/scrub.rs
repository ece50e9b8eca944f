//! Scrubbing: reading payloads that nobody asked for, so that damage is found while there is another copy.
//! Uses `file::verify`. Known by: `backend`.
//!
//! - **SC1** a scrubber reads no faster than it was told, one piece at a time, and takes no slot from anybody;
//! - **SC2** what it finds damaged is retired: the next move out of it ends as damaged, and is counted.

use super::FileTier;
use super::verify::{self, Buffer, Piece};
use kv_pager::sync::{AtomicBool, AtomicU64, Ordering};
use kv_pager::tier::{Signal, Tier};
use kv_pager::units::{Bytes, Nanos};
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// What scrubbing has done since a tier was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Scrubbed {
    /// Bytes of payloads that were read.
    pub bytes: Bytes,
    /// Payloads that were damaged.
    pub damaged: u64,
}

/// What a tier counts of it.
#[derive(Debug, Default)]
pub(super) struct ScrubCounters {
    bytes: AtomicU64,
    damaged: AtomicU64,
}

impl FileTier {
    /// What scrubbing has done since the tier was opened.
    pub fn scrubbed(&self) -> Scrubbed {
        let counters = &self.scrub_counters;
        let bytes = Bytes::new(counters.bytes.load(Ordering::Relaxed));
        Scrubbed { bytes, damaged: counters.damaged.load(Ordering::Relaxed) }
    }

    /// Reads every payload once. Blocks on I/O.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`] if there is no memory to read into.
    pub fn scrub(&self) -> io::Result<Scrubbed> {
        self.scrub_with(|_| true)
    }

    /// As [`FileTier::scrub`], for as long as `go_on` says so, which is told of the bytes of each piece.
    fn scrub_with(&self, mut go_on: impl FnMut(Bytes) -> bool) -> io::Result<Scrubbed> {
        for group in &self.groups {
            let mut buffer = Buffer::new(group)?;
            for piece in verify::pieces(group) {
                let bytes = self.scrub_piece(group, &piece, &mut buffer);
                if !go_on(bytes) {
                    return Ok(self.scrubbed());
                }
            }
        }
        Ok(self.scrubbed())
    }

    fn scrub_piece(&self, group: &super::group::Group, piece: &Piece, buffer: &mut Buffer) -> Bytes {
        let bytes = verify::verify(group, piece, buffer, |slot, is_whole| {
            if !is_whole {
                tracing::warn!(?slot, group = ?group.id, "a payload is damaged; its slot is retired");
                self.scrub_counters.damaged.fetch_add(1, Ordering::Relaxed);
                group.spoil(slot);
                self.call_housekeeper();
            }
        });
        self.scrub_counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        Bytes::new(bytes)
    }
}

/// A thread that scrubs a tier again and again. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Scrubber {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    is_asked: AtomicBool,
    signal: Signal,
}

/// The least pause between two rounds, for tiers that hold next to nothing.
const ROUND: Nanos = Nanos::from_millis(10_000);

impl Scrubber {
    /// Scrubs `tier` at `bytes_per_s`.
    ///
    /// # Errors
    /// What the system says when it can't start a thread.
    pub(crate) fn start(tier: &Arc<FileTier>, bytes_per_s: Bytes) -> io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let (own, tier) = (Arc::clone(&stop), Arc::clone(tier));
        let thread = thread::Builder::new().name(format!("kv scrub {}", tier.id())).spawn(move || {
            let mut is_going = true;
            while is_going {
                let round = tier.scrub_with(|bytes| {
                    let span = bytes.as_u64().saturating_mul(1_000_000_000) / bytes_per_s.as_u64().max(1);
                    is_going = !own.pause(Nanos::new(span));
                    is_going
                });
                if let Err(error) = round {
                    tracing::warn!(%error, "the tier is not scrubbed");
                }
                is_going = is_going && !own.pause(ROUND);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Stop {
    /// Waits for `span`; true if the scrubber is to end.
    fn pause(&self, span: Nanos) -> bool {
        let seen = self.signal.count();
        if !self.is_asked.load(Ordering::Acquire) {
            self.signal.wait_past(seen, span);
        }
        self.is_asked.load(Ordering::Acquire)
    }
}

impl Drop for Scrubber {
    fn drop(&mut self) {
        self.stop.is_asked.store(true, Ordering::Release);
        self.stop.signal.ring();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the scrubber had panicked");
        }
    }
}
