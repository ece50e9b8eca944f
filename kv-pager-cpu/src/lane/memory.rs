//! Copies between two memory tiers, or within one.
//! Uses `memory`. Known by: `backend`.
//!
//! Adjacent slots at both ends are copied in one piece where both keep them alike; otherwise fragment by fragment.

use super::Copier;
use crate::memory::{HostTier, RunRead, RunWrite};
use kv_pager::Error;
use kv_pager::tier::{LaneEnds, Move, MoveFault, Tier};
use kv_pager::units::Bytes;
use std::sync::Arc;

/// Copies from one memory tier to another, or to itself.
#[derive(Debug)]
pub(crate) struct MemoryCopier {
    source: Arc<HostTier>,
    target: Arc<HostTier>,
}

impl MemoryCopier {
    /// # Errors
    /// [`Error::Configuration`] if the tiers keep parts in different formats: this backend has no codec.
    pub(crate) fn new(source: &Arc<HostTier>, target: &Arc<HostTier>) -> Result<Self, Error> {
        if source.format() != target.format() {
            let why = format!(
                "{} bytes can't be kept as {} by this backend; choose raw",
                source.format(),
                target.format()
            );
            return Err(Error::Configuration { setting: "host format", why });
        }
        Ok(Self { source: Arc::clone(source), target: Arc::clone(target) })
    }

    /// Copies a run, whole or not at all.
    fn copy_run(&self, run: &[Move]) -> Result<u32, MoveFault> {
        let first = run[0];
        let source = self.source.read_run(first.group, first.source, run.len())?;
        let mut target = self.target.write_run(first.group, first.target, run.len())?;
        Ok(copy_slots(&source, &mut target, run.len()))
    }
}

fn is_adjacent(last: &Move, next: &Move) -> bool {
    next.group == last.group
        && next.source.index() == last.source.index() + 1
        && next.target.index() == last.target.index() + 1
}

fn copy_slots(source: &RunRead<'_>, target: &mut RunWrite<'_>, slots: usize) -> u32 {
    let (from, to) = (source.class(), target.class());
    let (regions, finest) = (from.regions(), from.regions().max(to.regions()));
    if regions == to.regions() && from.stride() == to.stride() {
        for region in 0..regions {
            target.region_mut(region).copy_from_slice(source.region(region));
        }
        return u32::try_from(regions).expect("a part has fewer than 2^32 fragments");
    }
    let bytes = from.part_bytes() / finest;
    for nth in 0..slots {
        for piece in 0..finest {
            let from = source.piece(nth, piece * bytes, bytes);
            target.piece_mut(nth, piece * bytes, bytes).copy_from_slice(from);
        }
    }
    u32::try_from(slots * finest).expect("a chunk has fewer than 2^32 fragments")
}

impl Copier for MemoryCopier {
    fn ends(&self) -> LaneEnds {
        LaneEnds { source: self.source.id(), target: self.target.id() }
    }

    fn bytes(&self, order: &Move) -> Bytes {
        let slots = |tier: &HostTier| tier.classes()[order.group.index()].slots as usize;
        assert!(order.source.index() < slots(&self.source), "{order:?}: no such source");
        assert!(order.target.index() < slots(&self.target), "{order:?}: no such target");
        Bytes::new(self.source.kept_bytes(order.group) as u64)
    }

    /// Any two: taking several at once saves locking.
    fn joins(&self, _last: &Move, _next: &Move) -> bool {
        true
    }

    fn copy(&self, moves: &[Move], _scratch: &mut Vec<u8>, outcomes: &mut [Result<(), MoveFault>]) -> u32 {
        let mut copies = 0;
        let mut start = 0;
        for run in moves.chunk_by(is_adjacent) {
            let told = &mut outcomes[start..start + run.len()];
            start += run.len();
            match self.copy_run(run) {
                Ok(count) => {
                    copies += count;
                    told.fill(Ok(()));
                }
                // One slot in use must not fail the others (L2): each on its own decides.
                Err(_) => {
                    for (order, outcome) in run.iter().zip(told) {
                        *outcome = self.copy_run(std::slice::from_ref(order)).map(|count| copies += count);
                    }
                }
            }
        }
        copies
    }
}
