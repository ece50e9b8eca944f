//! What is brought nearer ahead of need, and what is held: by whom it is used, what it survives, and to whom it gives way.

use kv_pager::clock::ManualClock;
use kv_pager::config::{Allowance, Limits, Quota, Reserves, Watermarks};
use kv_pager::ids::{Fence, Salt, TierId, TokenId};
use kv_pager::layout::shape;
use kv_pager::pager::{Kept, KeptSlots, LaneReport, Prompt, Request, Sequence, Step};
use kv_pager::policy::Lru;
use kv_pager::tier::MoveFault;
use kv_pager::units::{Bytes, Nanos};
use kv_pager::{Config, Error, Pager};
use kv_pager_testkit::tagged::{Fate, Machine, MachineSpec};
use std::sync::Arc;

const TOKENS: u32 = 16;

fn build(device: u32, host: u32, file: u32) -> (Machine, Pager) {
    let model = shape("tiny").expect("known");
    let machine = Machine::new(&model, MachineSpec { device, host, file, lane_limit: 64 });
    let limits = Limits { sequence_tokens: 4096, batch_moves: 4, ..Limits::default() };
    let reserves = Reserves { prefetches: 3, prefetched_share: 0.25, holds: 2, held_share: 0.25 };
    let watermarks = Watermarks { low: 0.0, high: 0.0 };
    let config = Config { limits, reserves, watermarks, ..Config::default() };
    let clock = Arc::new(ManualClock::new());
    let pager = Pager::new(model, config, machine.backend(), Box::new(Lru), clock).expect("fits");
    (machine, pager)
}

fn tokens(letter: u32, blocks: u32) -> Vec<TokenId> {
    (0..blocks * TOKENS).map(|at| TokenId(letter * 10_000 + at)).collect()
}

fn prompt(pager: &Pager, letter: u32, blocks: u32) -> Prompt {
    pager.prepare(&Request::new(&tokens(letter, blocks)))
}

/// Ends all moves until none is under way.
fn settle(machine: &Machine, pager: &Pager) {
    while machine.advance_all() > 0 || pager.is_busy() {
        pager.poll();
        pager.check();
    }
}

fn open(machine: &Machine, pager: &Pager, prompt: &Prompt) -> Sequence {
    for _ in 0..100 {
        match pager.open_prompt(prompt) {
            Ok(sequence) => return sequence,
            Err(_busy) => machine.advance_all(),
        };
    }
    panic!("never served: {:?}", pager.open_prompt(prompt).err());
}

/// Serves a request to its end; returns how many of its tokens were hits.
fn serve(machine: &Machine, pager: &Pager, prompt: &Prompt) -> u64 {
    let mut sequence = open(machine, pager, prompt);
    loop {
        match sequence.next_step(1000).expect("room") {
            Step::Compute(range) => sequence.commit(range, Fence::OVER).expect("as told"),
            Step::Wait => _ = machine.advance_all(),
            Step::Ready => return sequence.report().hit_tokens.iter().sum(),
        }
    }
}

/// Floods all tiers with other prompts, so that nothing that may be evicted stays.
fn flood(machine: &Machine, pager: &Pager, first: u32) {
    for letter in first..first + 20 {
        serve(machine, pager, &prompt(pager, letter, 10));
        pager.check();
    }
    settle(machine, pager);
}

/// Moves towards the device so far.
fn onboarded(pager: &Pager) -> u64 {
    let is_onboard = |lane: &&LaneReport| lane.ends.source.index() > lane.ends.target.index();
    pager.stats().lanes.iter().filter(is_onboard).map(|lane| lane.stats.moves).sum()
}

#[test]
fn a_prefetch_brings_blocks_nearer_and_the_request_shares_its_moves() {
    let (machine, pager) = build(20, 12, 400);
    let queued = prompt(&pager, 1, 9);
    serve(&machine, &pager, &queued);
    flood(&machine, &pager, 100);
    assert_eq!(pager.lookup(&queued), [TierId::File; 8]);
    let before = onboarded(&pager);
    let prefetch = pager.prefetch(&queued).expect("room");
    // At most a quarter of 12 host slots, as far as some are free; as parts land and go on, their slots serve the next ones.
    let kept = prefetch.kept();
    assert!(kept.wanted == 8 && kept.moving <= 3, "{kept:?}");
    settle(&machine, &pager);
    let kept = prefetch.kept();
    assert_eq!(kept, Kept { wanted: 8, on_device: 5, in_host: 3, moving: 0 }, "a quarter of each tier");
    assert!(pager.stats().kept[TierId::Device.index()].prefetched == 5, "{:?}", pager.stats());
    assert_eq!(onboarded(&pager), before + 13, "8 from the file, and 5 of them on to the device");
    let before = onboarded(&pager);
    assert_eq!(serve(&machine, &pager, &queued), 8 * u64::from(TOKENS));
    drop(prefetch);
    assert_eq!(onboarded(&pager), before + 3, "only the rest was moved for the request");
    pager.check();
}

#[test]
fn a_prefetch_that_is_called_off_leaves_nothing_held_and_nothing_queued() {
    let (machine, pager) = build(40, 40, 400);
    let queued = prompt(&pager, 1, 9);
    serve(&machine, &pager, &queued);
    flood(&machine, &pager, 100);
    let before = onboarded(&pager);
    drop(pager.prefetch(&queued).expect("room"));
    pager.check();
    settle(&machine, &pager);
    assert_eq!(pager.stats().kept, [KeptSlots::default(); TierId::COUNT]);
    assert_eq!(onboarded(&pager), before, "no lane had begun any of them");
    assert_eq!(serve(&machine, &pager, &queued), 8 * u64::from(TOKENS), "the file has it all the same");
}

#[test]
fn prefetches_give_way_to_a_request_that_needs_every_slot() {
    let (machine, pager) = build(16, 16, 400);
    let queued = prompt(&pager, 1, 5);
    serve(&machine, &pager, &queued);
    let prefetch = pager.prefetch(&queued).expect("room");
    assert_eq!(prefetch.kept().on_device, 4);
    let large = prompt(&pager, 2, 16);
    let sequence = open(&machine, &pager, &large);
    assert_eq!(prefetch.kept().on_device, 0);
    drop(sequence);
    pager.check();
}

#[test]
fn as_many_as_the_limit_are_prefetched_or_held() {
    let (_machine, pager) = build(16, 16, 0);
    let queued = prompt(&pager, 1, 5);
    let prefetches: Vec<_> = (0..3).map(|_| pager.prefetch(&queued).expect("room")).collect();
    assert!(matches!(pager.prefetch(&queued), Err(Error::TooManyKept { limit: 3 })));
    drop(prefetches);
    let holds: Vec<_> = (0..2).map(|_| pager.hold(&queued, TierId::Host).expect("room")).collect();
    assert!(matches!(pager.hold(&queued, TierId::Host), Err(Error::TooManyKept { limit: 2 })));
    assert!(matches!(pager.hold(&queued, TierId::File), Err(Error::Configuration { .. })));
    assert_eq!(pager.release_holds(Salt(1)), 0);
    assert_eq!(pager.release_holds(Salt(0)), 2);
    drop(holds);
    pager.hold(&queued, TierId::Device).expect("room again");
}

#[test]
fn a_held_system_prompt_survives_any_pressure_where_it_is_held() {
    for tier in [TierId::Device, TierId::Host] {
        let (machine, pager) = build(24, 24, 0);
        let system = prompt(&pager, 1, 5);
        let hold = pager.hold(&system, tier).expect("room");
        assert_eq!(hold.kept(), Kept { wanted: 5, ..Kept::default() }, "it is not computed yet");
        serve(&machine, &pager, &system);
        settle(&machine, &pager);
        let kept = hold.kept();
        assert_eq!((kept.on_device, kept.in_host), if tier == TierId::Device { (5, 0) } else { (0, 5) });
        flood(&machine, &pager, 100);
        assert_eq!(hold.kept(), kept);
        assert_eq!(pager.lookup(&system), [tier; 4]);
        assert_eq!(pager.stats().kept[tier.index()].held, 5);
        drop(hold);
        flood(&machine, &pager, 200);
        assert_eq!(pager.lookup(&system), [], "released, it is evicted like anything else");
    }
}

#[test]
fn a_hold_gives_way_when_a_request_finds_no_other_room_and_is_taken_up_again() {
    let (machine, pager) = build(16, 0, 0);
    let system = prompt(&pager, 1, 5);
    let hold = pager.hold(&system, TierId::Device).expect("room");
    serve(&machine, &pager, &system);
    assert_eq!(hold.kept().on_device, 4, "a quarter of the device");
    let sequence = open(&machine, &pager, &prompt(&pager, 2, 14));
    assert_eq!(hold.kept().on_device, 2, "leaf first, and no more than was needed");
    assert_eq!(pager.stats().holds_gave_way, 1);
    assert_eq!(pager.lookup(&system), [TierId::Device; 2]);
    drop(sequence);
    serve(&machine, &pager, &system);
    assert_eq!(hold.kept().on_device, 4);
    pager.check();
}

#[test]
fn a_hold_outlives_erasing_and_a_new_epoch_and_takes_in_what_is_computed_after() {
    let (machine, pager) = build(24, 24, 0);
    let system = prompt(&pager, 1, 5);
    let hold = pager.hold(&system, TierId::Host).expect("room");
    for is_epoch in [true, false] {
        serve(&machine, &pager, &system);
        settle(&machine, &pager);
        assert_eq!(hold.kept().in_host, 5);
        if is_epoch {
            pager.advance_epoch();
        } else {
            pager.invalidate(Salt(0)).expect("nothing outlives this machine");
        }
        pager.poll();
        pager.check();
        assert_eq!(hold.kept(), Kept { wanted: 5, ..Kept::default() });
        assert_eq!(pager.lookup(&system), []);
        assert_eq!(pager.stats().kept, [KeptSlots::default(); TierId::COUNT]);
    }
    serve(&machine, &pager, &system);
    settle(&machine, &pager);
    assert_eq!(hold.kept().in_host, 5);
}

#[test]
fn a_hold_whose_moves_fail_holds_what_is_there_and_nobody_waits_for_it() {
    let (machine, pager) = build(24, 24, 0);
    let system = prompt(&pager, 1, 5);
    let hold = pager.hold(&system, TierId::Host).expect("room");
    serve(&machine, &pager, &system);
    for lane in machine.lanes() {
        lane.advance(2, |_| Fate::Done);
        lane.advance(usize::MAX, |_| Fate::Failed(MoveFault::Io));
    }
    settle(&machine, &pager);
    assert_eq!(hold.kept(), Kept { wanted: 5, on_device: 0, in_host: 2, moving: 0 });
    assert!(!pager.is_busy(), "it does not try for ever");
    serve(&machine, &pager, &prompt(&pager, 1, 6));
    settle(&machine, &pager);
    assert_eq!(hold.kept().in_host, 5, "it tries again when a sequence of its salt has closed");
    assert!(!pager.wait(pager.progress(), Nanos::ZERO));
}

/// As [`prompt`], in the cache of a salt of its own.
fn salted(pager: &Pager, salt: u64, letter: u32, blocks: u32) -> Prompt {
    pager.prepare(&Request::new(&tokens(letter, blocks)).with_salt(Salt(salt)))
}

#[test]
fn a_held_salt_keeps_the_front_of_its_first_request_up_to_a_bound() {
    for tier in [TierId::Device, TierId::Host] {
        let (machine, pager) = build(24, 24, 0);
        let hold = pager.hold_salt(Salt(7), tier, Allowance::Slots(4)).expect("room");
        assert_eq!(hold.kept(), Kept { wanted: 4, ..Kept::default() }, "nothing is computed yet");
        serve(&machine, &pager, &salted(&pager, 7, 1, 9));
        settle(&machine, &pager);
        let kept = hold.kept();
        assert_eq!((kept.on_device, kept.in_host), if tier == TierId::Device { (4, 0) } else { (0, 4) });
        flood(&machine, &pager, 100);
        serve(&machine, &pager, &salted(&pager, 7, 2, 9));
        settle(&machine, &pager);
        flood(&machine, &pager, 200);
        assert_eq!(hold.kept(), kept, "the bound is reached: what comes after is not held");
        assert_eq!(pager.lookup(&salted(&pager, 7, 1, 9)), [tier; 4]);
        assert_eq!(pager.lookup(&salted(&pager, 7, 2, 9)), []);
        assert_eq!(pager.release_holds(Salt(7)), 1);
        flood(&machine, &pager, 300);
        assert_eq!(pager.lookup(&salted(&pager, 7, 1, 9)), [], "released, it is evicted like anything else");
    }
}

#[test]
fn a_held_salt_finds_what_was_cached_before_and_brings_it_back_from_the_file() {
    let (machine, pager) = build(24, 24, 400);
    serve(&machine, &pager, &salted(&pager, 7, 1, 4));
    serve(&machine, &pager, &salted(&pager, 7, 2, 3));
    serve(&machine, &pager, &salted(&pager, 8, 3, 4));
    flood(&machine, &pager, 100);
    assert_eq!(pager.lookup(&salted(&pager, 7, 1, 5)), [TierId::File; 4]);
    let bytes = shape("tiny").expect("known").block_bytes().as_u64() * 6 + 1;
    let hold = pager.hold_salt(Salt(7), TierId::Host, Allowance::Bytes(Bytes::new(bytes))).expect("room");
    settle(&machine, &pager);
    assert_eq!(
        hold.kept(),
        Kept { wanted: 6, on_device: 0, in_host: 6, moving: 0 },
        "as many as fit, from the root"
    );
    flood(&machine, &pager, 200);
    let in_host = |prompt: &Prompt| pager.lookup(prompt).iter().filter(|tier| **tier == TierId::Host).count();
    let both = [in_host(&salted(&pager, 7, 1, 5)), in_host(&salted(&pager, 7, 2, 4))];
    assert_eq!(both.iter().sum::<usize>(), 6, "{both:?}");
    assert_eq!(in_host(&salted(&pager, 8, 3, 5)), 0, "nobody else's");
}

#[test]
fn a_held_salt_takes_in_branches_after_the_trunk_that_they_share() {
    let (machine, pager) = build(40, 40, 0);
    let branch = |letter: u32| {
        let mut both = tokens(1, 2);
        both.extend(tokens(letter, 1));
        pager.prepare(&Request::new(&both).with_salt(Salt(7)))
    };
    let hold = pager.hold_salt(Salt(7), TierId::Host, Allowance::Unlimited).expect("room");
    for letter in 2..5 {
        serve(&machine, &pager, &branch(letter));
        settle(&machine, &pager);
        assert_eq!(hold.kept().in_host, letter as usize + 1, "two in common, and one of each");
    }
    flood(&machine, &pager, 100);
    assert_eq!(hold.kept().in_host, 5);
    pager.check();
}

#[test]
fn a_held_salt_gives_way_is_erased_and_begins_anew() {
    let (machine, pager) = build(16, 0, 0);
    let hold = pager.hold_salt(Salt(7), TierId::Device, Allowance::Unlimited).expect("room");
    let system = salted(&pager, 7, 1, 5);
    serve(&machine, &pager, &system);
    assert_eq!(hold.kept().on_device, 4, "a quarter of the device");
    let sequence = open(&machine, &pager, &prompt(&pager, 2, 14));
    assert_eq!(hold.kept().on_device, 2, "leaf first, and no more than was needed");
    drop(sequence);
    serve(&machine, &pager, &system);
    assert_eq!(hold.kept().on_device, 4);
    for is_epoch in [true, false] {
        if is_epoch {
            pager.advance_epoch();
        } else {
            pager.invalidate(Salt(7)).expect("nothing outlives this machine");
        }
        pager.poll();
        pager.check();
        assert_eq!(hold.kept().on_device, 0);
        assert_eq!(pager.stats().kept, [KeptSlots::default(); TierId::COUNT]);
        serve(&machine, &pager, &salted(&pager, 7, 1, 5));
        assert_eq!(hold.kept().on_device, 4, "what is computed after is held");
    }
    drop(hold);
    assert_eq!(pager.stats().kept, [KeptSlots::default(); TierId::COUNT]);
}

#[test]
fn a_hold_keeps_no_more_than_the_quota_of_its_salt() {
    let (machine, pager) = build(40, 0, 0);
    let slots = |slots| Quota { device: Allowance::Slots(slots), ..Quota::default() };
    pager.set_quota(Salt(7), slots(5)).expect("a place");
    let by_salt = pager.hold_salt(Salt(7), TierId::Device, Allowance::Unlimited).expect("room");
    serve(&machine, &pager, &salted(&pager, 7, 1, 8));
    assert_eq!(by_salt.kept().on_device, 5);
    pager.set_quota(Salt(7), slots(3)).expect("a place");
    pager.poll();
    pager.check();
    assert_eq!(by_salt.kept().on_device, 3);
    drop(by_salt);
    let by_prompt = pager.hold(&salted(&pager, 7, 1, 8), TierId::Device).expect("room");
    assert_eq!(by_prompt.kept().on_device, 3);
    pager.clear_quota(Salt(7));
    pager.poll();
    assert_eq!(by_prompt.kept().on_device, 8);
}

#[test]
fn a_tenant_at_its_quota_makes_no_other_tenants_hold_give_way() {
    let (machine, pager) = build(16, 0, 0);
    let hold = pager.hold(&salted(&pager, 1, 1, 4), TierId::Device).expect("room");
    serve(&machine, &pager, &salted(&pager, 1, 1, 4));
    assert_eq!(hold.kept().on_device, 4);
    pager.set_quota(Salt(2), Quota { device: Allowance::Slots(4), ..Quota::default() }).expect("a place");
    let refused = pager.open_prompt(&salted(&pager, 2, 2, 14));
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(hold.kept().on_device, 4);
    assert_eq!(pager.stats().holds_gave_way, 0);
}
