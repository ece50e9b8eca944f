//! Logits: what the model says of the next token.
//! Known by: `engine`.

use kv_pager::ids::TokenId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The scores of each token of the vocabulary to come next.
#[derive(Clone, PartialEq, Debug)]
pub struct Logits {
    pub(super) values: Box<[f32]>,
}

impl Logits {
    /// The most likely token; the first of several.
    ///
    /// # Panics
    /// Never: a vocabulary has less than 2^32 tokens.
    pub fn most_likely(&self) -> TokenId {
        let mut best = 0;
        for (index, value) in self.values.iter().enumerate() {
            if *value > self.values[best] {
                best = index;
            }
        }
        TokenId(u32::try_from(best).expect("a vocabulary has less than 2^32 tokens"))
    }

    /// `digest`, with every bit of these logits mixed in.
    pub fn mix_into(&self, digest: u64) -> u64 {
        xxh3_64_with_seed(bytemuck::cast_slice(&self.values), digest)
    }
}
