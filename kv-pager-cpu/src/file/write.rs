//! The lane into a file tier: host slots are written straight to their payloads.
//! Uses `file`, `memory`. Known by: `backend`.
//!
//! Adjacent slots of the file are one request, whichever host slots they come from.

use super::budget::Budget;
use super::group::RunFault;
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

    fn write(&self, run: &[Move], scratch: &mut Vec<u8>) -> Result<u32, RunFault> {
        if *self.target.health.lock() != Health::Well || !self.target.is_own_process() {
            return Err(RunFault::Unusable);
        }
        let mut sources = [const { None }; CHUNK_MOVES_MAX];
        for (source, order) in sources.iter_mut().zip(run) {
            let lent = self.source.read_run(order.group, order.source, 1);
            *source = Some(lent.map_err(|_| RunFault::Busy)?);
        }
        let group = self.target.group(run[0].group);
        let payload_bytes = (run.len() * group.slot_bytes) as u64;
        let is_granted = |budget: &Budget| budget.take(Bytes::new(payload_bytes), self.clock.now());
        if !self.target.budget.as_ref().is_none_or(is_granted) {
            return Err(RunFault::Spent);
        }
        let written = group.write(run[0].target.index(), &sources[..run.len()], scratch, now_s())?;
        self.target.payload_bytes_written.fetch_add(payload_bytes, Ordering::Relaxed);
        self.target.header_bytes_written.fetch_add(written.header_bytes, Ordering::Relaxed);
        Ok(written.calls)
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

    fn housekeep(&self) {
        if let Err(error) = self.target.housekeep() {
            tracing::warn!(%error, "what was given up may be found again, unless it is told later");
        }
    }

    fn give_up(&self) {
        self.target.note_hang();
    }

    fn copy(&self, moves: &[Move], scratch: &mut Vec<u8>, outcomes: &mut [Result<(), MoveFault>]) -> u32 {
        let mut copies = 0;
        let mut start = 0;
        for run in moves.chunk_by(|last, next| self.joins(last, next)) {
            let told = &mut outcomes[start..start + run.len()];
            start += run.len();
            if let Ok(calls) = self.write(run, scratch) {
                copies += calls;
                told.fill(Ok(()));
                continue;
            }
            // One slot must not fail the others (L2): each on its own decides.
            for (order, outcome) in run.iter().zip(told) {
                *outcome = match self.write(std::slice::from_ref(order), scratch) {
                    Ok(calls) => {
                        copies += calls;
                        Ok(())
                    }
                    Err(fault) => {
                        self.target.note_fault(&fault);
                        Err(MoveFault::from(&fault))
                    }
                };
            }
        }
        copies
    }
}
