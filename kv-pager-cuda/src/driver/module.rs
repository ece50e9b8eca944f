//! Kernels: code that was compiled for a device and loaded there.
//! Uses `driver::{device, stream}`. Known by: `kernels`, `lane`, tests.
//!
//! - **N1** a [`Kernel`] keeps its module loaded.
#![expect(unsafe_code, reason = "calls of the driver")]

use super::idle::comes_to_rest;
use super::{Device, DriverError, RawStream, Visit};
use cudarc::driver::sys::{self, CUfunction, CUmodule};
use std::ffi::{CStr, c_void};
use std::sync::Arc;

/// A loaded image.
#[derive(Debug)]
pub(crate) struct Module {
    raw: CUmodule,
    device: Arc<Device>,
}

// SAFETY: a module handle may be used from any thread; the driver locks inside.
unsafe impl Send for Module {}
// SAFETY: as for `Send`.
unsafe impl Sync for Module {}

impl Module {
    /// Loads `image`, zero-terminated PTX.
    pub(crate) fn load(device: &Arc<Device>, image: &CStr) -> Result<Self, DriverError> {
        let visit = Visit::begin();
        visit.to(device)?;
        let mut raw: CUmodule = std::ptr::null_mut();
        // SAFETY: D1; `image` is zero-terminated text, which the driver parses and refuses if it is no PTX.
        let code = unsafe { sys::cuModuleLoadData(&raw mut raw, image.as_ptr().cast()) };
        DriverError::check("cuModuleLoadData", code)?;
        Ok(Self { raw, device: Arc::clone(device) })
    }

    /// The kernel called `name`.
    pub(crate) fn kernel(self: &Arc<Self>, name: &CStr) -> Result<Kernel, DriverError> {
        let mut raw: CUfunction = std::ptr::null_mut();
        // SAFETY: D1; the module is loaded while `self` lives; `name` is zero-terminated.
        let code = unsafe { sys::cuModuleGetFunction(&raw mut raw, self.raw, name.as_ptr()) };
        DriverError::check("cuModuleGetFunction", code)?;
        Ok(Kernel { raw, _module: Arc::clone(self) })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if !comes_to_rest(&self.device) {
            tracing::warn!("compiled kernels stay loaded: work on the device does not end");
            return;
        }
        let visit = Visit::begin();
        let unloaded = visit.to(&self.device).and_then(|()| {
            // SAFETY: D2; N1: no kernel of it is left.
            let code = unsafe { sys::cuModuleUnload(self.raw) };
            DriverError::check("cuModuleUnload", code)
        });
        if let Err(error) = unloaded {
            tracing::debug!(%error, "a module was not unloaded");
        }
    }
}

/// A function of a module.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    raw: CUfunction,
    /// N1.
    _module: Arc<Module>,
}

// SAFETY: a function handle may be used from any thread; the driver locks inside.
unsafe impl Send for Kernel {}
// SAFETY: as for `Send`.
unsafe impl Sync for Kernel {}

impl Kernel {
    /// Queues `blocks` blocks of `threads` threads with one argument, which is copied before the call returns.
    ///
    /// # Safety
    /// `argument` has the layout of the kernel's only parameter, and all memory that the kernel touches through it is
    /// valid until the stream has passed it.
    pub(crate) unsafe fn launch<T>(
        &self,
        (blocks, threads): (u32, u32),
        argument: &T,
        stream: RawStream,
    ) -> Result<(), DriverError> {
        let mut parameters = [std::ptr::from_ref(argument).cast_mut().cast::<c_void>()];
        let (none, list) = (std::ptr::null_mut(), parameters.as_mut_ptr());
        // SAFETY: D1; N1; the caller holds the argument's layout and the memory behind it (above).
        let code = unsafe {
            sys::cuLaunchKernel(self.raw, blocks, 1, 1, threads, 1, 1, 0, stream.raw(), list, none)
        };
        DriverError::check("cuLaunchKernel", code)
    }
}
