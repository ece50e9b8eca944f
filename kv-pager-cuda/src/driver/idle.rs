//! Whether a device comes to rest: asked before calls that would wait for that without a limit.
//! Uses `driver::{device, visit}`. Known by: `driver::{module, registration}`.
//!
//! Giving back page-locked memory or code waits for all work on the device, and keeps other calls out meanwhile. On a device
//! that hangs they are not given back at all: a leak that is told of, instead of a drop that never returns.
#![expect(unsafe_code, reason = "a call of the driver")]

use super::{Device, DriverError, Visit};
use cudarc::driver::sys;
use kv_pager::sync::{Condvar, Mutex};
use std::sync::Arc;
use std::time::Duration;

/// How long a drop waits for a device to come to rest.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether all work queued on `device` so far ends within [`PATIENCE`]. The thread that waits for it goes on waiting.
pub(super) fn comes_to_rest(device: &Arc<Device>) -> bool {
    let ended = Arc::new((Mutex::new(false), Condvar::new()));
    let (theirs, device) = (Arc::clone(&ended), Arc::clone(device));
    let started = std::thread::Builder::new().name("kv-rest".to_owned()).spawn(move || {
        let visit = Visit::begin();
        let rested = visit.to(&device).and_then(|()| {
            // SAFETY: D1; the context is this thread's (V1).
            let code = unsafe { sys::cuCtxSynchronize() };
            DriverError::check("cuCtxSynchronize", code)
        });
        if let Err(error) = rested {
            tracing::debug!(%error, "a device that is given back is not well");
        }
        *theirs.0.lock() = true;
        theirs.1.notify_all();
    });
    if started.is_err() {
        return false;
    }
    let mut is_over = ended.0.lock();
    ended.1.wait_while_for(&mut is_over, |is_over| !*is_over, PATIENCE);
    *is_over
}
