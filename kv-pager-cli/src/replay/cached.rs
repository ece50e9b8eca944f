//! Serving through a pager.
//! Known by: `replay`.

use super::records::file_bytes;
use super::server::{Served, Server};
use kv_pager::clock::Clock;
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

/// A sequence that reports how long computing its prompt takes, step by step. What is generated after it is no prefill, and costs
/// are not asked for it.
#[derive(Debug)]
pub(super) struct Timed {
    sequence: Sequence,
    clock: Arc<dyn Clock>,
    prompt_tokens: usize,
}

impl StepSource for Timed {
    fn next_step(&mut self, tokens_max: usize) -> Result<Step, Error> {
        self.sequence.next_step(tokens_max)
    }

    fn compute(&mut self, range: &Range<usize>, compute: impl FnOnce()) {
        let started = self.clock.now();
        compute();
        if range.end <= self.prompt_tokens {
            self.sequence.observe(range.clone(), self.clock.now().since(started));
        }
    }

    fn commit(&mut self, computed: Range<usize>) -> Result<(), Error> {
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
                let timed = Timed { sequence, clock: Arc::clone(self.clock), prompt_tokens: prompt.len() };
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

#[cfg(test)]
mod tests {
    use super::super::server::Server;
    use super::super::setup::ABILITY;
    use super::{Arc, CachedServer, Clock, Engine, Nanos, Pager, Progress, SlotId, TokenId};
    use kv_pager::clock::ManualClock;
    use kv_pager::config::Config;
    use kv_pager::cost::{CostModel, Node, Profile, TokenSpan};
    use kv_pager::ids::GroupId;
    use kv_pager::layout::shape;
    use kv_pager::pager::Backend;
    use kv_pager::policy::Steward;
    use kv_pager_cpu::{CpuBackend, CpuSpec};
    use kv_pager_testkit::engine::{KvMemory, Model, PlainMemory, PlanesRead, PlanesWrite, Setting};

    const STEP: Nanos = Nanos::from_millis(1);
    const LONG: Nanos = Nanos::from_millis(1_000);

    /// Memory in which reading takes long, writing one of the prompt's two blocks as long as a step, and writing others long.
    #[derive(Debug)]
    struct Slow {
        memory: PlainMemory,
        clock: Arc<ManualClock>,
    }

    impl KvMemory for Slow {
        fn read_part(&self, group: GroupId, slot: SlotId, visit: &mut dyn FnMut(&dyn PlanesRead)) {
            self.clock.advance(LONG);
            self.memory.read_part(group, slot, visit);
        }

        fn write_part(&self, group: GroupId, slot: SlotId, visit: &mut dyn FnMut(&mut dyn PlanesWrite)) {
            self.clock.advance(if slot.index() < 2 { STEP } else { LONG });
            self.memory.write_part(group, slot, visit);
        }
    }

    #[test]
    fn computing_the_prompt_is_reported_and_neither_reading_before_nor_decoding_after() {
        let manual = Arc::new(ManualClock::new());
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&manual);
        let model = Model::new(shape("tiny").expect("known"), Setting::Full, 1).expect("it is uniform");
        let spec = CpuSpec::new(model.layout().clone(), vec![8]);
        let cpu = CpuBackend::with_clock(&spec, &clock).expect("small");
        let backend = Backend { tiers: cpu.tiers(), lanes: cpu.lanes() };
        let policy = Box::new(Steward::default());
        let pager =
            Pager::new(model.layout().clone(), Config::default(), backend, policy, Arc::clone(&clock))
                .expect("it fits");
        let mut profile = Profile::h200_llama3_8b();
        profile.prefill.nodes =
            [1, 64].map(|tokens| Node { tokens, base_ns: 1.1e6, context_ns: 0.0, window_ns: 0.0 }).to_vec();
        let measured = CostModel::new(&profile).expect("plausible");
        pager.set_costs(measured.clone(), ABILITY);
        let memory = Slow { memory: PlainMemory::new(model.layout(), 8), clock: manual };
        let engine = Engine { model: &model, memory: &memory, verifier: None, chunk_tokens: 16 };
        let server = CachedServer { pager: &pager, engine, clock: &clock };

        let prompt: Vec<_> = (0..32).map(TokenId).collect();
        let mut job = server.start(&prompt, 6).expect("there is room").expect("there is room");
        while server.advance(&mut job).expect("there is room") != Progress::Finished {}
        let learnt = pager.costs().expect("they were set");
        let mut expected = measured;
        for start in [0, 16] {
            expected.observe_prefill(TokenSpan { start, tokens: 16 }, STEP);
        }
        assert_eq!(learnt.prefill(), expected.prefill());
    }
}
