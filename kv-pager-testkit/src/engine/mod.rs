//! The reference engine: a small decoder whose outputs tell whether a cache is right.
//! Uses `random`, and the vocabulary of `trace`. Known by: the command line, tests.
//!
//! - **G1** what is computed depends on tokens, positions and the K and V bytes before them, and on nothing else; a single
//!   wrong byte anywhere in a prefix changes what follows (X1, X2 in `context`);
//! - **G2** sums run in a fixed order: chunking a prefill, or resuming it anywhere, can't change a bit;
//! - **G3** so logits and K and V bytes with a pager equal those without, bit for bit, whatever was evicted, demoted,
//!   onboarded or recomputed.
//!
//! It reads and writes K and V through block tables only, as an attention kernel does. What it computes is no language
//! model: its weights are drawn from a seed, for correctness does not need them trained.

mod arithmetic;
mod context;
mod digest;
mod filler;
mod host;
mod logits;
mod memory;
mod model;
mod row;
mod run;
mod source;
mod verifier;
mod weights;
mod window;

pub use context::Context;
pub use logits::Logits;
pub use memory::{KvMemory, PlainMemory, PlanesRead, PlanesWrite};
pub use model::{Model, Setting};
pub use run::{Engine, Progress, Run, run_uncached};
pub use source::{StepSource, Uncached};
pub use verifier::{ContentKey, Verdict, Verifier, VerifierCounts};

use kv_pager::ids::TokenId;

/// What came of a request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Output {
    /// What was generated.
    pub generated: Vec<TokenId>,
    /// Over all logits, in order.
    pub logits_digest: u64,
    /// Of the K and V bytes of each complete block.
    pub checksums: Vec<u64>,
    /// Tokens of the prompt that were computed.
    pub computed_tokens: usize,
    /// Those of them that were computed although their block had been computed before, in whole blocks.
    pub recomputed_tokens: usize,
    /// Blocks whose bytes changed while the sequence held them.
    pub changed_blocks: u32,
}

#[cfg(test)]
mod tests;
