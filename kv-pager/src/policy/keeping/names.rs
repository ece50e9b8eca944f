//! A table from names to indices that never grows.
//! Layer 8. Uses nothing. Known by: `ghosts`, `shadow`.
//!
//! - **N1** it is at most half full, so a search ends after a few steps;
//! - **N2** from where a name belongs to where it stands, no place is empty.
//!
//! Open addressing with the followers moved up on removal: no tombstones, so a table that has churned for a year is as
//! fast as a new one, and no insertion ever pays for a rebuild.

use std::hint::black_box;

/// A place without a name.
const EMPTY: u32 = u32::MAX;

/// The golden ratio in 64 bits: spreads names that are small numbers, and does no harm to names that are hashes.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Clone, Copy, Debug)]
struct Place {
    name: u64,
    value: u32,
}

/// At most `capacity` names, each with an index.
#[derive(Debug)]
pub(super) struct Names {
    places: Box<[Place]>,
    shift: u32,
    len: usize,
}

impl Names {
    /// Room for `capacity` names.
    pub(super) fn new(capacity: usize) -> Self {
        let places = (capacity.max(4) * 2).next_power_of_two();
        let empty = Place { name: 0, value: EMPTY };
        Self { places: vec![empty; places].into_boxed_slice(), shift: 64 - places.trailing_zeros(), len: 0 }
    }

    /// Brings to the processor's caches where `names` are looked for first: one after the other each would be waited for, together
    /// they are not.
    pub(super) fn warm(&self, names: impl Iterator<Item = u64>) {
        black_box(names.fold(0, |seen, name| seen ^ self.places[self.home(name)].value));
    }

    /// The index of `name`. O(1).
    pub(super) fn get(&self, name: u64) -> Option<u32> {
        let place = self.places[self.find(name)];
        (place.value != EMPTY).then_some(place.value)
    }

    /// Gives `name` an index, in place of any it had. O(1).
    ///
    /// # Panics
    /// If there is no room.
    pub(super) fn insert(&mut self, name: u64, value: u32) {
        let at = self.find(name);
        if self.places[at].value == EMPTY {
            self.len += 1;
            assert!(self.len * 2 <= self.places.len(), "{} names are more than the table is for", self.len);
        }
        self.places[at] = Place { name, value };
    }

    /// Forgets `name`. O(1).
    pub(super) fn remove(&mut self, name: u64) -> Option<u32> {
        let mut hole = self.find(name);
        let removed = self.places[hole].value;
        if removed == EMPTY {
            return None;
        }
        self.len -= 1;
        let mask = self.places.len() - 1;
        let mut next = hole;
        loop {
            next = (next + 1) & mask;
            let place = self.places[next];
            if place.value == EMPTY {
                break;
            }
            // N2: it may move up to the hole unless it belongs behind it.
            let origin = self.home(place.name);
            if (next.wrapping_sub(origin) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.places[hole] = place;
                hole = next;
            }
        }
        self.places[hole].value = EMPTY;
        Some(removed)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the shift leaves fewer bits than an index has")]
    fn home(&self, name: u64) -> usize {
        (name.wrapping_mul(SPREAD) >> self.shift) as usize
    }

    /// Where `name` stands, or the empty place where it would.
    fn find(&self, name: u64) -> usize {
        let mask = self.places.len() - 1;
        let mut at = self.home(name);
        while self.places[at].value != EMPTY && self.places[at].name != name {
            at = (at + 1) & mask;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::Names;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0_u64..40, 0_u32..9, any::<bool>()), 0..300)) {
            let (mut names, mut model) = (Names::new(40), HashMap::new());
            for (name, value, is_insert) in steps {
                if is_insert {
                    names.insert(name, value);
                    model.insert(name, value);
                } else {
                    prop_assert_eq!(names.remove(name), model.remove(&name));
                }
                for name in 0..40 {
                    prop_assert_eq!(names.get(name), model.get(&name).copied());
                }
            }
        }
    }
}
