//! Durability within a time limit: a drive that doesn't answer keeps nobody.
//! Layer 9. Uses `tier`. Known by: `shutdown`.

use crate::error::Error;
use crate::ids::TierId;
use crate::tier::{Persistence, Tier};
use crate::units::Nanos;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

/// How long a wait is at most before the time is looked at.
const WAIT: Nanos = Nanos::from_millis(10);

/// Makes durable what was written to `tier`, for as long as `has_time` says so. Returns whether it is. Blocks on I/O.
///
/// No system call of a drive's can be called off, so a thread of its own makes it: where the time runs out, it is left behind
/// with the tier, and ends when the drive answers.
///
/// # Errors
/// [`Error::Io`] if the drive refuses, or there is no thread to be had.
pub(super) fn flush(tier: Arc<dyn Tier>, has_time: &dyn Fn() -> bool) -> Result<bool, Error> {
    let id = tier.id();
    let (sender, receiver) = mpsc::sync_channel(1);
    let work = move || {
        let flushed = tier.persistence().map_or(Ok(()), Persistence::flush);
        // The caller may have gone.
        drop(sender.send(flushed));
    };
    let name = format!("kv flush {id}");
    thread::Builder::new().name(name).spawn(work).map_err(|source| fault(id, source))?;
    loop {
        match receiver.recv_timeout(WAIT.as_duration()) {
            Ok(flushed) => return flushed.map(|()| true),
            Err(RecvTimeoutError::Timeout) if has_time() => {}
            Err(RecvTimeoutError::Timeout) => return Ok(false),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(fault(id, io::Error::other("the thread that does it has panicked")));
            }
        }
    }
}

fn fault(tier: TierId, source: io::Error) -> Error {
    Error::Io { tier, action: "make writes durable".to_owned(), source }
}
