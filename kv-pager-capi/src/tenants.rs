//! Tenants: quotas by salt, and what each salt has.
//! Uses `pager`, `options`, `status`, `edge`. Known by: `options`, `keepers`, C.
#![expect(unsafe_code, reason = "functions of the C ABI keep their names, and take pointers with lengths")]

use crate::edge::{self, given};
use crate::options::known;
use crate::pager::KvpPager;
use crate::status::{Failure, KvpStatus, guarded};
use kv_pager::config::{Allowance, Quota};
use kv_pager::ids::Salt;
use kv_pager::pager::TenantReport;
use kv_pager::units::Bytes;
use std::mem::MaybeUninit;

/// What an allowance counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum KvpAllowanceKind {
    /// Nothing: as much as there is.
    Unlimited = 0,
    /// Slots of each group; for a hold, blocks.
    Slots = 1,
    /// Bytes, as the device has them.
    Bytes = 2,
}

/// How much. All zero is as much as there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpAllowance {
    /// A `KvpAllowanceKind`.
    pub kind: u32,
    /// 0.
    pub reserved: u32,
    /// Slots, below 2^32, or bytes.
    pub amount: u64,
}

impl KvpAllowance {
    pub(crate) const UNLIMITED: Self =
        Self { kind: KvpAllowanceKind::Unlimited as u32, reserved: 0, amount: 0 };

    pub(crate) fn get(self, name: &str) -> Result<Allowance, Failure> {
        let kinds = [KvpAllowanceKind::Unlimited, KvpAllowanceKind::Slots, KvpAllowanceKind::Bytes];
        Ok(match known(name, self.kind, &kinds.map(|kind| (kind as u32, kind)))? {
            KvpAllowanceKind::Unlimited => Allowance::Unlimited,
            KvpAllowanceKind::Slots => Allowance::Slots(u32::try_from(self.amount).map_err(|_large| {
                Failure::argument(format!("{name}: {} slots are more than there can be", self.amount))
            })?),
            KvpAllowanceKind::Bytes => Allowance::Bytes(Bytes::new(self.amount)),
        })
    }
}

/// How much a salt may have cached, tier by tier. All zero is as much as there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpQuota {
    /// On the device.
    pub device: KvpAllowance,
    /// In host memory.
    pub host: KvpAllowance,
    /// In the file.
    pub file: KvpAllowance,
}

impl KvpQuota {
    pub(crate) const UNLIMITED: Self = Self {
        device: KvpAllowance::UNLIMITED,
        host: KvpAllowance::UNLIMITED,
        file: KvpAllowance::UNLIMITED,
    };

    pub(crate) fn get(&self) -> Result<Quota, Failure> {
        Ok(Quota {
            device: self.device.get("KvpQuota.device")?,
            host: self.host.get("KvpQuota.host")?,
            file: self.file.get("KvpQuota.file")?,
        })
    }
}

/// What one salt has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpTenant {
    /// The salt, unless it is those that found no place in the table, all together.
    pub salt: u64,
    /// Whether it is one salt: 1, or 0 for those that found no place.
    pub has_salt: u32,
    /// 0.
    pub reserved: u32,
    /// By tier: slots that hold its blocks, or are being filled with them, all groups together.
    pub slots: [u64; 3],
    /// By tier: their bytes.
    pub bytes: [u64; 3],
    /// By tier: how many slots it may have; `UINT64_MAX` without a quota, or a tier.
    pub quota_slots: [u64; 3],
}

impl From<&TenantReport> for KvpTenant {
    fn from(report: &TenantReport) -> Self {
        Self {
            salt: report.salt.map_or(0, |salt| salt.0),
            has_salt: u32::from(report.salt.is_some()),
            reserved: 0,
            slots: report.slots,
            bytes: report.bytes.map(Bytes::as_u64),
            quota_slots: report.quota_slots.map(|slots| slots.unwrap_or(u64::MAX)),
        }
    }
}

/// Gives a salt a quota of its own, in place of `KvpOptions.quota`. Nothing is evicted by it; the next room is made of what is too
/// much.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_set_quota(pager: Option<&KvpPager>, salt: u64, quota: Option<&KvpQuota>) -> KvpStatus {
    guarded(|| {
        let (pager, quota) = (given(pager, "pager")?, given(quota, "quota")?);
        Ok(pager.pager.set_quota(Salt(salt), quota.get()?)?)
    })
}

/// Takes the quota of its own from a salt, which has that of `KvpOptions.quota` again.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_clear_quota(pager: Option<&KvpPager>, salt: u64) -> KvpStatus {
    guarded(|| {
        given(pager, "pager")?.pager.clear_quota(Salt(salt));
        Ok(())
    })
}

/// What each salt has that has a block, or a quota of its own. If there are more than `capacity`, `len` says how many, and nothing
/// is copied.
///
/// # Safety
/// A1: `tenants` has room for `capacity` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_tenants(
    pager: Option<&KvpPager>,
    tenants: *mut KvpTenant,
    capacity: usize,
    len: Option<&mut MaybeUninit<usize>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, len) = (given(pager, "pager")?, given(len, "len")?);
        // SAFETY: A1, given on by this function's own contract.
        let buffer = unsafe { edge::buffer(tenants, capacity, "tenants") }?;
        edge::put_all(pager.pager.tenants().iter().map(KvpTenant::from), buffer, len)
    })
}
