//! Nobody waits for ever: not behind lanes on which nothing ends, and not for a bell that only the waiter rang.

use kv_pager::clock::ManualClock;
use kv_pager::config::{Limits, Watermarks};
use kv_pager::ids::{Fence, TokenId};
use kv_pager::layout::shape;
use kv_pager::pager::{Request, Sequence, Step};
use kv_pager::policy::{Lru, Policy, Steward};
use kv_pager::units::Nanos;
use kv_pager::{Config, Pager};
use kv_pager_testkit::tagged::{Machine, MachineSpec};
use std::sync::Arc;

const DEADLINE: Nanos = Nanos::new(1_000);
const TOKENS: u32 = 16;

fn build(device: u32, host: u32, policy: Box<dyn Policy>) -> (Machine, Arc<ManualClock>, Pager) {
    let model = shape("tiny").expect("known");
    let machine = Machine::new(&model, MachineSpec { device, host, file: 0, lane_limit: 64 });
    let clock = Arc::new(ManualClock::new());
    let limits =
        Limits { sequence_tokens: 4096, move_deadline: DEADLINE, batch_moves: 4, ..Limits::default() };
    let config = Config { limits, watermarks: Watermarks { low: 0.0, high: 0.0 }, ..Config::default() };
    let pager = Pager::new(model, config, machine.backend(), policy, Arc::clone(&clock) as _).expect("fits");
    (machine, clock, pager)
}

fn prompt(letter: u32, blocks: u32) -> Vec<TokenId> {
    (0..blocks * TOKENS).map(|at| TokenId(letter * 10_000 + at)).collect()
}

/// Computes all that is to be computed, and closes. False if it has to wait.
fn serve(mut sequence: Sequence) -> bool {
    loop {
        match sequence.next_step(1000) {
            Ok(Step::Compute(range)) => sequence.commit(range, Fence::OVER).expect("as told"),
            Ok(Step::Ready) => return true,
            Ok(Step::Wait) | Err(_) => return false,
        }
    }
}

#[test]
fn requests_are_served_when_lanes_have_died_halfway_through_a_chain() {
    serve_beside_dead_lanes(Box::new(Lru));
    serve_beside_dead_lanes(Box::new(Steward::default()));
}

fn serve_beside_dead_lanes(policy: Box<dyn Policy>) {
    let (machine, clock, pager) = build(8, 16, policy);
    assert!(serve(pager.open(&Request::new(&prompt(1, 8))).expect("room")));
    // The leaf half of the chain goes to the host; then no lane ends anything any more.
    assert!(pager.open(&Request::new(&prompt(2, 4))).is_err(), "the device is full");
    machine.advance_all();
    pager.poll();
    for letter in 3..6 {
        let tokens = prompt(letter, 7);
        let is_served = (0..100).any(|_| {
            clock.advance(DEADLINE);
            pager.check();
            pager.open(&Request::new(&tokens)).is_ok_and(serve)
        });
        assert!(is_served, "request {letter}: {:?}", pager.stats());
    }
}

#[test]
fn a_failed_open_does_not_ring_for_its_own_wait() {
    let (_machine, _clock, pager) = build(4, 4, Box::new(Steward::default()));
    let _holder = pager.open(&Request::new(&prompt(1, 4))).expect("room");
    let seen = pager.progress();
    assert!(pager.open(&Request::new(&prompt(2, 4))).is_err(), "all slots are held");
    assert!(!pager.wait(seen, Nanos::from_millis(5)), "nothing ended and nothing was closed");
}
