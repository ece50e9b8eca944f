//! The lane out of a file tier: payloads are read straight into host slots.
//! Uses `file`, `memory`. Known by: `backend`.
//!
//! Adjacent slots of the file are one request, whichever host slots they go to.

use super::FileTier;
use super::group::RunFault;
use crate::lane::{CHUNK_MOVES_MAX, Copier};
use crate::memory::HostTier;
use kv_pager::ids::TierId;
use kv_pager::tier::{LaneEnds, Move, MoveFault, Tier};
use kv_pager::units::Bytes;
use std::sync::Arc;

/// Reads from a file tier into host memory.
#[derive(Debug)]
pub(crate) struct FileReader {
    pub(crate) source: Arc<FileTier>,
    pub(crate) target: Arc<HostTier>,
}

impl FileReader {
    fn read(&self, run: &[Move], outcomes: &mut [Result<(), MoveFault>]) -> Result<u32, RunFault> {
        let mut targets = [const { None }; CHUNK_MOVES_MAX];
        for (target, order) in targets.iter_mut().zip(run) {
            let lent = self.target.write_run(order.group, order.target, 1);
            *target = Some(lent.map_err(|_| RunFault::Busy)?);
        }
        let group = self.source.group(run[0].group);
        group.read(run[0].source.index(), &mut targets[..run.len()], outcomes)
    }
}

impl Copier for FileReader {
    fn ends(&self) -> LaneEnds {
        LaneEnds { source: TierId::File, target: self.target.id() }
    }

    fn bytes(&self, order: &Move) -> Bytes {
        self.source.check(order.group, order.source);
        let class = self.target.classes()[order.group.index()];
        assert!(order.target.index() < class.slots as usize, "{order:?}: no such target");
        class.slot_bytes
    }

    fn joins(&self, last: &Move, next: &Move) -> bool {
        self.source.group(last.group).is_adjacent(last.source, next.source)
    }

    fn announces(&self) -> bool {
        self.source.access() == super::Access::Buffered
    }

    fn announce(&self, upcoming: &[Move]) {
        for run in upcoming.chunk_by(|last, next| last.group == next.group && self.joins(last, next)) {
            let group = self.source.group(run[0].group);
            let (files, offset) = group.payload_offset(run[0].source.index());
            files.payloads.announce(offset, (run.len() * group.slot_bytes) as u64);
        }
    }

    fn give_up(&self) {
        self.source.note_hang();
    }

    fn copy(&self, moves: &[Move], _scratch: &mut Vec<u8>, outcomes: &mut [Result<(), MoveFault>]) -> u32 {
        let mut copies = 0;
        let mut start = 0;
        for run in moves.chunk_by(|last, next| self.joins(last, next)) {
            let told = &mut outcomes[start..start + run.len()];
            start += run.len();
            if let Ok(calls) = self.read(run, told) {
                copies += calls;
                continue;
            }
            // One slot must not fail the others (L2): each on its own decides.
            for (order, outcome) in run.iter().zip(told) {
                let order = std::slice::from_ref(order);
                match self.read(order, std::slice::from_mut(outcome)) {
                    Ok(calls) => copies += calls,
                    Err(fault) => {
                        self.source.note_fault(&fault);
                        *outcome = Err(MoveFault::from(&fault));
                    }
                }
            }
        }
        if outcomes.contains(&Err(MoveFault::Damaged)) {
            self.source.call_housekeeper();
        }
        copies
    }
}
