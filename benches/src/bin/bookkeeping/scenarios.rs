//! The scenarios, by the names they are known by.

use crate::metadata::pager;
use kv_pager::Pager;
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::ids::{Fence, HashKey, ModelEpoch, ModelFingerprint, Salt, TokenId};
use kv_pager::pager::{Prompt, Request, Sequence, Step};
use kv_pager::prefix::PrefixHasher;

/// One row of the table.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) batch: u32,
    pub(crate) run: Box<dyn Fn() -> f64>,
}

/// All of them. `cycle`: allocate, fill, name, release. `match`: a resident prompt of 256 blocks. `serve`: 192 hits and 64 new.
pub(crate) fn all() -> Vec<Scenario> {
    let row = |name, batch, run: Box<dyn Fn() -> f64>| Scenario { name, batch, run };
    vec![
        row("cycle", 1, Box::new(|| cycle(1 << 14, 1, false))),
        row("cycle", 64, Box::new(|| cycle(1 << 14, 64, false))),
        row("cycle_evict", 1, Box::new(|| cycle(1 << 14, 1, true))),
        row("cycle_evict", 64, Box::new(|| cycle(1 << 14, 64, true))),
        row("cycle_evict_1m", 64, Box::new(|| cycle(1 << 20, 64, true))),
        row("match_held", 256, Box::new(|| matched(true))),
        row("match_unheld", 256, Box::new(|| matched(false))),
        row("match_miss", 256, Box::new(missed)),
        row("serve", 256, Box::new(serve)),
        row("hash", 1, Box::new(hash)),
    ]
}

const TOKENS: u32 = 16;
const ROUNDS: usize = 400;

fn tokens(first: u32, count: u32) -> Vec<TokenId> {
    (0..count).map(|at| TokenId(first.wrapping_add(at))).collect()
}

fn prompt(pager: &Pager, seed: u32, blocks: u32) -> Prompt {
    pager.prepare(&Request::new(&tokens(seed.wrapping_mul(2_654_435_761), blocks * TOKENS)))
}

fn run(pager: &Pager, prompt: &Prompt) {
    let mut sequence = pager.open_prompt(prompt).expect("room");
    compute(&mut sequence);
    sequence.close(Fence::OVER);
}

fn compute(sequence: &mut Sequence) {
    while let Step::Compute(range) = sequence.next_step(usize::MAX).expect("room") {
        sequence.commit(range, Fence::OVER).expect("as told");
    }
}

/// The median over `rounds` of the nanoseconds that `timed` takes, divided by `blocks`; `prepare` makes what it takes.
#[expect(clippy::cast_precision_loss, reason = "a round takes less than a month")]
fn median<T>(rounds: usize, blocks: u32, mut prepare: impl FnMut() -> T, mut timed: impl FnMut(T)) -> f64 {
    let clock = MonotonicClock::new();
    let mut spans: Vec<u64> = (0..rounds)
        .map(|_| {
            let given = prepare();
            let start = clock.now();
            timed(given);
            clock.now().since(start).as_u64()
        })
        .collect();
    spans.sort_unstable();
    spans[rounds / 2] as f64 / f64::from(blocks)
}

fn cycle(slots: u32, batch: u32, is_full: bool) -> f64 {
    let pager = pager(slots);
    let mut seed = 0;
    let mut next = |count: u32| -> Vec<Prompt> {
        let new = |_| {
            seed += 1;
            prompt(&pager, seed, batch)
        };
        (0..count).map(new).collect()
    };
    if is_full {
        for prompt in next(slots / batch + 2) {
            run(&pager, &prompt);
        }
    }
    let prompts = (slots / 16 / batch).clamp(1, 1024 / batch + 1);
    let rounds = if is_full { 64 } else { 12 };
    median(
        rounds,
        prompts * batch,
        || next(prompts),
        |prompts| prompts.iter().for_each(|prompt| run(&pager, prompt)),
    )
}

fn matched(is_held: bool) -> f64 {
    let pager = pager(4096);
    // The last token is never matched: one more than 256 blocks.
    let prompt = pager.prepare(&Request::new(&tokens(0, 256 * TOKENS + 1)));
    run(&pager, &prompt);
    let holder = is_held.then(|| pager.open_prompt(&prompt).expect("room"));
    let open = || drop(pager.open_prompt(&prompt).expect("room"));
    let ns = median(ROUNDS, 256, || (), |()| open());
    drop(holder);
    ns
}

fn missed() -> f64 {
    let pager = pager(4096);
    let mut seed = 1_000_000;
    let mut next = || {
        seed += 1;
        prompt(&pager, seed, 256)
    };
    median(ROUNDS, 256, &mut next, |prompt| drop(pager.open_prompt(&prompt).expect("room")))
}

fn serve() -> f64 {
    let pager = pager(8192);
    let mut round = 0;
    let mut next = || {
        round += 1;
        let mut prompt = tokens(0, 192 * TOKENS);
        prompt.extend(tokens(1_000_000 + round * 5000, 64 * TOKENS));
        pager.prepare(&Request::new(&prompt))
    };
    median(ROUNDS, 256, &mut next, |prompt| run(&pager, &prompt))
}

fn hash() -> f64 {
    let hasher = PrefixHasher::new(HashKey(7), ModelFingerprint::default());
    let block = tokens(0, TOKENS);
    let mut parent = hasher.root(Salt(0), ModelEpoch(0));
    let chain = |()| (0..1000).for_each(|_| parent = hasher.block(parent, &block, &[]));
    let ns = median(ROUNDS, 1000, || (), chain);
    assert_ne!(parent, hasher.root(Salt(0), ModelEpoch(0)), "the chain was computed");
    ns
}
