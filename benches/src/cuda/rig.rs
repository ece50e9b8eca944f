//! A rig: tiers and lanes of one shape, with the slots that a benchmark moves between.
//! Uses the CUDA backend, `churn`. Known by: binaries.

use super::churn::{churned_slots, shuffled};
use kv_pager::Error;
use kv_pager::clock::Clock;
use kv_pager::ids::{Fence, GroupId, MoveId, SlotId};
use kv_pager::layout::{DeviceLayout, ModelLayout, shape};
use kv_pager::tier::{Move, Tier};
use kv_pager_cuda::{
    CudaBackend, CudaBackendBuilder, DeviceMemory, DeviceOptions, DeviceTier, Direction, GroupTensors, Inner,
    LaneOptions, OwnedSlots, open_device, rank_slice,
};
use std::sync::Arc;

/// How a part lies on the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inside {
    /// A region a layer and side.
    LayerMajor,
    /// A page a layer, with K and V together: vLLM's per-layer tensors.
    Pages,
    /// One piece.
    BlockMajor,
}

/// What a rig is made of.
#[derive(Clone, Debug)]
pub struct RigSpec {
    /// A shape that the core knows.
    pub shape: &'static str,
    /// How a part lies.
    pub inside: Inside,
    /// Slots on the device.
    pub device_slots: u32,
    /// Slots in pinned memory.
    pub host_slots: u32,
    /// One a rank.
    pub devices: Vec<u32>,
    /// Of both lanes.
    pub lanes: LaneOptions,
}

/// Tiers and lanes, with random device slots.
#[derive(Debug)]
pub struct Rig {
    /// The tiers and lanes.
    pub backend: CudaBackend,
    /// Bytes of a part, over all ranks.
    pub part_bytes: u64,
    /// How a part lies.
    pub inside: Inside,
    /// All device slots in a random order.
    pub device_slots: Vec<SlotId>,
    host_slots: u32,
    /// An "engine's" tensors.
    _memory: Vec<DeviceMemory>,
}

impl Rig {
    /// Builds and calibrates it.
    ///
    /// # Errors
    /// Of the backend.
    ///
    /// # Panics
    /// If the shape is not known.
    pub fn new(spec: &RigSpec, clock: &Arc<dyn Clock>) -> Result<Self, Error> {
        let model = shape(spec.shape).expect("a known shape");
        let builder = CudaBackendBuilder::new(model.clone(), spec.devices.clone(), vec![spec.host_slots]);
        let builder = builder.with_lane_options(spec.lanes.clone());
        let mut memory = Vec::new();
        let backend = match spec.inside {
            Inside::Pages => {
                let tier = pages(&model, spec, &mut memory)?;
                builder.build_over(tier, clock)?
            }
            inside => {
                let layout = match inside {
                    Inside::BlockMajor => DeviceLayout::BlockMajor,
                    _ => DeviceLayout::LayerMajor,
                };
                let owned = OwnedSlots { slots: vec![spec.device_slots], layout, inner: Inner::Nhd };
                builder.build(&owned, clock)?
            }
        };
        let part_bytes = backend.device.classes()[0].slot_bytes.as_u64();
        let device_slots = shuffled(spec.device_slots, 7);
        Ok(Self {
            backend,
            inside: spec.inside,
            part_bytes,
            device_slots,
            host_slots: spec.host_slots,
            _memory: memory,
        })
    }

    /// `count` host slots: adjacent, or as a pool gives them that has churned.
    ///
    /// # Panics
    /// If there are not several times as many.
    pub fn host_slots(&self, count: usize, is_churned: bool) -> Vec<SlotId> {
        let wanted = u32::try_from(count).expect("a small batch");
        if is_churned {
            churned_slots(self.host_slots, wanted, 3)
        } else {
            (0..count).map(SlotId::from_index).collect()
        }
    }

    /// Moves between random device slots, from the `skip`th on, and `host`.
    pub fn moves(&self, direction: Direction, host: &[SlotId], skip: usize) -> Vec<Move> {
        let pairs = host.iter().zip(&self.device_slots[skip..]).enumerate();
        let one = |(index, (host, device)): (usize, (&SlotId, &SlotId))| {
            let (source, target) = match direction {
                Direction::Offload => (*device, *host),
                _ => (*host, *device),
            };
            let (id, group) = (MoveId(index as u64), GroupId::FIRST);
            Move { id, group, source, target, source_fence: Fence::OVER, target_fence: Fence::OVER }
        };
        pairs.map(one).collect()
    }
}

/// A tier over tensors as an engine keeps them: a page a layer.
#[expect(unsafe_code, reason = "an engine's tensors are named by address")]
fn pages(model: &ModelLayout, spec: &RigSpec, memory: &mut Vec<DeviceMemory>) -> Result<DeviceTier, Error> {
    let devices = spec.devices.iter().map(|ordinal| open_device(*ordinal)).collect::<Result<Vec<_>, _>>()?;
    let slice = rank_slice(model, devices.len())?;
    let group = GroupId::FIRST;
    let layers = u64::from(slice.group(group).layers);
    let tensor = slice.part_bytes(group).as_u64() / layers * u64::from(spec.device_slots);
    let mut tensors = Vec::new();
    for device in &devices {
        let bytes = usize::try_from(tensor * layers).expect("it is to fit a card");
        let own = DeviceMemory::allocate(device, bytes).map_err(|error| Error::Configuration {
            setting: "benchmark",
            why: format!("{bytes} bytes of device memory: {error}"),
        })?;
        let bases: Vec<u64> = (0..layers).map(|layer| own.address() + layer * tensor).collect();
        tensors.push(vec![GroupTensors::joint_by_slot(
            (&slice, group),
            spec.device_slots,
            &bases,
            Inner::Nhd,
        )]);
        memory.push(own);
    }
    // SAFETY: the memory is the rig's, which drops it after the backend.
    unsafe { DeviceTier::with_tensors(model, &devices, &tensors, &DeviceOptions::default()) }
}
