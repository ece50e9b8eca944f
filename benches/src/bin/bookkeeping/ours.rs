//! Our side.

use kv_pager::clock::ManualClock;
use kv_pager::config::Limits;
use kv_pager::ids::{Fence, HashKey, Salt, TierId, TokenId};
use kv_pager::layout::{Format, ModelLayout, shape};
use kv_pager::pager::{Backend, Prompt, Request, Step};
use kv_pager::policy::Lru;
use kv_pager::prefix::PrefixHasher;
use kv_pager::tier::{Health, Lane, LaneEnds, Move, Persistence, SlotClass, Ticket, TicketWriter, Tier};
use kv_pager::{Config, Error, Pager};
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug)]
struct Metadata(Vec<SlotClass>);
impl Tier for Metadata {
    fn id(&self) -> TierId {
        TierId::Device
    }
    fn classes(&self) -> &[SlotClass] {
        &self.0
    }
    fn format(&self) -> Format {
        Format::Raw
    }
    fn is_fence_over(&self, fence: Fence) -> bool {
        fence == Fence::OVER
    }
    fn health(&self) -> Health {
        Health::Well
    }
    fn persistence(&self) -> Option<&dyn Persistence> {
        None
    }
}
#[derive(Debug)]
struct NoLane;
impl Lane for NoLane {
    fn ends(&self) -> LaneEnds {
        LaneEnds { source: TierId::Device, target: TierId::Device }
    }
    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        Ok(TicketWriter::new(batch.len()).1)
    }
}

pub(crate) fn pager(slots: u32) -> Pager {
    let model: ModelLayout = shape("tiny").expect("known");
    let tier = Metadata(vec![SlotClass { slots, slot_bytes: model.block_bytes() }]);
    let backend = Backend { tiers: vec![Arc::new(tier)], lanes: vec![Arc::new(NoLane)] };
    let config = Config {
        limits: Limits { sequence_tokens: 16 * 1024, ..Limits::default() },
        watermarks: kv_pager::config::Watermarks { low: 0.0, high: 0.0 },
        ..Config::default()
    };
    Pager::new(model, config, backend, Box::new(Lru), Arc::new(ManualClock::new())).expect("fits")
}

fn prompt(pager: &Pager, seed: u32, blocks: u32) -> Prompt {
    let tokens: Vec<TokenId> =
        (0..blocks * 16).map(|at| TokenId(seed.wrapping_mul(2_654_435_761).wrapping_add(at))).collect();
    pager.prepare(&Request::new(&tokens))
}

fn run(pager: &Pager, prompt: &Prompt) {
    let mut sequence = pager.open_prompt(prompt).expect("room");
    while let Step::Compute(range) = sequence.next_step(usize::MAX).expect("room") {
        sequence.commit(range, Fence::OVER).expect("as told");
    }
    sequence.close(Fence::OVER);
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(crate) fn cycle(slots: u32, batch: u32, evict: bool) -> f64 {
    let pager = pager(slots);
    let mut seed = 1;
    let mut next = |n: u32| -> Vec<Prompt> {
        (0..n)
            .map(|_| {
                seed += 1;
                prompt(&pager, seed, batch)
            })
            .collect()
    };
    if evict {
        for prompt in next(slots / batch + 2) {
            run(&pager, &prompt);
        }
    }
    let per_round = (slots / 8 / batch).max(1).min(4096 / batch + 1);
    let rounds = if evict { 40 } else { 7 };
    let mut times = Vec::new();
    for _ in 0..rounds {
        let prompts = next(per_round);
        let start = Instant::now();
        for prompt in &prompts {
            run(&pager, prompt);
        }
        times.push(start.elapsed().as_nanos() as f64 / f64::from(per_round * batch));
    }
    median(times)
}

pub(crate) fn matched(held: bool) -> f64 {
    let pager = pager(4096);
    // 256 blocks are matched; the last token is one more.
    let tokens: Vec<TokenId> = (0..256 * 16 + 1).map(TokenId).collect();
    let prompt = pager.prepare(&Request::new(&tokens));
    run(&pager, &prompt);
    let holder = held.then(|| pager.open_prompt(&prompt).expect("room"));
    let mut times = Vec::new();
    for _ in 0..2000 {
        let start = Instant::now();
        let sequence = pager.open_prompt(&prompt).expect("room");
        let opened = start.elapsed();
        drop(sequence);
        let all = start.elapsed();
        times.push(if held { opened } else { all }.as_nanos() as f64 / 256.0);
    }
    drop(holder);
    median(times)
}

pub(crate) fn serve() -> f64 {
    let pager = pager(8192);
    let shared: Vec<TokenId> = (0..192 * 16).map(TokenId).collect();
    let mut times = Vec::new();
    for round in 0..2000_u32 {
        let mut tokens = shared.clone();
        tokens.extend((0..64 * 16).map(|at| TokenId(1_000_000 + round * 5000 + at)));
        let prompt = pager.prepare(&Request::new(&tokens));
        let start = Instant::now();
        run(&pager, &prompt);
        times.push(start.elapsed().as_nanos() as f64 / 256.0);
    }
    median(times)
}

pub(crate) fn hash() -> f64 {
    let hasher = PrefixHasher::new(HashKey(7));
    let tokens: Vec<TokenId> = (0..16).map(TokenId).collect();
    let mut parent = hasher.root(Salt(0));
    let start = Instant::now();
    for _ in 0..100_000 {
        parent = hasher.block(parent, &tokens, &[]);
    }
    let nanos = start.elapsed().as_nanos() as f64 / 100_000.0;
    assert_ne!(parent, hasher.root(Salt(0)));
    nanos
}
