//! Serving through a pager.
//! Known by: `replay`.

use super::records::file_bytes;
use super::server::{Served, Server};
use kv_pager::ids::{Fence, TierId, TokenId};
use kv_pager::pager::{Pager, Progress as Moment, Request, Sequence};
use kv_pager::units::Nanos;
use kv_pager::{Error, ErrorKind};
use kv_pager_testkit::engine::{Engine, Progress, Run};

/// Serves from a pager's tiers.
#[derive(Debug)]
pub(super) struct CachedServer<'a> {
    pub(super) pager: &'a Pager,
    pub(super) engine: Engine<'a>,
}

impl Server for CachedServer<'_> {
    type Job = Run<Sequence>;
    type Moment = Moment;

    fn start(&self, prompt: &[TokenId], output_tokens: usize) -> Result<Option<Self::Job>, Error> {
        match self.pager.open(&Request::new(prompt)) {
            Ok(sequence) => Ok(Some(Run::new(&self.engine, sequence, prompt.to_vec(), output_tokens))),
            Err(error) if error.kind() == ErrorKind::Retry => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn advance(&self, job: &mut Self::Job) -> Result<Progress, Error> {
        job.advance(&self.engine)
    }

    fn finish(&self, job: Self::Job) -> Served {
        let (sequence, output) = job.finish(&self.engine);
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
