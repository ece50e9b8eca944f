use super::{Ended, Flight, Goal, MOVES_A_POLL, Outcome, Priority, Purpose, TransferEngine};
use crate::clock::Time;
use crate::config::Limits;
use crate::error::Error;
use crate::ids::{BlockId, Fence, GroupId, MoveId, SlotId, TierId};
use crate::prefix::Looks;
use crate::sync::Mutex;
use crate::tier::{Lane, LaneEnds, Move, MoveFault, Signal, Ticket, TicketWriter};
use crate::units::{Bytes, Nanos};
use std::sync::Arc;

/// Slots of each tier.
const SLOTS: u32 = 5000;

/// A lane that does nothing by itself: the test ends its moves.
#[derive(Debug, Default)]
struct ManualLane {
    batches: Mutex<Vec<(Vec<Move>, TicketWriter)>>,
    is_full: Mutex<bool>,
    works_on_many: bool,
    is_lost: Mutex<bool>,
}

impl Lane for ManualLane {
    fn ends(&self) -> LaneEnds {
        LaneEnds { source: TierId::Host, target: TierId::Device }
    }

    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        if *self.is_full.lock() {
            return Err(Error::QueueFull { limit: 0 });
        }
        if *self.is_lost.lock() {
            return Err(Error::DeviceLost { tier: TierId::Device, why: "unplugged".to_owned() });
        }
        let (writer, ticket) = TicketWriter::new(batch.len());
        self.batches.lock().push((batch.to_vec(), writer));
        Ok(ticket)
    }

    fn works_on_many(&self) -> bool {
        self.works_on_many
    }
}

fn flight(slot: usize, priority: Priority) -> Flight {
    let slot = SlotId::from_index(slot);
    let part = Move {
        id: MoveId(0),
        group: GroupId::FIRST,
        source: slot,
        target: slot,
        source_fence: Fence::OVER,
        target_fence: Fence::OVER,
    };
    Flight { part, block: BlockId::NONE, purpose: Purpose::Onboard, priority, deadline: Time::NEVER }
}

fn engine(limits: &Limits) -> (Arc<ManualLane>, TransferEngine) {
    engine_over(ManualLane::default(), limits)
}

fn engine_over(lane: ManualLane, limits: &Limits) -> (Arc<ManualLane>, TransferEngine) {
    let lane = Arc::new(lane);
    let lanes: Vec<Arc<dyn Lane>> = vec![Arc::clone(&lane) as Arc<dyn Lane>];
    let slots = [vec![SLOTS], vec![SLOTS], Vec::new()];
    let looks = Looks::new(10);
    let signal = Arc::new(Signal::new());
    let engine = TransferEngine::new(lanes, &[Bytes::new(10)], &slots, limits, signal, &looks);
    (lane, engine)
}

fn enqueue(engine: &mut TransferEngine, flights: impl IntoIterator<Item = (usize, Priority)>) {
    for (slot, priority) in flights {
        engine.enqueue(TierId::Host, TierId::Device, flight(slot, priority), Time::START);
    }
}

fn goal(slot: usize) -> Goal {
    Goal { block: BlockId::NONE, group: GroupId::FIRST, slot: SlotId::from_index(slot) }
}

fn goals(slots: impl IntoIterator<Item = usize>) -> Vec<Goal> {
    slots.into_iter().map(goal).collect()
}

fn poll(engine: &mut TransferEngine, now: u64) -> Vec<(usize, Outcome)> {
    let mut ended: Vec<Ended> = Vec::new();
    let is_all = engine.poll(Time::from_ns(now), usize::MAX, &mut ended);
    assert!(is_all, "nothing stops it");
    ended.iter().map(|end| (end.flight.part.source.index(), end.outcome)).collect()
}

#[test]
fn demand_goes_before_prefetch_and_offload() {
    let (lane, mut engine) = engine(&Limits::default());
    enqueue(
        &mut engine,
        [
            (1, Priority::Offload),
            (2, Priority::Prefetch),
            (3, Priority::Demand),
            (4, Priority::Demand),
            (5, Priority::Urgent),
        ],
    );
    engine.pump(Time::START);
    let order: Vec<usize> = lane.batches.lock()[0].0.iter().map(|part| part.source.index()).collect();
    assert_eq!(order, [5, 3, 4, 2, 1]);
}

#[test]
fn a_prefetch_that_a_request_waits_for_goes_with_the_demands() {
    let (lane, mut engine) = engine(&Limits::default());
    let prefetches = [1, 2, 3].map(|slot| (slot, Priority::Prefetch));
    enqueue(&mut engine, prefetches.into_iter().chain([(4, Priority::Demand)]));
    assert!(engine.has_prefetches());
    let another = Goal { block: BlockId::from_index(1), ..goal(1) };
    engine.hasten(TierId::Host, TierId::Device, &[goal(3), another, goal(4), goal(2), goal(3), goal(9)]);
    let before = engine.bytes_before(TierId::Host, TierId::Device, Priority::Demand);
    assert_eq!(before, Bytes::new(30), "what waits is counted where it waits");
    engine.pump(Time::START);
    let order: Vec<usize> = lane.batches.lock()[0].0.iter().map(|part| part.source.index()).collect();
    assert_eq!(order, [4, 2, 3, 1]);
}

#[test]
fn what_a_lane_took_is_told_by_batch_or_if_it_works_on_many_of_all_that_were_under_way_together() {
    // The first that ends is charged for the others.
    let busy = [900, 1, 1, 30, 1, 1, 1, 1, 1, 1].map(Nanos::new);
    let told_after = |works_on_many: bool, in_flight: u64, failing: usize| {
        let limits = Limits { batch_moves: 1, bytes_in_flight: Bytes::new(in_flight), ..Limits::default() };
        let (lane, mut engine) = engine_over(ManualLane { works_on_many, ..ManualLane::default() }, &limits);
        enqueue(&mut engine, (0..10).map(|slot| (slot, Priority::Demand)));
        let mut told = Vec::new();
        for (at, took) in busy.into_iter().enumerate() {
            engine.pump(Time::START);
            let (_, writer) = lane.batches.lock().remove(0);
            assert!(writer.begin(0));
            writer.end(0, if at == failing { Err(MoveFault::Io) } else { Ok(()) });
            writer.publish(took, 1);
            assert_eq!(poll(&mut engine, 0).len(), 1);
            engine.take_worked(|_, worked| told.push((at, worked.bytes.as_u64(), worked.busy.as_u64())));
        }
        told
    };
    let each: Vec<_> = (0..10).map(|at| (at, 10, busy[at].as_u64())).filter(|told| told.0 != 3).collect();
    assert_eq!(told_after(false, 1000, 3), each, "one that fails teaches nothing");
    assert_eq!(told_after(true, 1000, usize::MAX), [(9, 100, 938)], "when the lane is idle");
    // Two are under way at once: after four times as many.
    assert_eq!(told_after(true, 20, usize::MAX), [(7, 80, 936), (9, 20, 2)]);
    assert_eq!(told_after(true, 1000, 0), [], "one that failed was charged for the others, or they for it");
    assert_eq!(told_after(true, 20, 0), [(9, 10, 1)]);
}

#[test]
fn bytes_in_flight_are_bounded() {
    let limits = Limits { batch_bytes: Bytes::new(20), bytes_in_flight: Bytes::new(40), ..Limits::default() };
    let (lane, mut engine) = engine(&limits);
    enqueue(&mut engine, (0..9).map(|slot| (slot, Priority::Demand)));
    engine.pump(Time::START);
    assert_eq!(lane.batches.lock().len(), 2);
    let (moves, writer) = lane.batches.lock().remove(0);
    for index in 0..moves.len() {
        assert!(writer.begin(index));
        writer.end(index, Ok(()));
    }
    assert_eq!(poll(&mut engine, 0), [(0, Outcome::Done), (1, Outcome::Done)]);
    engine.pump(Time::START);
    assert_eq!(lane.batches.lock().len(), 2, "the room of the ended batch is used");
}

#[test]
fn a_full_lane_leaves_the_queue_as_it_was() {
    let (lane, mut engine) = engine(&Limits::default());
    enqueue(&mut engine, [(1, Priority::Demand), (2, Priority::Demand), (3, Priority::Offload)]);
    *lane.is_full.lock() = true;
    engine.pump(Time::START);
    *lane.is_full.lock() = false;
    engine.pump(Time::START);
    let batches = lane.batches.lock();
    let order: Vec<usize> =
        batches.iter().flat_map(|(moves, _)| moves).map(|part| part.source.index()).collect();
    assert_eq!(order, [1, 2, 3]);
}

#[test]
fn a_late_batch_is_cancelled_and_what_had_begun_is_told_twice() {
    let limits = Limits { move_deadline: Nanos::new(100), ..Limits::default() };
    let (lane, mut engine) = engine(&limits);
    enqueue(&mut engine, [(1, Priority::Demand), (2, Priority::Demand)]);
    engine.pump(Time::START);
    let (_, writer) = lane.batches.lock().remove(0);
    assert!(writer.begin(0));
    assert_eq!(poll(&mut engine, 99), []);
    let told = poll(&mut engine, 100);
    assert_eq!(told, [(1, Outcome::Failed(MoveFault::TimedOut)), (2, Outcome::Failed(MoveFault::Cancelled))]);
    assert_eq!(poll(&mut engine, 1000), []);
    writer.end(0, Ok(()));
    assert_eq!(poll(&mut engine, 1001), [(1, Outcome::Over)]);
    assert!(!engine.is_busy());
}

#[test]
fn a_dropped_lane_half_ends_everything() {
    let (lane, mut engine) = engine(&Limits::default());
    enqueue(&mut engine, [(1, Priority::Demand), (2, Priority::Demand)]);
    engine.pump(Time::START);
    let (_, writer) = lane.batches.lock().remove(0);
    assert!(writer.begin(0));
    drop(writer);
    let ended = poll(&mut engine, 0);
    assert_eq!(ended, [(1, Outcome::Failed(MoveFault::Lost)), (2, Outcome::Failed(MoveFault::Cancelled))]);
}

#[test]
fn what_was_given_up_is_told_as_over_once_its_lane_says_so() {
    let (lane, mut engine) = engine(&Limits::default());
    enqueue(&mut engine, (0..3).map(|slot| (slot, Priority::Demand)));
    engine.pump(Time::START);
    let (_, writer) = lane.batches.lock().remove(0);
    assert!(writer.begin(0));
    assert!(writer.begin(1));
    writer.abandon(MoveFault::TimedOut);
    let timed_out = Outcome::Failed(MoveFault::TimedOut);
    let cancelled = Outcome::Failed(MoveFault::Cancelled);
    assert_eq!(poll(&mut engine, 0), [(0, timed_out), (1, timed_out), (2, cancelled)]);
    let open = |engine: &TransferEngine| -> Vec<usize> {
        engine.flights().map(|(_, flight)| flight.part.source.index()).collect()
    };
    assert_eq!(
        (open(&engine), engine.is_busy()),
        (vec![0, 1], false),
        "they keep their slots, and nobody waits"
    );
    writer.conclude(1);
    assert_eq!(poll(&mut engine, 0), [(1, Outcome::Over)]);
    assert_eq!(poll(&mut engine, 0), []);
    assert_eq!(open(&engine), [0]);
    writer.conclude(0);
    drop(writer);
    assert_eq!(poll(&mut engine, 0), [(0, Outcome::Over)]);
    assert_eq!(engine.flights().count(), 0);
}

#[test]
fn what_is_over_before_it_was_told_as_given_up_is_told_by_the_next_poll_which_is_asked_for() {
    for is_late in [false, true] {
        let limits = Limits { move_deadline: Nanos::new(100), ..Limits::default() };
        let (lane, mut engine) = engine(&limits);
        enqueue(&mut engine, [(0, Priority::Demand)]);
        engine.pump(Time::START);
        let (_, writer) = lane.batches.lock().remove(0);
        assert!(writer.begin(0));
        let timed_out = (0, Outcome::Failed(MoveFault::TimedOut));
        if is_late {
            assert_eq!(poll(&mut engine, 100), [timed_out], "by its deadline");
        }
        writer.abandon(MoveFault::TimedOut);
        writer.conclude(0);
        let seen = engine.signal.count();
        assert_eq!(poll(&mut engine, 100), if is_late { vec![] } else { vec![timed_out] });
        assert!(engine.signal.wait_past(seen, Nanos::ZERO));
        assert_eq!(poll(&mut engine, 100), [(0, Outcome::Over)]);
        assert_eq!(engine.flights().count(), 0);
    }
}

#[test]
fn what_is_called_off_ends_as_cancelled_unless_it_has_begun() {
    let limits = Limits { batch_bytes: Bytes::new(20), bytes_in_flight: Bytes::new(20), ..Limits::default() };
    let (lane, mut engine) = engine(&limits);
    enqueue(&mut engine, (0..8).map(|slot| (slot, Priority::Demand)));
    enqueue(&mut engine, [(8, Priority::Urgent), (9, Priority::Offload)]);
    engine.pump(Time::START);
    let (_, writer) = lane.batches.lock().remove(0);
    assert!(writer.begin(0), "8");
    let is_meant = |flight: &Flight| flight.part.source.index() != 6;
    engine.call_off(TierId::Host, TierId::Device, &goals([9, 5, 6, 0, 8, 2, 5, 77]), is_meant);
    let other = Goal { block: BlockId::from_index(3), ..goal(3) };
    engine.call_off(TierId::Host, TierId::Device, &[other], |_| true);
    assert_eq!(engine.bytes_before(TierId::Host, TierId::Device, Priority::Demand), Bytes::new(20 + 50));
    let cancelled = Outcome::Failed(MoveFault::Cancelled);
    let told = poll(&mut engine, 0);
    assert_eq!(told, [(2, cancelled), (5, cancelled), (9, cancelled), (0, cancelled)], "in their order");
    writer.end(0, Ok(()));
    assert_eq!(poll(&mut engine, 0), [(8, Outcome::Done)], "it had begun");
    engine.call_off(TierId::Host, TierId::Device, &goals([8, 0, 5]), |_| true);
    assert_eq!(poll(&mut engine, 0), [], "they have ended");
    enqueue(&mut engine, [(8, Priority::Demand), (5, Priority::Demand)]);
    assert_eq!(engine.queued(TierId::Host, TierId::Device), 7);
}

#[test]
#[should_panic(expected = "another move to its slot")]
fn two_moves_to_a_slot_panic() {
    let (_, mut engine) = engine(&Limits::default());
    enqueue(&mut engine, [(1, Priority::Demand), (1, Priority::Offload)]);
}

#[test]
fn no_more_moves_begin_in_a_hold_than_may_and_the_next_is_asked_for() {
    for (batch_moves, most, is_lost) in
        [(256, 256, false), (100, 200, false), (400, 400, false), (256, 256, true)]
    {
        let limits = Limits { batch_moves, ..Limits::default() };
        let (lane, mut engine) = engine(&limits);
        enqueue(&mut engine, (0..2000).map(|slot| (slot, Priority::Demand)));
        *lane.is_lost.lock() = is_lost;
        let mut pumps = 0;
        loop {
            let (before, seen) = (engine.queued(TierId::Host, TierId::Device), engine.signal.count());
            engine.begin_hold();
            let is_all = engine.pump(Time::START) && engine.pump(Time::START);
            let begun = before - engine.queued(TierId::Host, TierId::Device);
            pumps += 1;
            if is_all {
                assert!(begun <= most, "{begun} moves");
                break;
            }
            assert!(!engine.pump(Time::START), "nor by another pump of the same hold");
            assert_eq!(begun, most);
            assert!(engine.signal.wait_past(seen, Nanos::ZERO));
        }
        assert_eq!(engine.queued(TierId::Host, TierId::Device), 0);
        assert_eq!(pumps, 2000_usize.div_ceil(most));
        let ended = poll(&mut engine, 0);
        assert_eq!(ended.len(), if is_lost { 2000 } else { 0 });
    }
}

#[test]
fn a_poll_looks_at_no_more_moves_than_it_may() {
    let limits = Limits { batch_moves: 200, ..Limits::default() };
    let (lane, mut engine) = engine(&limits);
    enqueue(&mut engine, (0..2000).map(|slot| (slot, Priority::Demand)));
    while !engine.pump(Time::START) {
        engine.begin_hold();
    }
    for (_, writer) in lane.batches.lock().iter() {
        assert!(writer.begin(199));
        writer.end(199, Ok(()));
    }
    let mut told = Vec::new();
    for _ in 0..4 {
        let mut ended = Vec::new();
        assert!(!engine.poll(Time::START, usize::MAX, &mut ended));
        assert_eq!(ended.len(), MOVES_A_POLL / 200);
        told.extend(ended.iter().map(|end| end.flight.part.source.index()));
    }
    told.extend(poll(&mut engine, 0).iter().map(|(source, _)| *source));
    assert_eq!(told, (0..10).map(|batch| batch * 200 + 199).collect::<Vec<_>>());
}
