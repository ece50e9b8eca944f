//! Streams: our own, and an engine's, which we only name.
//! Uses `driver::{device, event}`. Known by: the crate; engines pass [`RawStream`]s.
//!
//! - **S1** an own stream never waits for the legacy default stream, so an engine that uses that one doesn't stop us.
#![expect(unsafe_code, reason = "calls of the driver")]

use super::{Device, DriverError, Event, Visit};
use cudarc::driver::sys::{self, CUstream, CUstream_flags, CUstreamCaptureStatus};
use kv_pager::clock::{Clock, MonotonicClock, Time};
use kv_pager::units::Nanos;
use std::sync::Arc;

/// An engine's stream, as the driver knows it (`CUstream`, or the runtime's `cudaStream_t`).
#[derive(Clone, Copy, Debug)]
pub struct RawStream(CUstream);

// SAFETY: a stream handle may be used from any thread; the driver locks inside.
unsafe impl Send for RawStream {}
// SAFETY: as for `Send`.
unsafe impl Sync for RawStream {}

impl RawStream {
    /// Names a stream.
    ///
    /// # Safety
    /// `handle` is a live stream, and stays so for every call that it is passed to.
    pub unsafe fn from_handle(handle: *mut std::ffi::c_void) -> Self {
        Self(handle.cast())
    }

    /// The handle.
    pub fn handle(self) -> *mut std::ffi::c_void {
        self.0.cast()
    }

    pub(super) fn raw(self) -> CUstream {
        self.0
    }

    /// Whether it records a graph now, in which nothing of ours may appear.
    pub(crate) fn is_capturing(self) -> Result<bool, DriverError> {
        let mut status = CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
        // SAFETY: D1; the handle is live (`from_handle`); `status` is a place for one status.
        let code = unsafe { sys::cuStreamIsCapturing(self.0, &raw mut status) };
        DriverError::check("cuStreamIsCapturing", code)?;
        Ok(status != CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE)
    }

    /// Whether all that was queued is done. Does not block.
    fn is_over(self) -> Result<bool, DriverError> {
        // SAFETY: D1; the handle is live (`from_handle`).
        let code = unsafe { sys::cuStreamQuery(self.0) };
        match DriverError::check("cuStreamQuery", code) {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_ready() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is queued from now on waits for what `event` recorded last. Does not block the host.
    pub(crate) fn wait_for(self, event: &Event) -> Result<(), DriverError> {
        // SAFETY: D1; both handles are live (`from_handle`, E1).
        let code = unsafe { sys::cuStreamWaitEvent(self.0, event.raw(), 0) };
        DriverError::check("cuStreamWaitEvent", code)
    }
}

/// A stream of this crate.
#[derive(Debug)]
pub struct Stream {
    raw: RawStream,
    device: Arc<Device>,
}

impl Stream {
    /// A stream on `device` (S1).
    ///
    /// # Errors
    /// [`DriverError`] if the driver has none left.
    pub fn new(device: &Arc<Device>) -> Result<Self, DriverError> {
        let visit = Visit::begin();
        visit.to(device)?;
        let mut raw: CUstream = std::ptr::null_mut();
        // SAFETY: D1; `raw` is a place for one handle.
        let code =
            unsafe { sys::cuStreamCreate(&raw mut raw, CUstream_flags::CU_STREAM_NON_BLOCKING as u32) };
        DriverError::check("cuStreamCreate", code)?;
        Ok(Self { raw: RawStream(raw), device: Arc::clone(device) })
    }

    /// Its name, for calls that take an engine's stream as well.
    pub fn raw(&self) -> RawStream {
        self.raw
    }

    /// Blocks until all that was queued is done, or for `limit`; whether it is. The caller is in a [`Visit`].
    ///
    /// # Errors
    /// [`DriverError`] if the device is lost.
    pub(crate) fn finish(&self, limit: Nanos) -> Result<bool, DriverError> {
        let clock = MonotonicClock::new();
        while !self.raw.is_over()? {
            if clock.now().since(Time::START) >= limit {
                return Ok(false);
            }
            std::thread::yield_now();
        }
        Ok(true)
    }

    /// The device that it belongs to.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _visit = Visit::begin();
        // SAFETY: D2; V1 through `device`. Work that is still queued goes on; whoever queued it keeps its memory.
        let code = unsafe { sys::cuStreamDestroy_v2(self.raw.0) };
        if let Err(error) = DriverError::check("cuStreamDestroy", code) {
            tracing::debug!(%error, "a stream was not destroyed");
        }
    }
}
