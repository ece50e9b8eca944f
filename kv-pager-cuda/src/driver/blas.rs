//! cuBLAS: a handle on a stream of its own, and products of bf16 matrices by address.
//! Uses `driver::{device, stream}`. Known by: `prefill`.
//!
//! - **L1** the library is looked for before the first call, for cudarc panics where it is missing;
//! - **L2** the handle is live from construction to drop, and on `stream`, which outlives it.
#![expect(unsafe_code, reason = "calls of cuBLAS")]

use super::{Device, Stream, Visit};
use cudarc::cublas::result::{self, CublasError};
use cudarc::cublas::sys;
use kv_pager::Error;
use kv_pager::ids::TierId;
use std::ffi::c_void;
use std::sync::{Arc, OnceLock};

/// Row-major matrices: `out[rows, columns] = left[rows, inner] * right`, or so many of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Product {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) inner: usize,
    /// Whether `right` lies as `[columns, inner]`; otherwise as `[inner, columns]`.
    pub(crate) is_right_transposed: bool,
    /// Whether the product is added to what `out` holds.
    pub(crate) adds: bool,
    /// How many products.
    pub(crate) count: usize,
    /// Elements from one to the next: of `left`, `right` and `out`.
    pub(crate) strides: [usize; 3],
}

/// Device addresses of the matrices of a [`Product`], 16-byte aligned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Places {
    pub(crate) left: u64,
    pub(crate) right: u64,
    pub(crate) out: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Blas {
    /// L2.
    handle: sys::cublasHandle_t,
    stream: Stream,
}

/// L1.
fn is_there() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    // SAFETY: loading cuBLAS runs its initialisers only, which ask nothing of the program.
    *FOUND.get_or_init(|| unsafe { sys::is_culib_present() })
}

fn refused(error: CublasError) -> Error {
    Error::DeviceLost { tier: TierId::Device, why: format!("cuBLAS: {error}") }
}

impl Blas {
    /// A handle on `device`.
    ///
    /// # Errors
    /// [`Error::Configuration`] if cuBLAS is not installed, [`Error::DeviceLost`] if it does not start.
    pub(crate) fn new(device: &Arc<Device>) -> Result<Self, Error> {
        if !is_there() {
            let why = "cuBLAS (libcublas.so) was not found: install the CUDA toolkit's libraries, or name their directory in \
                       LD_LIBRARY_PATH";
            return Err(Error::Configuration { setting: "device", why: why.to_owned() });
        }
        let told = |error: super::DriverError| error.tell(TierId::Device, "starting cuBLAS");
        let stream = Stream::new(device).map_err(told)?;
        let visit = Visit::begin();
        visit.to(device).map_err(told)?;
        let handle = result::create_handle().map_err(refused)?;
        let blas = Self { handle, stream };
        // SAFETY: L2: both were just made.
        unsafe { result::set_stream(blas.handle, blas.stream.raw().handle().cast()) }.map_err(refused)?;
        Ok(blas)
    }

    /// Where its work is queued.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Queues products with sums in f32. The caller is in a [`Visit`] to the device.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if cuBLAS refuses.
    ///
    /// # Safety
    /// The matrices lie within memory of the device that lives, and that nothing else uses, until the stream is over.
    pub(crate) unsafe fn multiply(&self, product: &Product, places: Places) -> Result<(), Error> {
        let size = |count: usize| i32::try_from(count).expect("a matrix has fewer than 2^31 rows");
        let stride = |index: usize| i64::try_from(product.strides[index]).expect("within memory");
        // Row-major matrices are cuBLAS's transposed ones: out' = right' * left'.
        let (m, n, k) = (size(product.columns), size(product.rows), size(product.inner));
        let (how, right_row) = if product.is_right_transposed {
            (sys::cublasOperation_t::CUBLAS_OP_T, k)
        } else {
            (sys::cublasOperation_t::CUBLAS_OP_N, m)
        };
        let plain = sys::cublasOperation_t::CUBLAS_OP_N;
        let bf16 = sys::cudaDataType::CUDA_R_16BF;
        let one = 1.0_f32;
        let add = f32::from(u8::from(product.adds));
        let (scale, add): (*const c_void, *const c_void) = ((&raw const one).cast(), (&raw const add).cast());
        let (left, right) = (places.left as *const c_void, places.right as *const c_void);
        let out = places.out as *mut c_void;
        let sums = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let choice = sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT;
        let queued = if product.count == 1 {
            // SAFETY: L2; the caller's matrices; scale and add are read before the call returns.
            unsafe {
                result::gemm_ex(
                    self.handle,
                    how,
                    plain,
                    m,
                    n,
                    k,
                    scale,
                    right,
                    bf16,
                    right_row,
                    left,
                    bf16,
                    k,
                    add,
                    out,
                    bf16,
                    m,
                    sums,
                    choice,
                )
            }
        } else {
            // SAFETY: as above.
            unsafe {
                result::gemm_strided_batched_ex(
                    self.handle,
                    how,
                    plain,
                    m,
                    n,
                    k,
                    scale,
                    right,
                    bf16,
                    right_row,
                    stride(1),
                    left,
                    bf16,
                    k,
                    stride(0),
                    add,
                    out,
                    bf16,
                    m,
                    stride(2),
                    size(product.count),
                    sums,
                    choice,
                )
            }
        };
        queued.map_err(refused)
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        let visit = Visit::begin();
        if visit.to(self.stream.device()).is_ok() {
            // SAFETY: L2: made in `new`, destroyed only here. It waits for what is queued.
            if let Err(error) = unsafe { result::destroy_handle(self.handle) } {
                tracing::debug!(%error, "a cuBLAS handle was not destroyed");
            }
        }
    }
}
