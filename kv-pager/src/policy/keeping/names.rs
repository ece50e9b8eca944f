//! A table from names to the records that bear them, which never grows.
//! Layer 8. Uses nothing. Known by: `ghosts`, `shadow`.
//!
//! - **N1** it is at most half full, so a search ends after a few steps;
//! - **N2** from where a name belongs to where it stands, no place is empty;
//! - **N3** it keeps 32 bits of each name: who bears it, and whether two are the same, the owner of the records says.
//!
//! Open addressing with the followers moved up on removal: no tombstones, so a table that has churned for a year is as
//! fast as a new one, and no insertion ever pays for a rebuild. A place is 8 bytes, for a look into a table that fits no cache
//! waits for memory, and for little else.

use std::hint::black_box;

/// A place without a name.
const EMPTY: u32 = u32::MAX;

/// The golden ratio in 64 bits: spreads names that are small numbers, and does no harm to names that are hashes.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Clone, Copy, Debug)]
struct Place {
    mark: u32,
    index: u32,
}

/// At most `capacity` names, each with the index of its record.
#[derive(Debug)]
pub(super) struct Names {
    places: Box<[Place]>,
    shift: u32,
    len: usize,
}

/// What is kept of a name: its leading bits say where it belongs.
fn mark_of(name: u64) -> u32 {
    (name.wrapping_mul(SPREAD) >> 32) as u32
}

impl Names {
    /// Room for `capacity` names, or for 2^30.
    pub(super) fn new(capacity: usize) -> Self {
        let places = (capacity.clamp(4, 1 << 30) * 2).next_power_of_two();
        let empty = Place { mark: 0, index: EMPTY };
        Self { places: vec![empty; places].into_boxed_slice(), shift: 32 - places.trailing_zeros(), len: 0 }
    }

    /// Brings to the processor's caches where `names` are looked for first: one after the other each would be waited for, together
    /// they are not.
    pub(super) fn warm(&self, names: impl Iterator<Item = u64>) {
        black_box(names.fold(0, |seen, name| seen ^ self.places[self.home(mark_of(name))].index));
    }

    /// The index of `name`; `bears` says whether the record at an index has this name (N3). O(1).
    pub(super) fn get(&self, name: u64, bears: impl Fn(u32) -> bool) -> Option<u32> {
        let mark = mark_of(name);
        let mut at = self.home(mark);
        loop {
            let place = self.places[at];
            if place.index == EMPTY {
                return None;
            }
            if place.mark == mark && bears(place.index) {
                return Some(place.index);
            }
            at = self.after(at);
        }
    }

    /// Adds `name`, which has no index yet. O(1).
    ///
    /// # Panics
    /// If there is no room.
    pub(super) fn insert(&mut self, name: u64, index: u32) {
        self.len += 1;
        assert!(self.len * 2 <= self.places.len(), "{} names are more than the table is for", self.len);
        let mark = mark_of(name);
        let mut at = self.home(mark);
        while self.places[at].index != EMPTY {
            at = self.after(at);
        }
        self.places[at] = Place { mark, index };
    }

    /// Forgets `name`, which has this index. O(1).
    ///
    /// # Panics
    /// If it has not.
    pub(super) fn remove(&mut self, name: u64, index: u32) {
        let mut hole = self.home(mark_of(name));
        while self.places[hole].index != index {
            assert!(self.places[hole].index != EMPTY, "N2: the name of record {index} is nowhere");
            hole = self.after(hole);
        }
        self.len -= 1;
        let mask = self.places.len() - 1;
        let mut next = hole;
        loop {
            next = self.after(next);
            let place = self.places[next];
            if place.index == EMPTY {
                break;
            }
            // N2: it may move up to the hole unless it belongs behind it.
            let origin = self.home(place.mark);
            if (next.wrapping_sub(origin) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.places[hole] = place;
                hole = next;
            }
        }
        self.places[hole].index = EMPTY;
    }

    /// Where a name of this mark belongs.
    fn home(&self, mark: u32) -> usize {
        (mark >> self.shift) as usize
    }

    /// The place after `at`, round the end.
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.places.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Names, SPREAD, mark_of};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The name of the record at `index`: three after each other have the same mark.
    fn name_of(index: u32) -> u64 {
        // Each step doubles the bits for which the product with SPREAD is one.
        let inverse = (0..6)
            .fold(1_u64, |so_far, _| so_far.wrapping_mul(2_u64.wrapping_sub(SPREAD.wrapping_mul(so_far))));
        u64::from(index / 3).wrapping_add(inverse.wrapping_mul(u64::from(index % 3)))
    }

    #[test]
    fn names_of_one_mark_are_told_apart() {
        let mut names = Names::new(4);
        assert_eq!(mark_of(name_of(3)), mark_of(name_of(5)));
        names.insert(name_of(3), 3);
        let get =
            |names: &Names, wanted| names.get(name_of(wanted), |index| name_of(index) == name_of(wanted));
        assert_eq!((get(&names, 3), get(&names, 5)), (Some(3), None));
        names.insert(name_of(5), 5);
        names.remove(name_of(3), 3);
        assert_eq!((get(&names, 3), get(&names, 5)), (None, Some(5)));
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0_u32..40, any::<bool>()), 0..300)) {
            let (mut names, mut model) = (Names::new(40), BTreeSet::new());
            for (index, is_insert) in steps {
                if is_insert && model.insert(index) {
                    names.insert(name_of(index), index);
                } else if !is_insert && model.remove(&index) {
                    names.remove(name_of(index), index);
                }
                for index in 0..40 {
                    let name = name_of(index);
                    let found = names.get(name, |index| name_of(index) == name);
                    prop_assert_eq!(found, model.get(&index).copied());
                }
            }
        }
    }
}
