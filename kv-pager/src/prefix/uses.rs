//! How often a block was asked for, in the 16 bits that a record has for it.
//! Layer 3. Known by: `prefix`.
//!
//! - **US1** a request counts once, whether it is counted when it asks for the block or when it is over.

/// The bit that says that the last use was counted before its request was over.
const AHEAD: u16 = 1 << 15;

/// A count of uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Uses(u16);

impl Uses {
    /// None yet.
    pub(super) const NONE: Self = Self(0);
    /// One.
    pub(super) const ONE: Self = Self(1);

    /// So many, or as many as are counted.
    pub(super) fn of(count: u32) -> Self {
        Self(u16::try_from(count).unwrap_or(u16::MAX).min(AHEAD - 1))
    }

    /// How many there were.
    pub(super) fn count(self) -> u32 {
        u32::from(self.0 & !AHEAD)
    }

    /// A request uses the block.
    pub(super) fn add(&mut self) {
        *self = Self(Self::of(self.count() + 1).0 | self.0 & AHEAD);
    }

    /// A request uses the block, and will say so when it is over.
    pub(super) fn add_ahead(&mut self) {
        self.add();
        self.0 |= AHEAD;
    }

    /// A request that has used the block is over: counts it, unless one was counted ahead.
    pub(super) fn end(&mut self) {
        if self.0 & AHEAD == 0 {
            self.add();
        }
        self.0 &= !AHEAD;
    }
}

#[cfg(test)]
mod tests {
    use super::{AHEAD, Uses};

    #[test]
    fn a_request_counts_once() {
        let mut uses = Uses::NONE;
        uses.end();
        assert_eq!(uses, Uses::ONE);
        uses.add_ahead();
        assert_eq!(uses.count(), 2);
        uses.end();
        assert_eq!(uses, Uses::of(2));
        uses.end();
        assert_eq!(uses, Uses::of(3));
    }

    #[test]
    fn a_full_count_stays_full() {
        let mut uses = Uses::of(u32::MAX);
        uses.add_ahead();
        uses.end();
        assert_eq!((uses.count(), uses), (u32::from(AHEAD) - 1, Uses::of(u32::MAX)));
    }
}
