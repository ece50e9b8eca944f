//! Calls that the driver may keep waiting: made on a thread of their own, so that a drop returns in any case.
//! Uses nothing. Known by: `driver::{module, registration}`.
//!
//! Giving back page-locked memory or code waits for the whole device, an engine that hangs included. What does not return in
//! time is left to its thread, which owns what the call needs.

use kv_pager::sync::{Condvar, Mutex};
use std::sync::Arc;
use std::time::Duration;

/// How long a drop waits for such a call.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes `call` on another thread, and waits until it has returned, or for [`PATIENCE`].
pub(super) fn call_aside(what: &'static str, call: impl FnOnce() + Send + 'static) {
    let ended = Arc::new((Mutex::new(false), Condvar::new()));
    let theirs = Arc::clone(&ended);
    let started = std::thread::Builder::new().name("kv-give-back".to_owned()).spawn(move || {
        call();
        *theirs.0.lock() = true;
        theirs.1.notify_all();
    });
    if let Err(error) = started {
        tracing::warn!(%error, what, "no thread for a call that may wait; what it gives back stays");
        return;
    }
    let mut is_over = ended.0.lock();
    ended.1.wait_while_for(&mut is_over, |is_over| !*is_over, PATIENCE);
    if !*is_over {
        tracing::warn!(what, "the device keeps a call waiting; it is left to its thread");
    }
}
