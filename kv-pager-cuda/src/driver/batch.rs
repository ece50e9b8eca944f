//! `cuMemcpyBatchAsync`: many copies in one call, where the driver has it.
//! Uses `driver::stream`. Known by: `lane`.
//!
//! - **B1** the function was found in the driver's library under the name whose signature it is called with.
//!
//! CUDA 12.8 has it with an index of the failed copy, CUDA 13 without, under another name; older drivers have neither.
#![expect(unsafe_code, reason = "a symbol is looked up and called")]

use super::{DriverError, RawStream};
use cudarc::driver::sys::{
    self, CUdeviceptr, CUmemLocation, CUmemLocationType, CUmemcpyAttributes, CUmemcpySrcAccessOrder,
    CUresult, CUstream,
};

type Of12 = unsafe extern "C" fn(
    *mut CUdeviceptr,
    *mut CUdeviceptr,
    *mut usize,
    usize,
    *mut CUmemcpyAttributes,
    *mut usize,
    usize,
    *mut usize,
    CUstream,
) -> CUresult;
type Of13 = unsafe extern "C" fn(
    *mut CUdeviceptr,
    *mut CUdeviceptr,
    *mut usize,
    usize,
    *mut CUmemcpyAttributes,
    *mut usize,
    usize,
    CUstream,
) -> CUresult;

/// The driver's batch copy, in the form that it has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BatchCopy {
    /// With an index of the failed copy.
    Of12(Of12),
    /// Without.
    Of13(Of13),
}

impl BatchCopy {
    /// Looks it up; `None` where the driver is older than CUDA 12.8.
    pub(crate) fn find() -> Option<Self> {
        // SAFETY: D1: the library was found, so loading it again cannot fail.
        let library = unsafe { sys::culib() };
        // SAFETY: B1: this is CUDA 13's signature of this name.
        if let Ok(found) = unsafe { library.get::<Of13>(b"cuMemcpyBatchAsync_v2\0") } {
            return Some(Self::Of13(*found));
        }
        // SAFETY: B1: this is CUDA 12.8's signature of this name.
        let found = unsafe { library.get::<Of12>(b"cuMemcpyBatchAsync\0") };
        found.ok().map(|found| Self::Of12(*found))
    }

    /// Queues a copy of `sizes[i]` bytes from `from[i]` to `to[i]`, for every `i`, in no particular order.
    ///
    /// # Safety
    /// As for [`copy_async`](super::copy_async), for each copy; no target overlaps another copy's ends.
    pub(crate) unsafe fn queue(
        self,
        to: &mut [CUdeviceptr],
        from: &mut [CUdeviceptr],
        sizes: &mut [usize],
        stream: RawStream,
    ) -> Result<(), DriverError> {
        let count = to.len();
        assert!(from.len() == count && sizes.len() == count, "{count} targets, {} sources", from.len());
        let nowhere = CUmemLocation { type_: CUmemLocationType::CU_MEM_LOCATION_TYPE_INVALID, id: 0 };
        let mut attributes = CUmemcpyAttributes {
            srcAccessOrder: CUmemcpySrcAccessOrder::CU_MEMCPY_SRC_ACCESS_ORDER_STREAM,
            srcLocHint: nowhere,
            dstLocHint: nowhere,
            flags: 0,
        };
        let mut first = 0_usize;
        let (to, from, sizes) = (to.as_mut_ptr(), from.as_mut_ptr(), sizes.as_mut_ptr());
        let code = match self {
            Self::Of13(call) => {
                // SAFETY: B1; the arrays have `count` entries; one set of attributes holds from copy 0 on.
                unsafe { call(to, from, sizes, count, &raw mut attributes, &raw mut first, 1, stream.raw()) }
            }
            Self::Of12(call) => {
                let mut failed = 0_usize;
                let (attributes, first, failed) = (&raw mut attributes, &raw mut first, &raw mut failed);
                // SAFETY: as above, with a place for the failed copy's index.
                unsafe { call(to, from, sizes, count, attributes, first, 1, failed, stream.raw()) }
            }
        };
        DriverError::check("cuMemcpyBatchAsync", code)
    }
}
