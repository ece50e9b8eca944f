//! Serving without a pager: every token is computed. What the cache is compared with.
//! Known by: `replay`.

use super::server::{Served, Server};
use kv_pager::Error;
use kv_pager::ids::{TierId, TokenId};
use kv_pager::units::Nanos;
use kv_pager_testkit::engine::{Engine, Model, PlainMemory, Progress, Run, Uncached};

/// Serves from plain memory.
#[derive(Debug)]
pub(super) struct UncachedServer<'a> {
    pub(super) model: &'a Model,
    pub(super) chunk_tokens: usize,
}

/// A request with memory of its own.
#[derive(Debug)]
pub(super) struct UncachedJob {
    memory: PlainMemory,
    run: Run<Uncached>,
}

impl UncachedServer<'_> {
    fn engine<'a>(&'a self, memory: &'a PlainMemory) -> Engine<'a> {
        Engine { model: self.model, memory, verifier: None, chunk_tokens: self.chunk_tokens }
    }
}

impl Server for UncachedServer<'_> {
    type Job = UncachedJob;
    type Moment = ();

    fn start(&self, prompt: &[TokenId], output_tokens: usize) -> Result<Option<UncachedJob>, Error> {
        let slots = self.model.blocks(prompt.len() + output_tokens);
        let memory = PlainMemory::new(self.model.layout(), slots);
        let source = Uncached::new(prompt.len(), self.model.tokens_per_block());
        let run = Run::new(&self.engine(&memory), source, prompt.to_vec(), output_tokens);
        Ok(Some(UncachedJob { memory, run }))
    }

    fn advance(&self, job: &mut UncachedJob) -> Result<Progress, Error> {
        job.run.advance(&self.engine(&job.memory))
    }

    fn finish(&self, job: UncachedJob) -> Served {
        let (_, output) = job.run.finish(&self.engine(&job.memory));
        Served { output, hit_tokens: [0; TierId::COUNT], onboarded_blocks: 0, file_bytes: 0, forecast: None }
    }

    fn moment(&self) {}

    fn wait(&self, (): (), _timeout: Nanos) {}
}
