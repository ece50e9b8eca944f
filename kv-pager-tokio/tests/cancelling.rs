//! A future that is dropped leaves nothing behind.

use kv_pager::clock::MonotonicClock;
use kv_pager::config::{Config, DeviceOwner, Limits};
use kv_pager::ids::{Fence, GroupId, SlotId, TierId, TokenId};
use kv_pager::layout::shape;
use kv_pager::pager::{BlockAt, Delivery, Pager, Request};
use kv_pager::policy::Lru;
use kv_pager::pool::SlotState;
use kv_pager::units::Nanos;
use kv_pager_testkit::tagged::{Machine, MachineSpec};
use kv_pager_tokio::{AsyncPager, AsyncSequence};
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const BLOCKS: u32 = 16;

/// A pager over lanes on which nothing moves until the test says so.
fn build(owner: DeviceOwner) -> (Machine, AsyncPager) {
    let model = shape("tiny").expect("known");
    let spec = MachineSpec { device: BLOCKS, host: 64, file: 0, lane_limit: 4096 };
    let machine = Machine::new(&model, spec);
    let limits = Limits { sequences: 4, sequence_tokens: 1024, ..Limits::default() };
    let config = Config { limits, device_owner: owner, ..Config::default() };
    let clock = Arc::new(MonotonicClock::new());
    let pager = Pager::new(model, config, machine.backend(), Box::new(Lru), clock).expect("fits");
    (machine, AsyncPager::new(pager))
}

fn tokens(first: u32, blocks: u32) -> Vec<TokenId> {
    (0..blocks * 16).map(|at| TokenId(first + at)).collect()
}

/// Polls once, and drops it.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Computes all that there is to compute.
async fn serve(sequence: &mut AsyncSequence) {
    while let Some(tokens) = sequence.next_step(1024).await.expect("room") {
        sequence.commit(tokens, Fence::OVER).expect("as told");
    }
}

/// Lets all moves end.
fn settle(machine: &Machine, pager: &Pager) {
    while machine.advance_all() > 0 {
        pager.poll();
    }
    pager.poll();
}

/// Nothing is held, nothing is under way, nobody waits (I7).
fn assert_idle(machine: &Machine, pager: &Pager) {
    settle(machine, pager);
    pager.check();
    assert!(!pager.is_busy());
    assert_eq!((pager.stats().open_sequences, pager.waiting_tasks()), (0, 0));
    for tier in [TierId::Device, TierId::Host] {
        let counts = pager.occupancy(tier, GroupId::FIRST).expect("there");
        assert_eq!(counts.of(SlotState::Free) + counts.of(SlotState::Resident), counts.total(), "{tier}");
    }
}

#[tokio::test]
async fn an_open_that_is_dropped_while_it_waits_has_opened_nothing() {
    let (machine, pager) = build(DeviceOwner::Managed);
    let mut first = pager.open(&Request::new(&tokens(0, 10))).await.expect("room");
    serve(&mut first).await;
    let wanted = tokens(1000, 10);
    let request = Request::new(&wanted);
    let waits = tokio::time::timeout(Duration::from_millis(5), pager.open(&request)).await;
    assert!(waits.is_err(), "10 of 16 slots are held");
    assert_eq!(pager.pager().waiting_tasks(), 0);
    pager.pager().check();
    first.close(Fence::OVER);
    assert!(poll_once(pager.open(&request)).is_none(), "4 blocks have to leave first");
    assert_idle(&machine, pager.pager());
    let mut second = pager.open(&request).await.expect("they have left");
    serve(&mut second).await;
    second.close(Fence::OVER);
    assert_idle(&machine, pager.pager());
}

#[tokio::test]
async fn a_step_that_is_dropped_while_its_loads_are_under_way_leaves_the_sequence_as_it_was() {
    let (machine, pager) = build(DeviceOwner::Managed);
    for first in [0, 1000] {
        let wanted = tokens(first, 10);
        let mut sequence = loop {
            match poll_once(pager.open(&Request::new(&wanted))) {
                Some(sequence) => break sequence.expect("it fits"),
                None => settle(&machine, pager.pager()),
            }
        };
        serve(&mut sequence).await;
        sequence.close(Fence::OVER);
    }
    settle(&machine, pager.pager());
    // Some of the first prompt's blocks are in the host alone now.
    let wanted = tokens(0, 10);
    for is_closed in [true, false] {
        let mut sequence = loop {
            match poll_once(pager.open(&Request::new(&wanted))) {
                Some(sequence) => break sequence.expect("it fits"),
                None => settle(&machine, pager.pager()),
            }
        };
        for _ in 0..3 {
            assert!(poll_once(sequence.next_step(1024)).is_none(), "loads are under way");
            assert_eq!(pager.pager().waiting_tasks(), 0);
            pager.pager().check();
        }
        if is_closed {
            // Closed in the middle of its loads: they end, and are nobody's.
            drop(sequence);
            assert_idle(&machine, pager.pager());
            // Push the blocks out again, for the second round.
            let other = tokens(5000, 14);
            let mut pusher = loop {
                match poll_once(pager.open(&Request::new(&other))) {
                    Some(sequence) => break sequence.expect("it fits"),
                    None => settle(&machine, pager.pager()),
                }
            };
            serve(&mut pusher).await;
            pusher.close(Fence::OVER);
            settle(&machine, pager.pager());
        } else {
            settle(&machine, pager.pager());
            serve(&mut sequence).await;
            let report = sequence.sequence().report();
            assert!(report.hit_tokens[TierId::Host.index()] > 0, "{report:?}");
            assert_eq!(report.hit_tokens.iter().sum::<u64>() + report.computed_tokens, 160);
            sequence.close(Fence::OVER);
        }
    }
    assert_idle(&machine, pager.pager());
}

#[tokio::test]
async fn appending_that_is_dropped_has_added_nothing() {
    let (machine, pager) = build(DeviceOwner::Managed);
    let mut first = pager.open(&Request::new(&tokens(0, 8))).await.expect("room");
    let mut second = pager.open(&Request::new(&tokens(1000, 8))).await.expect("room");
    serve(&mut first).await;
    serve(&mut second).await;
    assert!(poll_once(first.append(&tokens(3000, 2))).is_none(), "all slots are held");
    assert_eq!(first.sequence().len(), 128);
    pager.pager().check();
    second.close(Fence::OVER);
    let more = tokens(3000, 2);
    let appended = async {
        tokio::select! {
            appended = first.append(&more) => appended.expect("the other has closed"),
            () = async { loop {
                settle(&machine, pager.pager());
                tokio::task::yield_now().await;
            } } => {}
        }
    };
    appended.await;
    serve(&mut first).await;
    assert_eq!(first.sequence().report().computed_tokens, 160);
    first.close(Fence::OVER);
    assert_idle(&machine, pager.pager());
}

#[tokio::test]
async fn deliveries_outlive_whoever_awaited_them() {
    let (machine, pager) = build(DeviceOwner::Engine);
    let wanted = tokens(0, 3);
    let prompt = pager.pager().prepare(&Request::new(&wanted));
    let at = |block: usize| BlockAt { block, slot: SlotId::from_index(block + 4) };
    let given = [at(0), at(1)];
    let mut out = pager.pager().offload(&prompt, &given, Fence::OVER).expect("the slots are free");
    let waits = tokio::time::timeout(Duration::from_millis(5), pager.delivered(&mut out)).await;
    assert!(waits.is_err(), "nothing moves");
    assert_eq!(pager.pager().waiting_tasks(), 0);
    let told = tokio::join!(pager.delivered(&mut out), async { machine.advance_all() }).0;
    assert_eq!(told, [Delivery::Done; 2]);
    assert!(pager.quiet(Nanos::from_millis(1000)).await);
    assert_eq!(pager.pager().lookup(&prompt), [TierId::Host; 2]);
    pager.pager().check();
}
