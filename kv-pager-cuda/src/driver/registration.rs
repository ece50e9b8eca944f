//! Page-locking: host memory that devices read and write at the link's full speed.
//! Uses `driver::device`. Known by: `pinned`.
//!
//! - **R1** the range is registered from construction to drop;
//! - **R2** it is portable (every card may use it) and never write-combined: the CPU reads it too.
#![expect(unsafe_code, reason = "calls of the driver")]

use super::{Device, DriverError, Visit};
use cudarc::driver::sys::{self, CUdeviceptr};
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const PORTABLE: u32 = sys::CU_MEMHOSTREGISTER_PORTABLE;
const DEVICE_MAP: u32 = sys::CU_MEMHOSTREGISTER_DEVICEMAP;

/// A page-locked range of host memory.
#[derive(Debug)]
pub(crate) struct Registration {
    start: *mut u8,
    device_address: CUdeviceptr,
    device: Arc<Device>,
    given_up: AtomicBool,
}

// SAFETY: the pointer is only a name here; nothing is read or written through it.
unsafe impl Send for Registration {}
// SAFETY: as for `Send`.
unsafe impl Sync for Registration {}

impl Registration {
    /// Page-locks `bytes` bytes from `start`.
    ///
    /// # Safety
    /// The range is mapped, private to this process, and stays mapped until the value is dropped.
    pub(crate) unsafe fn new(
        device: &Arc<Device>,
        start: *mut u8,
        bytes: usize,
    ) -> Result<Self, DriverError> {
        let visit = Visit::begin();
        visit.to(device)?;
        // SAFETY: D1; the caller holds the range (above).
        let code = unsafe { sys::cuMemHostRegister_v2(start.cast::<c_void>(), bytes, PORTABLE | DEVICE_MAP) };
        DriverError::check("cuMemHostRegister", code)?;
        let mut registration =
            Self { start, device_address: 0, device: Arc::clone(device), given_up: AtomicBool::new(false) };
        // SAFETY: D1; the range was just registered with the mapping flag.
        let code = unsafe {
            sys::cuMemHostGetDevicePointer_v2(&raw mut registration.device_address, start.cast::<c_void>(), 0)
        };
        DriverError::check("cuMemHostGetDevicePointer", code)?;
        Ok(registration)
    }

    /// Where a kernel finds the range.
    pub(crate) fn device_address(&self) -> u64 {
        self.device_address
    }

    /// Leaves it registered for good: a device may still be writing there.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.given_up.load(Ordering::Relaxed) {
            return;
        }
        let visit = Visit::begin();
        let undone = visit.to(&self.device).and_then(|()| {
            // SAFETY: D1; R1: registered in `new`, and the range is still mapped (its contract).
            let code = unsafe { sys::cuMemHostUnregister(self.start.cast::<c_void>()) };
            DriverError::check("cuMemHostUnregister", code)
        });
        if let Err(error) = undone {
            tracing::warn!(%error, "host memory was not unregistered");
        }
    }
}
