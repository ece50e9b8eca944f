//! What is measured: the life of a block, as both sides tell it.

use kv_pager::ids::TokenId;

/// A cache's bookkeeping. Sequences are given back by dropping them.
pub(crate) trait Subject: Sync + Send + 'static {
    /// A prompt whose blocks are named.
    type Prompt: Sync + Send;
    /// An open sequence.
    type Sequence;

    /// Of `slots` free slots.
    fn new(slots: u32) -> Self;
    /// Names the blocks of a prompt.
    fn prompt(&self, tokens: &[TokenId]) -> Self::Prompt;
    /// Matches a prompt, holds what was found, and takes slots for the rest.
    fn open(&self, prompt: &Self::Prompt) -> Self::Sequence;
    /// Fills what was not found, and names it.
    fn fill(&self, prompt: &Self::Prompt, sequence: &mut Self::Sequence);
    /// Another sequence that shares all blocks.
    fn fork(&self, sequence: &Self::Sequence) -> Self::Sequence;
    /// Takes a slot for block `at` of `prompt`, fills and names it.
    fn append(&self, prompt: &Self::Prompt, at: usize, sequence: &mut Self::Sequence);
    /// Frees every slot.
    fn clear(&self);
}
