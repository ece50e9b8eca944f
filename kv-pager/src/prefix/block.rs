//! A block's record, and what others see of it.
//! Layer 3. Uses `ids`, `clock`. Known by: `prefix`; its views by `policy` and `pager`.

use super::extra::NO_EXTRA_KEYS;
use super::notes::{Notes, Stage};
use super::uses::Uses;
use crate::clock::Time;
use crate::ids::{BlockId, PrefixHash, Salt, TierId, TokenId};

/// What makes a block the same as another, beside its hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockKeys<'a> {
    /// The block before it; `NONE` for the first.
    pub parent: BlockId,
    /// Whose cache it is in.
    pub salt: Salt,
    /// `tokens_per_block` tokens.
    pub tokens: &'a [TokenId],
    /// What else its bytes depend on.
    pub extra_keys: &'a [u64],
}

/// What is known of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockView<'a> {
    /// Its name.
    pub hash: PrefixHash,
    /// The block before it; `NONE` for the first.
    pub parent: BlockId,
    /// Whose cache it is in.
    pub salt: Salt,
    /// How many blocks come before it.
    pub depth: u32,
    /// How often it was asked for, up to 32,767: zero until the first request that uses it has been told of.
    pub uses: u32,
    /// When it was last asked for.
    pub last_use: Time,
    /// How many sequences rely on it.
    pub references: u32,
    /// Its tokens.
    pub tokens: &'a [TokenId],
    /// What else its bytes depend on.
    pub extra_keys: &'a [u64],
}

/// One block: 80 bytes. The hash is kept in halves, for a `u128` would align the record to 16 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    hash_halves: [u64; 2],
    pub(super) salt: Salt,
    pub(super) last_use: Time,
    pub(super) parent: BlockId,
    pub(super) chain_next: BlockId,
    pub(super) first_child: BlockId,
    pub(super) sibling_next: BlockId,
    pub(super) sibling_prev: BlockId,
    pub(super) children_in: [u32; TierId::COUNT],
    pub(super) depth: u32,
    pub(super) references: u32,
    /// An entry of [`ExtraKeys`](super::extra::ExtraKeys).
    pub(super) extra_keys: u32,
    pub(super) uses: Uses,
    pub(super) notes: Notes,
}

impl Record {
    pub(super) fn vacant(next: BlockId) -> Self {
        Self {
            hash_halves: [0; 2],
            salt: Salt(0),
            last_use: Time::START,
            parent: BlockId::NONE,
            chain_next: next,
            first_child: BlockId::NONE,
            sibling_next: BlockId::NONE,
            sibling_prev: BlockId::NONE,
            children_in: [0; TierId::COUNT],
            depth: 0,
            references: 0,
            extra_keys: NO_EXTRA_KEYS,
            uses: Uses::NONE,
            notes: Notes::new(Stage::Vacant),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves of 128 bits")]
    pub(super) fn new(hash: PrefixHash, keys: &BlockKeys<'_>, depth: u32, now: Time) -> Self {
        Self {
            hash_halves: [hash.0 as u64, (hash.0 >> 64) as u64],
            salt: keys.salt,
            last_use: now,
            parent: keys.parent,
            depth,
            notes: Notes::new(Stage::First),
            ..Self::vacant(BlockId::NONE)
        }
    }

    pub(super) fn hash(&self) -> PrefixHash {
        PrefixHash(u128::from(self.hash_halves[0]) | u128::from(self.hash_halves[1]) << 64)
    }

    pub(super) fn is_known(&self) -> bool {
        self.notes.stage() != Stage::Vacant
    }

    pub(super) fn is_detached(&self) -> bool {
        self.notes.stage() == Stage::Detached
    }

    pub(super) fn is_chained(&self) -> bool {
        self.notes.stage() == Stage::Chained
    }

    /// Whether it is found only as its parent's first child.
    pub(super) fn is_unchained(&self) -> bool {
        self.notes.stage() == Stage::First
    }

    pub(super) fn mark_chained(&mut self, next: BlockId) {
        self.notes.set_stage(Stage::Chained);
        self.chain_next = next;
    }

    pub(super) fn mark_detached(&mut self) {
        self.notes.set_stage(Stage::Detached);
        self.chain_next = BlockId::NONE;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_record_is_80_bytes() {
        assert_eq!(size_of::<super::Record>(), 80);
    }
}
