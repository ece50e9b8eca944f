//! Pagers over a file tier: prompts that they serve, and what they find of them.

use crate::rig::Rig;
use crate::shim::{Device, Shim};
use kv_pager::ErrorKind;
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::config::Config;
use kv_pager::ids::{Fence, TokenId};
use kv_pager::layout::shape;
use kv_pager::pager::{Backend, Pager, Request, Sequence, Step};
use kv_pager::policy::{Steward, StewardSpec};
use kv_pager::units::Nanos;
use kv_pager_cpu::{CpuBackend, CpuSpec, FileSpec};
use std::sync::Arc;

/// Nobody waits so long unless something is stuck.
pub(crate) const STUCK: Nanos = Nanos::from_millis(20_000);

pub(crate) const BLOCK_TOKENS: usize = 16;
/// Blocks that all prompts begin with, and that each has in all.
pub(crate) const SHARED_BLOCKS: usize = 4;
pub(crate) const PROMPT_BLOCKS: usize = 24;
pub(crate) const PROMPTS: u32 = 6;

/// Slots of the tiers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    pub(crate) device: u32,
    pub(crate) host: u32,
    pub(crate) file: u32,
}

pub(crate) const ROOMY: Slots = Slots { device: 40, host: 400, file: 400 };

/// A prompt of so many blocks and a token, so that all of its blocks can be matched.
pub(crate) fn prompt(number: u32) -> Vec<TokenId> {
    let token = |place: usize| {
        let own = if place < SHARED_BLOCKS * BLOCK_TOKENS { 0 } else { number + 1 };
        TokenId(own * 1000 + u32::try_from(place).expect("small"))
    };
    (0..=PROMPT_BLOCKS * BLOCK_TOKENS).map(token).collect()
}

pub(crate) fn spec(rig: &Rig, slots: Slots) -> CpuSpec {
    let config = Config::default();
    CpuSpec {
        fingerprint: config.fingerprint,
        hash_key: config.hash_key.0,
        host_slots: Some(vec![slots.host]),
        file: Some(FileSpec::new(rig.path(""), vec![slots.file])),
        ..CpuSpec::new(shape("tiny").expect("known"), vec![slots.device])
    }
}

pub(crate) fn start(spec: &CpuSpec) -> Pager {
    start_over(spec, &CpuBackend::new(spec).expect("small tiers"))
}

/// Starts with a steward that keeps as `kept` says.
pub(crate) fn start_kept(spec: &CpuSpec, kept: StewardSpec) -> Pager {
    start_with(spec, &CpuBackend::new(spec).expect("small tiers"), Steward::new(kept))
}

/// Starts over a backend that is used beside it.
pub(crate) fn start_over(spec: &CpuSpec, cpu: &CpuBackend) -> Pager {
    start_with(spec, cpu, Steward::default())
}

fn start_with(spec: &CpuSpec, cpu: &CpuBackend, steward: Steward) -> Pager {
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let backend = Backend { tiers: cpu.tiers(), lanes: cpu.lanes() };
    Pager::new(spec.model.clone(), Config::default(), backend, Box::new(steward), clock).expect("it fits")
}

/// Opens a sequence once there is room for it.
pub(crate) fn open(pager: &Pager, prompt: &[TokenId]) -> Sequence {
    loop {
        let seen = pager.progress();
        match pager.open(&Request::new(prompt)) {
            Ok(sequence) => return sequence,
            Err(error) if error.kind() == ErrorKind::Retry => {
                assert!(pager.wait(seen, STUCK), "no room comes: {error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Serves a prompt; what it computes are the bytes that are there.
pub(crate) fn serve(pager: &Pager, prompt: &[TokenId]) {
    let mut sequence = open(pager, prompt);
    loop {
        match sequence.next_step(prompt.len()).expect("nothing is shared that it writes") {
            Step::Compute(tokens) => sequence.commit(tokens, Fence::OVER).expect("as it was told"),
            Step::Wait => assert!(sequence.wait(STUCK), "a load does not end"),
            Step::Ready => break,
        }
    }
    sequence.close(Fence::OVER);
    settle(pager);
}

/// Waits until nothing is under way.
pub(crate) fn settle(pager: &Pager) {
    loop {
        let seen = pager.progress();
        pager.poll();
        if !pager.is_busy() {
            break;
        }
        assert!(pager.wait(seen, STUCK), "a transfer does not end");
    }
    pager.check();
}

pub(crate) fn matched_blocks(pager: &Pager, prompt: &[TokenId]) -> usize {
    let sequence = open(pager, prompt);
    let tokens = sequence.matched_tokens();
    sequence.close(Fence::OVER);
    settle(pager);
    tokens / BLOCK_TOKENS
}

/// As [`spec`], with a drive that does as `device` says.
pub(crate) fn spec_on(rig: &Rig, slots: Slots, device: &Arc<Device>) -> CpuSpec {
    let mut spec = spec(rig, slots);
    spec.file.as_mut().expect("there is one").interpose = Some(Arc::new(Shim(Arc::clone(device))));
    spec
}

/// Starts once nobody else has the directory: a thread that hung may be the last to leave it.
pub(crate) fn start_when_free(spec: &CpuSpec) -> Pager {
    while CpuBackend::new(spec).is_err() {
        std::thread::yield_now();
    }
    start(spec)
}
