//! Events: points in a stream's work.
//! Uses `driver::{device, stream}`. Known by: `fences`, `lane`.
//!
//! - **E1** the handle is live from construction to drop.
//!
//! They carry no time stamp, which makes recording and waiting cheaper.
#![expect(unsafe_code, reason = "calls of the driver")]

use super::{Device, DriverError, RawStream, Visit};
use cudarc::driver::sys::{self, CUevent, CUevent_flags};
use std::sync::Arc;

/// A point in a stream's work, reused for later ones.
#[derive(Debug)]
pub(crate) struct Event {
    /// E1.
    raw: CUevent,
    /// Keeps the context (V1).
    _device: Arc<Device>,
}

// SAFETY: an event handle may be used from any thread; the driver locks inside.
unsafe impl Send for Event {}
// SAFETY: as for `Send`.
unsafe impl Sync for Event {}

impl Event {
    /// An event that has recorded nothing, and so is over.
    pub(crate) fn new(device: &Arc<Device>) -> Result<Self, DriverError> {
        let visit = Visit::begin();
        visit.to(device)?;
        let mut raw: CUevent = std::ptr::null_mut();
        // SAFETY: D1; `raw` is a place for one handle.
        let code = unsafe { sys::cuEventCreate(&raw mut raw, CUevent_flags::CU_EVENT_DISABLE_TIMING as u32) };
        DriverError::check("cuEventCreate", code)?;
        Ok(Self { raw, _device: Arc::clone(device) })
    }

    pub(super) fn raw(&self) -> CUevent {
        self.raw
    }

    /// From now on stands for what is queued on `stream` so far.
    pub(crate) fn record(&self, stream: RawStream) -> Result<(), DriverError> {
        // SAFETY: D1; both handles are live (E1, `RawStream::from_handle`).
        let code = unsafe { sys::cuEventRecord(self.raw, stream.raw()) };
        DriverError::check("cuEventRecord", code)
    }

    /// Whether what it stands for is done. Does not block.
    pub(crate) fn is_over(&self) -> Result<bool, DriverError> {
        // SAFETY: D1; E1.
        let code = unsafe { sys::cuEventQuery(self.raw) };
        match DriverError::check("cuEventQuery", code) {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_ready() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let _visit = Visit::begin();
        // SAFETY: D2; V1 through `_device`. The driver frees it once what it stands for is done.
        let code = unsafe { sys::cuEventDestroy_v2(self.raw) };
        if let Err(error) = DriverError::check("cuEventDestroy", code) {
            tracing::debug!(%error, "an event was not destroyed");
        }
    }
}
