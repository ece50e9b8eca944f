//! The backend: tiers and lanes of one engine, made together.
//! Uses `device`, `pinned`, `lane`, `calibration`. Known by: whoever builds a pager on CUDA.

use crate::calibration::Calibration;
use crate::device::{DeviceOptions, DeviceTier, OwnedSlots};
use crate::lane::{CudaLane, Direction, LaneOptions};
use crate::pinned::PinnedTier;
use crate::probe::open_device;
use kv_pager::Error;
use kv_pager::clock::Clock;
use kv_pager::layout::ModelLayout;
use kv_pager::tier::{Lane, Tier};
use kv_pager::units::Bytes;
use std::sync::Arc;

/// What a backend is made of, before it is made.
#[derive(Clone, Debug)]
pub struct CudaBackendBuilder {
    model: ModelLayout,
    devices: Vec<u32>,
    host_slots: Vec<u32>,
    device: DeviceOptions,
    lanes: LaneOptions,
    is_calibrated: bool,
}

impl CudaBackendBuilder {
    /// A backend for `model` on the cards `devices`, one rank each, with `host_slots` slots of pinned memory for each group.
    pub fn new(model: ModelLayout, devices: Vec<u32>, host_slots: Vec<u32>) -> Self {
        let (device, lanes) = (DeviceOptions::default(), LaneOptions::default());
        Self { model, devices, host_slots, device, lanes, is_calibrated: true }
    }

    /// With these options of the device tier.
    #[must_use]
    pub fn with_device_options(mut self, options: DeviceOptions) -> Self {
        self.device = options;
        self
    }

    /// With these options of both lanes.
    #[must_use]
    pub fn with_lane_options(mut self, options: LaneOptions) -> Self {
        self.lanes = options;
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
    /// [`Error::Configuration`] if there is no CUDA, or the numbers do not fit; [`Error::OutOfMemory`] and
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
            |direction| CudaLane::new(&device, &host, direction, self.lanes.clone(), clock).map(Arc::new);
        let (onboard, offload) = (lane(Direction::Onboard)?, lane(Direction::Offload)?);
        let (staging_bytes, chunk_bytes) = (Bytes::mib(64), Bytes::mib(16));
        let small = LaneOptions { staging_bytes, chunk_bytes, path: None, ..self.lanes.clone() };
        let within = Arc::new(CudaLane::new(&device, &host, Direction::Within, small, clock)?);
        let calibration = if self.is_calibrated {
            Calibration::run((&device, &host), (&onboard, &offload), clock.as_ref())?
        } else {
            Calibration::default()
        };
        Ok(CudaBackend { device, host, onboard, offload, within, calibration })
    }
}

/// Device and pinned memory with the lanes between them.
#[derive(Debug)]
pub struct CudaBackend {
    /// The device tier.
    pub device: Arc<DeviceTier>,
    /// The pinned tier.
    pub host: Arc<PinnedTier>,
    /// The lane into the device.
    pub onboard: Arc<CudaLane>,
    /// The lane out of the device.
    pub offload: Arc<CudaLane>,
    /// The lane from slot to slot of the device.
    pub within: Arc<CudaLane>,
    /// What was measured; empty if nothing was.
    pub calibration: Calibration,
}

impl CudaBackend {
    /// The tiers, nearest first.
    pub fn tiers(&self) -> Vec<Arc<dyn Tier>> {
        let (device, host): (Arc<dyn Tier>, Arc<dyn Tier>) =
            (Arc::<DeviceTier>::clone(&self.device), Arc::<PinnedTier>::clone(&self.host));
        vec![device, host]
    }

    /// The lanes between them.
    pub fn lanes(&self) -> Vec<Arc<dyn Lane>> {
        [&self.within, &self.offload, &self.onboard]
            .map(|lane| Arc::<CudaLane>::clone(lane) as Arc<dyn Lane>)
            .into()
    }

    /// Until [`CudaBackend::resume`], hands nothing new to the device, while the engine captures a graph, say. Captures are
    /// not disturbed in any case; this is for those who want the device to themselves.
    pub fn pause(&self) {
        self.within.pause();
        self.offload.pause();
        self.onboard.pause();
    }

    /// Ends the quiet period.
    pub fn resume(&self) {
        self.within.resume();
        self.offload.resume();
        self.onboard.resume();
    }
}
