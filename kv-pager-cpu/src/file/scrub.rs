//! Scrubbing: reading payloads that nobody asked for, so that damage is found while there is another copy.
//! Uses `file::verify`. Known by: `backend`, backends of devices.
//!
//! - **SC1** a scrubber reads no faster than it was told, one piece at a time, and takes no slot from anybody;
//! - **SC2** what it finds damaged is retired: the next move out of it ends as damaged, and is counted;
//! - **SC3** a scrubber that is dropped waits for its thread, but not if it hangs in the drive: as a lane's (W4) it is left behind
//!   with the tier that it reads, whose directories stay locked until it comes back.

use super::FileSpec;
use super::FileTier;
use super::group::Group;
use super::verify::{self, Buffer, Piece};
use crate::lane::LaneSpec;
use kv_pager::Error;
use kv_pager::ids::TierId;
use kv_pager::sync::{AtomicBool, AtomicU64, Ordering};
use kv_pager::tier::Signal;
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

    fn scrub_piece(&self, group: &Group, piece: &Piece, buffer: &mut Buffer) -> Bytes {
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
pub struct Scrubber {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
    /// How long the drive may take to answer.
    timeout: Nanos,
    /// The process that has the thread.
    owner: u32,
}

#[derive(Debug, Default)]
struct Stop {
    is_asked: AtomicBool,
    /// The thread does nothing more but end.
    is_left: AtomicBool,
    /// Rings when the scrubber is asked to end, and when its thread has.
    signal: Signal,
}

/// The least pause between two rounds, for tiers that hold next to nothing.
const ROUND: Nanos = Nanos::from_millis(10_000);

impl Scrubber {
    /// Scrubs `tier` at the rate that its specification asks for, if it asks for any. A drive that does not answer for as long as
    /// `lanes` say is not waited for at the end.
    ///
    /// # Errors
    /// [`Error::Io`] if the system can't start a thread.
    pub fn start(tier: &Arc<FileTier>, file: &FileSpec, lanes: &LaneSpec) -> Result<Option<Self>, Error> {
        let Some(bytes_per_s) = file.scrub_bytes_per_s else { return Ok(None) };
        let stop = Arc::new(Stop::default());
        let (own, tier) = (Arc::clone(&stop), Arc::clone(tier));
        let life = move || {
            let _leaving = Leaving(&own);
            own.scrub(&tier, bytes_per_s);
        };
        let name = format!("kv scrub {}", TierId::File);
        let thread = thread::Builder::new().name(name).spawn(life).map_err(|source| Error::Io {
            tier: TierId::File,
            action: "cannot start a thread to scrub".to_owned(),
            source,
        })?;
        let (timeout, owner) = (lanes.chunk_timeout, std::process::id());
        Ok(Some(Self { stop, thread: Some(thread), timeout, owner }))
    }
}

impl Stop {
    /// The thread's life.
    fn scrub(&self, tier: &FileTier, bytes_per_s: Bytes) {
        let mut is_going = true;
        while is_going {
            let round = tier.scrub_with(|bytes| {
                let span = bytes.as_u64().saturating_mul(1_000_000_000) / bytes_per_s.as_u64().max(1);
                is_going = !self.pause(Nanos::new(span));
                is_going
            });
            if let Err(error) = round {
                tracing::warn!(%error, "the tier is not scrubbed");
            }
            is_going = is_going && !self.pause(ROUND);
        }
    }

    /// Waits for `span`; true if the scrubber is to end.
    fn pause(&self, span: Nanos) -> bool {
        let seen = self.signal.count();
        if !self.is_asked.load(Ordering::Acquire) {
            self.signal.wait_past(seen, span);
        }
        self.is_asked.load(Ordering::Acquire)
    }
}

/// Says that the thread ends, also by a panic.
struct Leaving<'a>(&'a Stop);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.is_left.store(true, Ordering::Release);
        self.0.signal.ring();
    }
}

impl Drop for Scrubber {
    fn drop(&mut self) {
        // A forked child has neither the thread nor, maybe, the signal's lock.
        if self.owner != std::process::id() {
            return;
        }
        self.stop.is_asked.store(true, Ordering::Release);
        self.stop.signal.ring();
        let seen = self.stop.signal.count();
        let is_left = || self.stop.is_left.load(Ordering::Acquire);
        if !is_left() {
            self.stop.signal.wait_past(seen, self.timeout);
        }
        if !is_left() {
            tracing::error!("the scrubber hangs in the drive and is left behind");
        } else if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the scrubber had panicked");
        }
    }
}
