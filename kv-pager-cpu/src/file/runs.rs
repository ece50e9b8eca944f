//! Runs: what is adjacent in a batch, and travels in one request.
//! Uses `file::group`. Known by: `file::{reading, writing}`.

use super::group::Group;
use crate::lane::CHUNK_MOVES_MAX;
use kv_pager::ids::SlotId;
use std::ops::Range;

/// The runs of one batch, in order, as ranges of its places.
#[derive(Debug)]
pub(super) struct Runs {
    ranges: [Range<usize>; CHUNK_MOVES_MAX],
    count: usize,
}

impl Runs {
    /// Of `places` places, each of which has a slot, or none that is wanted.
    pub(super) fn of(group: &Group, places: usize, slot_at: impl Fn(usize) -> Option<usize>) -> Self {
        let mut runs = Self { ranges: [const { 0..0 }; CHUNK_MOVES_MAX], count: 0 };
        let mut last = None;
        for place in 0..places {
            let slot = slot_at(place);
            let joins = |last, next| group.is_adjacent(SlotId::from_index(last), SlotId::from_index(next));
            if last.zip(slot).is_some_and(|(last, next)| joins(last, next)) {
                runs.ranges[runs.count - 1].end = place + 1;
            } else if slot.is_some() {
                runs.ranges[runs.count] = place..place + 1;
                runs.count += 1;
            }
            last = slot;
        }
        runs
    }

    pub(super) fn as_slice(&self) -> &[Range<usize>] {
        &self.ranges[..self.count]
    }
}

/// What belongs to each of `runs`, which are in order, of `places`.
pub(super) fn of_each<'a, T>(
    runs: &'a [Range<usize>],
    places: &'a mut [T],
) -> impl Iterator<Item = &'a mut [T]> {
    let (mut passed, mut rest) = (0, places);
    runs.iter().map(move |run| {
        let (_, behind) = std::mem::take(&mut rest).split_at_mut(run.start - passed);
        let (own, behind) = behind.split_at_mut(run.len());
        (passed, rest) = (run.end, behind);
        own
    })
}
