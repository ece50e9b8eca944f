//! The lane into a file tier: host slots are written straight to their payloads.
//! Uses `file`, `memory`. Known by: `backend`.
//!
//! Adjacent slots of the file are one request, whichever host slots they come from. What a thread takes at once goes through
//! the order of writes together (`file::writing`).

use super::budget::Budget;
use super::group::RunFault;
use super::writing::Part;
use super::{FileTier, now_s};
use crate::lane::{CHUNK_MOVES_MAX, Copier};
use crate::memory::HostTier;
use kv_pager::Error;
use kv_pager::clock::Clock;
use kv_pager::ids::TierId;
use kv_pager::sync::Ordering;
use kv_pager::tier::{Health, LaneEnds, Move, MoveFault, Tier};
use kv_pager::units::Bytes;
use std::sync::Arc;

/// Writes from host memory into a file tier.
#[derive(Debug)]
pub(crate) struct FileWriter {
    source: Arc<HostTier>,
    target: Arc<FileTier>,
    clock: Arc<dyn Clock>,
}

impl FileWriter {
    /// # Errors
    /// [`Error::Configuration`] if the tiers keep parts in different formats: what is quantised is not quantised again (I10).
    pub(crate) fn new(
        source: &Arc<HostTier>,
        target: &Arc<FileTier>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        if source.format() != target.format() {
            let why =
                format!("{} under {} host memory; give both the same", target.format(), source.format());
            return Err(Error::Configuration { setting: "file format", why });
        }
        Ok(Self { source: Arc::clone(source), target: Arc::clone(target), clock: Arc::clone(clock) })
    }

    /// Takes what `order` needs, if it may be written.
    fn begin(&self, order: &Move) -> Result<Part<'_>, RunFault> {
        let source = self.source.read_run(order.group, order.source, 1).map_err(|_| RunFault::Busy)?;
        let group = self.target.group(order.group);
        let payload_bytes = Bytes::new(group.slot_bytes as u64);
        let is_granted = |budget: &Budget| budget.take(payload_bytes, self.clock.now());
        if !self.target.budget.as_ref().is_none_or(is_granted) {
            return Err(RunFault::Spent);
        }
        group.begin(order.target.index(), source)
    }
}

impl Copier for FileWriter {
    fn ends(&self) -> LaneEnds {
        LaneEnds { source: self.source.id(), target: TierId::File }
    }

    fn bytes(&self, order: &Move) -> Bytes {
        self.target.check(order.group, order.target);
        let class = self.source.classes()[order.group.index()];
        assert!(order.source.index() < class.slots as usize, "{order:?}: no such source");
        class.slot_bytes
    }

    fn joins(&self, last: &Move, next: &Move) -> bool {
        self.target.group(last.group).is_adjacent(last.target, next.target)
    }

    fn depth(&self) -> usize {
        self.target.depth
    }

    fn housekeep(&self) {
        if let Err(error) = self.target.housekeep() {
            tracing::warn!(%error, "what was given up may be found again, unless it is told later");
        }
    }

    fn give_up(&self) {
        self.target.note_hang();
    }

    fn copy(&self, moves: &[Move], scratch: &mut Vec<u8>, outcomes: &mut [Result<(), MoveFault>]) -> u32 {
        let is_usable = *self.target.health.lock() == Health::Well && self.target.is_own_process();
        if !is_usable {
            outcomes.fill(Err(MoveFault::from(&RunFault::Unusable)));
            return 0;
        }
        let mut parts = [const { None }; CHUNK_MOVES_MAX];
        let parts = &mut parts[..moves.len()];
        for ((order, part), outcome) in moves.iter().zip(&mut *parts).zip(&mut *outcomes) {
            match self.begin(order) {
                Ok(begun) => *part = Some(begun),
                Err(fault) => *outcome = Err(MoveFault::from(&fault)),
            }
        }
        let written = self.target.group(moves[0].group).write(parts, scratch, now_s());
        self.target.payload_bytes_written.fetch_add(written.payload_bytes, Ordering::Relaxed);
        self.target.header_bytes_written.fetch_add(written.header_bytes, Ordering::Relaxed);
        for (part, outcome) in parts.iter_mut().zip(outcomes) {
            if let Some(part) = part.take() {
                *outcome = part.into_result().map_err(|fault| {
                    self.target.note_fault(&fault);
                    MoveFault::from(&fault)
                });
            }
        }
        if written.must_tell {
            self.target.call_housekeeper();
        }
        written.calls
    }
}
