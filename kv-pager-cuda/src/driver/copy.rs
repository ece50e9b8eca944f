//! Copies by the copy engines, one call each.
//! Uses `driver::stream`. Known by: `lane`.
#![expect(unsafe_code, reason = "calls of the driver")]

use super::{DriverError, RawStream};
use cudarc::driver::sys::{self, CUDA_MEMCPY2D, CUmemorytype};

/// Queues a copy of `bytes` bytes; the driver tells from the addresses which memory they lie in.
///
/// # Safety
/// Both ranges are device memory or registered host memory, and stay so, unread and unwritten by others as the
/// direction demands, until the stream has passed the copy.
pub(crate) unsafe fn copy_async(
    to: u64,
    from: u64,
    bytes: usize,
    stream: RawStream,
) -> Result<(), DriverError> {
    // SAFETY: D1; the caller holds both ranges (above).
    let code = unsafe { sys::cuMemcpyAsync(to, from, bytes, stream.raw()) };
    DriverError::check("cuMemcpyAsync", code)
}

/// Equal pieces at equal distances, at both ends: the same part of each of several adjacent slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pitched {
    /// Where the first piece goes.
    pub(crate) to: u64,
    /// Bytes from one piece's start to the next's, at the target.
    pub(crate) to_pitch: usize,
    /// Where the first piece lies.
    pub(crate) from: u64,
    /// Bytes from one piece's start to the next's, at the source.
    pub(crate) from_pitch: usize,
    /// Bytes of a piece.
    pub(crate) width: usize,
    /// How many pieces.
    pub(crate) pieces: usize,
}

/// Queues the copy of all pieces in one call.
///
/// # Safety
/// As for [`copy_async`], for each piece.
pub(crate) unsafe fn copy_pitched_async(copy: &Pitched, stream: RawStream) -> Result<(), DriverError> {
    let call = CUDA_MEMCPY2D {
        srcXInBytes: 0,
        srcY: 0,
        srcMemoryType: CUmemorytype::CU_MEMORYTYPE_UNIFIED,
        srcHost: std::ptr::null(),
        srcDevice: copy.from,
        srcArray: std::ptr::null_mut(),
        srcPitch: copy.from_pitch,
        dstXInBytes: 0,
        dstY: 0,
        dstMemoryType: CUmemorytype::CU_MEMORYTYPE_UNIFIED,
        dstHost: std::ptr::null_mut(),
        dstDevice: copy.to,
        dstArray: std::ptr::null_mut(),
        dstPitch: copy.to_pitch,
        WidthInBytes: copy.width,
        Height: copy.pieces,
    };
    // SAFETY: D1; the caller holds all pieces (above); `call` is read before the function returns.
    let code = unsafe { sys::cuMemcpy2DAsync_v2(&raw const call, stream.raw()) };
    DriverError::check("cuMemcpy2DAsync", code)
}
