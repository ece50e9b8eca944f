//! Serving through a pager.
//! Known by: `replay`.

use super::records::file_bytes;
use super::server::{Served, Server};
use kv_pager::clock::{Clock, Time};
use kv_pager::ids::{Fence, SlotId, TierId, TokenId};
use kv_pager::pager::{Pager, Progress as Moment, Request, Sequence, Step};
use kv_pager::units::Nanos;
use kv_pager::{Error, ErrorKind};
use kv_pager_testkit::engine::{Engine, Progress, Run, StepSource};
use std::ops::Range;
use std::sync::Arc;

/// Serves from a pager's tiers.
#[derive(Debug)]
pub(super) struct CachedServer<'a> {
    pub(super) pager: &'a Pager,
    pub(super) engine: Engine<'a>,
    /// Times the engine's steps.
    pub(super) clock: &'a Arc<dyn Clock>,
}

/// A sequence that reports how long the engine's steps take.
#[derive(Debug)]
pub(super) struct Timed {
    sequence: Sequence,
    clock: Arc<dyn Clock>,
    started: Time,
}

impl StepSource for Timed {
    fn next_step(&mut self, tokens_max: usize) -> Result<Step, Error> {
        let step = self.sequence.next_step(tokens_max);
        self.started = self.clock.now();
        step
    }

    fn commit(&mut self, computed: Range<usize>) -> Result<(), Error> {
        self.sequence.observe(computed.clone(), self.clock.now().since(self.started));
        StepSource::commit(&mut self.sequence, computed)
    }

    fn append(&mut self, tokens: &[TokenId]) -> Result<(), Error> {
        StepSource::append(&mut self.sequence, tokens)
    }

    fn read_table(&self, table: &mut Vec<SlotId>) {
        self.sequence.read_table(table);
    }

    fn block_source(&self, block: usize) -> Option<TierId> {
        StepSource::block_source(&self.sequence, block)
    }
}

impl Server for CachedServer<'_> {
    type Job = Run<Timed>;
    type Moment = Moment;

    fn start(&self, prompt: &[TokenId], output_tokens: usize) -> Result<Option<Self::Job>, Error> {
        match self.pager.open(&Request::new(prompt)) {
            Ok(sequence) => {
                let timed = Timed { sequence, clock: Arc::clone(self.clock), started: Time::START };
                Ok(Some(Run::new(&self.engine, timed, prompt.to_vec(), output_tokens)))
            }
            Err(error) if error.kind() == ErrorKind::Retry => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn advance(&self, job: &mut Self::Job) -> Result<Progress, Error> {
        job.advance(&self.engine)
    }

    fn finish(&self, job: Self::Job) -> Served {
        let (Timed { sequence, .. }, output) = job.finish(&self.engine);
        let hit_tokens = sequence.report().hit_tokens;
        let forecast = sequence.forecast();
        sequence.close(Fence::OVER);
        let file_bytes = file_bytes(&self.pager.stats());
        let tokens_per_block = self.engine.model.tokens_per_block() as u64;
        let onboarded = hit_tokens[TierId::Host.index()] + hit_tokens[TierId::File.index()];
        Served { output, hit_tokens, onboarded_blocks: onboarded / tokens_per_block, file_bytes, forecast }
    }

    fn moment(&self) -> Moment {
        self.pager.progress()
    }

    fn wait(&self, moment: Moment, timeout: Nanos) {
        self.pager.wait(moment, timeout);
    }
}
