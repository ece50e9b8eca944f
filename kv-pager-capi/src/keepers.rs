//! Keepers: prompts that are brought nearer ahead of need, prompts and salts that are held; and the epoch that all names are of.
//! Uses `pager`, `prompt`, `tenants`, `status`, `edge`. Known by: C.
#![expect(unsafe_code, reason = "functions of the C ABI keep their names")]

use crate::edge::given;
use crate::pager::KvpPager;
use crate::prompt::KvpPrompt;
use crate::stats::tier_of;
use crate::status::{KvpStatus, guarded};
use crate::tenants::KvpAllowance;
use kv_pager::ids::Salt;
use kv_pager::pager::{Hold, Kept, Prefetch};
use std::mem::MaybeUninit;

#[derive(Debug)]
enum Keeper {
    Prefetch(Prefetch),
    Hold(Hold),
}

/// What is prefetched or held, until it is given back. Any thread may use it.
#[derive(Debug)]
pub struct KvpKeeper {
    keeper: Keeper,
}

impl KvpKeeper {
    fn into_raw(keeper: Keeper) -> *mut Self {
        Box::into_raw(Box::new(Self { keeper }))
    }
}

/// Where the blocks that are kept are now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpKept {
    /// Blocks that are to be kept; for a salt, as many as may be.
    pub wanted: usize,
    /// Blocks that are kept on the device.
    pub on_device: usize,
    /// Blocks that are kept in host memory.
    pub in_host: usize,
    /// Blocks a part of which is on its way.
    pub moving: usize,
}

/// Begins to bring the cached blocks of a queued request nearer. Give it back with `kvp_keeper_free` after the request is opened, or to
/// call it off. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_prefetch(
    pager: Option<&KvpPager>,
    prompt: Option<&KvpPrompt>,
    keeper: Option<&mut MaybeUninit<*mut KvpKeeper>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, prompt) = (given(pager, "pager")?, given(prompt, "prompt")?);
        let keeper = given(keeper, "keeper")?;
        keeper.write(KvpKeeper::into_raw(Keeper::Prefetch(pager.pager.prefetch(&prompt.prompt)?)));
        Ok(())
    })
}

/// Keeps the full blocks of the prompt in a `KvpTier`, the host or the device, or nearer, until `kvp_keeper_free`. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_hold(
    pager: Option<&KvpPager>,
    prompt: Option<&KvpPrompt>,
    tier: u32,
    keeper: Option<&mut MaybeUninit<*mut KvpKeeper>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, prompt) = (given(pager, "pager")?, given(prompt, "prompt")?);
        let keeper = given(keeper, "keeper")?;
        let hold = pager.pager.hold(&prompt.prompt, tier_of(tier)?)?;
        keeper.write(KvpKeeper::into_raw(Keeper::Hold(hold)));
        Ok(())
    })
}

/// Keeps what a salt has cached, and what it comes to have, in a `KvpTier`, the host or the device, or nearer, until
/// `kvp_keeper_free`: so many blocks (`KVP_ALLOWANCE_KIND_SLOTS`) or bytes, each after its parent, first come, first held. Never
/// blocks.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_hold_salt(
    pager: Option<&KvpPager>,
    salt: u64,
    tier: u32,
    most: KvpAllowance,
    keeper: Option<&mut MaybeUninit<*mut KvpKeeper>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, keeper) = (given(pager, "pager")?, given(keeper, "keeper")?);
        let hold = pager.pager.hold_salt(Salt(salt), tier_of(tier)?, most.get("most")?)?;
        keeper.write(KvpKeeper::into_raw(Keeper::Hold(hold)));
        Ok(())
    })
}

/// Where the blocks that are kept are now.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_keeper_kept(
    keeper: Option<&KvpKeeper>,
    kept: Option<&mut MaybeUninit<KvpKept>>,
) -> KvpStatus {
    guarded(|| {
        let (keeper, told) = (given(keeper, "keeper")?, given(kept, "kept")?);
        let Kept { wanted, on_device, in_host, moving } = match &keeper.keeper {
            Keeper::Prefetch(prefetch) => prefetch.kept(),
            Keeper::Hold(hold) => hold.kept(),
        };
        told.write(KvpKept { wanted, on_device, in_host, moving });
        Ok(())
    })
}

/// Gives a prefetch or a hold back; what it has brought stays cached like anything else. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_keeper_free(keeper: Option<Box<KvpKeeper>>) -> KvpStatus {
    guarded(|| {
        drop(keeper);
        Ok(())
    })
}

/// Releases all holds of a salt; their handles are given back all the same. Says in `released`, unless it is NULL, how many it was.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_release_holds(
    pager: Option<&KvpPager>,
    salt: u64,
    released: Option<&mut MaybeUninit<usize>>,
) -> KvpStatus {
    guarded(|| {
        let holds = given(pager, "pager")?.pager.release_holds(Salt(salt));
        if let Some(released) = released {
            released.write(holds);
        }
        Ok(())
    })
}

/// The epoch that requests are named in, to be given as `KvpOptions.epoch` next time.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_epoch(pager: Option<&KvpPager>, epoch: Option<&mut MaybeUninit<u64>>) -> KvpStatus {
    guarded(|| {
        let (pager, epoch) = (given(pager, "pager")?, given(epoch, "epoch")?);
        epoch.write(pager.pager.epoch().0);
        Ok(())
    })
}

/// Begins a new epoch: the weights have changed, and no block that was cached before is found. Says in `epoch`, unless it is NULL,
/// which.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_advance_epoch(
    pager: Option<&KvpPager>,
    epoch: Option<&mut MaybeUninit<u64>>,
) -> KvpStatus {
    guarded(|| {
        let begun = given(pager, "pager")?.pager.advance_epoch();
        if let Some(epoch) = epoch {
            epoch.write(begun.0);
        }
        Ok(())
    })
}
