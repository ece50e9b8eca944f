//! Many tasks, and threads beside them, on one pager over real lanes.

use kv_pager::clock::MonotonicClock;
use kv_pager::config::{Config, Limits};
use kv_pager::ids::{Fence, GroupId, TierId, TokenId};
use kv_pager::layout::shape;
use kv_pager::pager::{Backend, Pager, Request, Step};
use kv_pager::policy::Lru;
use kv_pager::pool::SlotState;
use kv_pager::units::Nanos;
use kv_pager::{Error, ErrorKind};
use kv_pager_cpu::{CpuBackend, CpuSpec};
use kv_pager_tokio::AsyncPager;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const TASKS: u32 = 40;
const THREADS: u32 = 3;
const ROUNDS: u32 = 12;
const BLOCKS: u32 = 12;

/// A prompt of which the front is shared with one in five others.
fn prompt(user: u32, round: u32) -> Vec<TokenId> {
    let front = (0..BLOCKS / 2 * 16).map(|at| TokenId(user % 5 * 10_000 + at));
    let back = (0..BLOCKS / 2 * 16).map(|at| TokenId(1_000_000 + (user * 7 + round % 4) * 10_000 + at));
    front.chain(back).collect()
}

fn build() -> Pager {
    let model = shape("tiny").expect("known");
    let mut spec = CpuSpec::new(model.clone(), vec![80]);
    spec.host_slots = Some(vec![300]);
    let cpu = CpuBackend::new(&spec).expect("a few MiB");
    let limits = Limits { sequences: 16, sequence_tokens: 1024, ..Limits::default() };
    let config = Config { limits, ..Config::default() };
    let backend = Backend { tiers: cpu.tiers(), lanes: cpu.lanes() };
    Pager::new(model, config, backend, Box::new(Lru), Arc::new(MonotonicClock::new())).expect("fits")
}

async fn serve(pager: &AsyncPager, user: u32, round: u32) -> Result<u64, Error> {
    let prompt = prompt(user, round);
    let mut sequence = pager.open(&Request::new(&prompt)).await?;
    while let Some(tokens) = sequence.next_step(64).await? {
        sequence.commit(tokens, Fence::OVER)?;
    }
    let report = sequence.sequence().report();
    sequence.close(Fence::OVER);
    assert_eq!(report.hit_tokens.iter().sum::<u64>() + report.computed_tokens, prompt.len() as u64);
    Ok(report.hit_tokens.iter().sum())
}

/// The same from a plain thread.
fn serve_blocking(pager: &Pager, user: u32, round: u32) {
    let prompt = prompt(user, round);
    let patience = Nanos::from_millis(1000);
    let mut sequence = loop {
        let seen = pager.progress();
        match pager.open(&Request::new(&prompt)) {
            Ok(sequence) => break sequence,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
        }
        pager.wait(seen, patience);
    };
    loop {
        match sequence.next_step(64) {
            Ok(Step::Compute(tokens)) => sequence.commit(tokens, Fence::OVER).expect("as told"),
            Ok(Step::Ready) => break,
            Ok(Step::Wait) => {
                sequence.wait(patience);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
                sequence.wait(patience);
            }
        }
    }
}

#[test]
fn tasks_and_threads_share_a_pager_and_leave_it_idle() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let runtime = runtime.expect("a runtime");
    let pager = build();
    let threads: Vec<_> = (0..THREADS)
        .map(|user| {
            let pager = pager.clone();
            thread::spawn(move || (0..ROUNDS).for_each(|round| serve_blocking(&pager, TASKS + user, round)))
        })
        .collect();
    let hits: u64 = runtime.block_on(async {
        let mut tasks = Vec::new();
        for user in 0..TASKS {
            let pager = AsyncPager::new(pager.clone());
            tasks.push(tokio::spawn(async move {
                let mut hits = 0;
                for round in 0..ROUNDS {
                    // Every third is called off now and then, wherever it stands, and asked again.
                    if user % 3 == 0 {
                        let patience = Duration::from_micros(u64::from(50 + user * 37 % 400));
                        tokio::time::timeout(patience, serve(&pager, user, round)).await.ok();
                    }
                    hits += serve(&pager, user, round).await.expect("served");
                }
                hits
            }));
        }
        let mut hits = 0;
        for task in tasks {
            hits += task.await.expect("nobody panicked");
        }
        hits
    });
    for thread in threads {
        thread.join().expect("nobody panicked");
    }
    assert!(hits > 0);
    assert!(runtime.block_on(AsyncPager::new(pager.clone()).quiet(Nanos::from_millis(10_000))));
    pager.check();
    let stats = pager.stats();
    assert!(stats.hit_tokens[TierId::Host.index()] > 0, "something came back: {stats:?}");
    assert_eq!((stats.open_sequences, pager.waiting_tasks()), (0, 0));
    let counts = pager.occupancy(TierId::Device, GroupId::FIRST).expect("there");
    assert_eq!(counts.of(SlotState::Free) + counts.of(SlotState::Resident), counts.total());
}
