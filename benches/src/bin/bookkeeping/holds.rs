//! How long the pager's lock is held: two threads open, fill, fork, extend, cut and close sequences of up to 8,192 blocks, in a pool that
//! evicts.

use crate::metadata::{self, TOKENS};
use kv_pager::Pager;
use kv_pager::ids::{Fence, TokenId};
use kv_pager::pager::{Request, Step};

const SLOTS: u32 = 1 << 16;
const THREADS: u32 = 2;
const REQUESTS: u32 = 300;
const BUCKET_NS: u64 = 100;

/// Longest first: of every eight requests one is of 8,192 blocks.
const BLOCKS: [u32; 8] = [8192, 64, 512, 2048, 256, 600, 1, 4096];

/// Prints quantiles of the holds, in microseconds.
pub(crate) fn measure() -> String {
    let pager = metadata::pager(SLOTS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let pager = pager.clone();
            scope.spawn(move || (0..REQUESTS).for_each(|request| serve(&pager, thread * REQUESTS + request)));
        }
    });
    report(&pager.hold_times())
}

/// A request of which three quarters are shared with others of its length.
fn serve(pager: &Pager, request: u32) {
    let blocks = BLOCKS[request as usize % BLOCKS.len()];
    let shared = blocks * 3 / 4 * TOKENS;
    let own = |at: u32| TokenId(request.wrapping_mul(2_654_435_761).wrapping_add(at));
    let tokens: Vec<TokenId> =
        (0..blocks * TOKENS).map(|at| if at < shared { TokenId(blocks + at) } else { own(at) }).collect();
    let mut sequence = pager.open(&Request::new(&tokens)).expect("room");
    while let Step::Compute(range) = sequence.next_step(usize::MAX).expect("room") {
        sequence.commit(range, Fence::OVER).expect("as told");
    }
    drop(sequence.fork().expect("nothing is being computed"));
    sequence.truncate(tokens.len() / 2, Fence::OVER);
    sequence.append(&tokens[tokens.len() / 2..]).expect("room");
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
