//! The device tier: slots in the memory of one or several cards, this crate's own or an engine's.
//! Uses `driver`, `plan`, `fences`, `kernels`, `ranks`. Known by: `pinned`, `lane`, `backend`, engines.
//!
//! - **Q1** every rank has the same slots; slot `s` of a group is one place on each card, and a part is all of them;
//! - **Q2** the memory behind the plans is valid while the tier lives: it is the tier's own, or the engine has promised it;
//! - **Q3** a tier that was found lost stays lost.
#![expect(
    unsafe_code,
    reason = "an engine's tensors are named by address; slots are read and written for tests"
)]

use crate::device_options::{DeviceOptions, OwnedSlots};
use crate::driver::{Device, DeviceMemory, DriverError, RawStream, Stream, Visit};
use crate::fences::{Fences, NoFence, Waited};
use crate::kernels::{Kernels, Region};
use crate::plan::Plan;
use crate::ranks::rank_slice;
use crate::tensors::GroupTensors;
use kv_pager::Error;
use kv_pager::ids::{Fence, GroupId, TierId};
use kv_pager::layout::{Format, ModelLayout};
use kv_pager::sync::Mutex;
use kv_pager::tier::{Health, Persistence, SlotClass, Tier};
use kv_pager::units::Bytes;
use std::sync::Arc;

/// One rank: its card, and where each group lies there.
#[derive(Debug)]
pub(crate) struct Rank {
    pub(crate) device: Arc<Device>,
    /// By group.
    pub(crate) plans: Vec<Plan>,
    /// By group: the device address of the plan's regions.
    pub(crate) tables: Vec<u64>,
    pub(crate) kernels: Option<Kernels>,
    /// For slots that are read and written by hand.
    pub(crate) slot_stream: Stream,
    _table_memory: DeviceMemory,
    /// Q2, where the memory is the tier's own.
    memory: Option<DeviceMemory>,
}

/// Slots in device memory.
#[derive(Debug)]
pub struct DeviceTier {
    model: ModelLayout,
    slice: ModelLayout,
    ranks: Vec<Rank>,
    devices: Vec<Arc<Device>>,
    classes: Vec<SlotClass>,
    fences: Arc<Fences>,
    health: Mutex<Health>,
}

impl DeviceTier {
    /// A tier in memory of its own on `devices`, one rank each. A device may be named more than once.
    ///
    /// # Errors
    /// [`Error::Configuration`] if the numbers do not fit the model; [`Error::OutOfMemory`] if a card has too little.
    pub fn with_own_memory(
        model: &ModelLayout,
        devices: &[Arc<Device>],
        owned: &OwnedSlots,
        options: &DeviceOptions,
    ) -> Result<Self, Error> {
        let slice = rank_slice(model, devices.len())?;
        if owned.slots.len() != slice.groups().len() {
            let why =
                format!("slots for {} groups, and the model has {}", owned.slots.len(), slice.groups().len());
            return Err(Error::Configuration { setting: "device slots", why });
        }
        let class_bytes =
            |(group, slots): (GroupId, &u32)| slice.part_bytes(group).checked_mul(u64::from(*slots));
        let sizes: Option<Vec<Bytes>> = slice.group_ids().zip(&owned.slots).map(class_bytes).collect();
        let overflow =
            || Error::Configuration { setting: "device slots", why: "more bytes than there are".to_owned() };
        let sizes = sizes.ok_or_else(overflow)?;
        let aligned: Option<Vec<Bytes>> = sizes.iter().map(|size| size.round_up(Bytes::new(256))).collect();
        let aligned = aligned.ok_or_else(overflow)?;
        let total: Bytes = aligned.iter().copied().sum();
        let mut memories = Vec::with_capacity(devices.len());
        let mut tensors = Vec::with_capacity(devices.len());
        for device in devices {
            let memory = DeviceMemory::allocate(device, total.as_usize().max(256)).map_err(|error| {
                let available = device.memory().map_or(Bytes::ZERO, |(free, _)| Bytes::new(free));
                if error.is_out_of_memory() {
                    Error::OutOfMemory { tier: TierId::Device, wanted: total, available }
                } else {
                    error.tell(TierId::Device, "allocating the device tier")
                }
            })?;
            let mut base = memory.address();
            let mut groups = Vec::with_capacity(aligned.len());
            for (group, (slots, bytes)) in slice.group_ids().zip(owned.slots.iter().zip(&aligned)) {
                groups.push(GroupTensors::owned((&slice, group), *slots, base, (owned.layout, owned.inner)));
                base += bytes.as_u64();
            }
            tensors.push(groups);
            memories.push(Some(memory));
        }
        Self::build(model, slice, devices, &tensors, memories, options)
    }

    /// A tier over an engine's tensors: `tensors[rank][group]`, in the sizes of [`rank_slice`].
    ///
    /// # Errors
    /// [`Error::Configuration`], with the numbers, if they are misaligned, overlap, or do not fit the model.
    ///
    /// # Safety
    /// Every slot of every plane is memory of that rank's device, and stays allocated while the tier, or a lane made with
    /// it, lives. The engine reads and writes a slot only while the pager gives it that slot.
    pub unsafe fn with_tensors(
        model: &ModelLayout,
        devices: &[Arc<Device>],
        tensors: &[Vec<GroupTensors>],
        options: &DeviceOptions,
    ) -> Result<Self, Error> {
        let slice = rank_slice(model, devices.len())?;
        let memories = devices.iter().map(|_| None).collect();
        Self::build(model, slice, devices, tensors, memories, options)
    }

    fn build(
        model: &ModelLayout,
        slice: ModelLayout,
        devices: &[Arc<Device>],
        tensors: &[Vec<GroupTensors>],
        memories: Vec<Option<DeviceMemory>>,
        options: &DeviceOptions,
    ) -> Result<Self, Error> {
        let wrong = |why: String| Error::Configuration { setting: "device tensors", why };
        if tensors.len() != devices.len() {
            return Err(wrong(format!("tensors of {} ranks for {} devices", tensors.len(), devices.len())));
        }
        let told = |error: DriverError| error.tell(TierId::Device, "preparing the device tier");
        let mut ranks = Vec::with_capacity(devices.len());
        for ((device, groups), memory) in devices.iter().zip(tensors).zip(memories) {
            if groups.len() != slice.groups().len() {
                return Err(wrong(format!(
                    "tensors of {} groups, the model has {}",
                    groups.len(),
                    slice.groups().len()
                )));
            }
            let plans =
                slice.group_ids().zip(groups).map(|(group, tensors)| Plan::new(&slice, group, tensors));
            let plans = plans.collect::<Result<Vec<_>, _>>()?;
            let regions: usize = plans.iter().map(|plan| plan.regions.len()).sum();
            let table_memory = DeviceMemory::allocate(device, regions * size_of::<Region>()).map_err(told)?;
            let mut tables = Vec::with_capacity(plans.len());
            let mut offset = 0;
            for plan in &plans {
                let bytes: Vec<u8> = plan.regions.iter().flat_map(|region| region.to_bytes()).collect();
                table_memory.write(offset, &bytes).map_err(told)?;
                tables.push(table_memory.address() + offset as u64);
                offset += bytes.len();
            }
            let directory = options.kernel_directory.as_deref();
            let kernels = options.kernels.then(|| Kernels::load(device, directory)).flatten();
            let slot_stream = Stream::new(device).map_err(told)?;
            let device = Arc::clone(device);
            ranks.push(Rank {
                device,
                plans,
                tables,
                kernels,
                slot_stream,
                _table_memory: table_memory,
                memory,
            });
        }
        let slots = |group: GroupId| ranks.iter().map(move |rank| rank.plans[group.index()].slots);
        if let Some(group) = slice.group_ids().find(|group| slots(*group).min() != slots(*group).max()) {
            return Err(wrong(format!("ranks have different numbers of slots in group {}", group.index())));
        }
        let classes = slice.group_ids().map(|group| SlotClass {
            slots: ranks[0].plans[group.index()].slots,
            slot_bytes: Bytes::new(slice.part_bytes(group).as_u64() * ranks.len() as u64),
        });
        let fences = Fences::new(devices, options.fences.max(1)).map_err(told)?;
        Ok(Self {
            model: model.clone(),
            classes: classes.collect(),
            devices: devices.to_vec(),
            ranks,
            slice,
            fences: Arc::new(fences),
            health: Mutex::new(Health::Well),
        })
    }

    /// The whole model's layout.
    pub fn model(&self) -> &ModelLayout {
        &self.model
    }

    /// One rank's share of it.
    pub fn slice(&self) -> &ModelLayout {
        &self.slice
    }

    /// The cards, by rank.
    pub fn devices(&self) -> &[Arc<Device>] {
        &self.devices
    }

    /// A fence at what an engine has queued on `streams`, one stream a rank. Does not block.
    ///
    /// # Errors
    /// [`Error::TierBusy`] if too many fences are under way; [`Error::Configuration`] if a stream is capturing a graph;
    /// [`Error::DeviceLost`] if the driver refuses.
    ///
    /// # Panics
    /// If there is not one stream a rank.
    pub fn fence(&self, streams: &[RawStream]) -> Result<Fence, Error> {
        self.fences.record(&self.devices, streams).map_err(|why| match why {
            NoFence::Full(_) => Error::TierBusy { tier: TierId::Device },
            NoFence::Capturing => Error::Configuration { setting: "fence", why: why.to_string() },
            NoFence::Driver(error) => error.tell(TierId::Device, "recording a fence"),
        })
    }

    /// Makes `stream`, of `rank`, wait for `fence` on the device: what is queued there from now on runs after it. Does not
    /// block the host. Takes the engine's fences, and a ticket's ([`Ticket::layer_fence`](kv_pager::tier::Ticket)).
    ///
    /// # Errors
    /// [`Error::Configuration`] if the fence was never given out, or the stream is capturing a graph, which would then
    /// wait for it at every launch; [`Error::DeviceLost`] if the driver refuses.
    pub fn wait_for_fence(&self, rank: usize, stream: RawStream, fence: Fence) -> Result<(), Error> {
        let told = |error: DriverError| error.tell(TierId::Device, "waiting for a fence");
        let visit = Visit::begin();
        visit.to(&self.ranks[rank].device).map_err(told)?;
        let wrong = |why: &str| Error::Configuration { setting: "fence", why: why.to_owned() };
        if stream.is_capturing().map_err(told)? {
            return Err(wrong(
                "the stream is capturing a graph: wait on the stream that launches it, before that",
            ));
        }
        match self.fences.wait(fence, rank, stream).map_err(told)? {
            Waited::Yes => Ok(()),
            Waited::Unknown => Err(wrong("it was never given out here, or its work is not queued yet")),
        }
    }

    pub(crate) fn ranks(&self) -> &[Rank] {
        &self.ranks
    }

    pub(crate) fn fences(&self) -> &Arc<Fences> {
        &self.fences
    }

    /// Q3.
    pub(crate) fn mark_lost(&self, why: String) {
        let mut health = self.health.lock();
        if !matches!(*health, Health::Lost { .. }) {
            tracing::error!(%why, "the device tier is lost; every hit in it is a miss from now on");
            *health = Health::Lost { why };
        }
    }

    /// Leaves the tier's own memory allocated for good: a copy into it never ended.
    pub(crate) fn give_up(&self) {
        self.ranks.iter().filter_map(|rank| rank.memory.as_ref()).for_each(DeviceMemory::give_up);
    }
}

impl Tier for DeviceTier {
    fn id(&self) -> TierId {
        TierId::Device
    }

    fn classes(&self) -> &[SlotClass] {
        &self.classes
    }

    fn format(&self) -> Format {
        Format::Raw
    }

    fn is_fence_over(&self, fence: Fence) -> bool {
        self.fences.is_over(fence)
    }

    fn health(&self) -> Health {
        self.health.lock().clone()
    }

    fn persistence(&self) -> Option<&dyn Persistence> {
        None
    }
}
