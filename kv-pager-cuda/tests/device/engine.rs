//! The engine's side of the tests: streams with slow work on them, in plain driver calls.
#![expect(unsafe_code, reason = "plain driver calls")]

use cudarc::driver::sys::{self, CUresult, CUstream, CUstreamCaptureMode};
use kv_pager_cuda::{Device, DeviceMemory, RawStream, Stream};
use std::sync::Arc;

fn check(what: &str, code: CUresult) {
    assert!(code == CUresult::CUDA_SUCCESS, "{what}: {code:?}");
}

/// Makes the primary context of `device` this thread's.
pub(crate) fn enter(device: &Device) {
    let mut context = std::ptr::null_mut();
    let ordinal = i32::try_from(device.ordinal()).expect("few cards");
    // SAFETY: the card was opened; `context` is a place for one handle.
    check("cuDevicePrimaryCtxRetain", unsafe { sys::cuDevicePrimaryCtxRetain(&raw mut context, ordinal) });
    // SAFETY: just retained, for the rest of the process.
    check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(context) });
}

/// An engine: a stream, memory to be slow with, and a word that work can be held up by.
pub(crate) struct Engine {
    pub(crate) stream: Stream,
    slow: DeviceMemory,
    word: *mut u32,
}

// SAFETY: the word is written whole, by one thread at a time, and read by the device alone.
unsafe impl Sync for Engine {}

const SLOW_BYTES: usize = 512 << 20;

impl Engine {
    pub(crate) fn new(device: &Arc<Device>) -> Self {
        enter(device);
        let mut word = std::ptr::null_mut();
        // SAFETY: `word` is a place for one pointer.
        check("cuMemHostAlloc", unsafe {
            sys::cuMemHostAlloc(&raw mut word, 4, sys::CU_MEMHOSTALLOC_DEVICEMAP)
        });
        let word = word.cast::<u32>();
        // SAFETY: just allocated.
        unsafe { word.write_volatile(0) };
        let stream = Stream::new(device).expect("a stream");
        Self { stream, slow: DeviceMemory::allocate(device, SLOW_BYTES).expect("memory"), word }
    }

    pub(crate) fn raw(&self) -> RawStream {
        self.stream.raw()
    }

    fn handle(&self) -> CUstream {
        self.raw().handle().cast()
    }

    /// Queues some milliseconds of work.
    pub(crate) fn be_slow(&self) {
        for value in 0..64 {
            // SAFETY: the engine's own memory.
            let code = unsafe { sys::cuMemsetD8Async(self.slow.address(), value, SLOW_BYTES, self.handle()) };
            check("cuMemsetD8Async", code);
        }
    }

    /// Queues setting `bytes` bytes at `address` to `value`.
    pub(crate) fn set(&self, address: u64, value: u8, bytes: usize) {
        // SAFETY: tests name memory of a tier that lives.
        check("cuMemsetD8Async", unsafe { sys::cuMemsetD8Async(address, value, bytes, self.handle()) });
    }

    /// Queues a copy on the device.
    pub(crate) fn copy(&self, to: u64, from: u64, bytes: usize) {
        // SAFETY: tests name memory that lives.
        check("cuMemcpyAsync", unsafe { sys::cuMemcpyAsync(to, from, bytes, self.handle()) });
    }

    /// Holds up all that is queued from now on, until [`Engine::let_go`].
    pub(crate) fn hold_up(&self) {
        let mut address = 0;
        // SAFETY: the word is mapped host memory.
        let code = unsafe { sys::cuMemHostGetDevicePointer_v2(&raw mut address, self.word.cast(), 0) };
        check("cuMemHostGetDevicePointer", code);
        // SAFETY: the word lives as long as the engine, which lets go before it ends. 0: greater or equal.
        check("cuStreamWaitValue32", unsafe { sys::cuStreamWaitValue32_v2(self.handle(), address, 1, 0) });
    }

    /// Lets held work go on.
    pub(crate) fn let_go(&self) {
        // SAFETY: the word is host memory of the engine's own.
        unsafe { self.word.write_volatile(1) };
    }

    /// Makes the device's context unusable, by a kernel that traps.
    pub(crate) fn ruin(&self) {
        let code =
            c".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry ruin() {\n trap;\n ret;\n}\n";
        let (mut module, mut kernel, none) =
            (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: zero-terminated PTX, and a place for one handle.
        check("cuModuleLoadData", unsafe { sys::cuModuleLoadData(&raw mut module, code.as_ptr().cast()) });
        // SAFETY: the module was just loaded; `kernel` is a place for one handle.
        let found = unsafe { sys::cuModuleGetFunction(&raw mut kernel, module, c"ruin".as_ptr()) };
        check("cuModuleGetFunction", found);
        // SAFETY: the kernel takes nothing. The context is lost by it, and the process ends soon.
        let launched = unsafe {
            sys::cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, self.handle(), std::ptr::null_mut(), none)
        };
        check("cuLaunchKernel", launched);
        // SAFETY: the stream lives.
        let code = unsafe { sys::cuStreamSynchronize(self.handle()) };
        assert!(code != CUresult::CUDA_SUCCESS, "the context is still well");
    }

    /// Waits for the stream.
    pub(crate) fn finish(&self) {
        // SAFETY: the stream lives.
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.handle()) });
    }

    /// Records what `work` queues into a graph, in the mode that forbids most to all threads.
    pub(crate) fn capture(&self, work: impl FnOnce()) -> Graph {
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL;
        // SAFETY: the stream lives.
        check("cuStreamBeginCapture", unsafe { sys::cuStreamBeginCapture_v2(self.handle(), mode) });
        work();
        let mut graph = std::ptr::null_mut();
        // SAFETY: the stream is capturing; `graph` is a place for one handle.
        check("cuStreamEndCapture", unsafe { sys::cuStreamEndCapture(self.handle(), &raw mut graph) });
        let mut ready = std::ptr::null_mut();
        // SAFETY: the graph was just captured; `ready` is a place for one handle.
        check("cuGraphInstantiate", unsafe { sys::cuGraphInstantiateWithFlags(&raw mut ready, graph, 0) });
        Graph { ready }
    }

    /// Queues a graph.
    pub(crate) fn launch(&self, graph: &Graph) {
        // SAFETY: both live.
        check("cuGraphLaunch", unsafe { sys::cuGraphLaunch(graph.ready, self.handle()) });
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.let_go();
        self.finish();
    }
}

/// A captured graph.
pub(crate) struct Graph {
    ready: sys::CUgraphExec,
}
