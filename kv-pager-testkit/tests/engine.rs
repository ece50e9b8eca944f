//! The engine with a pager equals the engine without, bit for bit, however small the tiers are.

use kv_pager::ErrorKind;
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::config::Config;
use kv_pager::ids::{Fence, GroupId, ModelEpoch, TierId, TokenId};
use kv_pager::layout::{Attention, DType, DeviceLayout, Entry, KvGroup, ModelLayout};
use kv_pager::pager::{Backend, Pager, Request, Sequence};
use kv_pager::policy::Steward;
use kv_pager::pool::SlotState;
use kv_pager::units::Nanos;
use kv_pager_cpu::{CpuBackend, CpuSpec, FileSpec, HostTier};
use kv_pager_testkit::engine::{Engine, Model, Output, Progress, Run, Setting, Verifier, run_uncached};
use kv_pager_testkit::random::mix;
use kv_pager_testkit::trace::{TokenSource, VOCABULARY};
use kv_pager_testkit::workload::Workload;
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

/// Nobody waits so long unless something is stuck.
const STUCK: Nanos = Nanos::from_millis(5_000);

/// Slots of the tiers; none leaves a tier out.
#[derive(Clone, Copy, Debug)]
struct Slots {
    device: u32,
    host: u32,
    file: u32,
}

/// A pager over the CPU's tiers, and what computes on them.
struct Machine {
    model: Model,
    pager: Pager,
    device: Arc<HostTier>,
    verifier: Verifier,
    device_blocks: usize,
}

impl Machine {
    fn new(model: Model, slots: Slots, layout: DeviceLayout, directory: &Path) -> Self {
        Self::in_epoch(ModelEpoch::default(), model, slots, layout, directory)
    }

    fn in_epoch(
        epoch: ModelEpoch,
        model: Model,
        slots: Slots,
        layout: DeviceLayout,
        directory: &Path,
    ) -> Self {
        let config = Config { fingerprint: model.fingerprint(), epoch, ..Config::default() };
        let mut spec = CpuSpec::new(model.layout().clone(), vec![slots.device]);
        spec.fingerprint = config.fingerprint;
        spec.hash_key = config.hash_key.0;
        spec.device_layout = layout;
        spec.host_slots = (slots.host > 0).then(|| vec![slots.host]);
        spec.file = (slots.file > 0).then(|| FileSpec::new(directory, vec![slots.file]));
        let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
        let cpu = CpuBackend::with_clock(&spec, &clock).expect("small tiers can be built");
        let backend = Backend { tiers: cpu.tiers(), lanes: cpu.lanes() };
        let pager = Pager::new(model.layout().clone(), config, backend, Box::new(Steward::default()), clock)
            .expect("it fits");
        Self {
            model,
            pager,
            device: Arc::clone(cpu.device()),
            verifier: Verifier::new(100_000),
            device_blocks: slots.device as usize,
        }
    }

    fn engine(&self) -> Engine<'_> {
        Engine { model: &self.model, memory: &*self.device, verifier: Some(&self.verifier), chunk_tokens: 24 }
    }

    /// Serves all requests, in order, up to `at_once` at the same time as long as all of them fit the device.
    fn serve(&self, requests: &[(Vec<TokenId>, usize)], at_once: usize) -> Served {
        let engine = self.engine();
        let mut served = Served::default();
        served.outputs.resize(requests.len(), Output::default());
        let mut waiting = requests.iter().enumerate().peekable();
        let mut active: Vec<(usize, usize, Run<Sequence>)> = Vec::new();
        loop {
            let seen = self.pager.progress();
            let mut has_progress = false;
            while let Some((index, (prompt, output_tokens))) = waiting.peek() {
                let blocks = self.model.blocks(prompt.len() + output_tokens);
                let taken: usize = active.iter().map(|(_, blocks, _)| blocks).sum();
                if active.len() == at_once || taken + blocks > self.device_blocks {
                    break;
                }
                match self.pager.open(&Request::new(prompt)) {
                    Ok(sequence) => {
                        let run = Run::new(&engine, sequence, prompt.clone(), *output_tokens);
                        active.push((*index, blocks, run));
                        waiting.next();
                        has_progress = true;
                    }
                    Err(error) if error.kind() == ErrorKind::Retry => break,
                    Err(error) => panic!("{error}"),
                }
            }
            if active.is_empty() && waiting.peek().is_none() {
                return served;
            }
            let mut place = 0;
            while place < active.len() {
                let progress = active[place].2.advance(&engine).expect("it can be served");
                has_progress |= progress != Progress::Waiting;
                if progress == Progress::Finished {
                    let (index, _, run) = active.remove(place);
                    served.end(index, run, &engine);
                } else {
                    place += 1;
                }
            }
            self.pager.check();
            assert!(has_progress || self.pager.wait(seen, STUCK), "nothing ends, and nothing can be done");
        }
    }

    /// I7, and that no wrong byte was seen.
    fn assert_clean(&self) {
        loop {
            let seen = self.pager.progress();
            self.pager.poll();
            if !self.pager.is_busy() {
                break;
            }
            assert!(self.pager.wait(seen, STUCK), "a transfer does not end");
        }
        self.pager.check();
        for tier in TierId::ALL {
            if let Some(counts) = self.pager.occupancy(tier, GroupId::FIRST) {
                for state in
                    [SlotState::Filling, SlotState::Leaving, SlotState::Quarantined, SlotState::Retired]
                {
                    assert_eq!(counts.of(state), 0, "{state:?} in {tier}");
                }
            }
        }
        assert_eq!(self.verifier.counts().mismatched_blocks, 0);
    }
}

/// What came of many requests.
#[derive(Default)]
struct Served {
    outputs: Vec<Output>,
    hit_tokens: [u64; TierId::COUNT],
}

impl Served {
    fn end(&mut self, index: usize, run: Run<Sequence>, engine: &Engine<'_>) {
        let prompt_tokens = run.prompt_tokens();
        let (sequence, output) = run.finish(engine);
        let hits = sequence.report().hit_tokens;
        sequence.close(Fence::OVER);
        let found: u64 = hits.iter().sum();
        assert_eq!(
            found + output.computed_tokens as u64,
            prompt_tokens as u64,
            "every token is a hit or computed"
        );
        for (sum, tokens) in self.hit_tokens.iter_mut().zip(hits) {
            *sum += tokens;
        }
        self.outputs[index] = output;
    }
}

fn assert_equal(model: &Model, requests: &[(Vec<TokenId>, usize)], served: &Served) {
    for (index, ((prompt, output_tokens), output)) in requests.iter().zip(&served.outputs).enumerate() {
        let expected = run_uncached(model, prompt, *output_tokens);
        assert_eq!(output.logits_digest, expected.logits_digest, "logits of request {index}");
        assert_eq!(output.checksums, expected.checksums, "K and V of request {index}");
        assert_eq!(output.generated, expected.generated, "tokens of request {index}");
        assert_eq!(output.changed_blocks, 0, "request {index}");
    }
}

/// A model with blocks of 4 tokens and rows of odd sizes.
fn small_model(setting: Setting) -> Model {
    let group = KvGroup {
        attention: Attention::Full,
        layers: 3,
        entry: Entry::KeyValue { kv_heads: 2, head_dim: 5 },
        dtype: DType::BF16,
    };
    let layout = ModelLayout::new(4, vec![group]).expect("it is valid");
    Model::new(layout, setting, 11).expect("it can be computed")
}

/// The first `tokens` tokens of a branch of a tree that forks after 10, 26 and 61 tokens.
fn branch_prompt(branch: u64, tokens: usize) -> Vec<TokenId> {
    (0..tokens as u64)
        .map(|place| {
            let side = match place {
                0..10 => 0,
                10..26 => branch % 2,
                26..61 => branch % 4,
                _ => branch,
            };
            let token = mix(mix(side << 8 | u64::from(place >= 10)) ^ place) % u64::from(VOCABULARY);
            TokenId(u32::try_from(token).expect("it is below the vocabulary"))
        })
        .collect()
}

#[test]
fn a_workload_over_three_starved_tiers_comes_back_bit_for_bit() {
    let directory = tempfile::tempdir().expect("a directory");
    let layout = kv_pager::layout::shape("tiny").expect("it is known");
    let model = Model::new(layout, Setting::Window, 5).expect("it can be computed");
    let stream = Workload {
        system_tokens: 512,
        conversations: 12,
        turn_tokens_max: 900,
        output_tokens_max: 20,
        ..Workload::new(3, 120)
    };
    let source = TokenSource::new(3);
    let stream = stream.generate();
    let requests: Vec<_> = stream
        .requests()
        .iter()
        .map(|request| {
            let mut prompt = Vec::new();
            source.read_prompt(request, &mut prompt);
            (prompt, request.output_tokens as usize)
        })
        .collect();
    let slots = Slots { device: 700, host: 600, file: 3000 };
    let machine = Machine::new(model, slots, DeviceLayout::LayerMajor, directory.path());
    let served = machine.serve(&requests, 3);
    machine.assert_clean();
    assert_equal(&machine.model, &requests, &served);
    let counts = machine.verifier.counts();
    assert!(served.hit_tokens.iter().all(|tokens| *tokens > 0), "hits by tier: {:?}", served.hit_tokens);
    let onboarded = served.hit_tokens[TierId::Host.index()] + served.hit_tokens[TierId::File.index()];
    assert_eq!(counts.verified_blocks, onboarded / 16, "every onboarded block was checked");
}

#[test]
fn a_kept_file_is_hit_after_a_restart_and_its_blocks_are_checked() {
    let directory = tempfile::tempdir().expect("a directory");
    let slots = Slots { device: 40, host: 40, file: 400 };
    let requests: Vec<_> = (0..8).map(|branch| (branch_prompt(branch, 100), 3)).collect();
    for is_second in [false, true] {
        let machine =
            Machine::new(small_model(Setting::Full), slots, DeviceLayout::BlockMajor, directory.path());
        assert_eq!(machine.pager.stats().recovered > 0, is_second);
        let served = machine.serve(&requests[..if is_second { 1 } else { 8 }], 2);
        machine.assert_clean();
        assert_equal(&machine.model, &requests, &served);
        if is_second {
            assert!(served.hit_tokens[TierId::File.index()] > 0, "hits by tier: {:?}", served.hit_tokens);
            assert!(
                machine.verifier.counts().verified_blocks > 0,
                "blocks of an earlier process are checked too"
            );
        }
    }
}

#[test]
fn what_is_in_host_memory_at_the_end_is_hit_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let slots = Slots { device: 40, host: 400, file: 400 };
    let requests: Vec<_> = (0..6).map(|branch| (branch_prompt(branch, 100), 3)).collect();
    for is_second in [false, true] {
        let machine =
            Machine::new(small_model(Setting::Full), slots, DeviceLayout::BlockMajor, directory.path());
        assert_eq!(machine.pager.stats().recovered > 0, is_second);
        let served = machine.serve(&requests[..if is_second { 1 } else { 6 }], 2);
        machine.assert_clean();
        assert_equal(&machine.model, &requests, &served);
        if is_second {
            assert!(served.hit_tokens[TierId::File.index()] > 0, "hits by tier: {:?}", served.hit_tokens);
        } else {
            let written = machine.pager.write_out(Nanos::from_millis(10_000)).expect("the drive is well");
            assert!(written.blocks > 50, "{written:?}");
            assert_eq!(written.left, 0, "{written:?}");
            machine.pager.check();
        }
    }
}

#[test]
fn what_is_erased_stays_erased_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let slots = Slots { device: 40, host: 40, file: 400 };
    let requests: Vec<_> = (0..8).map(|branch| (branch_prompt(branch, 100), 3)).collect();
    let first = Machine::new(small_model(Setting::Full), slots, DeviceLayout::BlockMajor, directory.path());
    first.serve(&requests, 2);
    assert!(first.pager.invalidate_all().expect("the drive is well") > 0);
    assert_eq!(first.pager.invalidate_all().expect("the drive is well"), 0);
    first.pager.check();
    drop(first);
    let second = Machine::new(small_model(Setting::Full), slots, DeviceLayout::BlockMajor, directory.path());
    assert_eq!(second.pager.stats().recovered, 0);
}

#[test]
fn what_earlier_weights_left_in_a_file_is_not_found_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let slots = Slots { device: 40, host: 40, file: 400 };
    let requests: Vec<_> = (0..8).map(|branch| (branch_prompt(branch, 100), 3)).collect();
    let machine = |epoch| {
        let model = small_model(Setting::Full);
        Machine::in_epoch(epoch, model, slots, DeviceLayout::BlockMajor, directory.path())
    };
    let first = machine(ModelEpoch(7));
    first.serve(&requests, 2);
    let before = first.pager.stats();
    assert!(before.evictions[TierId::Host.index()] > 0, "something was written: {before:?}");
    assert_eq!(first.pager.advance_epoch(), ModelEpoch(8));
    let served = first.serve(&requests[..1], 1);
    assert_equal(&first.model, &requests, &served);
    assert_eq!(served.hit_tokens, [0; TierId::COUNT], "H1: nothing of the epoch before is found");
    first.assert_clean();
    drop(first);
    // What the epoch before had in the file is erased by now; what the first process wrote since is found.
    let second = machine(ModelEpoch(8));
    let served = second.serve(&requests[1..2], 1);
    assert_eq!(served.hit_tokens, [0; TierId::COUNT], "nothing of the epoch before is found");
    second.serve(&requests, 2);
    drop(second);
    // A process that begins in another epoch takes in none of it.
    assert_eq!(machine(ModelEpoch(9)).pager.stats().recovered, 0);
    // Nor is it there any more for one that goes back.
    assert_eq!(machine(ModelEpoch(8)).pager.stats().recovered, 0);
}

/// Serves prompts of the tree, and compares. `asks` are branch, tokens of the prompt, tokens to generate.
fn serve_asks(
    asks: &[(u64, usize, usize)],
    model: Model,
    slots: Slots,
    layout: DeviceLayout,
    at_once: usize,
) {
    let directory = tempfile::tempdir().expect("a directory");
    let requests: Vec<_> =
        asks.iter().map(|(branch, tokens, output)| (branch_prompt(*branch, *tokens), *output)).collect();
    let machine = Machine::new(model, slots, layout, directory.path());
    let served = machine.serve(&requests, at_once);
    machine.assert_clean();
    assert_equal(&machine.model, &requests, &served);
}

#[test]
fn a_host_tier_of_nine_blocks_stalls_nobody() {
    let asks = [
        (3, 111, 1),
        (6, 68, 5),
        (3, 60, 4),
        (1, 119, 3),
        (5, 119, 4),
        (3, 40, 0),
        (2, 74, 5),
        (7, 62, 1),
        (5, 10, 4),
        (4, 119, 5),
        (3, 55, 1),
        (7, 87, 3),
        (3, 97, 1),
        (3, 104, 2),
        (6, 47, 3),
    ];
    let slots = Slots { device: 33, host: 9, file: 200 };
    serve_asks(&asks, small_model(Setting::Window), slots, DeviceLayout::BlockMajor, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn streams_over_starved_tiers_equal_computing_everything(
        asks in proptest::collection::vec((0..8_u64, 1..120_usize, 0..6_usize), 1..24),
        spare_slots in 0..40_u32,
        host in prop::sample::select(vec![0, 3, 9, 33, 90]),
        file in prop::sample::select(vec![0, 7, 40, 200]),
        at_once in 1..4_usize,
        is_full: bool,
        is_layer_major: bool,
    ) {
        let setting = if is_full { Setting::Full } else { Setting::Window };
        let layout = if is_layer_major { DeviceLayout::LayerMajor } else { DeviceLayout::BlockMajor };
        let model = small_model(setting);
        let longest = asks.iter().map(|(_, tokens, output)| model.blocks(tokens + output)).max();
        let device = u32::try_from(longest.expect("there are some")).expect("it is small") + spare_slots;
        // A file tier needs a host tier above it.
        let slots = Slots { device, host, file: if host > 0 { file } else { 0 } };
        serve_asks(&asks, model, slots, layout, at_once);
    }
}
