//! A visit to the driver on somebody's thread: what the thread had set is put back when it ends.
//! Uses `driver::device`. Known by: whatever calls the driver.
//!
//! - **W1** for its length the thread is in the relaxed capture mode, so that nothing we call is forbidden by, or
//!   invalidates, a graph capture on this or another thread;
//! - **W2** at its end the thread has the capture mode and the context that it had before.
#![expect(unsafe_code, reason = "calls of the driver")]

use super::{Device, DriverError};
use cudarc::driver::sys::{self, CUcontext, CUresult, CUstreamCaptureMode};
use std::marker::PhantomData;

/// A thread's stay in the driver. Not sent to other threads: both settings are the thread's.
#[derive(Debug)]
pub(crate) struct Visit {
    /// W2: what to put back.
    context: CUcontext,
    /// W2: what to put back; `None` where the driver would not exchange it.
    mode: Option<CUstreamCaptureMode>,
    thread: PhantomData<*const ()>,
}

impl Visit {
    /// Begins a stay. Costs two driver calls that only touch the thread's own state.
    pub(crate) fn begin() -> Self {
        let mut context: CUcontext = std::ptr::null_mut();
        // SAFETY: D1; `context` is a place for one handle.
        let code = unsafe { sys::cuCtxGetCurrent(&raw mut context) };
        if code != CUresult::CUDA_SUCCESS {
            context = std::ptr::null_mut();
        }
        Self {
            context,
            mode: exchange(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED),
            thread: PhantomData,
        }
    }

    /// Makes `device` the one that calls without a handle refer to.
    #[expect(clippy::unused_self, reason = "a visit has begun, so what is set here is put back (W2)")]
    pub(crate) fn to(&self, device: &Device) -> Result<(), DriverError> {
        // SAFETY: D1; V1: the context is retained while `device` lives.
        let code = unsafe { sys::cuCtxSetCurrent(device.context()) };
        DriverError::check("cuCtxSetCurrent", code)
    }
}

/// Sets the thread's capture mode and returns the one before.
fn exchange(mode: CUstreamCaptureMode) -> Option<CUstreamCaptureMode> {
    let mut mode = mode;
    // SAFETY: D1; `mode` is read and written as one mode.
    let code = unsafe { sys::cuThreadExchangeStreamCaptureMode(&raw mut mode) };
    (code == CUresult::CUDA_SUCCESS).then_some(mode)
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(mode) = self.mode {
            exchange(mode);
        }
        // SAFETY: D1; the handle was the thread's own context when the visit began (W2), or null, which clears it.
        let code = unsafe { sys::cuCtxSetCurrent(self.context) };
        if code != CUresult::CUDA_SUCCESS {
            tracing::debug!(?code, "a thread's context was not put back");
        }
    }
}
