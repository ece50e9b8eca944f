//! The lane out of a file tier: payloads are read straight into host slots.
//! Uses `file`, `memory`. Known by: `backend`.
//!
//! What a thread takes at once is read together (`file::reading`).

use super::FileTier;
use super::group::RunFault;
use super::reading::Arrival;
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
    /// Takes what `order` needs.
    fn begin(&self, order: &Move) -> Result<Arrival<'_>, RunFault> {
        let target = self.target.write_run(order.group, order.target, 1).map_err(|_| RunFault::Busy)?;
        self.source.group(order.group).arrival(order.source.index(), target)
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

    fn depth(&self) -> usize {
        self.source.depth
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
        let mut parts = [const { None }; CHUNK_MOVES_MAX];
        let parts = &mut parts[..moves.len()];
        for ((order, part), outcome) in moves.iter().zip(&mut *parts).zip(&mut *outcomes) {
            match self.begin(order) {
                Ok(begun) => *part = Some(begun),
                Err(fault) => *outcome = Err(MoveFault::from(&fault)),
            }
        }
        let copies = self.source.group(moves[0].group).read(parts);
        for (part, outcome) in parts.iter_mut().zip(&mut *outcomes) {
            if let Some(part) = part.take() {
                *outcome = part.into_result().map_err(|fault| {
                    self.source.note_fault(&fault);
                    MoveFault::from(&fault)
                });
            }
        }
        if outcomes.contains(&Err(MoveFault::Damaged)) {
            self.source.call_housekeeper();
        }
        copies
    }
}
