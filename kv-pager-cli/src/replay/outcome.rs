//! What a pass came to: sums over its requests.
//! Known by: `replay`.

use super::records::{Record, Records};
use super::server::Served;
use hdrhistogram::Histogram;
use kv_pager::ids::TierId;
use kv_pager::units::Nanos;
use std::collections::HashMap;

/// The longest span that is told apart: a day.
const SPAN_MAX_NS: u64 = 86_400_000_000_000;

/// Sums over requests. What is not generated, as in virtual time, has no tokens and no logits.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) requests: u64,
    pub(super) hit_tokens: [u64; TierId::COUNT],
    pub(super) computed_tokens: u64,
    pub(super) recomputed_tokens: u64,
    pub(super) onboarded_blocks: u64,
    pub(super) generated_tokens: u64,
    /// Nanoseconds to the first token.
    pub(super) first_token: Histogram<u64>,
    /// Over the logits of each request, by its place in the stream.
    pub(super) logits: HashMap<usize, u64>,
    pub(super) records: Records,
}

impl Default for Outcome {
    fn default() -> Self {
        let first_token = Histogram::new_with_bounds(1, SPAN_MAX_NS, 3).expect("the bounds are valid");
        Self {
            requests: 0,
            hit_tokens: [0; TierId::COUNT],
            computed_tokens: 0,
            recomputed_tokens: 0,
            onboarded_blocks: 0,
            generated_tokens: 0,
            first_token,
            logits: HashMap::new(),
            records: Records::default(),
        }
    }
}

impl Outcome {
    /// Takes in the time to a request's first token.
    pub(super) fn add_first_token(&mut self, span: Nanos) {
        self.first_token.saturating_record(span.as_u64());
    }

    /// Takes in the request at `index`, which has ended `at` that time.
    pub(super) fn add(&mut self, index: usize, at: Nanos, served: &Served) {
        let prompt_tokens = served.hit_tokens.iter().sum::<u64>() + served.output.computed_tokens as u64;
        self.records.add(Record {
            at,
            hit_tokens: served.hit_tokens,
            prompt_tokens,
            file_bytes: served.file_bytes,
            forecast: served.forecast,
        });
        self.requests += 1;
        for (sum, tokens) in self.hit_tokens.iter_mut().zip(served.hit_tokens) {
            *sum += tokens;
        }
        self.computed_tokens += served.output.computed_tokens as u64;
        self.recomputed_tokens += served.output.recomputed_tokens as u64;
        self.onboarded_blocks += served.onboarded_blocks;
        self.generated_tokens += served.output.generated.len() as u64;
        self.logits.insert(index, served.output.logits_digest);
    }

    /// Takes in what another worker came to.
    pub(super) fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        for (sum, tokens) in self.hit_tokens.iter_mut().zip(other.hit_tokens) {
            *sum += tokens;
        }
        self.computed_tokens += other.computed_tokens;
        self.recomputed_tokens += other.recomputed_tokens;
        self.onboarded_blocks += other.onboarded_blocks;
        self.generated_tokens += other.generated_tokens;
        self.first_token.add(&other.first_token).expect("both have the same bounds");
        self.logits.extend(other.logits);
        self.records.merge(other.records);
    }

    /// Tokens of all prompts: found and computed.
    pub(super) fn prompt_tokens(&self) -> u64 {
        self.hit_tokens.iter().sum::<u64>() + self.computed_tokens
    }
}
