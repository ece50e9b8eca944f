//! What is noted of a block beside its links: small numbers in the 16 bits that a record has left.
//! Layer 3. Known by: `prefix`.

use super::tenants::TenantId;

/// What a record is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The list of free records, through `chain_next`.
    Vacant = 0,
    /// No chain: its parent's first child, found there.
    First = 1,
    /// The chain of its hash.
    Chained = 2,
    /// No chain, and not to be found.
    Detached = 3,
}

/// A range of bits.
#[derive(Clone, Copy)]
struct Bits {
    first: u32,
    count: u32,
}

const STAGE: Bits = Bits { first: 0, count: 2 };
const ODD_EPOCH: Bits = Bits { first: 2, count: 1 };
const MORTAL: Bits = Bits { first: 3, count: 1 };
const PASSES: Bits = Bits { first: 4, count: 2 };
const TENANT: Bits = Bits { first: 6, count: 10 };

/// In place of passes: the block had some, and none is left.
const SPENT: u16 = 3;

/// A record's notes.
#[derive(Clone, Copy)]
pub(super) struct Notes(u16);

impl Notes {
    /// The most tenants that are told apart, the shared one not counted.
    pub(super) const TENANTS_MAX: u16 = (1 << TENANT.count) - 1;
    /// How often eviction can pass over a block.
    pub(super) const PASSES_MAX: u16 = SPENT - 1;

    /// Those of a record in `stage`, and nothing else.
    pub(super) fn new(stage: Stage) -> Self {
        Self(stage as u16)
    }

    fn get(self, bits: Bits) -> u16 {
        self.0 >> bits.first & ((1 << bits.count) - 1)
    }

    fn set(&mut self, bits: Bits, value: u16) {
        let mask = ((1 << bits.count) - 1) << bits.first;
        self.0 = self.0 & !mask | value << bits.first & mask;
    }

    pub(super) fn stage(self) -> Stage {
        match self.get(STAGE) {
            0 => Stage::Vacant,
            1 => Stage::First,
            2 => Stage::Chained,
            _ => Stage::Detached,
        }
    }

    pub(super) fn set_stage(&mut self, stage: Stage) {
        self.set(STAGE, stage as u16);
    }

    /// Whether the block was named in an epoch of an odd number.
    pub(super) fn is_odd_epoch(self) -> bool {
        self.get(ODD_EPOCH) == 1
    }

    pub(super) fn set_odd_epoch(&mut self, is_odd: bool) {
        self.set(ODD_EPOCH, u16::from(is_odd));
    }

    /// Whether only requests with a time to live have used the block.
    pub(super) fn is_mortal(self) -> bool {
        self.get(MORTAL) == 1
    }

    pub(super) fn set_mortal(&mut self, is_mortal: bool) {
        self.set(MORTAL, u16::from(is_mortal));
    }

    /// How often eviction has still to pass over the block.
    pub(super) fn passes(self) -> u16 {
        if self.has_spent() { 0 } else { self.get(PASSES) }
    }

    pub(super) fn set_passes(&mut self, passes: u16) {
        self.set(PASSES, passes.min(Self::PASSES_MAX));
    }

    /// Whether eviction has passed over the block as often as it was to.
    pub(super) fn has_spent(self) -> bool {
        self.get(PASSES) == SPENT
    }

    /// None of its passes is left.
    pub(super) fn spend_passes(&mut self) {
        self.set(PASSES, SPENT);
    }

    /// Who the block is counted to.
    pub(super) fn tenant(self) -> TenantId {
        TenantId(self.get(TENANT))
    }

    pub(super) fn set_tenant(&mut self, tenant: TenantId) {
        self.set(TENANT, tenant.0);
    }
}

impl std::fmt::Debug for Notes {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}, tenant {}, {} passes", self.stage(), self.tenant().0, self.passes())
    }
}

#[cfg(test)]
mod tests {
    use super::{Notes, Stage, TenantId};

    #[test]
    fn each_note_leaves_the_others_alone() {
        let mut notes = Notes::new(Stage::First);
        notes.set_tenant(TenantId(Notes::TENANTS_MAX));
        notes.set_passes(9);
        notes.set_odd_epoch(true);
        notes.set_mortal(true);
        notes.set_stage(Stage::Detached);
        notes.set_mortal(false);
        assert_eq!((notes.stage(), notes.tenant()), (Stage::Detached, TenantId(Notes::TENANTS_MAX)));
        assert_eq!((notes.passes(), notes.is_odd_epoch(), notes.is_mortal()), (2, true, false));
        notes.spend_passes();
        assert_eq!((notes.passes(), notes.has_spent(), notes.is_mortal()), (0, true, false));
        notes.set_passes(0);
        assert!(!notes.has_spent());
    }
}
