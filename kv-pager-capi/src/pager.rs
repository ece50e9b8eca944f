//! The pager's handle: opening and closing it, waiting, erasing, writing out.
//! Uses `options`, `cards`, `status`, `edge`. Known by: all modules that take a pager.
#![expect(
    unsafe_code,
    reason = "functions of the C ABI keep their names; options hold pointers with lengths"
)]

use crate::cards::{self, KvpCards};
use crate::edge::given;
use crate::options::{self, KvpOptions, Settings};
use crate::stats::Unread;
use crate::status::{KvpStatus, guarded};
use kv_pager::Pager;
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::ids::Salt;
use kv_pager::layout::ModelLayout;
use kv_pager::pager::{Backend, Progress};
use kv_pager::policy::Steward;
use kv_pager::sync::Mutex;
use kv_pager::units::Nanos;
use kv_pager_cpu::CpuBackend;
use kv_pager_cuda::DeviceTier;
use std::mem::MaybeUninit;
use std::sync::Arc;

/// What the device tier is.
#[derive(Debug)]
pub(crate) enum DeviceMemory {
    /// The CPU's own memory plays the device.
    Cpu(CpuBackend),
    /// Cards, in whose memory the engine's tensors lie.
    Cards(Arc<DeviceTier>),
}

/// A pager with its tiers and lanes. Any number of threads may use it.
#[derive(Debug)]
pub struct KvpPager {
    pub(crate) pager: Pager,
    pub(crate) device: DeviceMemory,
    pub(crate) model: ModelLayout,
    pub(crate) unread: Mutex<Unread>,
}

impl KvpPager {
    fn new(settings: Settings) -> Result<Self, kv_pager::Error> {
        let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
        let cpu = CpuBackend::with_clock(&settings.spec, &clock)?;
        let backend = Backend { tiers: cpu.tiers(), lanes: cpu.lanes() };
        Self::over(backend, DeviceMemory::Cpu(cpu), settings, clock)
    }

    /// A pager over a backend that was made for the same settings and clock.
    pub(crate) fn over(
        backend: Backend,
        device: DeviceMemory,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, kv_pager::Error> {
        let Settings { spec, config, policy } = settings;
        let policy = Box::new(Steward::new(policy));
        let pager = Pager::new(spec.model.clone(), config, backend, policy, clock)?;
        Ok(Self { pager, device, model: spec.model, unread: Mutex::default() })
    }
}

/// Makes the tiers and a pager over them, and takes in what a file tier has kept. Blocks until all memory is touched.
///
/// # Safety
/// A1: as `kv_pager.h` says of `KvpOptions`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_pager_open(
    options: *const KvpOptions,
    pager: Option<&mut MaybeUninit<*mut KvpPager>>,
) -> KvpStatus {
    guarded(|| {
        let pager = given(pager, "pager")?;
        // SAFETY: A1, given on by this function's own contract.
        let settings = unsafe { options::read(options) }?;
        pager.write(Box::into_raw(Box::new(KvpPager::new(settings)?)));
        Ok(())
    })
}

/// Makes the tiers over an engine's tensors on cards, pinned host memory and a file if there is one, and a pager over them. Blocks
/// while memory is touched and copies of every size are measured: seconds, in which nothing else may write the tensors.
///
/// `KVP_STATUS_CONFIGURATION` says what is missing where there is no CUDA or no such card. Host memory must be asked for.
/// `KvpOptions.device_layout` is not looked at: the planes say how the tensors lie.
///
/// # Safety
/// A1: as `kv_pager.h` says of `KvpOptions` and `KvpCards`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_pager_open_on_cards(
    options: *const KvpOptions,
    cards: Option<&KvpCards>,
    pager: Option<&mut MaybeUninit<*mut KvpPager>>,
) -> KvpStatus {
    guarded(|| {
        let (cards, pager) = (given(cards, "cards")?, given(pager, "pager")?);
        // SAFETY: A1, given on by this function's own contract.
        let settings = unsafe { options::read(options) }?;
        // SAFETY: as above; the tensors stay as long as the pager does.
        let opened = unsafe { cards::open(settings, cards) }?;
        pager.write(Box::into_raw(Box::new(opened)));
        Ok(())
    })
}

/// Gives the pager back. Sequences, prompts and deliveries may be given back before or after; what is under way is called off or
/// waited for when the last of them goes. Nothing is written to the file because of it: see `kvp_write_out`. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_pager_close(pager: Option<Box<KvpPager>>) -> KvpStatus {
    guarded(|| {
        drop(pager);
        Ok(())
    })
}

/// Where the pager stands; take it before a call that may have to wait, and give it to `kvp_pager_wait`.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_pager_progress(
    pager: Option<&KvpPager>,
    seen: Option<&mut MaybeUninit<u64>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, seen) = (given(pager, "pager")?, given(seen, "seen")?);
        seen.write(pager.pager.progress().as_u64());
        Ok(())
    })
}

/// Blocks until something has ended or was closed since `seen` was taken, or for `timeout_ns`. Says in `has_progressed`, unless it
/// is NULL, whether something did.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_pager_wait(
    pager: Option<&KvpPager>,
    seen: u64,
    timeout_ns: u64,
    has_progressed: Option<&mut MaybeUninit<bool>>,
) -> KvpStatus {
    guarded(|| {
        let has = given(pager, "pager")?.pager.wait(Progress::from_u64(seen), Nanos::new(timeout_ns));
        if let Some(told) = has_progressed {
            told.write(has);
        }
        Ok(())
    })
}

/// Takes in what has ended and starts what waits, as every other call does. For an idle engine that does not wait.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_pager_poll(pager: Option<&KvpPager>) -> KvpStatus {
    guarded(|| {
        given(pager, "pager")?.pager.poll();
        Ok(())
    })
}

/// Whether any move waits or is under way.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_pager_is_busy(
    pager: Option<&KvpPager>,
    is_busy: Option<&mut MaybeUninit<bool>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, is_busy) = (given(pager, "pager")?, given(is_busy, "is_busy")?);
        is_busy.write(pager.pager.is_busy());
        Ok(())
    })
}

/// Erases all blocks of a salt, durably. Says in `erased`, unless it is NULL, how many it was. Blocks on I/O where there is a file
/// tier.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_invalidate(
    pager: Option<&KvpPager>,
    salt: u64,
    erased: Option<&mut MaybeUninit<u64>>,
) -> KvpStatus {
    guarded(|| {
        let blocks = given(pager, "pager")?.pager.invalidate(Salt(salt))?;
        if let Some(erased) = erased {
            erased.write(blocks);
        }
        Ok(())
    })
}

/// Erases all blocks, as `kvp_invalidate` does those of one salt.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_invalidate_all(
    pager: Option<&KvpPager>,
    erased: Option<&mut MaybeUninit<u64>>,
) -> KvpStatus {
    guarded(|| {
        let blocks = given(pager, "pager")?.pager.invalidate_all()?;
        if let Some(erased) = erased {
            erased.write(blocks);
        }
        Ok(())
    })
}

/// What a shutdown has written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpWrittenOut {
    /// Blocks of the host's that the file has now, and had not.
    pub blocks: u64,
    /// Blocks of the host's that the file has not: there was no room for them, or no time, or what is written to the file kept them
    /// from it (`KvpOptions.file_writes`, `write_bytes_per_day`).
    pub left: u64,
    /// Whether all that the file has survives a loss of power, too. If not, the time ran out before the drive said so; what was
    /// written survives the process all the same.
    pub is_durable: bool,
}

/// Writes out what host memory holds and the file has not, and makes it durable, all of it for at most `timeout_ns`. Call it when
/// all sequences are closed. Does nothing where there is no file tier. `written` may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_write_out(
    pager: Option<&KvpPager>,
    timeout_ns: u64,
    written: Option<&mut MaybeUninit<KvpWrittenOut>>,
) -> KvpStatus {
    guarded(|| {
        let out = given(pager, "pager")?.pager.write_out(Nanos::new(timeout_ns))?;
        if let Some(written) = written {
            written.write(KvpWrittenOut { blocks: out.blocks, left: out.left, is_durable: out.is_durable });
        }
        Ok(())
    })
}
