//! Deliveries: the calls of an engine that owns its device slots and names them.
//! Uses `pager`, `prompt`, `status`, `edge`. Known by: C.
#![expect(unsafe_code, reason = "functions of the C ABI keep their names, and take pointers with lengths")]

use crate::edge::{self, given};
use crate::pager::KvpPager;
use crate::prompt::KvpPrompt;
use crate::status::{Failure, KvpStatus, guarded};
use kv_pager::ids::{Fence, SlotId};
use kv_pager::pager::{BlockAt, Deliveries, Delivery};
use kv_pager::sync::{Mutex, MutexGuard};
use kv_pager::units::Nanos;
use std::mem::MaybeUninit;

/// A block of a prompt and the engine's slot for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpBlockAt {
    /// Which full block of the prompt.
    pub block: u32,
    /// The engine's slot.
    pub slot: u32,
}

/// How a move of the engine's ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum KvpDelivery {
    /// It has not.
    UnderWay = 0,
    /// Well.
    Done = 1,
    /// Not: compute the block, or keep it. The slot is the engine's again.
    Failed = 2,
    /// Not, and its slot may still be written or read, nobody knows for how long: leave it alone.
    Lost = 3,
}

/// Moves that an engine has asked for, one a block. Owned by one thread at a time.
#[derive(Debug)]
pub struct KvpDeliveries {
    /// Never waited for, as in a sequence.
    deliveries: Mutex<Deliveries>,
}

impl KvpDeliveries {
    fn lock(&self) -> Result<MutexGuard<'_, Deliveries>, Failure> {
        self.deliveries.try_lock().ok_or_else(|| Failure::in_use("deliveries"))
    }
}

/// How far a prompt is cached below the device: for each of its leading blocks the nearest tier, a `KvpTier`. If there are more than
/// `capacity`, `len` says how many, and nothing is copied.
///
/// # Safety
/// A1: `tiers` has room for `capacity` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_lookup(
    pager: Option<&KvpPager>,
    prompt: Option<&KvpPrompt>,
    tiers: *mut u32,
    capacity: usize,
    len: Option<&mut MaybeUninit<usize>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, prompt) = (given(pager, "pager")?, given(prompt, "prompt")?);
        let len = given(len, "len")?;
        // SAFETY: A1, given on by this function's own contract.
        let buffer = unsafe { edge::buffer(tiers, capacity, "tiers") }?;
        let found = pager.pager.lookup(&prompt.prompt);
        edge::put_all(found.into_iter().map(|tier| tier as u32), buffer, len)
    })
}

/// # Safety
/// A1: `blocks` points to `len` blocks.
unsafe fn read_blocks(blocks: *const KvpBlockAt, len: usize) -> Result<Vec<BlockAt>, Failure> {
    // SAFETY: A1, given on by this function's own contract.
    let blocks = unsafe { edge::slice(blocks, len, "blocks") }?;
    let named = blocks.iter().map(|at| {
        // "No slot" is no slot of anybody's.
        let is_slot = at.slot != crate::KVP_SLOT_NONE;
        let slot = is_slot.then(|| SlotId::from_index(at.slot as usize));
        let slot = slot.ok_or_else(|| Failure::argument("a block at KVP_SLOT_NONE"))?;
        Ok(BlockAt { block: at.block as usize, slot })
    });
    named.collect()
}

fn into_raw(deliveries: Deliveries) -> *mut KvpDeliveries {
    Box::into_raw(Box::new(KvpDeliveries { deliveries: Mutex::new(deliveries) }))
}

/// Brings cached blocks of the prompt into the engine's slots, which are written after the compute behind `fence`, the last that uses
/// them, and are the pager's until `deliveries` says how their moves ended. Never blocks.
///
/// # Safety
/// A1: `blocks` points to `blocks_len` blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_onboard(
    pager: Option<&KvpPager>,
    prompt: Option<&KvpPrompt>,
    blocks: *const KvpBlockAt,
    blocks_len: usize,
    fence: u64,
    deliveries: Option<&mut MaybeUninit<*mut KvpDeliveries>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, prompt) = (given(pager, "pager")?, given(prompt, "prompt")?);
        let deliveries = given(deliveries, "deliveries")?;
        // SAFETY: A1, given on by this function's own contract.
        let wanted = unsafe { read_blocks(blocks, blocks_len) }?;
        deliveries.write(into_raw(pager.pager.onboard(&prompt.prompt, &wanted, Fence(fence))?));
        Ok(())
    })
}

/// Copies blocks of the prompt out of the engine's slots, which the compute behind `fence` writes, into the host. The call that gives the
/// last full block of the prompt, or no block at all, ends the request: the policy is told of it. Never blocks.
///
/// # Safety
/// A1: `blocks` points to `blocks_len` blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_offload(
    pager: Option<&KvpPager>,
    prompt: Option<&KvpPrompt>,
    blocks: *const KvpBlockAt,
    blocks_len: usize,
    fence: u64,
    deliveries: Option<&mut MaybeUninit<*mut KvpDeliveries>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, prompt) = (given(pager, "pager")?, given(prompt, "prompt")?);
        let deliveries = given(deliveries, "deliveries")?;
        // SAFETY: A1, given on by this function's own contract.
        let given_up = unsafe { read_blocks(blocks, blocks_len) }?;
        deliveries.write(into_raw(pager.pager.offload(&prompt.prompt, &given_up, Fence(fence))?));
        Ok(())
    })
}

/// How each move stands, a `KvpDelivery` in the order asked for. If there are more than `capacity`, `len` says how many, and nothing
/// is copied.
///
/// # Safety
/// A1: `outcomes` has room for `capacity` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_deliveries_poll(
    deliveries: Option<&KvpDeliveries>,
    outcomes: *mut u32,
    capacity: usize,
    len: Option<&mut MaybeUninit<usize>>,
) -> KvpStatus {
    guarded(|| {
        let (deliveries, len) = (given(deliveries, "deliveries")?, given(len, "len")?);
        // SAFETY: A1, given on by this function's own contract.
        let buffer = unsafe { edge::buffer(outcomes, capacity, "outcomes") }?;
        let mut locked = deliveries.lock()?;
        let told = locked.poll().iter().map(|outcome| match outcome {
            Delivery::UnderWay => KvpDelivery::UnderWay as u32,
            Delivery::Done => KvpDelivery::Done as u32,
            Delivery::Failed => KvpDelivery::Failed as u32,
            Delivery::Lost => KvpDelivery::Lost as u32,
        });
        edge::put_all(told, buffer, len)
    })
}

/// Blocks until something has ended since the last look, or for `timeout_ns`. Says in `has_progressed`, unless it is NULL, whether
/// something did.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_deliveries_wait(
    deliveries: Option<&KvpDeliveries>,
    timeout_ns: u64,
    has_progressed: Option<&mut MaybeUninit<bool>>,
) -> KvpStatus {
    guarded(|| {
        let has = given(deliveries, "deliveries")?.lock()?.wait(Nanos::new(timeout_ns));
        if let Some(told) = has_progressed {
            told.write(has);
        }
        Ok(())
    })
}

/// Gives deliveries back. Moves that have not ended stay under way, and their slots the pager's until they end. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_deliveries_free(deliveries: Option<Box<KvpDeliveries>>) -> KvpStatus {
    guarded(|| {
        drop(deliveries);
        Ok(())
    })
}
