//! `cuMemcpyBatchAsync` as an engine with a tensor a layer issues it: layer by layer, a fragment of each block.
//! Uses cudarc. Known by: binaries, to compare with.
#![expect(unsafe_code, reason = "plain driver calls, to compare with")]

use super::{Contiguous, median, shuffled};
use cudarc::driver::sys::{
    self, CUmemLocation, CUmemLocationType, CUmemcpyAttributes, CUmemcpySrcAccessOrder, CUresult,
};
use kv_pager::clock::Clock;
use kv_pager_cuda::Direction;

/// Median nanoseconds of one call for `parts` parts of `fragments` fragments of `fragment_bytes`, between random device
/// slots and adjacent host slots, within `buffers`.
///
/// # Panics
/// If the driver refuses, or the buffers are too small.
pub fn time_plain_batch(
    buffers: &Contiguous,
    direction: Direction,
    (parts, fragments, fragment_bytes): (usize, usize, usize),
    (repeats, clock): (usize, &dyn Clock),
) -> u64 {
    let (device, host, bytes) = buffers.places();
    let slots = bytes / (fragments * fragment_bytes);
    assert!(parts <= slots, "{parts} of {slots}");
    let order = shuffled(u32::try_from(slots).expect("few"), 7);
    let (mut to, mut from, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    for fragment in 0..fragments {
        for (part, slot) in order[..parts].iter().enumerate() {
            let there = device + ((fragment * slots + slot.index()) * fragment_bytes) as u64;
            let here = host + ((part * fragments + fragment) * fragment_bytes) as u64;
            let (target, source) =
                if direction == Direction::Offload { (here, there) } else { (there, here) };
            to.push(target);
            from.push(source);
            sizes.push(fragment_bytes);
        }
    }
    let nowhere = CUmemLocation { type_: CUmemLocationType::CU_MEM_LOCATION_TYPE_INVALID, id: 0 };
    let mut attributes = CUmemcpyAttributes {
        srcAccessOrder: CUmemcpySrcAccessOrder::CU_MEMCPY_SRC_ACCESS_ORDER_STREAM,
        srcLocHint: nowhere,
        dstLocHint: nowhere,
        flags: 0,
    };
    let mut first = 0_usize;
    let mut times = Vec::with_capacity(repeats);
    for repeat in 0..repeats + 2 {
        let start = clock.now();
        // SAFETY: all pieces lie inside the two buffers (asserted), which live, and are waited for.
        let code = unsafe {
            sys::cuMemcpyBatchAsync_v2(
                to.as_mut_ptr(),
                from.as_mut_ptr(),
                sizes.as_mut_ptr(),
                to.len(),
                &raw mut attributes,
                &raw mut first,
                1,
                buffers.stream(),
            )
        };
        assert!(code == CUresult::CUDA_SUCCESS, "cuMemcpyBatchAsync: {code:?}");
        buffers.wait();
        if repeat >= 2 {
            times.push(clock.now().since(start).as_u64());
        }
    }
    median(&mut times)
}
