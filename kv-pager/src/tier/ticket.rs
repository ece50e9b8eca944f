//! A ticket: what became of each move of a batch, told as it happens.
//! Layer 5. Uses `sync`, `ids`, `units`, `tier::signal`. Known by: `transfer`, every backend.
//!
//! - **K1** a move goes from waiting to begun to ended, or from waiting to ended; an end never changes;
//! - **K2** a move that was cancelled before it began never begins;
//! - **K3** when the writer is dropped, what has not ended ends as lost: a ticket always ends;
//! - **K4** the signal rings after an end is visible, and when it was attached late and an end had been missed;
//! - **K5** a fence of a ticket stands behind all of the batch that it names, whatever became of the moves.
//! - **K6** a move that ended as one that may go on is concluded at most once, when nothing touches its slots any more; its end
//!   stays what it was;
//!
//! Two halves share one byte a move: the lane's [`TicketWriter`] begins and ends moves, the [`Ticket`] reads and cancels.

use super::Signal;
use crate::ids::Fence;
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering};
use crate::units::Nanos;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Why a move did not leave its bytes in the target. Plain data: it may come from another process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
#[repr(u8)]
pub enum MoveFault {
    /// It was called off before it began.
    #[error("cancelled before it began")]
    Cancelled = 3,
    /// The memory or the drive refused.
    #[error("the source could not be read or the target not written")]
    Io = 4,
    /// The bytes are not those that were written there, or can't be read: a checksum, a label of another block, a bad place of a
    /// drive.
    #[error("the source's checksum does not hold")]
    Damaged = 5,
    /// It did not end in time, and may still be writing.
    #[error("it did not end in time")]
    TimedOut = 6,
    /// One of the ends is on a device that is lost.
    #[error("the device is lost")]
    DeviceLost = 7,
    /// The lane ended without telling; nobody knows whether the move goes on.
    #[error("the lane ended without telling")]
    Lost = 8,
    /// A slot was in use by someone else: a rule was broken.
    #[error("a slot was in use by someone else")]
    Busy = 9,
    /// The target's place is bad, and takes no bytes now or later: its slot is to be retired.
    #[error("the target takes no bytes: its slot is retired")]
    Unwritable = 10,
}

impl MoveFault {
    /// Whether the move may still be reading its source and writing its target.
    pub fn may_go_on(self) -> bool {
        matches!(self, Self::TimedOut | Self::Lost)
    }

    fn from_byte(byte: u8) -> Option<Self> {
        let all = [
            Self::Cancelled,
            Self::Io,
            Self::Damaged,
            Self::TimedOut,
            Self::DeviceLost,
            Self::Lost,
            Self::Busy,
            Self::Unwritable,
        ];
        all.into_iter().find(|fault| *fault as u8 == byte)
    }
}

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const DONE: u8 = 2;
/// K6: set beside a [`MoveFault`].
const CONCLUDED: u8 = 1 << 7;

#[derive(Debug)]
pub(super) struct Shared {
    /// K1: one of the constants above or a [`MoveFault`], a move, concluded or not. What is past `len` belongs to a longer batch.
    moves: Box<[AtomicU8]>,
    len: usize,
    ended: AtomicU32,
    concluded: AtomicU32,
    cancelled: AtomicBool,
    busy_ns: AtomicU64,
    copies: AtomicU32,
    signal: Mutex<Option<Arc<Signal>>>,
    fences: Mutex<TicketFences>,
}

/// K5: what a device's stream can wait for.
#[derive(Debug, Default)]
struct TicketFences {
    whole: Option<Fence>,
    /// Behind all layers below the number, ascending.
    layers: Vec<(u32, Fence)>,
}

impl Shared {
    pub(super) fn new(moves: usize) -> Self {
        Self {
            moves: (0..moves).map(|_| AtomicU8::new(WAITING)).collect(),
            len: moves,
            ended: AtomicU32::new(0),
            concluded: AtomicU32::new(0),
            cancelled: AtomicBool::new(false),
            busy_ns: AtomicU64::new(0),
            copies: AtomicU32::new(0),
            signal: Mutex::new(None),
            fences: Mutex::default(),
        }
    }

    /// Makes it that of a batch of `moves`; false if it has no room for them.
    pub(super) fn reset(&mut self, moves: usize) -> bool {
        if moves > self.moves.len() {
            return false;
        }
        self.moves[..moves].iter_mut().for_each(|state| *state.get_mut() = WAITING);
        self.len = moves;
        *self.ended.get_mut() = 0;
        *self.concluded.get_mut() = 0;
        *self.cancelled.get_mut() = false;
        *self.busy_ns.get_mut() = 0;
        *self.copies.get_mut() = 0;
        *self.signal.get_mut() = None;
        let fences = self.fences.get_mut();
        fences.whole = None;
        fences.layers.clear();
        true
    }

    fn end(&self, index: usize, byte: u8) {
        let before = self.moves[index].swap(byte, Ordering::AcqRel);
        assert!(before == WAITING || before == BEGUN, "move {index} ended twice: {before}, then {byte}");
        self.ended.fetch_add(1, Ordering::AcqRel);
    }

    fn ring(&self) {
        if let Some(signal) = self.signal.lock().as_ref() {
            signal.ring();
        }
    }
}

/// The reader's half. Dropping it detaches: the lane finishes the moves all the same.
#[derive(Debug)]
pub struct Ticket {
    shared: Arc<Shared>,
}

impl Ticket {
    /// How many moves the batch has.
    pub fn len(&self) -> usize {
        self.shared.len
    }

    /// Whether the batch was empty.
    pub fn is_empty(&self) -> bool {
        self.shared.len == 0
    }

    /// How many moves have ended. `O(1)`.
    pub fn ended(&self) -> usize {
        self.shared.ended.load(Ordering::Acquire) as usize
    }

    /// Whether all moves have ended. `O(1)`.
    pub fn is_over(&self) -> bool {
        self.ended() == self.len()
    }

    /// What became of move `index`; `None` while it has not ended. `O(1)`.
    ///
    /// # Panics
    /// If the batch has no such move.
    pub fn outcome(&self, index: usize) -> Option<Result<(), MoveFault>> {
        match self.shared.moves[..self.shared.len][index].load(Ordering::Acquire) & !CONCLUDED {
            WAITING | BEGUN => None,
            DONE => Some(Ok(())),
            byte => Some(Err(MoveFault::from_byte(byte).unwrap_or(MoveFault::Lost))),
        }
    }

    /// Whether move `index` ended as one that may go on, and is known to touch its slots no more (K6). `O(1)`.
    ///
    /// # Panics
    /// If the batch has no such move.
    pub fn is_concluded(&self, index: usize) -> bool {
        self.shared.moves[..self.shared.len][index].load(Ordering::Acquire) & CONCLUDED != 0
    }

    /// How many moves were concluded. `O(1)`.
    pub fn concluded(&self) -> usize {
        self.shared.concluded.load(Ordering::Acquire) as usize
    }

    /// Calls off every move that has not begun. `O(1)`; the lane ends them when it comes to them.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Release);
    }

    /// Calls off move `index`; true if it will not begin. `O(1)`.
    ///
    /// # Panics
    /// If the batch has no such move.
    pub fn cancel_move(&self, index: usize) -> bool {
        let called_off = self.shared.moves[..self.shared.len][index]
            .compare_exchange(WAITING, MoveFault::Cancelled as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if called_off {
            self.shared.ended.fetch_add(1, Ordering::AcqRel);
            self.shared.ring();
        }
        called_off
    }

    /// How long the lane has worked on the batch so far, and in how many copy calls.
    pub fn effort(&self) -> (Nanos, u32) {
        let busy = Nanos::new(self.shared.busy_ns.load(Ordering::Relaxed));
        (busy, self.shared.copies.load(Ordering::Relaxed))
    }

    /// A fence behind the whole batch, for a device's stream to wait for instead of the host. `None` until the lane has
    /// handed all of it to the device, and where no device is at either end. That it is over says nothing of how moves
    /// ended (K5).
    pub fn fence(&self) -> Option<Fence> {
        self.shared.fences.lock().whole
    }

    /// A fence behind layer `layer` of every part of the batch, and all layers before it: that of the whole where the lane
    /// moves parts whole.
    pub fn layer_fence(&self, layer: u32) -> Option<Fence> {
        let fences = self.shared.fences.lock();
        let by_layer = fences.layers.iter().find(|(end, _)| layer < *end).map(|(_, fence)| *fence);
        by_layer.or(fences.whole)
    }

    /// Rings `signal` at every end from now on, and once at once (K4).
    pub fn attach(&self, signal: &Arc<Signal>) {
        *self.shared.signal.lock() = Some(Arc::clone(signal));
        signal.ring();
    }
}

/// The lane's half.
#[derive(Debug)]
pub struct TicketWriter {
    shared: Arc<Shared>,
}

impl TicketWriter {
    /// Both halves, for a batch of `moves`. Allocates two pieces.
    pub fn new(moves: usize) -> (Self, Ticket) {
        Self::halves(Arc::new(Shared::new(moves)))
    }

    pub(super) fn halves(shared: Arc<Shared>) -> (Self, Ticket) {
        (Self { shared: Arc::clone(&shared) }, Ticket { shared })
    }

    /// Names the fence behind the whole batch (K5).
    pub fn set_fence(&self, fence: Fence) {
        self.shared.fences.lock().whole = Some(fence);
    }

    /// Names the fence behind all layers below `end`; ends ascend.
    pub fn add_layer_fence(&self, end: u32, fence: Fence) {
        self.shared.fences.lock().layers.push((end, fence));
    }

    /// Whether move `index` was called off before it began. `O(1)`.
    ///
    /// # Panics
    /// If the batch has no such move.
    pub fn is_called_off(&self, index: usize) -> bool {
        self.shared.cancelled.load(Ordering::Acquire)
            || self.shared.moves[index].load(Ordering::Acquire) == MoveFault::Cancelled as u8
    }

    /// Begins move `index`. False if it was called off: then it has ended, and must not be touched (K2).
    ///
    /// # Panics
    /// If the batch has no such move, or it began before.
    pub fn begin(&self, index: usize) -> bool {
        if self.shared.cancelled.load(Ordering::Acquire) {
            let called_off = self.shared.moves[index].compare_exchange(
                WAITING,
                MoveFault::Cancelled as u8,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if called_off.is_ok() {
                self.shared.ended.fetch_add(1, Ordering::AcqRel);
            }
            return false;
        }
        match self.shared.moves[index].compare_exchange(WAITING, BEGUN, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(found) => {
                assert!(found == MoveFault::Cancelled as u8, "move {index} began twice (state {found})");
                false
            }
        }
    }

    /// Ends move `index`, which was begun. The signal rings at [`TicketWriter::publish`].
    ///
    /// # Panics
    /// If the batch has no such move, or it has ended.
    pub fn end(&self, index: usize, outcome: Result<(), MoveFault>) {
        self.shared.end(index, outcome.map_or_else(|fault| fault as u8, |()| DONE));
    }

    /// Gives up: ends what has begun as `fault`, and what has not as cancelled. For a lane one of whose threads hangs.
    pub fn abandon(&self, fault: MoveFault) {
        self.end_rest(fault);
    }

    /// Says that move `index`, which ended as one that may go on, does so no more (K6). The signal rings at
    /// [`TicketWriter::publish`].
    ///
    /// # Panics
    /// If the batch has no such move, it ended otherwise, or it was concluded before.
    pub fn conclude(&self, index: usize) {
        let before = self.shared.moves[index].fetch_or(CONCLUDED, Ordering::AcqRel);
        let fault = MoveFault::from_byte(before);
        assert!(fault.is_some_and(MoveFault::may_go_on), "move {index} is concluded in state {before}");
        self.shared.concluded.fetch_add(1, Ordering::AcqRel);
    }

    fn end_rest(&self, fault: MoveFault) {
        for state in &self.shared.moves[..self.shared.len] {
            let ended = state
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |byte| match byte {
                    WAITING => Some(MoveFault::Cancelled as u8),
                    BEGUN => Some(fault as u8),
                    _ => None,
                })
                .is_ok();
            if ended {
                self.shared.ended.fetch_add(1, Ordering::AcqRel);
            }
        }
        self.shared.ring();
    }

    /// Rings, so that waiters look; adds `busy` and `copies` to the batch's effort. Once for every few ends is enough.
    pub fn publish(&self, busy: Nanos, copies: u32) {
        self.shared.busy_ns.fetch_add(busy.as_u64(), Ordering::Relaxed);
        self.shared.copies.fetch_add(copies, Ordering::Relaxed);
        self.shared.ring();
    }
}

impl Drop for TicketWriter {
    fn drop(&mut self) {
        self.end_rest(MoveFault::Lost);
    }
}

#[cfg(test)]
mod tests {
    use super::{MoveFault, Signal, TicketWriter};
    use crate::ids::Fence;
    use crate::units::Nanos;
    use std::sync::Arc;

    #[test]
    fn each_move_is_told_as_it_ends() {
        let (writer, ticket) = TicketWriter::new(2);
        assert!(writer.begin(0));
        assert_eq!(ticket.outcome(0), None);
        writer.end(0, Ok(()));
        assert_eq!(ticket.outcome(0), Some(Ok(())));
        assert!(!ticket.is_over());
        assert!(writer.begin(1));
        writer.end(1, Err(MoveFault::Damaged));
        assert_eq!(ticket.outcome(1), Some(Err(MoveFault::Damaged)));
        assert!(ticket.is_over());
    }

    #[test]
    fn a_cancelled_move_never_begins() {
        let (writer, ticket) = TicketWriter::new(3);
        assert!(writer.begin(0));
        assert!(!ticket.cancel_move(0), "it has begun");
        assert!(ticket.cancel_move(1));
        assert!(!writer.begin(1));
        ticket.cancel();
        assert!(!writer.begin(2));
        writer.end(0, Ok(()));
        assert!(ticket.is_over());
        assert_eq!(ticket.outcome(2), Some(Err(MoveFault::Cancelled)));
    }

    #[test]
    fn a_dropped_writer_ends_its_ticket() {
        let (writer, ticket) = TicketWriter::new(2);
        let signal = Arc::new(Signal::new());
        ticket.attach(&signal);
        assert!(writer.begin(0));
        let seen = signal.count();
        drop(writer);
        assert!(signal.wait_past(seen, Nanos::ZERO));
        assert_eq!(ticket.outcome(0), Some(Err(MoveFault::Lost)));
        assert_eq!(ticket.outcome(1), Some(Err(MoveFault::Cancelled)));
        assert!(ticket.is_over());
    }

    #[test]
    fn layers_without_a_fence_of_their_own_have_the_whole_one() {
        let (writer, ticket) = TicketWriter::new(1);
        assert_eq!((ticket.fence(), ticket.layer_fence(0)), (None, None));
        writer.add_layer_fence(1, Fence(7));
        writer.add_layer_fence(3, Fence(8));
        writer.set_fence(Fence(9));
        assert_eq!(
            [0, 1, 2, 3].map(|layer| ticket.layer_fence(layer)),
            [7, 8, 8, 9].map(|id| Some(Fence(id)))
        );
    }

    #[test]
    fn an_abandoned_batch_tells_what_may_still_be_writing() {
        let (writer, ticket) = TicketWriter::new(2);
        assert!(writer.begin(0));
        writer.abandon(MoveFault::TimedOut);
        assert_eq!(ticket.outcome(0), Some(Err(MoveFault::TimedOut)));
        assert_eq!(ticket.outcome(1), Some(Err(MoveFault::Cancelled)));
    }

    #[test]
    fn an_abandoned_move_can_be_concluded_and_its_end_stays() {
        let (writer, ticket) = TicketWriter::new(2);
        assert!(writer.begin(0));
        writer.abandon(MoveFault::TimedOut);
        assert!(!ticket.is_concluded(0));
        writer.conclude(0);
        assert!(ticket.is_concluded(0));
        assert_eq!((ticket.concluded(), ticket.ended()), (1, 2));
        drop(writer);
        assert_eq!(ticket.outcome(0), Some(Err(MoveFault::TimedOut)));
        assert_eq!(ticket.outcome(1), Some(Err(MoveFault::Cancelled)));
    }

    #[test]
    #[should_panic(expected = "is concluded in state")]
    fn a_final_end_cannot_be_concluded() {
        let (writer, _ticket) = TicketWriter::new(1);
        assert!(writer.begin(0));
        writer.end(0, Err(MoveFault::Io));
        writer.conclude(0);
    }

    #[test]
    #[should_panic(expected = "ended twice")]
    fn a_second_end_panics() {
        let (writer, _ticket) = TicketWriter::new(1);
        assert!(writer.begin(0));
        writer.end(0, Ok(()));
        writer.end(0, Ok(()));
    }
}
