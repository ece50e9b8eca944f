use super::{FreeMap, SlotPool, SlotState};
use crate::ids::{BlockId, Fence, SlotId};

fn slot(index: usize) -> SlotId {
    SlotId::from_index(index)
}

fn take(pool: &mut SlotPool, count: u32) -> Vec<SlotId> {
    let mut slots = Vec::new();
    assert!(pool.take(count, |slot| slots.push(slot)));
    slots
}

/// Takes, names and releases one slot for each block, the first block first.
fn resident(pool: &mut SlotPool, blocks: usize) -> Vec<SlotId> {
    let slots = take(pool, u32::try_from(blocks).expect("few"));
    for (index, slot) in slots.iter().enumerate() {
        pool.hold(*slot);
        pool.settle(*slot, BlockId::from_index(index), Fence::OVER);
        pool.release(*slot);
    }
    slots
}

#[test]
fn a_slot_lives_through_its_states() {
    let mut pool = SlotPool::new(2);
    let slots = resident(&mut pool, 1);
    pool.leave(slots[0]);
    pool.begin_move(slots[0]);
    pool.check();
    pool.end_move(slots[0]);
    pool.free(slots[0]);
    pool.check();
    assert_eq!(pool.counts().of(SlotState::Free), 2);
}

#[test]
fn a_hit_calls_a_leaving_slot_back() {
    let mut pool = SlotPool::new(1);
    let slots = resident(&mut pool, 1);
    pool.leave(slots[0]);
    pool.hold(slots[0]);
    assert_eq!(pool.state(slots[0]), SlotState::Resident);
    pool.check();
}

#[test]
fn too_many_are_refused_and_nothing_is_taken() {
    let mut pool = SlotPool::new(3);
    assert!(!pool.take(4, |_| panic!("nothing is taken")));
    assert_eq!(pool.counts().of(SlotState::Free), 3);
}

#[test]
fn the_order_is_by_last_use() {
    let mut pool = SlotPool::new(4);
    let slots = resident(&mut pool, 4);
    pool.touch(slots[0]);
    pool.hold(slots[1]);
    assert_eq!(pool.coldest().collect::<Vec<_>>(), [slots[2], slots[3], slots[0]]);
    pool.release(slots[1]);
    pool.leave(slots[3]);
    pool.stay(slots[3]);
    assert_eq!(pool.coldest().collect::<Vec<_>>(), [slots[3], slots[2], slots[0], slots[1]]);
    pool.check();
}

#[test]
fn an_unnamed_slot_is_free_when_its_last_holder_goes() {
    let mut pool = SlotPool::new(1);
    let slots = take(&mut pool, 1);
    pool.hold(slots[0]);
    pool.hold(slots[0]);
    pool.release(slots[0]);
    assert_eq!(pool.state(slots[0]), SlotState::Filling);
    pool.release(slots[0]);
    assert_eq!(pool.state(slots[0]), SlotState::Free);
    pool.check();
}

#[test]
fn a_quarantined_slot_comes_back_when_its_move_and_its_holder_are_gone() {
    let mut pool = SlotPool::new(1);
    let slots = take(&mut pool, 1);
    pool.hold(slots[0]);
    pool.begin_move(slots[0]);
    pool.quarantine(slots[0]);
    pool.check();
    pool.release(slots[0]);
    assert!(!pool.take(1, |_| {}), "its move is not over");
    pool.end_move(slots[0]);
    assert!(pool.take(1, |_| {}));
    pool.check();
}

#[test]
#[should_panic(expected = "freed twice")]
fn freed_twice_panics() {
    let mut pool = SlotPool::new(1);
    let slots = take(&mut pool, 1);
    pool.free(slots[0]);
    pool.free(slots[0]);
}

#[test]
#[should_panic(expected = "holds and can't be vacated")]
fn a_held_slot_is_never_freed() {
    let mut pool = SlotPool::new(1);
    let slots = take(&mut pool, 1);
    pool.hold(slots[0]);
    pool.free(slots[0]);
}

#[test]
#[should_panic(expected = "can't be moved")]
fn a_free_slot_is_never_moved() {
    SlotPool::new(1).begin_move(slot(0));
}

#[test]
fn a_batch_takes_a_run_past_the_holes() {
    let mut map = FreeMap::new(256);
    map.take(256, |_| {});
    for index in [3, 5, 7, 9, 11] {
        map.put(slot(index));
    }
    for index in 100..140 {
        map.put(slot(index));
    }
    let mut taken = Vec::new();
    map.take(40, |slot| taken.push(slot.index()));
    assert_eq!(taken, (100..140).collect::<Vec<_>>());
    map.take(1, |slot| taken.push(slot.index()));
    assert_eq!(taken.last(), Some(&3), "a single slot fills the lowest hole");
    map.check();
}

#[test]
fn a_run_crosses_words() {
    let mut map = FreeMap::new(300);
    let mut taken = Vec::new();
    map.take(10, |_| {});
    map.take(200, |slot| taken.push(slot.index()));
    assert_eq!(taken, (10..210).collect::<Vec<_>>());
    map.check();
}

#[test]
fn a_pool_of_scattered_slots_serves_a_batch_all_the_same() {
    let mut map = FreeMap::new(64 * 40);
    map.take(64 * 40, |_| {});
    for index in (0..64 * 40).step_by(3) {
        map.put(slot(index));
    }
    let mut taken = 0;
    map.take(800, |_| taken += 1);
    assert_eq!(taken, 800);
    map.check();
}
