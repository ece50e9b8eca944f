//! What every lane must do (L1 to L6).
//! Uses `conformance`. Known by: `tests/conformance.rs` of every backend.

use super::{End, LaneHarness, pattern, wait};
use kv_pager::ids::{Fence, GroupId, MoveId, SlotId};
use kv_pager::tier::{Move, MoveFault};

/// Checks the whole contract, with a fresh harness for each claim. Tiers need 8 slots or more in each class.
///
/// # Panics
/// If it doesn't hold.
pub fn check_lane<H: LaneHarness>(fresh: impl Fn() -> H) {
    l1_a_move_brings_the_bytes(&fresh());
    l2_a_failure_spoils_only_its_target(&fresh());
    l3_tickets_end_with_the_lane(fresh());
    l4_an_open_fence_is_waited_for(&fresh());
    l6_a_batch_that_does_not_fit_starts_nothing(&fresh());
    cancelled_moves_touch_nothing(&fresh());
}

fn order(id: u64, group: GroupId, source: usize, target: usize) -> Move {
    Move {
        id: MoveId(id),
        group,
        source: SlotId::from_index(source),
        target: SlotId::from_index(target),
        source_fence: Fence::OVER,
        target_fence: Fence::OVER,
    }
}

fn groups(harness: &impl LaneHarness) -> Vec<GroupId> {
    (0..harness.tier(End::Source).classes().len()).map(GroupId::from_index).collect()
}

fn seed(group: GroupId, slot: usize) -> u64 {
    (group.index() * 1000 + slot) as u64
}

fn fill(harness: &impl LaneHarness, end: End, group: GroupId, slot: usize, seed: u64) {
    let bytes = pattern(seed, harness.part_bytes(group));
    harness.fill(end, group, SlotId::from_index(slot), &bytes);
}

fn holds(harness: &impl LaneHarness, end: End, group: GroupId, slot: usize, seed: u64) -> bool {
    harness.read(end, group, SlotId::from_index(slot)) == pattern(seed, harness.part_bytes(group))
}

/// Slots of source and target that are adjacent at both ends, at one, at none, and in falling order. On a lane within one
/// tier none of the targets is a source.
const PAIRS: [(usize, usize); 4] = [(0, 4), (1, 5), (3, 7), (2, 6)];

/// L1: adjacent or scattered, in each group.
///
/// # Panics
/// If it doesn't hold.
pub fn l1_a_move_brings_the_bytes(harness: &impl LaneHarness) {
    let mut batch = Vec::new();
    for group in groups(harness) {
        for (source, target) in PAIRS {
            fill(harness, End::Source, group, source, seed(group, source));
            batch.push(order(batch.len() as u64, group, source, target));
        }
    }
    let ticket = harness.lane().submit(&batch).expect("an idle lane has room");
    wait(&ticket);
    for (index, order) in batch.iter().enumerate() {
        assert_eq!(ticket.outcome(index), Some(Ok(())), "{order:?}");
        let (source, target) = (order.source.index(), order.target.index());
        assert!(holds(harness, End::Target, order.group, target, seed(order.group, source)), "{order:?}");
        assert!(holds(harness, End::Source, order.group, source, seed(order.group, source)), "{order:?}");
    }
}

/// L2: moves beside a failing one, also adjacent ones, end well, and other slots stay as they were.
///
/// # Panics
/// If it doesn't hold.
pub fn l2_a_failure_spoils_only_its_target(harness: &impl LaneHarness) {
    let group = GroupId::FIRST;
    for slot in 0..3 {
        fill(harness, End::Source, group, slot, seed(group, slot));
    }
    fill(harness, End::Target, group, 7, 77);
    if !harness.spoil(group, SlotId::from_index(1)) {
        return;
    }
    let batch = [0, 1, 2].map(|slot| order(slot as u64, group, slot, slot + 4));
    let ticket = harness.lane().submit(&batch).expect("an idle lane has room");
    wait(&ticket);
    assert_eq!(ticket.outcome(0), Some(Ok(())));
    assert!(matches!(ticket.outcome(1), Some(Err(_))));
    assert_eq!(ticket.outcome(2), Some(Ok(())));
    for slot in [0, 2] {
        assert!(holds(harness, End::Target, group, slot + 4, seed(group, slot)), "slot {slot}");
    }
    assert!(holds(harness, End::Target, group, 7, 77));
}

/// L3: a lane that is dropped with moves under way has ended all of them, and L1 holds for those that ended well.
///
/// # Panics
/// If it doesn't hold.
pub fn l3_tickets_end_with_the_lane(mut harness: impl LaneHarness) {
    let group = GroupId::FIRST;
    fill(&harness, End::Source, group, 0, 5);
    let batch = [4, 5, 6, 7].map(|target| order(target as u64, group, 0, target));
    let tickets: Vec<_> = (0..harness.moves_queued() / batch.len())
        .filter_map(|_| harness.lane().submit(&batch).ok())
        .collect();
    assert!(!tickets.is_empty());
    harness.drop_lane();
    let mut well = Vec::new();
    for ticket in &tickets {
        assert!(ticket.is_over());
        for (index, order) in batch.iter().enumerate() {
            match ticket.outcome(index) {
                Some(Ok(())) => well.push(order.target.index()),
                Some(Err(MoveFault::Cancelled | MoveFault::Busy)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    for target in well {
        assert!(holds(&harness, End::Target, group, target, 5), "target {target}");
    }
}

/// L4: a move with a fence that is not over doesn't end well.
///
/// # Panics
/// If it doesn't hold.
pub fn l4_an_open_fence_is_waited_for(harness: &impl LaneHarness) {
    let group = GroupId::FIRST;
    fill(harness, End::Source, group, 0, 1);
    fill(harness, End::Target, group, 4, 2);
    let never = Fence(u64::MAX - 1);
    let late = [
        Move { source_fence: never, ..order(1, group, 0, 4) },
        Move { target_fence: never, ..order(2, group, 0, 4) },
    ];
    let ticket = harness.lane().submit(&late).expect("an idle lane has room");
    let behind = harness.lane().submit(&[order(3, group, 0, 5)]).expect("an idle lane has room");
    wait(&behind);
    assert_eq!(behind.outcome(0), Some(Ok(())), "a move that need not wait is not kept waiting");
    for index in 0..late.len() {
        assert_ne!(ticket.outcome(index), Some(Ok(())));
    }
    assert!(holds(harness, End::Target, group, 4, 2));
    ticket.cancel();
}

/// L6: a batch larger than the queue is refused whole, and the lane goes on.
///
/// # Panics
/// If it doesn't hold.
pub fn l6_a_batch_that_does_not_fit_starts_nothing(harness: &impl LaneHarness) {
    let group = GroupId::FIRST;
    fill(harness, End::Source, group, 0, 3);
    fill(harness, End::Target, group, 4, 4);
    let batch = vec![order(0, group, 0, 4); harness.moves_queued() + 1];
    assert!(harness.lane().submit(&batch).is_err());
    let ticket = harness.lane().submit(&[order(1, group, 0, 5)]).expect("an idle lane has room");
    wait(&ticket);
    assert!(holds(harness, End::Target, group, 4, 4));
    assert!(holds(harness, End::Target, group, 5, 3));
}

/// What is called off before it begins leaves its target as it was; what is not, ends well.
///
/// # Panics
/// If it doesn't hold.
pub fn cancelled_moves_touch_nothing(harness: &impl LaneHarness) {
    let group = GroupId::FIRST;
    fill(harness, End::Source, group, 0, 8);
    fill(harness, End::Target, group, 5, 9);
    // Enough before it that it often still waits when it is called off.
    let ahead: Vec<Move> =
        (0..(harness.moves_queued() / 2) as u64).map(|id| order(id, group, 0, 4)).collect();
    let ahead = harness.lane().submit(&ahead).expect("half a queue fits");
    let ticket = harness.lane().submit(&[order(1, group, 0, 5)]).expect("it fits");
    let is_called_off = ticket.cancel_move(0);
    wait(&ahead);
    wait(&ticket);
    let (outcome, seed) = if is_called_off { (Err(MoveFault::Cancelled), 9) } else { (Ok(()), 8) };
    assert_eq!(ticket.outcome(0), Some(outcome));
    assert!(holds(harness, End::Target, group, 5, seed));
}
