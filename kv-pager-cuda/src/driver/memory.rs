//! Device memory that this crate owns.
//! Uses `driver::device`. Known by: `device`, `lane`, tests.
//!
//! - **M1** `address..address + bytes` is this value's own from construction to drop;
//! - **M2** memory that a device may still be writing is never freed: it is given up instead.
//!
//! It comes from the device's pool and goes back to it in the order of a stream of its own: plain `cuMemFree` waits for
//! everything on the device, an engine that hangs included.
#![expect(unsafe_code, reason = "calls of the driver")]

use super::{Device, DriverError, Stream, Visit};
use cudarc::driver::sys::{self, CUdeviceptr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Owned device memory.
#[derive(Debug)]
pub struct DeviceMemory {
    address: CUdeviceptr,
    bytes: usize,
    stream: Stream,
    device: Arc<Device>,
    given_up: AtomicBool,
}

impl DeviceMemory {
    /// `bytes` of `device`'s memory, with whatever was in it.
    ///
    /// # Errors
    /// [`DriverError`] if there is not enough.
    pub fn allocate(device: &Arc<Device>, bytes: usize) -> Result<Self, DriverError> {
        let stream = Stream::new(device)?;
        let visit = Visit::begin();
        visit.to(device)?;
        let mut address: CUdeviceptr = 0;
        // SAFETY: D1; `address` is a place for one address; the stream lives.
        let code = unsafe { sys::cuMemAllocAsync(&raw mut address, bytes, stream.raw().raw()) };
        DriverError::check("cuMemAllocAsync", code)?;
        // SAFETY: D1; the stream lives, and has nothing on it but the allocation.
        let code = unsafe { sys::cuStreamSynchronize(stream.raw().raw()) };
        DriverError::check("cuStreamSynchronize", code)?;
        let given_up = AtomicBool::new(false);
        Ok(Self { address, bytes, stream, device: Arc::clone(device), given_up })
    }

    /// Where it begins; a multiple of 256.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How long it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Which card it is on.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Copies `from` to `offset`. Blocks until it is there.
    ///
    /// # Errors
    /// [`DriverError`] if the device is lost.
    ///
    /// # Panics
    /// If it does not fit.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), DriverError> {
        assert!(offset + from.len() <= self.bytes, "{} bytes at {offset} of {}", from.len(), self.bytes);
        let visit = Visit::begin();
        visit.to(&self.device)?;
        // SAFETY: D1; M1 and the assertion hold the target, `from` the source; the call returns when it is done.
        let code =
            unsafe { sys::cuMemcpyHtoD_v2(self.address + offset as u64, from.as_ptr().cast(), from.len()) };
        DriverError::check("cuMemcpyHtoD", code)?;
        // The call may return while the last bytes are still on their way out of the driver's own buffer.
        // SAFETY: D1; null names the default stream, on which the copy is.
        let code = unsafe { sys::cuStreamSynchronize(std::ptr::null_mut()) };
        DriverError::check("cuStreamSynchronize", code)
    }

    /// Copies what lies at `offset` into `into`. Blocks until it is there.
    ///
    /// # Errors
    /// [`DriverError`] if the device is lost.
    ///
    /// # Panics
    /// If it does not lie inside.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), DriverError> {
        assert!(offset + into.len() <= self.bytes, "{} bytes at {offset} of {}", into.len(), self.bytes);
        let visit = Visit::begin();
        visit.to(&self.device)?;
        // SAFETY: D1; M1 and the assertion hold the source, `into` the target; the call returns when it is done.
        let code = unsafe {
            sys::cuMemcpyDtoH_v2(into.as_mut_ptr().cast(), self.address + offset as u64, into.len())
        };
        DriverError::check("cuMemcpyDtoH", code)
    }

    /// Leaves it to the device for good: something may still be writing there (M2).
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        if self.given_up.load(Ordering::Relaxed) {
            tracing::warn!(bytes = self.bytes, "device memory is left allocated: a copy into it never ended");
            return;
        }
        let visit = Visit::begin();
        let freed = visit.to(&self.device).and_then(|()| {
            // SAFETY: D1, D2; M1, M2: it is ours, and nothing of ours writes there any more.
            let code = unsafe { sys::cuMemFreeAsync(self.address, self.stream.raw().raw()) };
            DriverError::check("cuMemFreeAsync", code)
        });
        if let Err(error) = freed {
            tracing::warn!(%error, bytes = self.bytes, "device memory was not freed");
        }
    }
}
