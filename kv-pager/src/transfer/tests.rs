use super::{Ended, Flight, Outcome, Priority, Purpose, TransferEngine};
use crate::clock::Time;
use crate::config::Limits;
use crate::error::Error;
use crate::ids::{BlockId, Fence, GroupId, MoveId, SlotId, TierId};
use crate::sync::Mutex;
use crate::tier::{Lane, LaneEnds, Move, MoveFault, Signal, Ticket, TicketWriter};
use crate::units::{Bytes, Nanos};
use std::sync::Arc;

/// A lane that does nothing by itself: the test ends its moves.
#[derive(Debug, Default)]
struct ManualLane {
    batches: Mutex<Vec<(Vec<Move>, TicketWriter)>>,
    is_full: Mutex<bool>,
    works_on_many: bool,
}

impl Lane for ManualLane {
    fn ends(&self) -> LaneEnds {
        LaneEnds { source: TierId::Host, target: TierId::Device }
    }

    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        if *self.is_full.lock() {
            return Err(Error::QueueFull { limit: 0 });
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
    let engine = TransferEngine::new(lanes, &[Bytes::new(10)], limits, Arc::new(Signal::new()));
    (lane, engine)
}

fn enqueue(engine: &mut TransferEngine, flights: impl IntoIterator<Item = (usize, Priority)>) {
    for (slot, priority) in flights {
        engine.enqueue(TierId::Host, TierId::Device, flight(slot, priority), Time::START);
    }
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
    engine.hasten(|flight| flight.part.source.index() > 1);
    let before = engine.bytes_before(TierId::Host, TierId::Device, Priority::Demand);
    assert_eq!(before, Bytes::new(30), "what waits is counted where it waits");
    engine.pump(Time::START);
    let order: Vec<usize> = lane.batches.lock()[0].0.iter().map(|part| part.source.index()).collect();
    assert_eq!(order, [4, 2, 3, 1]);
}

#[test]
fn what_a_lane_took_is_told_by_batch_or_if_it_works_on_many_of_all_that_were_under_way_together() {
    // The first that ends is charged for the others; one that fails teaches nothing.
    let busy = [900, 1, 1, 30, 1, 1, 1, 1, 1, 1].map(Nanos::new);
    let told_after = |works_on_many: bool, in_flight: u64| {
        let limits = Limits { batch_moves: 1, bytes_in_flight: Bytes::new(in_flight), ..Limits::default() };
        let (lane, mut engine) = engine_over(ManualLane { works_on_many, ..ManualLane::default() }, &limits);
        enqueue(&mut engine, (0..10).map(|slot| (slot, Priority::Demand)));
        let mut told = Vec::new();
        for (at, took) in busy.into_iter().enumerate() {
            engine.pump(Time::START);
            let (_, writer) = lane.batches.lock().remove(0);
            assert!(writer.begin(0));
            writer.end(0, if at == 3 { Err(MoveFault::Io) } else { Ok(()) });
            writer.publish(took, 1);
            assert_eq!(poll(&mut engine, 0).len(), 1);
            engine.take_worked(|_, worked| told.push((at, worked.bytes.as_u64(), worked.busy.as_u64())));
        }
        told
    };
    let each: Vec<_> = (0..10).map(|at| (at, 10, busy[at].as_u64())).filter(|told| told.0 != 3).collect();
    assert_eq!(told_after(false, 1000), each);
    assert_eq!(told_after(true, 1000), [(9, 90, 908)], "when the lane is idle");
    // Two are under way at once: after four times as many.
    assert_eq!(told_after(true, 20), [(8, 80, 907), (9, 10, 1)]);
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
