//! The verifier: the checksum of every block's K and V bytes when they were first computed, and whether those that come
//! back are the same.
//! Uses `engine::{context, memory, model}`. Known by: `engine::run`, the command line.
//!
//! - **V1** a block is named by all tokens up to its end, so two blocks of one name must have the same bytes;
//! - **V2** a checksum is remembered before its block is committed, so whoever finds the block finds the checksum;
//! - **V3** memory is bounded: past [`Verifier::capacity`] blocks nothing more is remembered, and what is asked for is
//!   computed instead. A block of an earlier process is checked in the same way.

use super::context::Context;
use super::memory::PlainMemory;
use super::model::Model;
use kv_pager::ids::{SlotId, TokenId};
use kv_pager::sync::{AtomicU64, Mutex, Ordering};
use std::collections::HashMap;
use xxhash_rust::xxh3::xxh3_128;

/// The name of a block by content: a hash of all tokens up to its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ContentKey(u128);

impl ContentKey {
    /// The name of the block of `tokens` that follows the block of this name; the default is that before the first.
    #[must_use]
    pub fn child(self, tokens: &[TokenId]) -> Self {
        let mut bytes = Vec::with_capacity(16 + 4 * tokens.len());
        bytes.extend_from_slice(&self.0.to_le_bytes());
        for token in tokens {
            bytes.extend_from_slice(&token.0.to_le_bytes());
        }
        Self(xxh3_128(&bytes))
    }
}

/// What became of a block that was shown to the verifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It was never computed before, as far as is remembered.
    Unknown,
    /// Its bytes are those of the first time.
    Same,
    /// They are not.
    Different,
}

/// What was checked so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VerifierCounts {
    /// Blocks loaded from a farther tier whose bytes were compared.
    pub verified_blocks: u64,
    /// Blocks found on the device whose bytes were compared.
    pub verified_resident_blocks: u64,
    /// Of all blocks that were compared or read again, those with wrong bytes.
    pub mismatched_blocks: u64,
    /// Blocks that were remembered no more, for lack of room; they are checked all the same, but slowly.
    pub forgotten_blocks: u64,
}

/// Remembers and compares; shared by all sequences.
#[derive(Debug)]
pub struct Verifier {
    capacity: usize,
    known: Mutex<HashMap<ContentKey, u64>>,
    verified: AtomicU64,
    verified_resident: AtomicU64,
    mismatched: AtomicU64,
    forgotten: AtomicU64,
}

impl Verifier {
    /// A verifier that remembers at most `capacity` blocks, at about 50 bytes each.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            known: Mutex::new(HashMap::new()),
            verified: AtomicU64::new(0),
            verified_resident: AtomicU64::new(0),
            mismatched: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
        }
    }

    /// Blocks it remembers at most.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// What was checked so far.
    pub fn counts(&self) -> VerifierCounts {
        VerifierCounts {
            verified_blocks: self.verified.load(Ordering::Relaxed),
            verified_resident_blocks: self.verified_resident.load(Ordering::Relaxed),
            mismatched_blocks: self.mismatched.load(Ordering::Relaxed),
            forgotten_blocks: self.forgotten.load(Ordering::Relaxed),
        }
    }

    /// Takes in a block that was computed: remembers it, or compares it with the first time.
    pub fn remember(&self, key: ContentKey, checksum: u64) -> Verdict {
        let mut known = self.known.lock();
        match known.get(&key) {
            Some(&first) if first == checksum => Verdict::Same,
            Some(_) => {
                self.mismatched.fetch_add(1, Ordering::Relaxed);
                Verdict::Different
            }
            None if known.len() < self.capacity => {
                known.insert(key, checksum);
                Verdict::Unknown
            }
            None => {
                self.forgotten.fetch_add(1, Ordering::Relaxed);
                Verdict::Unknown
            }
        }
    }

    /// Compares a block that came from the cache with the first time it was computed. Counts nothing that is unknown.
    pub fn check(&self, key: ContentKey, checksum: u64, is_onboarded: bool) -> Verdict {
        let first = self.known.lock().get(&key).copied();
        first.map_or(Verdict::Unknown, |first| self.compare(first, checksum, is_onboarded))
    }

    /// As [`Verifier::check`], against `expected`, which was computed for the purpose.
    pub fn check_against(&self, expected: u64, checksum: u64, is_onboarded: bool) -> Verdict {
        self.compare(expected, checksum, is_onboarded)
    }

    /// Counts `blocks` blocks whose bytes changed while a sequence held them.
    pub fn count_changed(&self, blocks: u32) {
        self.mismatched.fetch_add(u64::from(blocks), Ordering::Relaxed);
    }

    fn compare(&self, first: u64, checksum: u64, is_onboarded: bool) -> Verdict {
        let counter = if is_onboarded { &self.verified } else { &self.verified_resident };
        counter.fetch_add(1, Ordering::Relaxed);
        if first == checksum {
            return Verdict::Same;
        }
        self.mismatched.fetch_add(1, Ordering::Relaxed);
        Verdict::Different
    }
}

/// Computes the checksums of the blocks of `tokens` from nothing: what V3 falls back on.
pub(super) fn compute_checksums(model: &Model, tokens: &[TokenId]) -> Vec<u64> {
    // Nothing is read back, so every block may lie in the same slot.
    let memory = PlainMemory::new(model.layout(), 1);
    let table = vec![SlotId::from_index(0); model.blocks(tokens.len())];
    let mut context = Context::new(model, tokens.len());
    context.compute(tokens, model, &memory, &table);
    context.checksums().to_vec()
}
