//! Tagged tiers with all lanes between them.

use super::{Fate, Stream, TaggedLane, TaggedTier};
use crate::late::FenceBook;
use kv_pager::ids::TierId;
use kv_pager::layout::ModelLayout;
use kv_pager::pager::Backend;
use kv_pager::tier::{Lane, Move, Tier};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How many slots each tier has; a tier of none is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MachineSpec {
    /// Device slots.
    pub device: u32,
    /// Host slots.
    pub host: u32,
    /// File slots.
    pub file: u32,
    /// Moves that a lane takes at a time.
    pub lane_limit: usize,
}

/// A machine on which nothing happens by itself.
#[derive(Debug)]
pub struct Machine {
    tiers: Vec<Arc<TaggedTier>>,
    lanes: Vec<Arc<TaggedLane>>,
    book: Arc<FenceBook>,
}

impl Machine {
    /// A machine for `model`.
    pub fn new(model: &ModelLayout, spec: MachineSpec) -> Self {
        let book = FenceBook::new();
        let sizes = [(TierId::Device, spec.device), (TierId::Host, spec.host), (TierId::File, spec.file)];
        let tiers: Vec<Arc<TaggedTier>> = sizes
            .into_iter()
            .filter(|(_, slots)| *slots > 0)
            .map(|(id, slots)| Arc::new(TaggedTier::new(id, model, slots, Arc::clone(&book))))
            .collect();
        let mut lanes = Vec::new();
        for source in &tiers {
            for target in &tiers {
                let is_within_device = source.id() == target.id() && source.id() == TierId::Device;
                if source.id().index().abs_diff(target.id().index()) == 1 || is_within_device {
                    lanes.push(Arc::new(TaggedLane::new(
                        Arc::clone(source),
                        Arc::clone(target),
                        spec.lane_limit,
                    )));
                }
            }
        }
        Self { tiers, lanes, book }
    }

    /// What a pager takes.
    pub fn backend(&self) -> Backend {
        Backend {
            tiers: self.tiers.iter().map(|tier| Arc::clone(tier) as Arc<dyn Tier>).collect(),
            lanes: self.lanes.iter().map(|lane| Arc::clone(lane) as Arc<dyn Lane>).collect(),
        }
    }

    /// The device tier.
    ///
    /// # Panics
    /// Never: there is one.
    pub fn device(&self) -> &Arc<TaggedTier> {
        self.tiers.first().expect("a machine has a device tier")
    }

    /// All tiers, nearest first.
    pub fn tiers(&self) -> &[Arc<TaggedTier>] {
        &self.tiers
    }

    /// All lanes.
    pub fn lanes(&self) -> &[Arc<TaggedLane>] {
        &self.lanes
    }

    /// A stream on which the engine of this machine computes. Those of one machine go on independently, so that their fences end in
    /// any order, and those of one that is told nothing never.
    pub fn stream(&self) -> Stream {
        Stream::new(Arc::clone(self.device()), Arc::clone(&self.book))
    }

    /// Ends every move that waits and may begin, well. Returns how many.
    pub fn advance_all(&self) -> usize {
        self.lanes.iter().map(|lane| lane.advance(usize::MAX, |_: &Move| Fate::Done)).sum()
    }
}
