//! How long the pager's lock is held: two threads open, fill, fork, extend, cut and close sequences of up to 8,192 blocks, in a pool that
//! evicts; for a model of full attention, one that has a window beside it, and with the policy that is told of requests.

use crate::metadata::{self, TOKENS};
use kv_pager::Pager;
use kv_pager::ids::{Fence, TokenId};
use kv_pager::layout::{Attention, DType, Entry, KvGroup, ModelLayout, shape};
use kv_pager::pager::{Request, Sequence, Step};
use kv_pager::policy::{Lru, Policy, Steward};

const SLOTS: u32 = 1 << 16;
const THREADS: u32 = 2;
const REQUESTS: u32 = 300;
const BUCKET_NS: u64 = 100;

/// Longest first: of every eight requests one is of 8,192 blocks.
const BLOCKS: [u32; 8] = [8192, 64, 512, 2048, 256, 600, 1, 4096];

/// Tokens of the window.
const WINDOW_TOKENS: u32 = 1024;

/// Prints quantiles of the holds, in microseconds.
pub(crate) fn measure() -> String {
    let full = || shape("tiny").expect("known");
    [
        ("full attention", full(), Box::new(Lru) as Box<dyn Policy>),
        ("a window beside it", windowed(), Box::new(Lru)),
        ("full attention, Steward", full(), Box::new(Steward::default())),
    ]
    .map(|(name, model, policy)| format!("{name}: {}", measure_one(model, policy)))
    .join("\n")
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

fn measure_one(model: ModelLayout, policy: Box<dyn Policy>) -> String {
    let pager = metadata::pager_of(model, SLOTS, policy);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let pager = pager.clone();
            scope.spawn(move || (0..REQUESTS).for_each(|request| serve(&pager, thread * REQUESTS + request)));
        }
    });
    report(&pager.hold_times())
}

/// Computes all that is to be computed.
fn compute(sequence: &mut Sequence) {
    while let Step::Compute(range) = sequence.next_step(usize::MAX).expect("room") {
        sequence.commit(range, Fence::OVER).expect("as told");
    }
}

/// A request of which three quarters are shared with others of its length: a turn that ends there, where windows are kept, comes first.
fn serve(pager: &Pager, request: u32) {
    let blocks = BLOCKS[request as usize % BLOCKS.len()];
    let shared = blocks * 3 / 4 * TOKENS;
    let own = |at: u32| TokenId(request.wrapping_mul(2_654_435_761).wrapping_add(at));
    let tokens: Vec<TokenId> =
        (0..blocks * TOKENS).map(|at| if at < shared { TokenId(blocks + at) } else { own(at) }).collect();
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
