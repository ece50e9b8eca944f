//! The states of a slot, and how many slots are in each.
//! Layer 2. Uses nothing. Known by: `pool`, `pager`.

/// What a slot is doing: `Free → Filling → Resident → Leaving → Free`, `Leaving → Resident` when a hit comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum SlotState {
    /// Nothing of value; may be taken.
    Free = 0,
    /// Being written by compute or by a move; no match sees it.
    Filling = 1,
    /// Holds the whole part of a named block.
    Resident = 2,
    /// Resident, and being copied away to make room.
    Leaving = 3,
    /// A move into or out of it timed out, and may still touch it.
    Quarantined = 4,
    /// Known to be bad; never used again.
    Retired = 5,
}

impl SlotState {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Free, Self::Filling, Self::Resident, Self::Leaving, Self::Quarantined, Self::Retired];
}

/// How many slots are in each state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SlotCounts {
    by_state: [u32; 6],
}

impl SlotCounts {
    pub(super) fn all_free(capacity: u32) -> Self {
        let mut counts = Self::default();
        counts.by_state[SlotState::Free as usize] = capacity;
        counts
    }

    /// How many are in `state`.
    pub fn of(&self, state: SlotState) -> u32 {
        self.by_state[state as usize]
    }

    /// How many there are.
    pub fn total(&self) -> u32 {
        self.by_state.iter().sum()
    }

    pub(super) fn add(&mut self, state: SlotState) {
        self.by_state[state as usize] += 1;
    }

    pub(super) fn shift(&mut self, from: SlotState, into: SlotState, count: u32) {
        let left = self.by_state[from as usize].checked_sub(count);
        self.by_state[from as usize] = left.expect("P1: as many slots as are counted in their state");
        self.by_state[into as usize] += count;
    }
}
