//! A device: one card, its primary context, and what must be known of it.
//! Uses `driver::error`. Known by: the crate, and engines that name a card.
//!
//! - **V1** the context is retained from construction to drop, so handles made in it stay valid while a `Device` lives.
//!
//! The primary context is the one an engine on the CUDA runtime uses, so its pointers and streams are valid here.
#![expect(unsafe_code, reason = "calls of the driver")]

use super::DriverError;
use crate::numa::NodeId;
use cudarc::driver::sys::{self, CUcontext, CUdevice, CUdevice_attribute};
use std::ffi::CStr;

/// One card with its primary context.
#[derive(Debug)]
pub struct Device {
    ordinal: u32,
    handle: CUdevice,
    /// V1: retained.
    context: CUcontext,
    name: String,
    multiprocessors: u32,
    arch: (u32, u32),
    node: Option<NodeId>,
}

// SAFETY: a context handle may be used from any thread; the driver locks inside.
unsafe impl Send for Device {}
// SAFETY: as for `Send`; nothing here is mutated after construction.
unsafe impl Sync for Device {}

impl Device {
    /// Opens card `ordinal`. The driver must have been probed (D1).
    pub(crate) fn open(ordinal: u32) -> Result<Self, DriverError> {
        let mut handle: CUdevice = 0;
        let wanted = i32::try_from(ordinal).unwrap_or(i32::MAX);
        // SAFETY: D1; `handle` is a place for one handle.
        let code = unsafe { sys::cuDeviceGet(&raw mut handle, wanted) };
        DriverError::check("cuDeviceGet", code)?;
        let mut context: CUcontext = std::ptr::null_mut();
        // SAFETY: D1; `handle` names a device and `context` is a place for one handle.
        let code = unsafe { sys::cuDevicePrimaryCtxRetain(&raw mut context, handle) };
        DriverError::check("cuDevicePrimaryCtxRetain", code)?;
        let mut device = Self {
            ordinal,
            handle,
            context,
            name: String::new(),
            multiprocessors: 0,
            arch: (0, 0),
            node: None,
        };
        device.name = read_text(|buffer, length| {
            // SAFETY: D1; `buffer` has room for `length` bytes.
            unsafe { sys::cuDeviceGetName(buffer, length, handle) }
        })?;
        device.multiprocessors =
            device.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        device.arch = (
            device.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            device.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        );
        let bus = read_text(|buffer, length| {
            // SAFETY: D1; `buffer` has room for `length` bytes.
            unsafe { sys::cuDeviceGetPCIBusId(buffer, length, handle) }
        })?;
        device.node = crate::numa::node_of_pci_device(&bus);
        Ok(device)
    }

    fn attribute(&self, attribute: CUdevice_attribute) -> Result<u32, DriverError> {
        let mut value = 0;
        // SAFETY: D1; `value` is a place for one number.
        let code = unsafe { sys::cuDeviceGetAttribute(&raw mut value, attribute, self.handle) };
        DriverError::check("cuDeviceGetAttribute", code)?;
        Ok(u32::try_from(value).unwrap_or(0))
    }

    /// Its number among the cards that this process sees.
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// What its maker calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many multiprocessors it has.
    pub fn multiprocessors(&self) -> u32 {
        self.multiprocessors
    }

    /// Its compute capability, major and minor.
    pub fn arch(&self) -> (u32, u32) {
        self.arch
    }

    /// The node of host memory nearest to it, where the machine tells.
    pub fn node(&self) -> Option<NodeId> {
        self.node
    }

    /// V1: the context, retained while `self` lives.
    pub(super) fn context(&self) -> CUcontext {
        self.context
    }

    /// Bytes free and in all, as the driver counts them now.
    pub(crate) fn memory(&self) -> Result<(u64, u64), DriverError> {
        let visit = super::Visit::begin();
        visit.to(self)?;
        let (mut free, mut total) = (0_usize, 0_usize);
        // SAFETY: D1; both are places for one number.
        let code = unsafe { sys::cuMemGetInfo_v2(&raw mut free, &raw mut total) };
        DriverError::check("cuMemGetInfo", code)?;
        Ok((free as u64, total as u64))
    }
}

/// What `read` writes into a buffer of the length it is given.
fn read_text(read: impl Fn(*mut std::ffi::c_char, i32) -> sys::CUresult) -> Result<String, DriverError> {
    let mut buffer = [0_u8; 128];
    DriverError::check("cuDeviceGetName", read(buffer.as_mut_ptr().cast(), 127))?;
    let text = CStr::from_bytes_until_nul(&buffer).unwrap_or_default();
    Ok(text.to_string_lossy().into_owned())
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: V1: retained in `open`, released only here.
        let code = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.handle) };
        if let Err(error) = DriverError::check("cuDevicePrimaryCtxRelease", code) {
            tracing::warn!(%error, device = self.ordinal, "a device's context was not released");
        }
    }
}
