//! The scenarios, by the names they are known by.
//!
//! `cycle`: allocate, fill, name, release, all of them new. `match_held`: a resident prompt of 256 blocks that another sequence
//! holds is opened; `match_unheld`: one that nobody holds is opened and given back; `match_miss`: one that is not there is opened,
//! its slots taken and given back. `serve`: 192 hits and 64 new blocks. `fork`: 256 blocks shared and given back. `append`: a
//! block of tokens at a time. `hash`: the name of a block of 16 tokens; both sides take their names as given.

use crate::metadata::TOKENS;
use crate::subject::Subject;
use kv_pager::Pager;
use kv_pager::clock::{Clock, MonotonicClock, Time};
use kv_pager::ids::{HashKey, ModelEpoch, ModelFingerprint, Salt, TokenId};
use kv_pager::prefix::PrefixHasher;
use std::sync::Barrier;

/// One call is one round: nanoseconds a block.
pub(crate) type Rounds = Box<dyn FnMut() -> f64>;
/// Makes what the rounds need.
type Start = Box<dyn FnOnce() -> Rounds>;

/// One row of the table.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) batch: u32,
    pub(crate) threads: u32,
    pub(crate) rounds: usize,
    pub(crate) ours: Start,
    pub(crate) peer: Option<Start>,
}

#[cfg(feature = "peer")]
type Other = crate::peer::Peer;

/// A row of a scenario that both sides tell.
macro_rules! both {
    ($name:literal, $batch:expr, $threads:expr, $rounds:expr, $start:ident($($argument:expr),*)) => {
        Scenario {
            name: $name,
            batch: $batch,
            threads: $threads,
            rounds: $rounds,
            ours: Box::new(move || $start::<Pager>($($argument),*)),
            #[cfg(feature = "peer")]
            peer: Some(Box::new(move || $start::<Other>($($argument),*))),
            #[cfg(not(feature = "peer"))]
            peer: None,
        }
    };
}

const SMALL: u32 = 1 << 14;
const LARGE: u32 = 1 << 20;
const ROUNDS: usize = 400;

/// All of them.
pub(crate) fn all() -> Vec<Scenario> {
    let mut rows = vec![
        both!("cycle", 1, 1, 100, cycle(1)),
        both!("cycle", 64, 1, 100, cycle(64)),
        both!("cycle_evict", 1, 1, 100, cycle_evict(SMALL, 1)),
        both!("cycle_evict", 64, 1, 100, cycle_evict(SMALL, 64)),
        both!("cycle_evict_1m", 64, 1, 64, cycle_evict(LARGE, 64)),
        both!("match_held", 256, 1, ROUNDS, match_held()),
        both!("match_unheld", 256, 1, ROUNDS, match_unheld()),
        both!("match_miss", 256, 1, ROUNDS, match_miss()),
        both!("fork", 256, 1, ROUNDS, fork()),
        both!("append", 1, 1, ROUNDS, append()),
    ];
    rows.extend([1, 2, 4, 8, 16].map(|threads| both!("serve", 256, threads, 30, serve(threads))));
    let hash =
        Scenario { name: "hash", batch: 1, threads: 1, rounds: ROUNDS, ours: Box::new(hash), peer: None };
    rows.push(hash);
    rows
}

fn tokens(first: u32, count: u32) -> Vec<TokenId> {
    (0..count).map(|at| TokenId(first.wrapping_add(at))).collect()
}

fn new_tokens(seed: &mut u32, blocks: u32) -> Vec<TokenId> {
    *seed += 1;
    tokens(seed.wrapping_mul(2_654_435_761), blocks * TOKENS)
}

/// Nanoseconds that `timed` takes, divided by `blocks`.
fn time(clock: &MonotonicClock, blocks: u32, timed: impl FnOnce()) -> f64 {
    let start = clock.now();
    timed();
    per_block(start, clock.now(), blocks)
}

#[expect(clippy::cast_precision_loss, reason = "a round takes less than a month")]
fn per_block(start: Time, end: Time, blocks: u32) -> f64 {
    end.since(start).as_u64() as f64 / f64::from(blocks)
}

fn run<S: Subject>(subject: &S, prompt: &S::Prompt) {
    let mut sequence = subject.open(prompt);
    subject.fill(prompt, &mut sequence);
}

fn cycle<S: Subject>(batch: u32) -> Rounds {
    let (subject, clock) = (S::new(SMALL), MonotonicClock::new());
    let prompts = SMALL / 4 / batch;
    let mut seed = 0;
    let mut round = move || {
        let new = |_| subject.prompt(&new_tokens(&mut seed, batch));
        let prompts: Vec<S::Prompt> = (0..prompts).map(new).collect();
        let blocks = u32::try_from(prompts.len()).expect("a few") * batch;
        let span = time(&clock, blocks, || prompts.iter().for_each(|prompt| run(&subject, prompt)));
        subject.clear();
        span
    };
    // Memory that is touched for the first time is no part of it.
    for _ in 0..5 {
        round();
    }
    Box::new(round)
}

fn cycle_evict<S: Subject>(slots: u32, batch: u32) -> Rounds {
    let (subject, clock) = (S::new(slots), MonotonicClock::new());
    let mut seed = 0;
    for _ in 0..slots / batch + 2 {
        run(&subject, &subject.prompt(&new_tokens(&mut seed, batch)));
    }
    let prompts = (1024 / batch).max(16);
    Box::new(move || {
        let new = |_| subject.prompt(&new_tokens(&mut seed, batch));
        let prompts: Vec<S::Prompt> = (0..prompts).map(new).collect();
        let blocks = u32::try_from(prompts.len()).expect("a few") * batch;
        time(&clock, blocks, || prompts.iter().for_each(|prompt| run(&subject, prompt)))
    })
}

/// A subject with a prompt of 256 resident blocks. The last token is never matched: there is one more.
fn resident<S: Subject>() -> (S, S::Prompt) {
    let subject = S::new(4096);
    let prompt = subject.prompt(&tokens(0, 256 * TOKENS + 1));
    run(&subject, &prompt);
    (subject, prompt)
}

fn match_held<S: Subject>() -> Rounds {
    let (subject, prompt) = resident::<S>();
    let clock = MonotonicClock::new();
    let holder = subject.open(&prompt);
    Box::new(move || {
        std::hint::black_box(&holder);
        let mut opened = None;
        let span = time(&clock, 256, || opened = Some(subject.open(&prompt)));
        drop(opened);
        span
    })
}

fn match_unheld<S: Subject>() -> Rounds {
    let (subject, prompt) = resident::<S>();
    let clock = MonotonicClock::new();
    Box::new(move || time(&clock, 256, || drop(subject.open(&prompt))))
}

fn match_miss<S: Subject>() -> Rounds {
    let (subject, _) = resident::<S>();
    let clock = MonotonicClock::new();
    let mut seed = 1_000_000;
    Box::new(move || {
        let prompt = subject.prompt(&new_tokens(&mut seed, 256));
        time(&clock, 256, || drop(subject.open(&prompt)))
    })
}

fn fork<S: Subject>() -> Rounds {
    let (subject, prompt) = resident::<S>();
    let clock = MonotonicClock::new();
    Box::new(move || {
        let sequence = subject.open(&prompt);
        time(&clock, 256, || drop(subject.fork(&sequence)))
    })
}

fn append<S: Subject>() -> Rounds {
    let (subject, clock) = (S::new(4096), MonotonicClock::new());
    let mut seed = 0;
    Box::new(move || {
        let prompt = subject.prompt(&new_tokens(&mut seed, 128));
        let mut sequence = subject.open(&subject.prompt(&new_tokens(&mut seed, 1)));
        time(&clock, 128, || (0..128).for_each(|at| subject.append(&prompt, at, &mut sequence)))
    })
}

/// Threads that serve requests of one pool at once: time on the wall by blocks of all.
fn serve<S: Subject>(threads: u32) -> Rounds {
    const REQUESTS: u32 = 1024;
    let (subject, clock) = (S::new(8192), MonotonicClock::new());
    let mut seed = 0;
    Box::new(move || {
        let mut new = |_| {
            let mut prompt = tokens(0, 192 * TOKENS);
            prompt.extend(new_tokens(&mut seed, 64));
            subject.prompt(&prompt)
        };
        let requests = REQUESTS / threads;
        let work: Vec<Vec<S::Prompt>> = (0..threads).map(|_| (0..requests).map(&mut new).collect()).collect();
        let barrier = Barrier::new(threads as usize);
        let spans: Vec<(Time, Time)> = std::thread::scope(|scope| {
            let mut workers = Vec::new();
            for prompts in &work {
                let (subject, barrier, clock) = (&subject, &barrier, &clock);
                workers.push(scope.spawn(move || serve_all(subject, prompts, barrier, clock)));
            }
            workers.into_iter().map(|worker| worker.join().expect("it serves")).collect()
        });
        // From the first to begin to the last to end: the thread that waits for them may not run in between.
        let start = spans.iter().map(|span| span.0).min().expect("a thread");
        let end = spans.iter().map(|span| span.1).max().expect("a thread");
        per_block(start, end, threads * requests * 256)
    })
}

fn serve_all<S: Subject>(
    subject: &S,
    prompts: &[S::Prompt],
    barrier: &Barrier,
    clock: &MonotonicClock,
) -> (Time, Time) {
    barrier.wait();
    let start = clock.now();
    for prompt in prompts {
        run(subject, prompt);
    }
    (start, clock.now())
}

fn hash() -> Rounds {
    let hasher = PrefixHasher::new(HashKey(7), ModelFingerprint::default());
    let block = tokens(0, TOKENS);
    let mut parent = hasher.root(Salt(0), ModelEpoch(0));
    let clock = MonotonicClock::new();
    Box::new(move || {
        let span = time(&clock, 1000, || (0..1000).for_each(|_| parent = hasher.block(parent, &block, &[])));
        assert_ne!(parent, hasher.root(Salt(0), ModelEpoch(0)), "the chain was computed");
        span
    })
}
