//! Slots as a pool gives them: at random, and after it has churned.
//! Uses the core's pool. Known by: `rig`, binaries.

use kv_pager::ids::SlotId;
use kv_pager::pool::FreeMap;
use std::collections::VecDeque;

/// A small generator with a fixed seed: the same slots in every run.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }
}

/// All slots of a tier in a random order.
pub fn shuffled(slots: u32, seed: u64) -> Vec<SlotId> {
    let mut random = Random::new(seed);
    let mut order: Vec<SlotId> = (0..slots as usize).map(SlotId::from_index).collect();
    for index in (1..order.len()).rev() {
        order.swap(index, random.below(index + 1));
    }
    order
}

/// The `count` slots that a pool of `slots` gives after ten turnovers: requests of 4 to 96 blocks come, are used again at
/// random, and lose blocks from their ends, the coldest request first, when a twentieth of the pool is no longer free.
///
/// # Panics
/// If the pool is not several times larger than what is asked for.
pub fn churned_slots(slots: u32, count: u32, seed: u64) -> Vec<SlotId> {
    assert!(count * 2 <= slots, "{count} of {slots}");
    let mut random = Random::new(seed);
    let mut free = FreeMap::new(slots);
    let mut free_count = slots;
    let mut requests: VecDeque<Vec<SlotId>> = VecDeque::new();
    let evict =
        |free: &mut FreeMap, requests: &mut VecDeque<Vec<SlotId>>, free_count: &mut u32, wanted: u32| {
            while *free_count < wanted {
                let coldest = requests.front_mut().expect("what is not free is somebody's");
                match coldest.pop() {
                    Some(slot) => {
                        free.put(slot);
                        *free_count += 1;
                    }
                    None => drop(requests.pop_front()),
                }
            }
        };
    let mut taken = 0_u64;
    while taken < 10 * u64::from(slots) {
        let length = u32::try_from(4 + random.below(93)).expect("small");
        evict(&mut free, &mut requests, &mut free_count, length.max(slots / 20));
        let mut request = Vec::with_capacity(length as usize);
        free.take(length, |slot| request.push(slot));
        free_count -= length;
        taken += u64::from(length);
        requests.push_back(request);
        for _ in 0..2 {
            let used = random.below(requests.len());
            let request = requests.remove(used).expect("in range");
            requests.push_back(request);
        }
    }
    evict(&mut free, &mut requests, &mut free_count, count.max(slots / 20));
    let mut given = Vec::with_capacity(count as usize);
    free.take(count, |slot| given.push(slot));
    given
}
