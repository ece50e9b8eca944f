//! Tokens for ids: what a prompt says where a trace only names it.
//! Uses `random`. Known by: the command line, tests.

use super::{Request, TOKENS_PER_ID};
use crate::random::mix;
use kv_pager::ids::TokenId;

/// Tokens of the vocabulary: `0..VOCABULARY`.
pub const VOCABULARY: u32 = 1024;

/// Bits of a derived token.
const TOKEN_BITS: u32 = VOCABULARY.ilog2();
/// Tokens taken from one 64-bit number.
const TOKENS_PER_DRAW: u32 = 64 / TOKEN_BITS;

/// Derives the [`TOKENS_PER_ID`] tokens of an id from a seed: always the same ones, and others for another id or seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenSource {
    seed: u64,
}

impl TokenSource {
    /// The tokens of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed: mix(seed) }
    }

    /// Appends the first `count` tokens of `id`, at most [`TOKENS_PER_ID`], to `tokens`.
    pub fn extend(&self, id: u64, count: u32, tokens: &mut Vec<TokenId>) {
        let start = mix(self.seed ^ id);
        let mut draw = 0;
        for index in 0..count.min(TOKENS_PER_ID) {
            if index % TOKENS_PER_DRAW == 0 {
                draw = mix(start ^ u64::from(index));
            }
            tokens.push(lowest_token(draw));
            draw >>= TOKEN_BITS;
        }
    }

    /// The prompt of `request`, in place of what `tokens` held.
    pub fn read_prompt(&self, request: &Request, tokens: &mut Vec<TokenId>) {
        tokens.clear();
        let mut left = request.prompt_tokens;
        for &id in &request.ids {
            self.extend(id, left, tokens);
            left = left.saturating_sub(TOKENS_PER_ID);
        }
    }
}

/// The token that the lowest bits of `draw` stand for.
#[expect(clippy::cast_possible_truncation, reason = "the vocabulary is far below 2^32")]
fn lowest_token(draw: u64) -> TokenId {
    TokenId(draw as u32 % VOCABULARY)
}
