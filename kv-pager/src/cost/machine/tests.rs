use super::{VirtualMachine, VirtualTierSize};
use crate::clock::Time;
use crate::cost::{CostModel, Load, Profile};
use crate::ids::{Fence, GroupId, MoveId, SlotId, TierId};
use crate::layout::{Format, shape};
use crate::tier::{Lane, LaneEnds, Move};
use crate::units::Bytes;
use std::sync::Arc;

const UP: LaneEnds = LaneEnds { source: TierId::Host, target: TierId::Device };
const DOWN: LaneEnds = LaneEnds { source: TierId::Device, target: TierId::Host };

fn machine(host_format: Format) -> VirtualMachine {
    let size = |tier, gib: u64, format| VirtualTierSize { tier, bytes: Bytes::mib(gib << 10), format };
    let sizes = [
        size(TierId::Device, 4, Format::Raw),
        size(TierId::Host, 16, host_format),
        size(TierId::File, 64, host_format),
    ];
    let model = shape("llama3-8b").expect("known");
    VirtualMachine::new(&model, &Profile::h200_llama3_8b(), &sizes, 1000).expect("the tiers hold blocks")
}

fn lane(machine: &VirtualMachine, ends: LaneEnds) -> Arc<dyn Lane> {
    machine.lanes().into_iter().find(|lane| lane.ends() == ends).expect("measured")
}

fn moves(count: usize) -> Vec<Move> {
    let part = |index: usize| Move {
        id: MoveId(0),
        group: GroupId::FIRST,
        source: SlotId::from_index(index),
        target: SlotId::from_index(index),
        source_fence: Fence::OVER,
        target_fence: Fence::OVER,
    };
    (0..count).map(part).collect()
}

/// Runs until all is quiet; the moment of the last event.
fn run(machine: &VirtualMachine) -> Time {
    let mut last = machine.now();
    while machine.next_event() < Time::NEVER {
        last = machine.next_event();
        machine.run_until(last);
    }
    last
}

#[test]
fn a_batch_takes_what_the_cost_model_says() {
    let machine = machine(Format::Raw);
    let ticket = lane(&machine, UP).submit(&moves(64)).expect("room");
    assert_eq!(ticket.ended(), 0, "no time has passed");
    let took = run(&machine).as_ns();
    assert!(ticket.is_over());
    let costs = CostModel::new(&Profile::h200_llama3_8b()).expect("shipped");
    let load = Load { bytes: Bytes::mib(128), copies: 8 };
    let predicted = costs.lane(UP).expect("measured").busy(load).as_u64();
    assert!(took.abs_diff(predicted) <= 8, "{took} {predicted}");
    assert_eq!((ticket.effort().0.as_u64(), ticket.effort().1), (took, 8));
}

#[test]
fn both_ways_at_once_are_slower_and_quantised_parts_faster() {
    let alone = machine(Format::Raw);
    let _up = lane(&alone, UP).submit(&moves(256)).expect("room");
    let alone_s = run(&alone).since(Time::START).as_secs_f64();
    let both = machine(Format::Raw);
    let _up = lane(&both, UP).submit(&moves(256)).expect("room");
    let _down = lane(&both, DOWN).submit(&moves(256)).expect("room");
    let both_s = run(&both).since(Time::START).as_secs_f64();
    assert!((1.13..1.15).contains(&(both_s / alone_s)), "{both_s} {alone_s}");
    let small = machine(Format::Int4);
    let _up = lane(&small, UP).submit(&moves(256)).expect("room");
    let gain = alone_s / run(&small).since(Time::START).as_secs_f64();
    assert!((3.2..3.4).contains(&gain), "{gain}");
}

#[test]
fn batches_follow_each_other_and_what_was_called_off_takes_no_time() {
    let machine = machine(Format::Raw);
    let lane = lane(&machine, UP);
    let first = lane.submit(&moves(8)).expect("room");
    let second = lane.submit(&moves(80)).expect("room");
    machine.run_until(machine.next_event());
    assert!(first.is_over() && second.ended() == 0);
    second.cancel();
    let one_chunk_ns = machine.now().as_ns();
    let end_ns = run(&machine).as_ns();
    assert!(second.is_over());
    assert_eq!(second.outcome(7), Some(Ok(())), "its chunk had begun");
    assert!(second.outcome(8).is_some_and(|outcome| outcome.is_err()));
    assert!(end_ns <= 2 * one_chunk_ns, "{end_ns} {one_chunk_ns}");
}

#[test]
fn a_full_queue_refuses_and_starts_nothing() {
    let machine = machine(Format::Raw);
    let lane = lane(&machine, UP);
    let _held = lane.submit(&moves(900)).expect("room");
    assert!(lane.submit(&moves(101)).is_err());
    run(&machine);
    assert!(lane.submit(&moves(1000)).is_ok());
}

#[test]
fn a_tier_too_small_for_a_block_is_refused() {
    let model = shape("llama3-8b").expect("known");
    let size = VirtualTierSize { tier: TierId::Host, bytes: Bytes::mib(1), format: Format::Raw };
    let told = VirtualMachine::new(&model, &Profile::h200_llama3_8b(), &[size], 10).expect_err("too small");
    assert!(told.to_string().contains("more bytes"), "{told}");
}

#[test]
fn a_copy_within_the_device_needs_no_measured_lane() {
    let machine = machine(Format::Raw);
    let within = LaneEnds { source: TierId::Device, target: TierId::Device };
    let ticket = lane(&machine, within).submit(&moves(1)).expect("room");
    assert_eq!(run(&machine).as_ns(), 105, "2 MiB at 20 TB/s");
    assert_eq!(ticket.outcome(0), Some(Ok(())));
}
