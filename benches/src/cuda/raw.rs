//! The limit: one contiguous copy, and the driver's own pinned memory, by plain driver calls.
//! Uses cudarc. Known by: binaries.
//!
//! - **L1** both buffers live from construction to drop, and drop waits for the stream.
#![expect(unsafe_code, reason = "plain driver calls, to compare with")]

use super::spin_until;
use cudarc::driver::sys::{self, CUresult};
use kv_pager::clock::Clock;
use kv_pager_cuda::{Device, DeviceMemory, Direction, Stream};
use std::ffi::c_void;
use std::sync::Arc;

fn check(what: &str, code: CUresult) {
    assert!(code == CUresult::CUDA_SUCCESS, "{what}: {code:?}");
}

/// Makes the primary context of `device` this thread's.
pub(super) fn enter(device: &Device) {
    let mut context = std::ptr::null_mut();
    let ordinal = i32::try_from(device.ordinal()).expect("few cards");
    // SAFETY: the device is open, so the driver is there; `context` is a place for one handle.
    check("cuDevicePrimaryCtxRetain", unsafe { sys::cuDevicePrimaryCtxRetain(&raw mut context, ordinal) });
    // SAFETY: just retained; it stays so to the end of the process.
    check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(context) });
}

/// A contiguous copy between a device and pinned memory of the driver's making.
#[derive(Debug)]
pub struct Contiguous {
    stream: Stream,
    device: DeviceMemory,
    host: *mut c_void,
}

impl Contiguous {
    /// With buffers of `bytes`.
    ///
    /// # Panics
    /// If they can't be had.
    pub fn new(device: &Arc<Device>, bytes: usize) -> Self {
        enter(device);
        let stream = Stream::new(device).expect("a stream");
        let memory = DeviceMemory::allocate(device, bytes).expect("device memory");
        let mut host = std::ptr::null_mut();
        // SAFETY: `host` is a place for one pointer.
        check("cuMemHostAlloc", unsafe {
            sys::cuMemHostAlloc(&raw mut host, bytes, sys::CU_MEMHOSTALLOC_PORTABLE)
        });
        // SAFETY: the range was just allocated. It is written so that its pages are there.
        unsafe { std::ptr::write_bytes(host.cast::<u8>(), 7, bytes) };
        Self { stream, device: memory, host }
    }

    /// Queues a copy of `bytes`.
    ///
    /// # Panics
    /// If the driver refuses.
    pub fn start(&self, direction: Direction, bytes: usize) {
        assert!(bytes <= self.device.bytes(), "{bytes} bytes of {}", self.device.bytes());
        enter_stream(&self.stream);
        let (device, host) = (self.device.address(), self.host.addr() as u64);
        let (to, from) = if direction == Direction::Offload { (host, device) } else { (device, host) };
        // SAFETY: L1, and the assertion.
        check("cuMemcpyAsync", unsafe {
            sys::cuMemcpyAsync(to, from, bytes, self.stream.raw().handle().cast())
        });
    }

    /// Where its buffers are, on the device and in host memory, and how long; this thread is in the device's context after.
    pub(super) fn places(&self) -> (u64, u64, usize) {
        enter_stream(&self.stream);
        (self.device.address(), self.host.addr() as u64, self.device.bytes())
    }

    pub(super) fn stream(&self) -> sys::CUstream {
        self.stream.raw().handle().cast()
    }

    /// Looks until the last copy is there.
    pub fn wait(&self) {
        // SAFETY: the stream lives.
        spin_until(
            || unsafe { sys::cuStreamQuery(self.stream.raw().handle().cast()) } == CUresult::CUDA_SUCCESS,
        );
    }

    /// Median nanoseconds of a copy of `bytes`.
    pub fn time(&self, direction: Direction, bytes: usize, repeats: usize, clock: &dyn Clock) -> u64 {
        let mut times = Vec::with_capacity(repeats);
        for repeat in 0..repeats + 2 {
            let start = clock.now();
            self.start(direction, bytes);
            self.wait();
            if repeat >= 2 {
                times.push(clock.now().since(start).as_u64());
            }
        }
        super::median(&mut times)
    }
}

fn enter_stream(stream: &Stream) {
    thread_local!(static ENTERED: std::cell::Cell<u32> = const { std::cell::Cell::new(u32::MAX) });
    let ordinal = stream.device().ordinal();
    if ENTERED.get() != ordinal {
        enter(stream.device());
        ENTERED.set(ordinal);
    }
}

impl Drop for Contiguous {
    fn drop(&mut self) {
        self.wait();
        // SAFETY: L1: allocated in `new`, and no copy is under way.
        check("cuMemFreeHost", unsafe { sys::cuMemFreeHost(self.host) });
    }
}

/// Nanoseconds that `cuMemHostAlloc` takes for `bytes`; they are freed again.
///
/// # Panics
/// If they can't be had.
pub fn time_mem_host_alloc(device: &Device, bytes: usize, clock: &dyn Clock) -> u64 {
    enter(device);
    let mut host = std::ptr::null_mut();
    let start = clock.now();
    // SAFETY: `host` is a place for one pointer.
    check("cuMemHostAlloc", unsafe { sys::cuMemHostAlloc(&raw mut host, bytes, 0) });
    let took = clock.now().since(start).as_u64();
    // SAFETY: just allocated.
    check("cuMemFreeHost", unsafe { sys::cuMemFreeHost(host) });
    took
}
