//! The digest of a prefix's K and V bytes, token by token.
//! Known by: `engine`.
//!
//! - **D1** the digest at a position depends on every K and V byte before it, and on nothing else;
//! - **D2** a block's checksum depends on that block's bytes alone, so one wrong block does not make the next ones wrong.
//!
//! Two levels give both for the price of one: a block's tokens are chained from zero, and blocks are chained by their
//! checksums.

use crate::random::mix;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A rolling digest.
#[derive(Clone, Debug, Default)]
pub(super) struct PrefixDigest {
    /// Over the checksums of the blocks that are complete.
    blocks: u64,
    /// Over the rows of the block that is not.
    rows: u64,
}

impl PrefixDigest {
    /// Takes in one row: what the next token caches in its next layer and side.
    pub(super) fn push_row(&mut self, bytes: &[u8]) {
        self.rows = xxh3_64_with_seed(bytes, self.rows);
    }

    /// Ends a block. Returns its checksum (D2).
    pub(super) fn end_block(&mut self) -> u64 {
        let checksum = self.rows;
        self.blocks = mix(self.blocks.rotate_left(17) ^ checksum);
        self.rows = 0;
        checksum
    }

    /// The checksum of the block that is not complete, as far as it goes; of a complete one before it is ended.
    pub(super) fn unfinished_block(&self) -> u64 {
        self.rows
    }

    /// The digest so far (D1).
    pub(super) fn value(&self) -> u64 {
        mix(self.blocks ^ self.rows.rotate_left(32))
    }
}
