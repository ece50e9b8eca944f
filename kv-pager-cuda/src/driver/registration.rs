//! Page-locking: host memory that devices read and write at the link's full speed.
//! Uses `driver::{device, idle}`. Known by: `pinned`.
//!
//! - **R1** the range is registered from construction to drop, and its owner is kept for as long;
//! - **R2** it is portable (every card may use it) and never write-combined: the CPU reads it too;
//! - **R3** memory that a device may still be writing is neither unregistered nor let go.
#![expect(unsafe_code, reason = "calls of the driver")]

use super::idle::comes_to_rest;
use super::{Device, DriverError, Visit};
use cudarc::driver::sys::{self, CUdeviceptr};
use std::any::Any;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const PORTABLE: u32 = sys::CU_MEMHOSTREGISTER_PORTABLE;
const DEVICE_MAP: u32 = sys::CU_MEMHOSTREGISTER_DEVICEMAP;

/// A page-locked range of host memory.
#[derive(Debug)]
pub(crate) struct Registration {
    /// R1.
    start: *mut u8,
    device_address: CUdeviceptr,
    device: Arc<Device>,
    /// R1: `Some` until it is dropped.
    owner: Option<Arc<dyn Any + Send + Sync>>,
    given_up: AtomicBool,
}

// SAFETY: the pointer is only a name here; nothing is read or written through it.
unsafe impl Send for Registration {}
// SAFETY: as for `Send`.
unsafe impl Sync for Registration {}

impl Registration {
    /// Page-locks `bytes` bytes from `start`, which `owner` owns.
    ///
    /// # Safety
    /// The range is mapped, private to this process, and stays mapped while `owner` lives.
    pub(crate) unsafe fn new(
        device: &Arc<Device>,
        (start, bytes): (*mut u8, usize),
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Result<Self, DriverError> {
        let visit = Visit::begin();
        visit.to(device)?;
        // SAFETY: D1; the caller holds the range (above).
        let code = unsafe { sys::cuMemHostRegister_v2(start.cast::<c_void>(), bytes, PORTABLE | DEVICE_MAP) };
        DriverError::check("cuMemHostRegister", code)?;
        let (device, given_up) = (Arc::clone(device), AtomicBool::new(false));
        let mut registration = Self { start, device_address: 0, device, owner: Some(owner), given_up };
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

    /// R3: leaves it registered for good.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let owner = self.owner.take();
        if self.given_up.load(Ordering::Relaxed) || !comes_to_rest(&self.device) {
            tracing::warn!("pinned memory stays locked and mapped: work on the device does not end");
            Box::leak(Box::new(owner));
            return;
        }
        let visit = Visit::begin();
        let undone = visit.to(&self.device).and_then(|()| {
            // SAFETY: D1; R1: registered in `new`, and the range is still mapped: its owner is here.
            let code = unsafe { sys::cuMemHostUnregister(self.start.cast::<c_void>()) };
            DriverError::check("cuMemHostUnregister", code)
        });
        if let Err(error) = undone {
            tracing::warn!(%error, "host memory was not unregistered");
        }
    }
}
