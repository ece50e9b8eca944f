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
    /// A complete binary tree of places; the root is at 1, and the last half are the places themselves.
    winners: Box<[u16]>,
}

impl Tournament {
    pub(super) fn new(places: u16) -> Self {
        let leaves = places.next_power_of_two().max(2);
        let mut winners: Vec<u16> = vec![0; usize::from(leaves)];
        winners.extend(0..leaves);
        for inner in (1..usize::from(leaves)).rev() {
            winners[inner] = winners[2 * inner];
        }
        let keys = vec![Key::ABSENT; usize::from(leaves)].into_boxed_slice();
        Self { keys, winners: winners.into_boxed_slice() }
    }

    /// Gives a place another key. O(log places), O(1) where it was not the least of its neighbours and is not now.
    pub(super) fn set(&mut self, place: u16, key: Key) {
        self.keys[usize::from(place)] = key;
        let (mut winner, mut least) = (place, key);
        let mut at = usize::from(place) + self.keys.len();
        while at > 1 {
            let other = self.winners[at ^ 1];
            let theirs = self.keys[usize::from(other)];
            if theirs < least {
                (winner, least) = (other, theirs);
            }
            at /= 2;
            let before = std::mem::replace(&mut self.winners[at], winner);
            // T1: the same other one won here before, and all above have seen it as it is.
            if winner == before && winner != place {
                break;
            }
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
