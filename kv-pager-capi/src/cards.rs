//! Cards: an engine's tensors on CUDA cards as the device tier, and fences on its streams.
//! Uses `options`, `pager`, `status`, `edge`, the CUDA backend. Known by: `pager`, C.
//!
//! - **CA1** the tensors stay allocated while the pager, or one of its sequences or deliveries, lives, and the engine reads and writes
//!   a slot only while the contract gives it that slot;
//! - **CA2** streams are live for as long as the call that names them lasts, each on the card of its rank.
//!
//! Both are the caller's. A model that is split over several cards has a rank on each: every rank has the same slots, with its share of
//! the heads.
#![expect(
    unsafe_code,
    reason = "functions of the C ABI keep their names; tensors and streams are named by address"
)]

use crate::edge::{self, given};
use crate::options::Settings;
use crate::pager::{DeviceMemory, KvpPager};
use crate::status::{Failure, KvpStatus, guarded};
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::ids::Fence;
use kv_pager::pager::Backend;
use kv_pager_cuda::{
    CudaBackendBuilder, CudaFileSpec, DeviceOptions, DeviceTier, GroupTensors, Plane, RawStream, Strides,
    open_device, rank_slice,
};
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::Arc;

/// Where one layer's keys, or values, or latents lie on a card: value `d` of head `h` of token `t` of slot `s` is at
/// `base + s * slot_stride + t * token_stride + h * head_stride + d * sizeof(value)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpPlane {
    /// The device address of slot 0.
    pub base: u64,
    /// From slot to slot, in bytes.
    pub slot_stride: u64,
    /// From token to token, in bytes.
    pub token_stride: u64,
    /// From head to head, in bytes.
    pub head_stride: u64,
}

/// The engine's tensors on its cards. What pointers point to is read by `kvp_pager_open_on_cards` and not kept; the tensors stay
/// while the pager, or one of its sequences or deliveries, lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpCards {
    /// The cards by the driver's numbers, one rank each. Where there are several, each has its share of the heads, those of rank 0
    /// first; where there are more ranks than heads, heads are repeated.
    pub devices: *const u32,
    /// How many: 1 to 64.
    pub devices_len: usize,
    /// Of each rank in turn, each group's planes: by layer, keys before values, and one plane a layer for latents.
    pub planes: *const KvpPlane,
    /// How many, of all ranks together.
    pub planes_len: usize,
}

/// A pager over these cards.
///
/// # Safety
/// A1 for what `cards` points to; CA1.
pub(crate) unsafe fn open(settings: Settings, cards: &KvpCards) -> Result<KvpPager, Failure> {
    // SAFETY: A1, given on by this function's own contract.
    let ordinals = unsafe { edge::slice(cards.devices, cards.devices_len, "KvpCards.devices") }?;
    // SAFETY: as above.
    let planes = unsafe { edge::slice(cards.planes, cards.planes_len, "KvpCards.planes") }?;
    if ordinals.is_empty() {
        return Err(Failure::argument("KvpCards.devices is empty: name a card for each rank"));
    }
    let model = settings.spec.model.clone();
    let host_slots = settings.spec.host_slots.clone();
    let host_slots = host_slots.ok_or_else(|| {
        Failure::argument("KvpOptions.host_slots is NULL: lanes of cards lead to pinned host memory")
    })?;
    let tensors = tensors(&settings, ordinals.len(), planes)?;
    let devices = ordinals.iter().map(|ordinal| open_device(*ordinal)).collect::<Result<Vec<_>, _>>()?;
    // SAFETY: CA1, given on by this function's own contract.
    let tier = unsafe { DeviceTier::with_tensors(&model, &devices, &tensors, &DeviceOptions::default()) }?;
    let mut builder = CudaBackendBuilder::new(model, ordinals.to_vec(), host_slots);
    if let Some(file) = settings.spec.file.clone() {
        builder =
            builder.with_file(CudaFileSpec::new(file, settings.spec.fingerprint, settings.spec.hash_key));
    }
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let cuda = builder.build_over(tier, &clock)?;
    let backend = Backend { tiers: cuda.tiers(), lanes: cuda.lanes() };
    Ok(KvpPager::over(backend, DeviceMemory::Cards(cuda.device), settings, clock)?)
}

/// The planes, by rank and group.
fn tensors(
    settings: &Settings,
    ranks: usize,
    planes: &[KvpPlane],
) -> Result<Vec<Vec<GroupTensors>>, Failure> {
    let slice = rank_slice(&settings.spec.model, ranks)?;
    let fragments = |group| slice.group(group).fragments() as usize;
    let of_rank: usize = slice.group_ids().map(fragments).sum();
    if planes.len() != ranks * of_rank {
        return Err(Failure::argument(format!(
            "KvpCards.planes has {} planes, and {ranks} ranks of this model have {}",
            planes.len(),
            ranks * of_rank
        )));
    }
    let mut left = planes.iter();
    let plane = |given: &KvpPlane| Plane {
        base: given.base,
        strides: Strides { slot: given.slot_stride, token: given.token_stride, head: given.head_stride },
    };
    let mut of_group = |(group, slots): (_, &u32)| GroupTensors {
        slots: *slots,
        planes: left.by_ref().take(fragments(group)).map(plane).collect(),
    };
    let slots = &settings.spec.device_slots;
    Ok((0..ranks).map(|_| slice.group_ids().zip(slots).map(&mut of_group).collect()).collect())
}

fn cards_of(pager: &KvpPager) -> Result<&DeviceTier, Failure> {
    match &pager.device {
        DeviceMemory::Cards(device) => Ok(device),
        DeviceMemory::Cpu(_) => Err(Failure::argument("the pager is on no card")),
    }
}

/// A fence at what the engine has queued so far on `streams`, one `CUstream` a rank: for `kvp_sequence_commit`,
/// `kvp_sequence_close` and all else that takes one. Does not block. `KVP_STATUS_RETRY` if too many are under way;
/// `KVP_STATUS_CONFIGURATION` if a stream is capturing a graph.
///
/// # Safety
/// A1: `streams` points to `streams_len` handles. CA2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_cards_fence(
    pager: Option<&KvpPager>,
    streams: *const *mut c_void,
    streams_len: usize,
    fence: Option<&mut MaybeUninit<u64>>,
) -> KvpStatus {
    guarded(|| {
        let (device, fence) = (cards_of(given(pager, "pager")?)?, given(fence, "fence")?);
        // SAFETY: A1, given on by this function's own contract.
        let handles = unsafe { edge::slice(streams, streams_len, "streams") }?;
        if handles.len() != device.devices().len() {
            let ranks = device.devices().len();
            return Err(Failure::argument(format!("{} streams for {ranks} ranks", handles.len())));
        }
        // SAFETY: CA2.
        let streams: Vec<_> =
            handles.iter().map(|handle| unsafe { RawStream::from_handle(*handle) }).collect();
        fence.write(device.fence(&streams)?.0);
        Ok(())
    })
}

/// Makes what is queued on `stream`, a `CUstream` of `rank`, from now on wait for `fence`: one of `kvp_sequence_waits`, or of
/// `kvp_cards_fence`. Does not block the host.
///
/// # Safety
/// CA2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_cards_wait(
    pager: Option<&KvpPager>,
    rank: u32,
    stream: *mut c_void,
    fence: u64,
) -> KvpStatus {
    guarded(|| {
        let device = cards_of(given(pager, "pager")?)?;
        let ranks = device.devices().len();
        if rank as usize >= ranks {
            return Err(Failure::argument(format!("rank {rank} of {ranks}")));
        }
        // SAFETY: CA2.
        let stream = unsafe { RawStream::from_handle(stream) };
        device.wait_for_fence(rank as usize, stream, Fence(fence))?;
        Ok(())
    })
}
