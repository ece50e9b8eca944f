//! The contract of tiers and lanes, for each of this crate's, bare and behind the testkit's faults.

mod harness;

use harness::{Pair, backend, two_groups};
use kv_pager::clock::{Clock, ManualClock, Time};
use kv_pager::ids::TierId::{Device, File, Host};
use kv_pager::ids::{Fence, GroupId, MoveId, SlotId};
use kv_pager::layout::{DeviceLayout, shape};
use kv_pager::tier::{Lane, Move, MoveFault};
use kv_pager::units::Nanos;
use kv_pager_testkit::conformance::{End, LaneHarness, check_lane, check_tier, pattern, wait};
use kv_pager_testkit::faulty::{FaultScript, Faulty};
use kv_pager_testkit::late::{FenceBook, LateLane};
use kv_pager_testkit::throttled::{Rate, Throttled};
use std::sync::Arc;

#[test]
fn every_tier_keeps_its_contract() {
    for model in [two_groups(), shape("tiny").expect("known")] {
        for layout in [DeviceLayout::BlockMajor, DeviceLayout::LayerMajor] {
            let (backend, _directory) = backend(&model, layout);
            for tier in backend.tiers() {
                check_tier(&*tier, &model);
            }
        }
    }
}

#[test]
fn every_lane_keeps_its_contract() {
    for ends in [(Device, Device), (Device, Host), (Host, Device), (Host, File), (File, Host)] {
        for layout in [DeviceLayout::BlockMajor, DeviceLayout::LayerMajor] {
            check_lane(|| Pair::new(&two_groups(), layout, ends));
        }
    }
}

#[test]
fn a_lane_behind_late_fences_keeps_its_contract() {
    for ends in [(Device, Host), (File, Host)] {
        check_lane(|| {
            let book = FenceBook::new();
            Pair::new(&two_groups(), DeviceLayout::LayerMajor, ends)
                .wrapped(|lane| Arc::new(LateLane::new(lane, &book)) as Arc<dyn Lane>)
        });
    }
}

#[test]
fn a_faultless_script_changes_nothing() {
    check_lane(|| {
        Pair::new(&two_groups(), DeviceLayout::BlockMajor, (Host, File))
            .wrapped(|lane| Arc::new(Faulty::new(lane, FaultScript::default())) as Arc<dyn Lane>)
    });
}

#[test]
fn scripted_faults_are_told_and_touch_nothing() {
    let thirds =
        FaultScript { seed: 3, fail_per_mille: 300, damage_per_mille: 300, ..FaultScript::default() };
    let mut pair = Pair::new(&two_groups(), DeviceLayout::BlockMajor, (Device, Host))
        .wrapped(|lane| Arc::new(Faulty::new(lane, thirds)) as Arc<dyn Lane>);
    let bytes = pattern(1, pair.part_bytes(GroupId::FIRST));
    pair.fill(End::Source, GroupId::FIRST, slot(0), &bytes);
    let batch: Vec<Move> = (0..8).map(|target| order(target as u64, 0, target)).collect();
    let ticket = pair.lane().submit(&batch).expect("room");
    wait(&ticket);
    let outcomes: Vec<_> = (0..8).map(|index| ticket.outcome(index).expect("over")).collect();
    for kind in [Ok(()), Err(MoveFault::Io), Err(MoveFault::Damaged)] {
        assert!(outcomes.contains(&kind), "{outcomes:?} has no {kind:?}");
    }
    for (index, outcome) in outcomes.iter().enumerate() {
        let is_there = pair.read(End::Target, GroupId::FIRST, slot(index)) == bytes;
        assert_eq!(is_there, outcome.is_ok(), "move {index}: {outcome:?}");
    }
    pair.drop_lane();
}

#[test]
fn hung_moves_end_with_the_lane() {
    let hung = FaultScript { hang_per_mille: 1000, ..FaultScript::default() };
    let mut pair = Pair::new(&two_groups(), DeviceLayout::BlockMajor, (Device, Host))
        .wrapped(|lane| Arc::new(Faulty::new(lane, hung)) as Arc<dyn Lane>);
    let ticket = pair.lane().submit(&[order(0, 0, 0)]).expect("room");
    assert_eq!(ticket.outcome(0), None);
    pair.drop_lane();
    assert!(matches!(ticket.outcome(0), Some(Err(MoveFault::Lost | MoveFault::Cancelled))));
}

#[test]
fn a_throttled_lane_goes_by_its_clock() {
    let clock = Arc::new(ManualClock::new());
    let pair = Pair::new(&two_groups(), DeviceLayout::BlockMajor, (Device, Host));
    let part = pair.tier(End::Source).classes()[0].slot_bytes.as_u64();
    let rate = Rate { latency: Nanos::new(500), bytes_per_s: part * 1_000_000 };
    let inner = pair.fresh_lane();
    let own: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let lane = Throttled::stepped(inner, rate, pair.tier(End::Source), own);
    let ticket = lane.submit(&[order(0, 0, 0), order(1, 1, 1)]).expect("room");
    // The part takes 1 us, and the first byte 500 ns more; the bytes themselves may be there long before.
    for (now_ns, ended) in [(1_499, 0), (1_500, 1), (2_499, 1), (2_500, 2)] {
        clock.advance_to(Time::from_ns(now_ns));
        if ended > ticket.ended() {
            while ticket.ended() < ended {
                lane.pump();
                std::thread::yield_now();
            }
        }
        lane.pump();
        assert_eq!(ticket.ended(), ended, "at {now_ns} ns");
    }
}

fn slot(index: usize) -> SlotId {
    SlotId::from_index(index)
}

fn order(id: u64, source: usize, target: usize) -> Move {
    Move {
        id: MoveId(id),
        group: GroupId::FIRST,
        source: slot(source),
        target: slot(target),
        source_fence: Fence::OVER,
        target_fence: Fence::OVER,
    }
}
