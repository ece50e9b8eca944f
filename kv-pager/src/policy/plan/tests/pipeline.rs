use super::{Case, file, group, host};
use crate::clock::Time;
use crate::cost::machine::{VirtualMachine, VirtualTierSize};
use crate::cost::{ByLane, CostModel, Profile};
use crate::ids::{Fence, GroupId, MoveId, SlotId, TierId};
use crate::layout::{Format, shape};
use crate::policy::plan::{Aim, Loading, PlanRequest, plan};
use crate::tier::{Lane, LaneEnds, Move};
use crate::units::{Bytes, Nanos};
use std::ops::Range;
use std::sync::Arc;

fn moves(slots: Range<usize>) -> Vec<Move> {
    let part = |index: usize| Move {
        id: MoveId(0),
        group: GroupId::FIRST,
        source: SlotId::from_index(index),
        target: SlotId::from_index(index),
        source_fence: Fence::OVER,
        target_fence: Fence::OVER,
    };
    slots.map(part).collect()
}

/// Brings `file` blocks up by way of the host, each chunk as soon as it is there, and `host` blocks before them.
fn execute(machine: &VirtualMachine, host: usize, file: usize) -> Nanos {
    let lanes = machine.lanes();
    let lane = |source, target| -> &Arc<dyn Lane> {
        lanes.iter().find(|lane| lane.ends() == LaneEnds { source, target }).expect("measured")
    };
    let up = lane(TierId::Host, TierId::Device);
    let start = machine.now();
    let _host = up.submit(&moves(file..file + host)).expect("room");
    let from_file = lane(TierId::File, TierId::Host).submit(&moves(0..file)).expect("room");
    let mut climbed = 0;
    while machine.next_event() < Time::NEVER {
        machine.run_until(machine.next_event());
        if from_file.ended() > climbed {
            let _climbs = up.submit(&moves(climbed..from_file.ended())).expect("room");
            climbed = from_file.ended();
        }
    }
    machine.now().since(start)
}

/// Two hops of a profile whose file lane is `quickness` times as fast as the H200's.
fn profile(quickness: f64) -> Profile {
    let mut profile = Profile::h200_llama3_8b();
    let file = profile.lanes.iter_mut().find(|lane| lane.ends.source == TierId::File).expect("measured");
    file.alpha_ns /= quickness;
    for knot in &mut file.knots {
        knot.copy_ns /= quickness;
    }
    profile
}

#[test]
fn two_hops_take_what_is_predicted_whichever_is_slower() {
    let model = shape("llama3-8b").expect("known");
    for quickness in [0.3, 1.0, 10.0, 42.0, 100.0] {
        let profile = profile(quickness);
        let costs = CostModel::new(&profile).expect("plausible");
        for (host_blocks, file_blocks) in [(0, 8), (0, 200), (64, 64), (200, 10)] {
            let sizes = TierId::ALL.map(|tier| VirtualTierSize {
                tier,
                bytes: Bytes::mib(1024),
                format: Format::Raw,
            });
            let machine = VirtualMachine::new(&model, &profile, &sizes, 5000).expect("the tiers hold blocks");
            let executed = execute(&machine, host_blocks as usize, file_blocks as usize).as_secs_f64();
            let (queues, runs) = (ByLane::default(), [host(host_blocks), file(file_blocks)]);
            let groups = [group(&runs, None)];
            let case = Case {
                costs: &costs,
                groups: &groups,
                queues: &queues,
                ready_blocks: 0,
                new_tokens: 16,
                can_overlap: true,
                aim: Aim::Latency,
            };
            let request = PlanRequest { loading: Loading::AlwaysLoad, ..case.request() };
            let error = plan(&request).predicted.load.as_secs_f64() / executed - 1.0;
            let bound = if quickness < 20.0 { 0.05 } else { 0.15 };
            assert!(error.abs() < bound, "{quickness}: {host_blocks} and {file_blocks} blocks: {error}");
        }
    }
}
