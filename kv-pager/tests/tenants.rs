//! Tenants, priorities and times to live: who is pushed out by whom, and what goes when.

use kv_pager::clock::ManualClock;
use kv_pager::config::{Allowance, Limits, Quota, Watermarks};
use kv_pager::ids::{Fence, GroupId, Salt, TierId, TokenId};
use kv_pager::layout::shape;
use kv_pager::pager::{Prompt, Request, RequestPriority, Step, TenantReport};
use kv_pager::policy::keeping::Arm;
use kv_pager::policy::{Lru, Policy, Steward, StewardSpec};
use kv_pager::units::{Bytes, Nanos};
use kv_pager::{Config, Error, Pager};
use kv_pager_testkit::tagged::{Machine, MachineSpec};
use std::sync::Arc;

const TOKENS: u32 = 16;

struct Rig {
    machine: Machine,
    clock: Arc<ManualClock>,
    pager: Pager,
}

fn build(device: u32, host: u32, quota: Quota, tenants: u16) -> Rig {
    build_with(device, host, quota, tenants, Box::new(Lru))
}

fn build_with(device: u32, host: u32, quota: Quota, tenants: u16, policy: Box<dyn Policy>) -> Rig {
    let model = shape("tiny").expect("known");
    let machine = Machine::new(&model, MachineSpec { device, host, file: 0, lane_limit: 64 });
    let limits = Limits { sequence_tokens: 4096, batch_moves: 4, tenants, ..Limits::default() };
    let watermarks = Watermarks { low: 0.0, high: 0.0 };
    let config = Config { limits, quota, watermarks, ..Config::default() };
    let clock = Arc::new(ManualClock::new());
    let pager = Pager::new(model, config, machine.backend(), policy, Arc::clone(&clock) as _).expect("fits");
    Rig { machine, clock, pager }
}

fn slots(device: u32, host: u32) -> Quota {
    Quota { device: Allowance::Slots(device), host: Allowance::Slots(host), ..Quota::default() }
}

fn tokens(letter: u32, blocks: u32) -> Vec<TokenId> {
    (0..blocks * TOKENS).map(|at| TokenId(letter * 10_000 + at)).collect()
}

impl Rig {
    fn prompt(&self, salt: u64, letter: u32, blocks: u32) -> Prompt {
        self.pager.prepare(&Request::new(&tokens(letter, blocks)).with_salt(Salt(salt)))
    }

    fn serve(&self, prompt: &Prompt) -> Result<(), Error> {
        let mut tries = 0;
        let mut sequence = loop {
            match self.pager.open_prompt(prompt) {
                Ok(sequence) => break sequence,
                Err(Error::TierBusy { .. }) if tries < 100 => tries += 1,
                Err(error) => return Err(error),
            }
            self.machine.advance_all();
        };
        loop {
            match sequence.next_step(1000)? {
                Step::Compute(range) => sequence.commit(range, Fence::OVER)?,
                Step::Wait => _ = self.machine.advance_all(),
                Step::Ready => break,
            }
        }
        drop(sequence);
        self.pager.check();
        Ok(())
    }

    fn settle(&self) {
        while self.machine.advance_all() > 0 || self.pager.is_busy() {
            self.pager.poll();
        }
        self.pager.check();
    }

    /// How many leading blocks of a prompt of so many are cached.
    fn cached(&self, salt: u64, letter: u32, blocks: u32) -> usize {
        let mut prompt = tokens(letter, blocks);
        prompt.push(TokenId(0));
        let prompt = self.pager.prepare(&Request::new(&prompt).with_salt(Salt(salt)));
        self.pager.lookup(&prompt).len()
    }

    fn tenant(&self, salt: u64) -> TenantReport {
        let reports = self.pager.tenants();
        reports.into_iter().find(|report| report.salt == Some(Salt(salt))).expect("it has a place")
    }
}

#[test]
fn a_tenant_over_its_quota_pushes_out_its_own_and_nobody_elses() {
    let rig = build(20, 20, slots(10, 10), 8);
    for letter in 0..2 {
        rig.serve(&rig.prompt(1, letter, 4)).expect("room");
    }
    for letter in 100..130 {
        rig.serve(&rig.prompt(2, letter, 3)).expect("room");
        rig.settle();
        assert_eq!([rig.cached(1, 0, 4), rig.cached(1, 1, 4)], [4, 4], "after {letter}");
    }
    let (quiet, greedy) = (rig.tenant(1), rig.tenant(2));
    assert_eq!(quiet.slots[TierId::Device.index()], 8, "it did not even leave the device");
    assert_eq!(quiet.quota_slots, [Some(10), Some(10), None]);
    assert_eq!(greedy.slots, [12, 20, 0], "free slots are used beyond the quota");
    assert!(rig.cached(2, 129, 3) == 3 && rig.cached(2, 100, 3) == 0, "its own went, the coldest first");
}

#[test]
fn room_for_others_is_made_of_those_over_their_quota_first() {
    let rig = build(20, 0, Quota::default(), 8);
    rig.serve(&rig.prompt(1, 1, 6)).expect("room");
    rig.serve(&rig.prompt(2, 2, 6)).expect("room");
    rig.serve(&rig.prompt(3, 3, 6)).expect("room");
    // The coldest are those of 1; what 2 has too much goes first.
    rig.pager.set_quota(Salt(2), slots(2, 0)).expect("a place");
    rig.serve(&rig.prompt(3, 4, 5)).expect("room");
    assert_eq!((rig.cached(1, 1, 6), rig.cached(2, 2, 6), rig.cached(3, 3, 6)), (6, 3, 6));
    rig.pager.clear_quota(Salt(2));
    rig.serve(&rig.prompt(3, 5, 5)).expect("room");
    assert_eq!((rig.cached(1, 1, 6), rig.cached(2, 2, 6)), (1, 3), "without a quota the coldest goes");
}

#[test]
fn a_request_that_exceeds_its_quota_uses_free_slots_and_is_refused_without() {
    let rig = build(20, 0, Quota::default(), 8);
    rig.pager.set_quota(Salt(1), slots(4, 0)).expect("a place");
    rig.serve(&rig.prompt(1, 1, 12)).expect("free slots");
    assert_eq!(rig.tenant(1).slots[0], 12);
    rig.serve(&rig.prompt(2, 2, 14)).expect("what 1 has too much goes");
    assert_eq!(rig.cached(2, 2, 14), 14);
    let refused = rig.serve(&rig.prompt(1, 3, 12));
    assert!(matches!(refused, Err(Error::OverQuota { tokens: 192, limit: 64 })), "{refused:?}");
    assert_eq!(rig.cached(2, 2, 14), 14);
    rig.serve(&rig.prompt(1, 4, 4)).expect("as much as the quota can be had");
}

#[test]
fn a_quota_in_bytes_is_a_share_of_each_class() {
    let model = shape("tiny").expect("known");
    let part = model.part_bytes(GroupId::FIRST).as_u64();
    let quota = Quota { device: Allowance::Bytes(Bytes::new(part * 5 + 1)), ..Quota::default() };
    let rig = build(20, 0, quota, 8);
    rig.serve(&rig.prompt(1, 1, 2)).expect("room");
    assert_eq!(rig.tenant(1).quota_slots[0], Some(5));
    assert_eq!(rig.tenant(1).bytes[0], Bytes::new(part * 2));
}

#[test]
fn salts_beyond_the_table_are_counted_and_bounded_together() {
    let rig = build(40, 0, Quota::default(), 2);
    for salt in 1..=5 {
        rig.serve(&rig.prompt(salt, 1, 3)).expect("room");
    }
    let reports = rig.pager.tenants();
    let seen: Vec<_> = reports.iter().map(|report| (report.salt, report.slots[0])).collect();
    assert_eq!(seen, [(None, 9), (Some(Salt(1)), 3), (Some(Salt(2)), 3)]);
    let refused = rig.pager.set_quota(Salt(4), Quota::default());
    assert!(matches!(refused, Err(Error::TooManyTenants { limit: 2 })));
    rig.pager.invalidate(Salt(1)).expect("nothing outlives this machine");
    rig.pager.set_quota(Salt(4), Quota::default()).expect("there is a place now");
}

#[test]
fn blocks_of_a_request_of_high_priority_stay_longer() {
    let rig = build(12, 0, Quota::default(), 8);
    let important = tokens(1, 4);
    let request = Request::new(&important).with_priority(RequestPriority::High);
    rig.serve(&rig.pager.prepare(&request)).expect("room");
    for letter in 2..6 {
        rig.serve(&rig.prompt(0, letter, 4)).expect("room");
        assert_eq!(rig.cached(0, 1, 4), 4, "passed over, though it was the coldest, for {letter}");
    }
    for letter in 6..12 {
        rig.serve(&rig.prompt(0, letter, 4)).expect("room");
    }
    assert_eq!(rig.cached(0, 1, 4), 0, "not for ever");
}

#[test]
fn what_was_not_passed_over_itself_spends_nothing_of_what_is_before_it() {
    // Another uses the front of a prompt of some priority alone, or goes on from there; both ends leave while the front is in use.
    let (normal, high) = (RequestPriority::Normal, RequestPriority::High);
    let rounds = [(normal, 1), (high, 0), (high, 1)].map(|(priority, more)| {
        let rig = build(12, 0, Quota::default(), 8);
        let important = tokens(1, 3);
        rig.serve(&rig.pager.prepare(&Request::new(&important).with_priority(priority))).expect("room");
        rig.clock.advance(Nanos::new(1));
        let mut other = tokens(1, 2);
        other.push(TokenId(0));
        let front = rig.pager.open(&Request::new(&other)).expect("room");
        rig.clock.advance(Nanos::new(1));
        other.truncate(2 * TOKENS as usize);
        other.extend(tokens(9, more));
        other.push(TokenId(0));
        rig.serve(&rig.pager.prepare(&Request::new(&other))).expect("room");
        let serve_another = |letter| {
            rig.clock.advance(Nanos::new(1));
            rig.serve(&rig.prompt(0, letter, 3)).expect("room");
        };
        (10..30).for_each(serve_another);
        assert_eq!(rig.cached(0, 1, 3), 2, "both ends have left");
        drop(front);
        (30..100)
            .take_while(|letter| {
                serve_another(*letter);
                rig.cached(0, 1, 2) == 2
            })
            .count()
    });
    assert_eq!(rounds[2], rounds[1], "what others put on it took no passes of its: {rounds:?}");
    assert!(rounds[2] > rounds[0], "{rounds:?}");
}

#[test]
fn blocks_expire_after_the_last_request_with_a_time_to_live_and_not_while_in_use() {
    let rig = build(40, 40, Quota::default(), 8);
    let text = tokens(1, 4);
    let request = Request::new(&text).with_time_to_live(Nanos::new(100));
    rig.serve(&rig.pager.prepare(&request)).expect("room");
    rig.clock.advance(Nanos::new(99));
    rig.pager.poll();
    assert_eq!(rig.cached(0, 1, 4), 4);
    // Used again, they stay as long after that.
    rig.serve(&rig.pager.prepare(&request)).expect("room");
    rig.clock.advance(Nanos::new(99));
    rig.pager.poll();
    assert_eq!(rig.cached(0, 1, 4), 4);
    let sequence = rig.pager.open(&request).expect("room");
    rig.clock.advance(Nanos::new(1_000));
    rig.pager.poll();
    assert_eq!(rig.cached(0, 1, 4), 3, "in use, but for the last block, whose logits must be computed");
    drop(sequence);
    rig.clock.advance(Nanos::new(1_000));
    rig.pager.poll();
    rig.pager.check();
    assert_eq!(rig.cached(0, 1, 4), 0);
    assert_eq!(rig.pager.stats().expired, 4);
}

#[test]
fn what_a_request_without_a_time_to_live_has_used_does_not_expire() {
    let rig = build(40, 0, Quota::default(), 8);
    let text = tokens(1, 6);
    let request = Request::new(&text).with_time_to_live(Nanos::new(100));
    rig.serve(&rig.pager.prepare(&request)).expect("room");
    rig.serve(&rig.prompt(0, 1, 3)).expect("room");
    rig.clock.advance(Nanos::new(100));
    rig.pager.poll();
    rig.pager.check();
    assert_eq!(rig.cached(0, 1, 6), 3, "the first three were used by another");
}

#[test]
fn what_expires_is_given_up_a_slice_a_call() {
    let rig = build(700, 0, Quota::default(), 8);
    let text: Vec<TokenId> = (0..4000).map(TokenId).collect();
    for salt in 1..=2 {
        let request = Request::new(&text).with_salt(Salt(salt)).with_time_to_live(Nanos::new(10));
        rig.serve(&rig.pager.prepare(&request)).expect("room");
    }
    rig.clock.advance(Nanos::new(10));
    rig.pager.poll();
    assert_eq!(rig.pager.stats().expired, 256);
    rig.pager.poll();
    rig.pager.check();
    assert_eq!(rig.pager.stats().expired, 500);
}

#[test]
fn blocks_of_high_priority_stay_longer_under_each_arm() {
    for keeping in Arm::ALL {
        let rounds = [RequestPriority::Normal, RequestPriority::High].map(|priority| {
            let steward = Steward::new(StewardSpec { keeping, ..StewardSpec::default() });
            let rig = build_with(12, 0, Quota::default(), 8, Box::new(steward));
            let important = tokens(1, 4);
            rig.serve(&rig.pager.prepare(&Request::new(&important).with_priority(priority))).expect("room");
            let mut rounds = 0;
            while rig.cached(0, 1, 4) == 4 {
                rounds += 1;
                rig.serve(&rig.prompt(0, 1 + rounds, 4)).expect("room");
                rig.pager.check();
                assert!(rounds < 100, "for ever, by {keeping:?}");
            }
            rig.serve(&rig.prompt(0, 2 + rounds, 4)).expect("room");
            assert_eq!(rig.cached(0, 1, 4), 0, "the root goes with the leaf, by {keeping:?}");
            rounds
        });
        assert!(rounds[1] >= 2 * rounds[0], "{keeping:?}: {rounds:?}");
    }
}
