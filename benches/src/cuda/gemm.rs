//! A large matrix product, as an engine's compute beside the lanes.
//! Uses cudarc's cuBLAS. Known by: binaries.
#![expect(unsafe_code, reason = "plain calls of cuBLAS")]

use super::churn::Random;
use super::raw::enter;
use super::spin_until;
use cudarc::cublas::{result, sys as blas};
use cudarc::driver::sys::{self, CUresult};
use kv_pager::clock::Clock;
use kv_pager_cuda::{Device, DeviceMemory, Stream};
use std::ffi::c_void;
use std::sync::Arc;

/// The side of the matrices.
const SIDE: i32 = 8192;

/// `8192 x 8192 x 8192` in bf16.
#[derive(Debug)]
pub struct Gemm {
    handle: blas::cublasHandle_t,
    stream: Stream,
    inputs: [DeviceMemory; 2],
    output: DeviceMemory,
}

impl Gemm {
    /// With random inputs.
    ///
    /// # Panics
    /// If cuBLAS is not there, or the card has no room.
    pub fn new(device: &Arc<Device>) -> Self {
        enter(device);
        let stream = Stream::new(device).expect("a stream");
        let bytes = 2 * (SIDE as usize) * (SIDE as usize);
        let memory = || DeviceMemory::allocate(device, bytes).expect("device memory");
        let mut random = Random::new(11);
        // Values between 1 and 2 of either sign: a product of zeros runs faster.
        let value =
            |_| u16::try_from(0x3f80 + random.below(0x80) + (random.below(2) << 15)).expect("16 bits");
        let values: Vec<u8> = (0..bytes / 2).map(value).flat_map(u16::to_ne_bytes).collect();
        let inputs = [memory(), memory()];
        for input in &inputs {
            input.write(0, &values).expect("the inputs");
        }
        let handle = result::create_handle().expect("cuBLAS");
        // SAFETY: both handles were just made.
        unsafe { result::set_stream(handle, stream.raw().handle().cast()) }.expect("the stream");
        Self { handle, stream, inputs, output: memory() }
    }

    /// Computes it once. Returns nanoseconds.
    ///
    /// # Panics
    /// If cuBLAS refuses.
    pub fn run(&self, clock: &dyn Clock) -> u64 {
        let (one, zero) = (1.0_f32, 0.0_f32);
        let [left, right] = self.inputs.each_ref().map(|input| input.address() as *const c_void);
        let none = blas::cublasOperation_t::CUBLAS_OP_N;
        let bf16 = blas::cudaDataType_t::CUDA_R_16BF;
        let (scale, add) = ((&raw const one).cast(), (&raw const zero).cast());
        let output = self.output.address() as *mut c_void;
        let (compute, algorithm) =
            (blas::cublasComputeType_t::CUBLAS_COMPUTE_32F, blas::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT);
        let start = clock.now();
        // SAFETY: three matrices of the named size and type, alive while `self` is, and the run is waited for.
        unsafe {
            result::gemm_ex(
                self.handle,
                none,
                none,
                SIDE,
                SIDE,
                SIDE,
                scale,
                left,
                bf16,
                SIDE,
                right,
                bf16,
                SIDE,
                add,
                output,
                bf16,
                SIDE,
                compute,
                algorithm,
            )
        }
        .expect("a product");
        // SAFETY: the stream lives.
        spin_until(
            || unsafe { sys::cuStreamQuery(self.stream.raw().handle().cast()) } == CUresult::CUDA_SUCCESS,
        );
        clock.now().since(start).as_u64()
    }
}
