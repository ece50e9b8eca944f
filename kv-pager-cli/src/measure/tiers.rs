//! The tiers that are measured, and the directory that the file tier lies in.
//! Uses the backends. Known by: `measure`.

use crate::device_name::DeviceName;
use crate::failure::Failure;
use kv_pager::clock::Clock;
use kv_pager::config::Config;
use kv_pager::layout::{DeviceLayout, Format, ModelLayout};
use kv_pager::pager::Backend;
use kv_pager::units::Bytes;
use kv_pager_cpu::{CpuBackend, CpuSpec, FileSpec, slots_within};
use kv_pager_cuda::{CudaBackendBuilder, CudaFileSpec, Inner, OwnedSlots};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// Bytes of each tier: enough that no cache near the processor holds it.
const TIER_BYTES: Bytes = Bytes::mib(256);

/// Tiers with nothing in them. Fields are dropped in their order: the directory goes last.
#[derive(Debug)]
pub(super) struct Tiers {
    pub(super) backend: Backend,
    _directory: TempDir,
}

impl Tiers {
    /// Builds them, the file tier in a directory of its own under `file_dir`, or under `TMPDIR`. Blocks until memory is touched,
    /// files are allocated, and a card's lanes have chosen their ways.
    ///
    /// # Errors
    /// What the machine refuses, with what to do.
    pub(super) fn new(
        device: DeviceName,
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
        let file = FileSpec::new(directory.path(), slots.clone());
        let backend = match device {
            DeviceName::Cpu => {
                let mut spec = CpuSpec::new(layout.clone(), slots.clone());
                spec.host_slots = Some(slots);
                spec.file = Some(file);
                let cpu = CpuBackend::with_clock(&spec, clock)?;
                Backend { tiers: cpu.tiers(), lanes: cpu.lanes() }
            }
            DeviceName::Cuda(ordinal) => {
                let Config { fingerprint, hash_key, .. } = Config::default();
                let (inner, device_layout) = (Inner::Nhd, DeviceLayout::LayerMajor);
                let owned = OwnedSlots { slots: slots.clone(), layout: device_layout, inner };
                let cuda = CudaBackendBuilder::new(layout.clone(), vec![ordinal], slots)
                    .with_file(CudaFileSpec::new(file, fingerprint, hash_key.0))
                    .build(&owned, clock)?;
                Backend { tiers: cuda.tiers(), lanes: cuda.lanes() }
            }
        };
        Ok(Self { backend, _directory: directory })
    }
}
