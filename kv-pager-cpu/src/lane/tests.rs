use super::{LaneSpec, MemoryCopier, WorkerLane};
use crate::memory::HostTier;
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::ids::{Fence, GroupId, MoveId, SlotId};
use kv_pager::layout::{DeviceLayout, Format, shape};
use kv_pager::tier::{Lane, Move, MoveFault};
use kv_pager::units::Bytes;
use std::sync::Arc;

fn lane(spec: &LaneSpec) -> (WorkerLane, Arc<HostTier>) {
    let model = shape("tiny").expect("known");
    let device = Arc::new(HostTier::device(&model, DeviceLayout::LayerMajor, &[8]).expect("small"));
    let host = Arc::new(HostTier::host(&model, Format::Raw, &[8]).expect("small"));
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let copier = Arc::new(MemoryCopier::new(&device, &host).expect("both raw"));
    (WorkerLane::new(spec, copier, &clock).expect("a sound specification"), device)
}

fn order(source: usize, target: usize) -> Move {
    Move {
        id: MoveId(0),
        group: GroupId::FIRST,
        source: SlotId::from_index(source),
        target: SlotId::from_index(target),
        source_fence: Fence::OVER,
        target_fence: Fence::OVER,
    }
}

#[test]
fn a_slot_in_use_fails_its_own_move_only() {
    let (lane, device) = lane(&LaneSpec::memory());
    let held = device.write(GroupId::FIRST, SlotId::from_index(1)).expect("free");
    let ticket = lane.submit(&[order(0, 0), order(1, 1), order(2, 2)]).expect("room");
    drop(lane);
    let busy = Some(Err(MoveFault::Busy));
    // The lane may have been dropped before it came to them; but no move over the held slot ended well.
    assert!(matches!(ticket.outcome(0), Some(Ok(()) | Err(MoveFault::Cancelled))));
    assert!(ticket.outcome(1) == busy || ticket.outcome(1) == Some(Err(MoveFault::Cancelled)));
    drop(held);
}

#[test]
fn nonsense_is_refused() {
    let zero = LaneSpec { chunk_bytes: Bytes::ZERO, ..LaneSpec::memory() };
    assert!(zero.check().is_err());
    assert!(LaneSpec { workers: 0, ..LaneSpec::memory() }.check().is_err());
    assert!(LaneSpec { workers: 5000, ..LaneSpec::memory() }.check().is_err());
}

#[test]
#[should_panic(expected = "no such target")]
fn a_slot_that_does_not_exist_is_the_callers_bug() {
    let (lane, _device) = lane(&LaneSpec::memory());
    drop(lane.submit(&[order(0, 8)]));
}
