//! The least of many keys, some of which change.
//! Layer 8. Uses nothing. Known by: `reuse`.
//!
//! - **T1** each inner place names the lesser of the two below it, so the root names the least of all.

/// What a queue's head is worth, and when it took its place: the lesser goes first.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub(super) struct Key {
    pub(super) value: f64,
    pub(super) stamp: u64,
}

impl Key {
    /// Of a queue that is empty: never the least.
    pub(super) const ABSENT: Self = Self { value: f64::INFINITY, stamp: u64::MAX };
}

/// A key for each place.
#[derive(Debug)]
pub(super) struct Tournament {
    keys: Box<[Key]>,
    /// A complete binary tree of places; the root is at 1.
    winners: Box<[u16]>,
}

impl Tournament {
    pub(super) fn new(places: u16) -> Self {
        let leaves = usize::from(places).next_power_of_two().max(2);
        let mut winners = vec![0; leaves];
        for inner in (1..leaves).rev() {
            let left = 2 * inner;
            let winner = if left < leaves { usize::from(winners[left]) } else { left - leaves };
            winners[inner] = u16::try_from(winner).expect("places are counted in 16 bits");
        }
        Self { keys: vec![Key::ABSENT; leaves].into_boxed_slice(), winners: winners.into_boxed_slice() }
    }

    /// Gives a place another key. O(log places).
    pub(super) fn set(&mut self, place: u16, key: Key) {
        self.keys[usize::from(place)] = key;
        let leaves = self.winners.len();
        let mut inner = usize::midpoint(usize::from(place), leaves);
        while inner > 0 {
            let below = |child: usize| {
                if child < leaves { self.winners[child] } else { u16::try_from(child - leaves).unwrap_or(0) }
            };
            let (left, right) = (below(2 * inner), below(2 * inner + 1));
            let is_right_less = self.keys[usize::from(right)] < self.keys[usize::from(left)];
            self.winners[inner] = if is_right_less { right } else { left };
            inner /= 2;
        }
    }

    /// The place with the least key, unless all are absent. O(1).
    pub(super) fn least(&self) -> Option<u16> {
        let winner = self.winners[1];
        (self.keys[usize::from(winner)] < Key::ABSENT).then_some(winner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Tournament};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_root_is_the_least(steps in prop::collection::vec((0_u16..11, 0_u32..5, any::<bool>()), 1..100)) {
            let mut tournament = Tournament::new(11);
            let mut keys = [Key::ABSENT; 11];
            for (stamp, (place, value, is_absent)) in steps.into_iter().enumerate() {
                let key = Key { value: f64::from(value), stamp: stamp as u64 };
                keys[usize::from(place)] = if is_absent { Key::ABSENT } else { key };
                tournament.set(place, keys[usize::from(place)]);
                let least = (0..11).filter(|&place: &usize| keys[place] != Key::ABSENT)
                    .min_by(|&a, &b| keys[a].partial_cmp(&keys[b]).expect("no key is NaN"));
                prop_assert_eq!(tournament.least().map(usize::from), least);
            }
        }
    }
}
