//! Where an engine's next step comes from: a pager's sequence, or a plain list where there is no pager.
//! Known by: `engine::run`.

use kv_pager::Error;
use kv_pager::ids::{Fence, GroupId, SlotId, TierId, TokenId};
use kv_pager::pager::{Sequence, Step};
use std::ops::Range;

/// Gives steps for one sequence. Contract: **O1** before a range is given, everything before it can be read through the
/// table; **O2** when all is ready, the last token was computed, not loaded.
pub trait StepSource {
    /// What to do next, for at most `tokens_max` tokens.
    ///
    /// # Errors
    /// Of kind [`Retry`](kv_pager::ErrorKind::Retry) when something must end first.
    fn next_step(&mut self, tokens_max: usize) -> Result<Step, Error>;

    /// Has `range`, which was given, computed: by `compute`, once. Nothing but the computing is in it, so that a source that reports
    /// how long steps take times it; others leave this as it is.
    fn compute(&mut self, _range: &Range<usize>, compute: impl FnOnce())
    where
        Self: Sized,
    {
        compute();
    }

    /// Says that `computed`, a range that was given, has been written through the table.
    ///
    /// # Errors
    /// If the range was not given.
    fn commit(&mut self, computed: Range<usize>) -> Result<(), Error>;

    /// Adds tokens to the end.
    ///
    /// # Errors
    /// Of kind [`Retry`](kv_pager::ErrorKind::Retry) when something must end first.
    fn append(&mut self, tokens: &[TokenId]) -> Result<(), Error>;

    /// The slots of all blocks, in place of what `table` held.
    fn read_table(&self, table: &mut Vec<SlotId>);

    /// The tier that block `block` was found in; `None` if this sequence computed it.
    fn block_source(&self, block: usize) -> Option<TierId>;
}

impl StepSource for Sequence {
    fn next_step(&mut self, tokens_max: usize) -> Result<Step, Error> {
        Self::next_step(self, tokens_max)
    }

    fn commit(&mut self, computed: Range<usize>) -> Result<(), Error> {
        Self::commit(self, computed, Fence::OVER)
    }

    fn append(&mut self, tokens: &[TokenId]) -> Result<(), Error> {
        Self::append(self, tokens)
    }

    fn read_table(&self, table: &mut Vec<SlotId>) {
        table.clear();
        table.extend_from_slice(self.table(GroupId::FIRST));
    }

    fn block_source(&self, block: usize) -> Option<TierId> {
        Self::block_source(self, block)
    }
}

/// Steps without a pager: everything is computed, in slots of its own.
#[derive(Debug)]
pub struct Uncached {
    tokens_per_block: usize,
    tokens: usize,
    computed: usize,
}

impl Uncached {
    /// A sequence of `tokens` tokens in blocks of `tokens_per_block`.
    pub fn new(tokens: usize, tokens_per_block: usize) -> Self {
        Self { tokens_per_block, tokens, computed: 0 }
    }
}

impl StepSource for Uncached {
    fn next_step(&mut self, tokens_max: usize) -> Result<Step, Error> {
        let end = self.tokens.min(self.computed + tokens_max);
        Ok(if end > self.computed { Step::Compute(self.computed..end) } else { Step::Ready })
    }

    fn commit(&mut self, computed: Range<usize>) -> Result<(), Error> {
        self.computed = computed.end;
        Ok(())
    }

    fn append(&mut self, tokens: &[TokenId]) -> Result<(), Error> {
        self.tokens += tokens.len();
        Ok(())
    }

    fn read_table(&self, table: &mut Vec<SlotId>) {
        table.clear();
        table.extend((0..self.tokens.div_ceil(self.tokens_per_block)).map(SlotId::from_index));
    }

    fn block_source(&self, _block: usize) -> Option<TierId> {
        None
    }
}
