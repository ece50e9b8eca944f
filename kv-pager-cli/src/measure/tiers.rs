//! The tiers that are measured, and the directory that the file tier lies in.
//! Known by: `measure`.

use crate::failure::Failure;
use kv_pager::clock::Clock;
use kv_pager::ids::TierId;
use kv_pager::layout::{Format, ModelLayout};
use kv_pager::tier::{Lane, Tier};
use kv_pager::units::Bytes;
use kv_pager_cpu::{CpuBackend, CpuSpec, FileSpec, slots_within};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// Bytes of each tier: enough that no cache near the processor holds it.
const TIER_BYTES: Bytes = Bytes::mib(256);

/// Tiers with nothing in them. Fields are dropped in their order: the directory goes last.
#[derive(Debug)]
pub(super) struct Tiers {
    backend: CpuBackend,
    _directory: TempDir,
}

impl Tiers {
    /// Builds them, the file tier in a directory of its own under `file_dir`, or under `TMPDIR`. Blocks until memory is touched
    /// and files are allocated.
    ///
    /// # Errors
    /// What the machine refuses, with what to do.
    pub(super) fn new(
        layout: &ModelLayout,
        file_dir: Option<&Path>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let parent = file_dir.map_or_else(std::env::temp_dir, Path::to_owned);
        let directory = tempfile::Builder::new().prefix("kv-pager-measure-").tempdir_in(&parent);
        let directory = directory.map_err(|source| Failure::File {
            action: "can't make a directory in",
            path: parent,
            source,
        })?;
        let slots = slots_within(layout, Some(Format::Raw), TIER_BYTES);
        let mut spec = CpuSpec::new(layout.clone(), slots.clone());
        spec.host_slots = Some(slots.clone());
        spec.file = Some(FileSpec::new(directory.path(), slots));
        Ok(Self { backend: CpuBackend::with_clock(&spec, clock)?, _directory: directory })
    }

    /// The lanes between different tiers, those away from the device first: what is read must have been written.
    pub(super) fn lanes(&self) -> Vec<Arc<dyn Lane>> {
        let mut lanes = self.backend.lanes();
        lanes.retain(|lane| lane.ends().source != lane.ends().target);
        lanes.sort_by_key(|lane| (lane.ends().source > lane.ends().target, lane.ends()));
        lanes
    }

    /// One of the tiers.
    ///
    /// # Panics
    /// Never: all three are built.
    pub(super) fn tier(&self, id: TierId) -> Arc<dyn Tier> {
        self.backend.tiers().into_iter().find(|tier| tier.id() == id).expect("all three are built")
    }
}
