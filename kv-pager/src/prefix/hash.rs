//! Prefix hashes: the keyed 128-bit names of blocks.
//! Layer 3. Uses `ids`. Known by: `pager`, file backends (they keep the key).
//!
//! The hash is XXH3-128 with a secret derived from the key, over the parent's name (16 bytes, little-endian), the tokens (4
//! bytes each) and the extra keys (8 bytes each); a root's name is the hash of the model's fingerprint,
//! the salt and the epoch. It is fast, not cryptographic:
//! nothing rests on its collisions being rare but speed, for a match compares what was hashed.

use crate::ids::{HashKey, ModelEpoch, ModelFingerprint, PrefixHash, Salt, TokenId};
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_secret};

/// Bytes of the secret that XXH3 draws on: its own default length.
const SECRET_BYTES: usize = 192;
/// What is hashed in one call, from the stack: a parent and 16 to 60 tokens.
const BUFFER_BYTES: usize = 256;

/// Names blocks. Cheap to clone; needs no lock.
#[derive(Clone)]
pub struct PrefixHasher {
    secret: [u8; SECRET_BYTES],
    fingerprint: ModelFingerprint,
}

impl std::fmt::Debug for PrefixHasher {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("PrefixHasher { secret: .. }")
    }
}

impl PrefixHasher {
    /// A hasher for the blocks of one model: another's never have the same names. Its secret is drawn from `key`: word `i` is `SplitMix64` (Steele, Lea and Flood 2014) of the low half's
    /// stream at `i`, keyed once more with the high half. No two words are alike, for XXH3 is symmetric where they are.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of 128 bits")]
    pub fn new(key: HashKey, fingerprint: ModelFingerprint) -> Self {
        let (low, high) = (key.0 as u64, (key.0 >> 64) as u64);
        let mut secret = [0; SECRET_BYTES];
        let mut state = low;
        for word in secret.chunks_exact_mut(8) {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            word.copy_from_slice(&mix(mix(state) ^ high).to_le_bytes());
        }
        Self { secret, fingerprint }
    }

    /// The name that stands before the first block of every chain of `salt` in `epoch`.
    pub fn root(&self, salt: Salt, epoch: ModelEpoch) -> PrefixHash {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.fingerprint.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&salt.0.to_le_bytes());
        bytes[24..].copy_from_slice(&epoch.0.to_le_bytes());
        PrefixHash(xxh3_128_with_secret(&bytes, &self.secret))
    }

    /// The name of the block of `tokens` after `parent`. Under 40 ns for 16 tokens; allocates nothing.
    pub fn block(&self, parent: PrefixHash, tokens: &[TokenId], extra_keys: &[u64]) -> PrefixHash {
        let bytes = 16 + tokens.len() * 4 + extra_keys.len() * 8;
        if bytes > BUFFER_BYTES {
            return self.long_block(parent, tokens, extra_keys);
        }
        let mut buffer = [0; BUFFER_BYTES];
        buffer[..16].copy_from_slice(&parent.0.to_le_bytes());
        let (token_bytes, rest) = buffer[16..].split_at_mut(tokens.len() * 4);
        for (word, token) in token_bytes.chunks_exact_mut(4).zip(tokens) {
            word.copy_from_slice(&token.0.to_le_bytes());
        }
        for (word, key) in rest.chunks_exact_mut(8).zip(extra_keys) {
            word.copy_from_slice(&key.to_le_bytes());
        }
        PrefixHash(xxh3_128_with_secret(&buffer[..bytes], &self.secret))
    }

    #[cold]
    pub(super) fn long_block(
        &self,
        parent: PrefixHash,
        tokens: &[TokenId],
        extra_keys: &[u64],
    ) -> PrefixHash {
        let mut state = Xxh3::with_secret(self.secret);
        state.update(&parent.0.to_le_bytes());
        for token in tokens {
            state.update(&token.0.to_le_bytes());
        }
        for key in extra_keys {
            state.update(&key.to_le_bytes());
        }
        PrefixHash(state.digest128())
    }
}

/// The finaliser of `SplitMix64`.
fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}
