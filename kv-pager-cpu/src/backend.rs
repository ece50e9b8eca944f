//! The backend: all tiers and lanes of a machine without a GPU, from one specification.
//! Uses `memory`, `file`, `lane`. Known by: whoever builds a pager.

use crate::file::{FileReader, FileTier, FileWriter, Identity, Scrubber};
use crate::lane::{LaneSpec, MemoryCopier, WorkerLane};
use crate::memory::HostTier;
use kv_pager::Error;
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::ids::{ModelFingerprint, TierId};
use kv_pager::layout::{DeviceLayout, Format, ModelLayout};
use kv_pager::tier::{Lane, LaneEnds, Tier};
use kv_pager::units::Bytes;
use std::sync::Arc;

pub use crate::file::FileSpec;

/// Which tiers there are, and how large.
#[derive(Clone, Debug)]
pub struct CpuSpec {
    /// The model's layout.
    pub model: ModelLayout,
    /// What makes bytes of another model useless.
    pub fingerprint: ModelFingerprint,
    /// The key that block names are hashed with.
    pub hash_key: u128,
    /// How parts lie in the memory that plays the device.
    pub device_layout: DeviceLayout,
    /// Its slots, by group.
    pub device_slots: Vec<u32>,
    /// Slots of host memory by group, if there is such a tier.
    pub host_slots: Option<Vec<u32>>,
    /// The file tier, if there is one; it needs host memory.
    pub file: Option<FileSpec>,
    /// How lanes within memory work.
    pub memory_lanes: LaneSpec,
    /// How lanes to and from files work.
    pub file_lanes: LaneSpec,
}

impl CpuSpec {
    /// A device of `device_slots` alone, block-major.
    pub fn new(model: ModelLayout, device_slots: Vec<u32>) -> Self {
        Self {
            model,
            fingerprint: ModelFingerprint::default(),
            hash_key: 0,
            device_layout: DeviceLayout::BlockMajor,
            device_slots,
            host_slots: None,
            file: None,
            memory_lanes: LaneSpec::memory(),
            file_lanes: LaneSpec::file(),
        }
    }
}

/// As many slots for each group as `bytes` have room for, as many for one as for another, so that whole blocks fit.
/// The device keeps exact parts, other tiers whole pages.
pub fn slots_within(model: &ModelLayout, format: Option<Format>, bytes: Bytes) -> Vec<u32> {
    let block_bytes: Bytes = match format {
        None => model.block_bytes(),
        Some(format) => model.group_ids().map(|group| model.slot_bytes(group, format)).sum(),
    };
    let slots = u32::try_from(bytes.div_down(block_bytes)).unwrap_or(u32::MAX - 1);
    vec![slots; model.groups().len()]
}

/// Between which tiers there is a lane: neighbours both ways, and within the device for copies on write.
const PAIRS: [(TierId, TierId); 5] = [
    (TierId::Device, TierId::Device),
    (TierId::Device, TierId::Host),
    (TierId::Host, TierId::Device),
    (TierId::Host, TierId::File),
    (TierId::File, TierId::Host),
];

/// The tiers, and the lanes between them.
#[derive(Debug)]
pub struct CpuBackend {
    device: Arc<HostTier>,
    host: Option<Arc<HostTier>>,
    file: Option<Arc<FileTier>>,
    lanes: Vec<Arc<dyn Lane>>,
    /// Ends with the backend.
    scrubber: Option<Scrubber>,
    memory_lanes: LaneSpec,
    file_lanes: LaneSpec,
    clock: Arc<dyn Clock>,
}

impl CpuBackend {
    /// Builds all that `spec` names. Blocks until memory is touched and files are opened.
    ///
    /// # Errors
    /// As [`HostTier::device`] and [`FileTier::open`]; [`Error::Configuration`] if there is a file tier and no host memory.
    pub fn new(spec: &CpuSpec) -> Result<Self, Error> {
        Self::with_clock(spec, &(Arc::new(MonotonicClock::new()) as Arc<dyn Clock>))
    }

    /// As [`CpuBackend::new`], with lanes that take the time from `clock`.
    ///
    /// # Errors
    /// As [`CpuBackend::new`].
    pub fn with_clock(spec: &CpuSpec, clock: &Arc<dyn Clock>) -> Result<Self, Error> {
        if spec.host_slots.is_none() && spec.file.is_some() {
            let why = "a file tier needs host memory to read into; give it some".to_owned();
            return Err(Error::Configuration { setting: "host tier", why });
        }
        let device = Arc::new(HostTier::device(&spec.model, spec.device_layout, &spec.device_slots)?);
        let host = match &spec.host_slots {
            Some(slots) => Some(Arc::new(HostTier::host(&spec.model, Format::Raw, slots)?)),
            None => None,
        };
        let file = match &spec.file {
            Some(file) => Some(Arc::new(FileTier::open(&spec.identity(), file)?)),
            None => None,
        };
        let (memory_lanes, file_lanes) = (spec.memory_lanes, spec.file_lanes);
        let clock = Arc::clone(clock);
        let mut backend =
            Self { device, host, file, lanes: Vec::new(), scrubber: None, memory_lanes, file_lanes, clock };
        for (source, target) in PAIRS {
            let is_there = |id| backend.tiers().iter().any(|tier| tier.id() == id);
            if is_there(source) && is_there(target) {
                let lane = backend.new_lane(LaneEnds { source, target })?;
                backend.lanes.push(lane);
            }
        }
        if let (Some(tier), Some(file)) = (&backend.file, &spec.file) {
            backend.scrubber = Scrubber::start(tier, file, &spec.file_lanes)?;
        }
        Ok(backend)
    }

    /// A lane between two of the tiers, with threads of its own, beside those that [`CpuBackend::lanes`] has.
    ///
    /// # Errors
    /// [`Error::Configuration`] if there are no such tiers, or nothing is moved between them directly.
    pub fn new_lane(&self, ends: LaneEnds) -> Result<Arc<dyn Lane>, Error> {
        let (device, host, file) = (&self.device, self.host.as_ref(), self.file.as_ref());
        let memory = |source, target| -> Result<Arc<dyn Lane>, Error> {
            let copier = Arc::new(MemoryCopier::new(source, target)?);
            Ok(Arc::new(WorkerLane::new(&self.memory_lanes, copier, &self.clock)?))
        };
        match (ends.source, ends.target, host, file) {
            (TierId::Device, TierId::Device, ..) => memory(device, device),
            (TierId::Device, TierId::Host, Some(host), _) => memory(device, host),
            (TierId::Host, TierId::Device, Some(host), _) => memory(host, device),
            (TierId::Host, TierId::File, Some(host), Some(file)) => {
                let copier = Arc::new(FileWriter::new(host, file, &self.clock)?);
                let lane = WorkerLane::new(&self.file_lanes, copier, &self.clock)?;
                file.set_housekeeper(lane.queue());
                Ok(Arc::new(lane))
            }
            (TierId::File, TierId::Host, Some(host), Some(file)) => {
                let copier = Arc::new(FileReader { source: Arc::clone(file), target: Arc::clone(host) });
                Ok(Arc::new(WorkerLane::new(&self.file_lanes, copier, &self.clock)?))
            }
            _ => {
                let why = format!("{ends}: nothing is moved so; go by host memory");
                Err(Error::Configuration { setting: "lane", why })
            }
        }
    }

    /// The memory that plays the device: an engine reads and writes through it.
    pub fn device(&self) -> &Arc<HostTier> {
        &self.device
    }

    /// Host memory, if there is such a tier.
    pub fn host(&self) -> Option<&Arc<HostTier>> {
        self.host.as_ref()
    }

    /// The file tier, if there is one.
    pub fn file(&self) -> Option<&Arc<FileTier>> {
        self.file.as_ref()
    }

    /// All tiers, nearest first.
    pub fn tiers(&self) -> Vec<Arc<dyn Tier>> {
        let mut tiers: Vec<Arc<dyn Tier>> = vec![Arc::<HostTier>::clone(&self.device)];
        tiers.extend(self.host.iter().map(|host| Arc::<HostTier>::clone(host) as Arc<dyn Tier>));
        tiers.extend(self.file.iter().map(|file| Arc::<FileTier>::clone(file) as Arc<dyn Tier>));
        tiers
    }

    /// All lanes between them.
    pub fn lanes(&self) -> Vec<Arc<dyn Lane>> {
        self.lanes.clone()
    }
}

impl CpuSpec {
    /// Whose bytes the file tier keeps.
    pub fn identity(&self) -> Identity {
        Identity {
            model: self.model.clone(),
            format: Format::Raw,
            fingerprint: self.fingerprint,
            hash_key: self.hash_key,
            ranks: 1,
        }
    }
}
