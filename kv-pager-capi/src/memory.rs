//! Memory: the bytes of the memory that plays the device, by address and by copy. On cards it is the engine's, and so are the addresses.
//! Uses `pager`, `status`, `edge`, the CPU backend. Known by: C.
//!
//! By address an engine reads and writes as on a real device: the contract's C1 to C3 and the pager's I2 keep it from what lanes
//! copy, and nothing here can check it. By copy a slot that a lane has at the moment is refused.
#![expect(unsafe_code, reason = "functions of the C ABI keep their names, and take pointers with lengths")]

use crate::edge::{self, given};
use crate::pager::{DeviceMemory, KvpPager};
use crate::sequence::group_of;
use crate::status::{Failure, KvpStatus, guarded};
use kv_pager::ids::{GroupId, SlotId};
use kv_pager::tier::Tier;
use kv_pager_cpu::CpuBackend;
use std::mem::MaybeUninit;

/// The tiers of a pager whose device is played by the CPU's memory.
fn cpu(pager: &KvpPager) -> Result<&CpuBackend, Failure> {
    match &pager.device {
        DeviceMemory::Cpu(cpu) => Ok(cpu),
        DeviceMemory::Cards(_) => {
            Err(Failure::argument("the device slots are tensors of the engine's, which knows where they lie"))
        }
    }
}

/// Where the slots of one group lie: plane `p` of slot `s` starts at `base + p * plane_stride + s * slot_stride`. A plane is one layer
/// and side of a part, `[tokens, kv_heads, head_dim]`, row-major; keys come before values in each layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpDeviceMemory {
    /// Plane 0 of slot 0. It stays there while the pager or one of its sequences lives.
    pub base: *mut u8,
    /// From plane to plane, in bytes.
    pub plane_stride: usize,
    /// From slot to slot, in bytes.
    pub slot_stride: usize,
    /// Bytes of one plane of one slot.
    pub plane_bytes: usize,
    /// Planes of a part: layers times sides.
    pub planes: usize,
    /// Slots of the group.
    pub slots: usize,
}

/// Where the device slots of a group lie, if the CPU's memory plays the device.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_device_memory(
    pager: Option<&KvpPager>,
    group: u32,
    memory: Option<&mut MaybeUninit<KvpDeviceMemory>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, memory) = (given(pager, "pager")?, given(memory, "memory")?);
        let group = group_of(group, pager.model.groups().len())?;
        let device = cpu(pager)?.device();
        let at = device.planes_at(group);
        memory.write(KvpDeviceMemory {
            base: device.memory().0.wrapping_add(at.offset),
            plane_stride: at.plane_stride,
            slot_stride: at.slot_stride,
            plane_bytes: pager.model.fragment_bytes(group).as_usize(),
            planes: pager.model.group(group).fragments() as usize,
            slots: at.slots,
        });
        Ok(())
    })
}

/// A place within a plane of a slot, whose numbers have been checked.
struct Place {
    group: GroupId,
    slot: SlotId,
    plane: usize,
    offset: usize,
}

impl Place {
    fn new(
        pager: &KvpPager,
        group: u32,
        slot: u32,
        plane: usize,
        offset: usize,
        len: usize,
    ) -> Result<Self, Failure> {
        let group = group_of(group, pager.model.groups().len())?;
        let slots = cpu(pager)?.device().classes()[group.index()].slots;
        let planes = pager.model.group(group).fragments() as usize;
        let plane_bytes = pager.model.fragment_bytes(group).as_usize();
        let is_there = slot < slots && plane < planes;
        if !is_there || offset.checked_add(len).is_none_or(|end| end > plane_bytes) {
            return Err(Failure::argument(format!(
                "{len} bytes from byte {offset} of plane {plane} of slot {slot}, where {slots} slots have {planes} planes \
                 of {plane_bytes} bytes"
            )));
        }
        Ok(Self { group, slot: SlotId::from_index(slot as usize), plane, offset })
    }
}

/// Copies bytes out of a plane of a device slot, from byte `offset` of the plane on. A slot that a lane is writing is refused.
///
/// # Safety
/// A1: `bytes` has room for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_slot_read(
    pager: Option<&KvpPager>,
    group: u32,
    slot: u32,
    plane: usize,
    offset: usize,
    bytes: *mut u8,
    len: usize,
) -> KvpStatus {
    guarded(|| {
        let pager = given(pager, "pager")?;
        // SAFETY: A1, given on by this function's own contract.
        let target = unsafe { edge::buffer(bytes, len, "bytes") }?;
        let at = Place::new(pager, group, slot, plane, offset, len)?;
        let guard = cpu(pager)?.device().read(at.group, at.slot)?;
        target.write_copy_of_slice(&guard.plane(at.plane)[at.offset..at.offset + len]);
        Ok(())
    })
}

/// Copies bytes into a plane of a device slot, from byte `offset` of the plane on; the others stay. A slot that a lane is copying is
/// refused.
///
/// # Safety
/// A1: `bytes` points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_slot_write(
    pager: Option<&KvpPager>,
    group: u32,
    slot: u32,
    plane: usize,
    offset: usize,
    bytes: *const u8,
    len: usize,
) -> KvpStatus {
    guarded(|| {
        let pager = given(pager, "pager")?;
        // SAFETY: A1, given on by this function's own contract.
        let source = unsafe { edge::slice(bytes, len, "bytes") }?;
        let at = Place::new(pager, group, slot, plane, offset, len)?;
        let mut guard = cpu(pager)?.device().write(at.group, at.slot)?;
        guard.plane_mut(at.plane)[at.offset..at.offset + len].copy_from_slice(source);
        Ok(())
    })
}
