//! The tiers and the pager of a replay, and the directory that the file tier lies in.
//! Uses `replay::{arms, settings}`. Known by: `replay`.

use super::arms::Arms;
use super::card::{self, CardSpec};
use super::settings::Settings;
use crate::args::ReplayArguments;
use crate::device_name::DeviceName;
use crate::failure::Failure;
use kv_pager::clock::Clock;
use kv_pager::config::{Config, Limits};
use kv_pager::pager::{Backend, Pager};
use kv_pager::policy::plan::EngineAbility;
use kv_pager_cpu::{CpuBackend, CpuSpec, FileSpec, HostTier};
use kv_pager_cuda::CudaFileSpec;
use kv_pager_testkit::engine::KvMemory;
use std::sync::Arc;
use tempfile::TempDir;

/// The reference engine computes while lanes move, a chunk of a request at a time.
pub(super) const ABILITY: EngineAbility = EngineAbility { can_overlap: true, step_tokens_max: 256 };

/// Everything that serves requests. Fields are dropped in their order: the directory goes last.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) pager: Pager,
    pub(super) device: Arc<dyn KvMemory>,
    /// Where a file tier lies that nobody keeps.
    _temporary: Option<TempDir>,
}

impl Setup {
    /// Builds the tiers, the lanes and the pager over them. Blocks until memory is touched and files are allocated.
    ///
    /// # Errors
    /// What the machine refuses, with what to do.
    pub(super) fn new(
        arguments: &ReplayArguments,
        settings: &Settings,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let layout = settings.model.layout();
        let slots = settings.slots;
        let config = Config {
            fingerprint: settings.model.fingerprint(),
            limits: Limits {
                sequences: arguments.concurrency,
                sequence_tokens: u32::try_from(settings.tokens_max).unwrap_or(u32::MAX).max(1),
                ..Limits::default()
            },
            promotion: arguments.promotion.promotion(),
            ..Config::default()
        };
        let mut temporary = None;
        let mut file = None;
        if slots.file > 0 {
            let directory = match &arguments.file_dir {
                Some(directory) => directory.clone(),
                None => temporary.insert(temporary_directory()?).path().to_owned(),
            };
            let write_bytes_per_day = arguments.write_bytes_per_day;
            file = Some(FileSpec { write_bytes_per_day, ..FileSpec::new(directory, vec![slots.file]) });
        }
        let (backend, device): (Backend, Arc<dyn KvMemory>) = match settings.device {
            DeviceName::Cpu => {
                let mut spec = CpuSpec::new(layout.clone(), vec![slots.device]);
                spec.fingerprint = config.fingerprint;
                spec.hash_key = config.hash_key.0;
                spec.host_slots = (slots.host > 0).then(|| vec![slots.host]);
                spec.file = file;
                let cpu = CpuBackend::with_clock(&spec, clock)?;
                let device = Arc::<HostTier>::clone(cpu.device());
                (Backend { tiers: cpu.tiers(), lanes: cpu.lanes() }, device)
            }
            DeviceName::Cuda(ordinal) => {
                let file = file.map(|file| CudaFileSpec::new(file, config.fingerprint, config.hash_key.0));
                let (device_slots, host_slots) = (slots.device, slots.host);
                card::build(layout, CardSpec { ordinal, device_slots, host_slots, file }, clock)?
            }
        };
        let policy = Arms::of(arguments).policy();
        let pager = Pager::new(layout.clone(), config, backend, policy, Arc::clone(clock))?;
        if let Some(costs) = &settings.costs {
            pager.set_costs(costs.model.clone(), ABILITY);
        }
        Ok(Self { pager, device, _temporary: temporary })
    }
}

/// A fresh directory under `TMPDIR`.
fn temporary_directory() -> Result<TempDir, Failure> {
    tempfile::Builder::new().prefix("kv-pager-").tempdir().map_err(|source| Failure::File {
        action: "can't make a temporary directory in",
        path: std::env::temp_dir(),
        source,
    })
}
