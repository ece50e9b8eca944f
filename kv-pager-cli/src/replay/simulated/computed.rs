//! Which blocks of a stream have been computed before.
//! Known by: `replay::simulated`.

use kv_pager_testkit::trace::{Request, TOKENS_PER_ID};
use std::collections::HashMap;
use std::ops::Range;

/// Bits in a word.
const WORD: usize = 64;

/// A bit for each block that was ever computed. An id names the whole prefix up to it, so it and the place in it name a block.
#[derive(Debug)]
pub(super) struct ComputedBlocks {
    tokens_per_block: usize,
    /// By id and word of bits.
    words: HashMap<(u64, usize), u64>,
}

impl ComputedBlocks {
    pub(super) fn new(tokens_per_block: usize) -> Self {
        Self { tokens_per_block, words: HashMap::new() }
    }

    /// Notes that these tokens of the prompt were computed. Returns how many of them lie in blocks that they complete and that had
    /// been computed before.
    pub(super) fn note(&mut self, request: &Request, tokens: &Range<usize>) -> u64 {
        let (size, per_id) = (self.tokens_per_block, TOKENS_PER_ID as usize);
        let (mut known, mut word, mut bits) = (0, None, 0);
        for block in tokens.start / size..tokens.end / size {
            // It belongs to the id of its last token, and is the so manieth that does.
            let at = ((block + 1) * size - 1) / per_id;
            let bit = block - (at * per_id).div_euclid(size);
            let next = Some((request.ids[at], bit / WORD));
            if next != word {
                known += self.note_bits(word, bits);
                (word, bits) = (next, 0);
            }
            bits |= 1 << (bit % WORD);
        }
        known += self.note_bits(word, bits);
        u64::from(known) * size as u64
    }

    /// Sets bits of a word, if there is one. Returns how many were set.
    fn note_bits(&mut self, word: Option<(u64, usize)>, bits: u64) -> u32 {
        let Some(word) = word else { return 0 };
        let before = self.words.entry(word).or_default();
        let known = (*before & bits).count_ones();
        *before |= bits;
        known
    }
}

#[cfg(test)]
mod tests {
    use super::{ComputedBlocks, Request};
    use kv_pager::units::Nanos;

    #[test]
    fn what_is_computed_again_counts_by_whole_blocks() {
        let request = |ids: &[u64]| Request {
            arrival: Nanos::ZERO,
            prompt_tokens: 1000,
            output_tokens: 1,
            ids: ids.into(),
        };
        let mut computed = ComputedBlocks::new(16);
        assert_eq!(computed.note(&request(&[1, 2]), &(0..520)), 0);
        assert_eq!(computed.note(&request(&[1, 2]), &(520..1000)), 0, "its first block was not complete");
        assert_eq!(computed.note(&request(&[1, 3]), &(500..1000)), 16, "the last block of id 1");
        assert_eq!(computed.note(&request(&[1, 2]), &(0..1000)), 992);
    }
}
