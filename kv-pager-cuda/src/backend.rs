//! The backend: tiers and lanes of one engine, made together.
//! Uses `device`, `pinned`, `lane`, `calibration`, the CPU backend's files. Known by: whoever builds a pager on CUDA.

use crate::calibration::Calibration;
use crate::device::DeviceTier;
use crate::device_options::{DeviceOptions, OwnedSlots};
use crate::lane::{CudaLane, Direction, LaneOptions};
use crate::pinned::PinnedTier;
use crate::probe::open_device;
use kv_pager::Error;
use kv_pager::clock::Clock;
use kv_pager::ids::ModelFingerprint;
use kv_pager::layout::{Format, ModelLayout};
use kv_pager::tier::{Lane, Tier};
use kv_pager::units::Bytes;
use kv_pager_cpu::file::{Identity, Scrubber};
use kv_pager_cpu::{FileSpec, FileTier, LaneSpec, file_lanes};
use std::sync::Arc;

/// A file tier below the pinned one, and whose bytes it keeps.
#[derive(Clone, Debug)]
pub struct CudaFileSpec {
    /// Where it lies, and how large it is.
    pub file: FileSpec,
    /// What makes bytes of another model useless.
    pub fingerprint: ModelFingerprint,
    /// The key that block names are hashed with.
    pub hash_key: u128,
    /// How its lanes work.
    pub lanes: LaneSpec,
}

impl CudaFileSpec {
    /// With the usual lanes.
    pub fn new(file: FileSpec, fingerprint: ModelFingerprint, hash_key: u128) -> Self {
        Self { file, fingerprint, hash_key, lanes: LaneSpec::file() }
    }

    /// A file holds all ranks' slices one after the other (K2), so it serves as many ranks as wrote it, and refuses others.
    fn identity(&self, host: &PinnedTier, ranks: usize) -> Identity {
        Identity {
            model: host.layout().clone(),
            format: Format::Raw,
            fingerprint: self.fingerprint,
            hash_key: self.hash_key,
            ranks: u32::try_from(ranks).expect("at most 64"),
        }
    }
}

/// What a backend is made of, before it is made.
#[derive(Clone, Debug)]
pub struct CudaBackendBuilder {
    model: ModelLayout,
    devices: Vec<u32>,
    host_slots: Vec<u32>,
    device: DeviceOptions,
    lanes: LaneOptions,
    file: Option<CudaFileSpec>,
    is_calibrated: bool,
}

impl CudaBackendBuilder {
    /// A backend for `model` on the cards `devices`, one rank each, with `host_slots` slots of pinned memory for each group.
    pub fn new(model: ModelLayout, devices: Vec<u32>, host_slots: Vec<u32>) -> Self {
        let (device, lanes) = (DeviceOptions::default(), LaneOptions::default());
        Self { model, devices, host_slots, device, lanes, file: None, is_calibrated: true }
    }

    /// With these options of the device tier.
    #[must_use]
    pub fn with_device_options(mut self, options: DeviceOptions) -> Self {
        self.device = options;
        self
    }

    /// With these options of the lanes.
    #[must_use]
    pub fn with_lane_options(mut self, options: LaneOptions) -> Self {
        self.lanes = options;
        self
    }

    /// With a file tier, whose lanes read and write pinned memory directly.
    #[must_use]
    pub fn with_file(mut self, file: CudaFileSpec) -> Self {
        self.file = Some(file);
        self
    }

    /// Without measuring: paths are then chosen by what is usual.
    #[must_use]
    pub fn without_calibration(mut self) -> Self {
        self.is_calibrated = false;
        self
    }

    /// Makes it, with device slots of its own. Blocks while memory is touched and paths are measured: seconds.
    ///
    /// # Errors
    /// [`Error::Configuration`] if there is no CUDA, or the numbers do not fit; [`Error::OutOfMemory`], [`Error::Io`] and
    /// [`Error::DeviceLost`] from the machine.
    pub fn build(self, owned: &OwnedSlots, clock: &Arc<dyn Clock>) -> Result<CudaBackend, Error> {
        let devices =
            self.devices.iter().map(|ordinal| open_device(*ordinal)).collect::<Result<Vec<_>, _>>()?;
        let device = DeviceTier::with_own_memory(&self.model, &devices, owned, &self.device)?;
        self.build_over(device, clock)
    }

    /// Makes it over a device tier that exists: an engine's tensors, most likely. Before calibration has returned, nothing
    /// may write them; their bytes are then as before.
    ///
    /// # Errors
    /// As for [`CudaBackendBuilder::build`].
    pub fn build_over(self, device: DeviceTier, clock: &Arc<dyn Clock>) -> Result<CudaBackend, Error> {
        let host = Arc::new(PinnedTier::new(&device, &self.host_slots)?);
        let device = Arc::new(device);
        let lane =
            |direction, options| CudaLane::new(&device, &host, direction, options, clock).map(Arc::new);
        let onboard = lane(Direction::Onboard, self.lanes.clone())?;
        let offload = lane(Direction::Offload, self.lanes.clone())?;
        let (staging_bytes, chunk_bytes) = (Bytes::mib(64), Bytes::mib(16));
        let within = lane(
            Direction::Within,
            LaneOptions { staging_bytes, chunk_bytes, path: None, ..self.lanes.clone() },
        )?;
        let (mut file, mut scrubber) = (None, None);
        let mut lanes: Vec<Arc<dyn Lane>> = Vec::new();
        for own in [&within, &offload, &onboard] {
            lanes.push(Arc::<CudaLane>::clone(own));
        }
        if let Some(spec) = &self.file {
            let tier = Arc::new(FileTier::open(&spec.identity(&host, device.devices().len()), &spec.file)?);
            lanes.extend(file_lanes(host.memory(), &tier, &spec.lanes, clock)?);
            scrubber = Scrubber::start(&tier, &spec.file, &spec.lanes)?;
            file = Some(tier);
        }
        let calibration = if self.is_calibrated {
            Calibration::run((&device, &host), (&onboard, &offload), clock.as_ref())?
        } else {
            Calibration::default()
        };
        Ok(CudaBackend {
            device,
            host,
            file,
            onboard,
            offload,
            within,
            lanes,
            _scrubber: scrubber,
            calibration,
        })
    }
}

/// Device, pinned memory and files, with the lanes between them.
#[derive(Debug)]
pub struct CudaBackend {
    /// The device tier.
    pub device: Arc<DeviceTier>,
    /// The pinned tier.
    pub host: Arc<PinnedTier>,
    /// The file tier, if there is one.
    pub file: Option<Arc<FileTier>>,
    /// The lane into the device.
    pub onboard: Arc<CudaLane>,
    /// The lane out of the device.
    pub offload: Arc<CudaLane>,
    /// The lane from slot to slot of the device.
    pub within: Arc<CudaLane>,
    lanes: Vec<Arc<dyn Lane>>,
    /// Ends with the backend.
    _scrubber: Option<Scrubber>,
    /// What was measured; empty if nothing was.
    pub calibration: Calibration,
}

impl CudaBackend {
    /// The tiers, nearest first.
    pub fn tiers(&self) -> Vec<Arc<dyn Tier>> {
        let mut tiers: Vec<Arc<dyn Tier>> = vec![Arc::<DeviceTier>::clone(&self.device)];
        tiers.push(Arc::<PinnedTier>::clone(&self.host));
        tiers.extend(self.file.iter().map(|file| Arc::<FileTier>::clone(file) as Arc<dyn Tier>));
        tiers
    }

    /// The lanes between them.
    pub fn lanes(&self) -> Vec<Arc<dyn Lane>> {
        self.lanes.clone()
    }

    /// Until [`CudaBackend::resume`], hands nothing new to the device, while the engine captures a graph, say. Captures are
    /// not disturbed in any case; this is for those who want the device to themselves.
    pub fn pause(&self) {
        for lane in [&self.within, &self.offload, &self.onboard] {
            lane.pause();
        }
    }

    /// Ends the quiet period.
    pub fn resume(&self) {
        for lane in [&self.within, &self.offload, &self.onboard] {
            lane.resume();
        }
    }
}
