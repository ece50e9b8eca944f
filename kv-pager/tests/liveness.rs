//! Nobody waits for ever: not behind lanes on which nothing ends, not for a bell that only the waiter rang, not for slots that
//! copies of the waiter's own blocks take, and not while blocks go round in a file that is too small for what stands on them.

use kv_pager::clock::ManualClock;
use kv_pager::config::{Limits, Watermarks};
use kv_pager::ids::{Fence, TierId, TokenId};
use kv_pager::layout::shape;
use kv_pager::pager::{Request, Sequence, Step};
use kv_pager::policy::{Lru, Policy, Steward};
use kv_pager::tier::{Health, Lane, LaneEnds};
use kv_pager::units::{Bytes, Nanos};
use kv_pager::{Config, Pager};
use kv_pager_testkit::tagged::{Fate, Machine, MachineSpec};
use proptest::prelude::*;
use std::sync::Arc;

const DEADLINE: Nanos = Nanos::new(1_000);
const TOKENS: u32 = 16;

fn build(device: u32, host: u32, file: u32, policy: Box<dyn Policy>) -> (Machine, Arc<ManualClock>, Pager) {
    let model = shape("tiny").expect("known");
    let machine = Machine::new(&model, MachineSpec { device, host, file, lane_limit: 64 });
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
    let (machine, clock, pager) = build(8, 16, 0, policy);
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

/// Serves a request, however long that takes.
fn serve_in_the_end(machine: &Machine, pager: &Pager, tokens: &[TokenId]) {
    let is_served = (0..100).any(|_| {
        machine.advance_all();
        pager.open(&Request::new(tokens)).is_ok_and(serve)
    });
    assert!(is_served, "{:?}", pager.stats());
}

#[test]
fn a_load_that_finds_no_host_slot_is_given_up_by_its_deadline_whatever_else_is_under_way() {
    let (machine, clock, pager) = build(12, 1, 40, Box::new(Lru));
    let [first, second, shared] = [1, 2, 3].map(|letter| prompt(letter, 2)[..=TOKENS as usize].to_vec());
    let place = |tokens: &[TokenId]| pager.lookup(&pager.prepare(&Request::new(tokens)));
    serve_in_the_end(&machine, &pager, &first);
    serve_in_the_end(&machine, &pager, &second);
    let mut letter = 10;
    while [&first, &second].into_iter().any(|tokens| place(tokens) != [TierId::File]) {
        serve_in_the_end(&machine, &pager, &prompt(letter, 3));
        letter += 1;
        assert!(letter < 20, "{:?}, {:?}", place(&first), place(&second));
    }
    // What takes all device slots and computes nothing leaves them free.
    while pager.open(&Request::new(&prompt(50, 12))).is_err() {
        machine.advance_all();
    }
    // A copy that is being read for ever keeps the one host slot.
    let lane = |source, target| {
        let ends = LaneEnds { source, target };
        machine.lanes().iter().find(|lane| lane.ends() == ends).expect("there is one")
    };
    let mut reader = pager.open(&Request::new(&first)).expect("room");
    for _ in 0..10 {
        assert!(matches!(reader.next_step(100), Ok(Step::Wait)));
        lane(TierId::File, TierId::Host).advance(1, |_| Fate::Done);
        lane(TierId::Host, TierId::File).advance(9, |_| Fate::Done);
        if lane(TierId::Host, TierId::Device).advance(1, |_| Fate::Stalled) > 0 {
            break;
        }
    }
    clock.advance(DEADLINE);
    assert!(matches!(reader.next_step(100), Ok(Step::Compute(_))), "it was given up");
    // Copies within the device, each in time, are always under way.
    let mut parent = pager.open(&Request::new(&shared[..4])).expect("room");
    assert!(matches!(parent.next_step(100), Ok(Step::Compute(_))));
    parent.commit(0..4, Fence::OVER).expect("as told");
    let copy = || {
        let mut child = parent.fork().expect("all of it is committed");
        child.append(&shared[4..5]).expect("room");
        assert!(matches!(child.next_step(100), Ok(Step::Wait)));
        child
    };
    let mut copies = vec![copy()];
    clock.advance(Nanos::new(DEADLINE.as_u64() / 2));
    let mut waiting = pager.open(&Request::new(&second)).expect("room");
    assert_eq!(waiting.matched_tokens(), TOKENS as usize);
    assert!(matches!(waiting.next_step(100), Ok(Step::Wait)));
    copies.push(copy());
    for _ in 0..2 {
        clock.advance(Nanos::new(DEADLINE.as_u64() / 4));
        assert!(matches!(waiting.next_step(100), Ok(Step::Wait)), "it has time");
    }
    copies.push(copy());
    clock.advance(Nanos::new(DEADLINE.as_u64() / 2));
    assert!(
        pager.stats().lanes.iter().any(|lane| lane.bytes_in_flight > Bytes::ZERO),
        "copies are under way"
    );
    assert_eq!(waiting.next_step(100).expect("room"), Step::Compute(0..second.len()));
    drop((reader, copies));
    pager.check();
}

#[test]
fn many_loads_are_given_up_where_a_drive_that_hangs_has_all_host_slots() {
    let (machine, clock, pager) = build(256, 40, 2000, Box::new(Lru));
    let [few, many] = [prompt(1, 50), prompt(2, 240)];
    let lie = |tokens: &[TokenId]| pager.lookup(&pager.prepare(&Request::new(tokens)));
    for letter in 1..8 {
        let tokens = prompt(letter, if letter == 1 { 50 } else { 240 });
        while !pager.open(&Request::new(&tokens)).is_ok_and(serve) {
            machine.advance_all();
        }
    }
    let in_file = |tokens| lie(tokens).iter().filter(|tier| **tier == TierId::File).count();
    assert!(in_file(&few) >= 40 && in_file(&many) > 150, "{} and {}", in_file(&few), in_file(&many));
    // What takes all device slots and computes nothing leaves them free.
    while pager.open(&Request::new(&prompt(50, 256))).is_err() {
        machine.advance_all();
    }
    let up = LaneEnds { source: TierId::File, target: TierId::Host };
    let lane = machine.lanes().iter().find(|lane| lane.ends() == up).expect("there is one");
    let reader = pager.open(&Request::new(&few)).expect("room");
    assert_eq!(lane.advance(99, |_| Fate::Stalled), 40, "as many as the host has slots");
    clock.advance(DEADLINE);
    pager.poll();
    drop(reader);
    // More loads than one hold of the lock goes through, and nothing is under way that could make room for the first.
    let mut sequence = pager.open(&Request::new(&many)).expect("room");
    assert!(sequence.matched_tokens() > 150 * TOKENS as usize);
    assert_eq!(sequence.next_step(10_000).expect("room"), Step::Compute(0..many.len()));
    pager.check();
}

#[test]
fn requests_are_served_though_a_tier_that_their_loads_pass_through_is_lost() {
    for lost in [TierId::Host, TierId::File] {
        serve_beside_a_lost_tier(lost, Box::new(Lru));
        serve_beside_a_lost_tier(lost, Box::new(Steward::default()));
    }
}

fn serve_beside_a_lost_tier(lost: TierId, policy: Box<dyn Policy>) {
    let (machine, clock, pager) = build(8, 12, 100, policy);
    let go_on = || {
        machine.advance_all();
        clock.advance(Nanos::new(DEADLINE.as_u64() / 10));
        pager.poll();
    };
    let serve_waiting = |letter: u32, opened: Option<Sequence>| {
        let tokens = prompt(letter, 4);
        let mut opened = opened;
        for _ in 0..300 {
            if opened.is_none() {
                opened = pager.open(&Request::new(&tokens)).ok();
            }
            match opened.as_mut().map(|sequence| sequence.next_step(1000)) {
                Some(Ok(Step::Ready)) => return,
                Some(Ok(Step::Compute(range))) => {
                    let sequence = opened.as_mut().expect("it was asked");
                    sequence.commit(range, Fence::OVER).expect("as told");
                }
                Some(Ok(Step::Wait) | Err(_)) | None => go_on(),
            }
        }
        panic!("request {letter} waits for ever beside a lost {lost}: {:?}", pager.stats());
    };
    for letter in 0..12 {
        serve_waiting(letter, None);
        (0..20).for_each(|_| go_on());
    }
    // What comes up from the file stays in the host too, and then leaves the device.
    for letter in [2, 3, 20, 21] {
        serve_waiting(letter, None);
        (0..20).for_each(|_| go_on());
    }
    // One waits for its loads as the tier is lost; some ask later.
    let tokens = prompt(0, 4);
    let waiting = loop {
        match pager.open(&Request::new(&tokens)) {
            Ok(sequence) => break sequence,
            Err(_busy) => go_on(),
        }
    };
    machine.tiers()[lost.index()].set_health(Health::Lost { why: "a test".into() });
    serve_waiting(0, Some(waiting));
    for letter in [2, 3, 0, 1, 5, 30, 31] {
        serve_waiting(letter, None);
        pager.check();
    }
}

#[test]
fn a_failed_open_does_not_ring_for_its_own_wait() {
    let (_machine, _clock, pager) = build(4, 4, 0, Box::new(Steward::default()));
    let _holder = pager.open(&Request::new(&prompt(1, 4))).expect("room");
    let seen = pager.progress();
    assert!(pager.open(&Request::new(&prompt(2, 4))).is_err(), "all slots are held");
    assert!(!pager.wait(seen, Nanos::from_millis(5)), "nothing ended and nothing was closed");
}

#[test]
fn a_slot_whose_block_its_user_computed_too_is_not_kept_from_it() {
    let (_machine, _clock, pager) = build(8, 0, 0, Box::new(Steward::default()));
    let tokens = prompt(1, 8);
    let first = pager.open(&Request::new(&tokens[..2 * 16])).expect("room");
    let mut second = pager.open(&Request::new(&tokens[..4 * 16])).expect("room");
    assert!(serve(first), "it has its slots");
    // The second has computed the two blocks that the first has named, and names those that stand on them.
    for blocks in 4..=8 {
        while let Step::Compute(range) = second.next_step(1000).expect("there is room for all of it") {
            second.commit(range, Fence::OVER).expect("as told");
        }
        pager.check();
        if blocks < 8 {
            second.append(&tokens[blocks * 16..][..16]).expect("the whole device is its own");
        }
    }
    assert_eq!(second.next_step(1000).expect("it is whole"), Step::Ready);
    second.close(Fence::OVER);
    pager.check();
    let again = pager.open(&Request::new(&tokens)).expect("room");
    assert_eq!(again.report().hit_tokens[0], 7 * 16, "the last token is computed in any case");
}

/// The first `blocks` blocks of a branch of a tree that forks after 2, 6 and 15 blocks.
fn branch(branch: u32, blocks: u32) -> Vec<TokenId> {
    let side = |block: u32| match block {
        0..2 => 0,
        2..6 => branch % 2,
        6..15 => branch % 4,
        _ => branch,
    };
    (0..blocks * TOKENS).map(|at| TokenId(side(at / TOKENS) * 10_000 + at)).collect()
}

/// Rounds in which nothing gets on, after which somebody is stuck: far more than the moves that a chain takes down.
const STUCK_ROUNDS: u32 = 2_000;

/// Requests over small tiers, and how many of them are served at once.
#[derive(Clone, Debug)]
struct Small {
    /// Branch, blocks of the prompt, and those that are appended.
    asks: Vec<(u32, u32, u32)>,
    /// What the device has beyond the longest.
    spare: u32,
    host: u32,
    file: u32,
    at_once: usize,
    moves_a_round: usize,
    is_lru: bool,
}

impl Small {
    /// Serves them all.
    fn serve(&self) {
        let policy: Box<dyn Policy> = if self.is_lru { Box::new(Lru) } else { Box::new(Steward::default()) };
        let longest = self.asks.iter().map(|(_, blocks, more)| blocks + more).max().expect("there are some");
        let device = longest + self.spare;
        let (machine, _clock, pager) =
            build(device, self.host, if self.host > 0 { self.file } else { 0 }, policy);
        let mut waiting = self.asks.iter().copied().peekable();
        let mut active: Vec<(Sequence, u32, Vec<TokenId>)> = Vec::new();
        let mut idle_rounds = 0;
        while waiting.peek().is_some() || !active.is_empty() {
            let mut has_progress = false;
            while let Some((side, blocks, more)) = waiting.peek().copied() {
                let taken: u32 = active.iter().map(|(_, blocks, _)| blocks).sum();
                if active.len() == self.at_once || taken + blocks + more > device {
                    break;
                }
                let tokens = branch(side, blocks + more);
                let Ok(sequence) = pager.open(&Request::new(&tokens[..(blocks * TOKENS) as usize])) else {
                    break;
                };
                active.push((sequence, blocks + more, tokens));
                waiting.next();
                has_progress = true;
            }
            for (sequence, _, tokens) in &mut active {
                match sequence.next_step(40) {
                    Ok(Step::Compute(range)) => {
                        sequence.commit(range, Fence::OVER).expect("as told");
                        has_progress = true;
                    }
                    Ok(Step::Ready) if sequence.len() < tokens.len() => {
                        let next = &tokens[sequence.len()..][..TOKENS as usize];
                        has_progress |= sequence.append(next).is_ok();
                    }
                    Ok(Step::Ready | Step::Wait) | Err(_) => {}
                }
            }
            let is_over = |entry: &mut (Sequence, u32, Vec<TokenId>)| {
                entry.0.len() == entry.2.len() && matches!(entry.0.next_step(1), Ok(Step::Ready))
            };
            for (sequence, _, _) in active.extract_if(.., is_over) {
                sequence.close(Fence::OVER);
                has_progress = true;
            }
            for lane in machine.lanes() {
                lane.advance(self.moves_a_round, |_| Fate::Done);
            }
            idle_rounds = if has_progress { 0 } else { idle_rounds + 1 };
            assert!(idle_rounds < STUCK_ROUNDS, "{:?} of {:?}", active.len(), pager.stats());
        }
        pager.check();
    }
}

#[test]
fn what_is_on_its_way_down_keeps_nobody_waiting_for_ever() {
    let asks = vec![(5, 20, 1), (2, 25, 0), (0, 8, 0), (1, 27, 1), (5, 23, 2), (2, 27, 0)];
    Small { asks, spare: 5, host: 33, file: 40, at_once: 2, moves_a_round: 1, is_lru: false }.serve();
}

#[test]
fn nobody_waits_a_turn_round_the_file_for_each_slot() {
    // What the host writes pushes out what was written for it, and each device slot waits for a host slot.
    let asks = vec![
        (0, 10, 0),
        (5, 7, 2),
        (2, 9, 0),
        (3, 8, 0),
        (0, 1, 1),
        (4, 20, 0),
        (1, 23, 1),
        (6, 8, 0),
        (0, 1, 0),
        (0, 1, 0),
        (5, 24, 0),
        (4, 27, 1),
        (5, 22, 0),
        (0, 1, 0),
    ];
    Small { asks, spare: 0, host: 9, file: 40, at_once: 3, moves_a_round: 2, is_lru: false }.serve();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_that_fit_are_served_however_small_the_tiers_are(
        asks in proptest::collection::vec((0..8_u32, 1..30_u32, 0..3_u32), 1..24),
        spare in 0..30_u32,
        host in prop::sample::select(vec![0, 3, 9, 33]),
        file in prop::sample::select(vec![0, 7, 40, 100]),
        at_once in 1..4_usize,
        moves_a_round in 1..40_usize,
        is_lru: bool,
    ) {
        Small { asks, spare, host, file, at_once, moves_a_round, is_lru }.serve();
    }
}
