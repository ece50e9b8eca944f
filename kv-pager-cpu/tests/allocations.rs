//! What a batch allocates, whatever its length (L6): counted over all threads, from submission to its last end.
#![expect(unsafe_code, reason = "an allocator that counts is an allocator")]

use kv_pager::ids::{Fence, GroupId, MoveId, SlotId, TierId};
use kv_pager::layout::shape;
use kv_pager::tier::{Lane, LaneEnds, Move, Signal};
use kv_pager::units::Nanos;
use kv_pager_cpu::{CpuBackend, CpuSpec, FileSpec};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts calls, and leaves the rest to the system.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

const SLOTS: u32 = 512;

/// Calls of the allocator for a batch of `moves`, over all threads.
fn calls(lane: &dyn Lane, moves: usize, signal: &Arc<Signal>) -> usize {
    let fence = Fence::OVER;
    let order = |index| {
        // Scattered at one end, so that nothing is merged.
        let (source, target) = (SlotId::from_index(index), SlotId::from_index(index * 5 % SLOTS as usize));
        Move {
            id: MoveId(0),
            group: GroupId::FIRST,
            source,
            target,
            source_fence: fence,
            target_fence: fence,
        }
    };
    let batch: Vec<Move> = (0..moves).map(order).collect();
    let before = CALLS.load(Ordering::Relaxed);
    let ticket = lane.submit(&batch).expect("room");
    ticket.attach(signal);
    loop {
        let seen = signal.count();
        if ticket.is_over() {
            break;
        }
        signal.wait_past(seen, Nanos::MAX);
    }
    CALLS.load(Ordering::Relaxed) - before
}

#[test]
fn a_batch_allocates_as_much_whatever_its_length() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = FileSpec::new(directory.path().join("tier"), vec![SLOTS]);
    let mut spec = CpuSpec {
        host_slots: Some(vec![SLOTS]),
        file: Some(file),
        ..CpuSpec::new(shape("tiny").expect("known"), vec![SLOTS])
    };
    spec.file_lanes.workers = 2;
    let backend = CpuBackend::new(&spec).expect("small");
    let signal = Arc::new(Signal::new());
    for ends in [
        (TierId::Device, TierId::Host),
        (TierId::Host, TierId::Device),
        (TierId::Host, TierId::File),
        (TierId::File, TierId::Host),
    ] {
        let ends = LaneEnds { source: ends.0, target: ends.1 };
        let lane = backend.new_lane(ends).expect("there is such a lane");
        // Each thread has met the largest chunk by then.
        let warm = (0..20).map(|_| calls(&*lane, SLOTS as usize, &signal)).min();
        let least = |moves| (0..5).map(|_| calls(&*lane, moves, &signal)).min();
        let (few, many) = (least(8), least(SLOTS as usize));
        assert_eq!(few, many, "{ends}: for 8 moves and for {SLOTS}; warm: {warm:?}");
        assert!(few <= Some(6), "{ends}: {few:?}");
    }
}
