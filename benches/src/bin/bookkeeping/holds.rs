//! How long the pager's lock is held: two threads open, fill, fork, extend, cut and close sequences of up to 8,192 blocks, in a pool that
//! evicts; for a model of full attention, one that has a window beside it, and with the policy that is told of requests; then with a
//! time to live, and kept ahead of need; and where the slots are an engine's, that looks up, onboards and offloads as many.

use crate::metadata::{self, TOKENS};
use kv_pager::config::DeviceOwner;
use kv_pager::ids::{Fence, SlotId, TierId, TokenId};
use kv_pager::layout::{Attention, DType, Entry, KvGroup, ModelLayout, shape};
use kv_pager::pager::{BlockAt, Request, Sequence, Step};
use kv_pager::policy::{Lru, Steward};
use kv_pager::units::Nanos;
use kv_pager::{Error, ErrorKind, Pager};

const SLOTS: u32 = 1 << 16;
const THREADS: u32 = 2;
const REQUESTS: u32 = 300;
const BUCKET_NS: u64 = 100;

/// Serves some rounds.
type Serve = fn(&Pager, u32);

/// Longest first: of every eight requests one is of 8,192 blocks.
const BLOCKS: [u32; 8] = [8192, 64, 512, 2048, 256, 600, 1, 4096];

/// Tokens of the window.
const WINDOW_TOKENS: u32 = 1024;

/// Prints quantiles of the holds, in microseconds.
pub(crate) fn measure() -> String {
    let full = || shape("tiny").expect("known");
    let alone = |model, policy| metadata::pager_of(model, SLOTS, policy);
    let tiered = |owner, policy| metadata::tiered(SLOTS, 2 * SLOTS, owner, policy);
    let steward = || Box::new(Steward::default());
    let runs: [(&str, Pager, Serve); 5] = [
        ("full attention", alone(full(), Box::new(Lru)), serve),
        ("a window beside it", alone(windowed(), Box::new(Lru)), serve),
        ("full attention, Steward", alone(full(), steward()), serve),
        ("with a time to live, kept, Steward", tiered(DeviceOwner::Managed, steward()), serve_kept),
        ("slots of the engine's, Steward", tiered(DeviceOwner::Engine, steward()), serve_engine),
    ];
    runs.map(|(name, pager, serve)| format!("{name}: {}", measure_one(&pager, serve))).join("\n")
}

/// A group of full attention, and one that looks through a window.
fn windowed() -> ModelLayout {
    let group = |attention| {
        let entry = Entry::KeyValue { kv_heads: 1, head_dim: 8 };
        KvGroup { attention, layers: 1, entry, dtype: DType::F32 }
    };
    let window = Attention::SlidingWindow { window_tokens: WINDOW_TOKENS, sink_tokens: 0 };
    ModelLayout::new(TOKENS, vec![group(Attention::Full), group(window)]).expect("valid")
}

fn measure_one(pager: &Pager, serve: fn(&Pager, u32)) -> String {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || (0..REQUESTS).for_each(|request| serve(pager, thread * REQUESTS + request)));
        }
    });
    report(&pager.hold_times())
}

/// Computes all that is to be computed. What is to be loaded, or makes room, has moved by the next call.
fn compute(sequence: &mut Sequence) {
    loop {
        match retried(|| sequence.next_step(usize::MAX)) {
            Step::Compute(range) => sequence.commit(range, Fence::OVER).expect("as told"),
            Step::Wait => {}
            Step::Ready => return,
        }
    }
}

/// What a call gives that may have to be tried again.
fn retried<T>(mut call: impl FnMut() -> Result<T, Error>) -> T {
    loop {
        match call() {
            Ok(given) => return given,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
        }
    }
}

/// A request of which three quarters are shared with others of its length: a turn that ends there, where windows are kept, comes first.
fn serve(pager: &Pager, request: u32) {
    let (tokens, shared) = prompt(request);
    let mut turn = pager.open(&Request::new(&tokens[..=shared as usize])).expect("room");
    compute(&mut turn);
    turn.close(Fence::OVER);
    let mut sequence = pager.open(&Request::new(&tokens)).expect("room");
    compute(&mut sequence);
    drop(sequence.fork().expect("nothing is being computed"));
    sequence.truncate(tokens.len() / 2, Fence::OVER);
    sequence.append(&tokens[tokens.len() / 2..]).expect("room");
    compute(&mut sequence);
    sequence.close(Fence::OVER);
}

/// The tokens of a request, and how many of them are shared.
fn prompt(request: u32) -> (Vec<TokenId>, u32) {
    let blocks = BLOCKS[request as usize % BLOCKS.len()];
    let shared = blocks * 3 / 4 * TOKENS;
    let own = |at: u32| TokenId(request.wrapping_mul(2_654_435_761).wrapping_add(at));
    let token = |at| if at < shared { TokenId(blocks + at) } else { own(at) };
    ((0..blocks * TOKENS).map(token).collect(), shared)
}

/// A request that is fetched and held ahead of its turn, and expires when it has closed.
fn serve_kept(pager: &Pager, request: u32) {
    let (tokens, _) = prompt(request);
    let mortal = Request::new(&tokens).with_time_to_live(Nanos::ZERO);
    let prepared = pager.prepare(&mortal);
    let prefetch = pager.prefetch(&prepared).expect("few");
    let hold = pager.hold(&prepared, TierId::Host).expect("few");
    pager.poll();
    let mut sequence = retried(|| pager.open_prompt(&prepared));
    drop(prefetch);
    compute(&mut sequence);
    sequence.close(Fence::OVER);
    drop(hold);
}

/// A request of an engine with slots of its own: each thread has half of them.
fn serve_engine(pager: &Pager, request: u32) {
    let (tokens, _) = prompt(request);
    let prepared = pager.prepare(&Request::new(&tokens));
    let first = (request / REQUESTS * SLOTS / THREADS) as usize;
    let at = |block: usize| BlockAt { block, slot: SlotId::from_index(first + block) };
    let cached = pager.lookup(&prepared).len();
    let all: Vec<BlockAt> = (0..prepared.names().len()).map(at).collect();
    let mut loads = pager.onboard(&prepared, &all[..cached], Fence::OVER).expect("slots are free");
    while !loads.is_over() {}
    let mut copies = pager.offload(&prepared, &all[cached..], Fence::OVER).expect("slots are free");
    while !copies.is_over() {}
}

fn report(buckets: &[u64]) -> String {
    let all: u64 = buckets.iter().sum();
    let at = |rank: u64| {
        let mut seen = 0;
        let found = buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        // The upper end of its bucket.
        (found.unwrap_or(buckets.len()) as u64 + 1) * BUCKET_NS
    };
    let quantile = |permille: u64| at((all * permille).div_ceil(1000));
    let micros = |ns: u64| format!("{}.{}", ns / 1000, ns % 1000 / 100);
    format!(
        "{all} holds of the lock: p50 {} us, p99 {} us, p99.9 {} us, longest {} us",
        micros(quantile(500)),
        micros(quantile(990)),
        micros(quantile(999)),
        micros(at(all)),
    )
}
