//! Which batches a lane is measured with.
//! Layer 6. Uses `units`. Known by: `cost::calibrate::lane`.

use crate::units::Bytes;

/// One batch to measure: `parts` parts, in slots next to each other or in every other slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Batch {
    pub(super) parts: usize,
    pub(super) stride: usize,
}

impl Batch {
    /// Slots from the first part to the last.
    pub(super) fn span(self) -> usize {
        (self.parts - 1) * self.stride + 1
    }

    /// The slots of the batch in round `round`, of `slots`: elsewhere each time, for caches remember.
    pub(super) fn places(self, round: usize, slots: usize) -> impl Iterator<Item = usize> {
        // A prime step visits the starts in an order that no prefetcher guesses.
        let start = round.wrapping_mul(7919) % (slots - self.span() + 1);
        (0..self.parts).map(move |index| start + index * self.stride)
    }
}

/// The most bytes in a batch: more shows nothing new.
const BYTES_MAX: Bytes = Bytes::mib(128);
/// The most parts in a batch, below any lane's limit.
const PARTS_MAX: usize = 4096;

/// Batches of 1, 2, 4 ... parts, together and apart, smallest first.
pub(super) fn batches(slots: usize, part_bytes: Bytes) -> Vec<Batch> {
    let parts_max = usize::try_from(BYTES_MAX.div_down(part_bytes)).unwrap_or(PARTS_MAX).clamp(1, PARTS_MAX);
    let counts =
        std::iter::successors(Some(1), |parts| Some(parts * 2)).take_while(|parts| *parts <= parts_max);
    counts
        .flat_map(|parts| [1, 2].map(|stride| Batch { parts, stride }))
        .filter(|batch| batch.span() <= slots && (batch.parts > 1 || batch.stride == 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Batch, Bytes, batches};

    #[test]
    fn batches_stay_within_the_slots_and_bytes() {
        for (slots, part_bytes) in [(1, 4096), (10, 2 << 20), (5000, 8192), (100_000, 100)] {
            let all = batches(slots, Bytes::new(part_bytes));
            assert!(all.contains(&Batch { parts: 1, stride: 1 }));
            for batch in all {
                assert!((0..9).all(|round| batch.places(round, slots).all(|slot| slot < slots)), "{batch:?}");
                assert!(batch.parts as u64 * part_bytes <= 128 << 20, "{batch:?}");
            }
        }
    }
}
