//! Tenants: whose slots make room for whom, and what engines set and see of it.
//! Layer 9. Known by: `pager`, engines.
//!
//! - **W1** room for a tenant that would have more than its quota is made of its own slots, and of those of tenants over theirs:
//!   it pushes nobody below theirs;
//! - **W2** while a tenant is over its quota, room for others is made of what such tenants have too much.
//!
//! A salt is a tenant. Quotas bound what is cached, by class: free slots may be used beyond them, and what an open sequence
//! holds stays. Here the least recently used go first, whatever the policy; it decides where W1 and W2 leave it a choice. One look
//! goes through the coldest 2,048 of a class, in as many holds of the lock as it takes. For W1 what it finds of others moves to the
//! warm end, in the order in which it is, so that the next look goes on where this one ended.

use super::Pager;
use super::chores::HOLD_BLOCKS;
use super::core::Core;
use crate::config::{Allowance, Quota};
use crate::error::Error;
use crate::ids::{BlockId, GroupId, Salt, SlotId, TierId};
use crate::policy::{Decision, Need, Reason};
use crate::prefix::{PrefixIndex, TenantId, Tenants, UNLIMITED};
use crate::tier::SlotClass;
use crate::units::Bytes;

/// How many of the coldest slots one look goes through.
const SLOTS_SEEN: u32 = 2048;

/// What one tenant has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TenantReport {
    /// Whose cache it is; `None` for all salts that found no place in the table.
    pub salt: Option<Salt>,
    /// By tier: slots that hold its blocks, or are being filled with them, all classes together.
    pub slots: [u64; TierId::COUNT],
    /// By tier: their bytes.
    pub bytes: [Bytes; TierId::COUNT],
    /// By tier: how many slots it may have, all classes together; `None` without a quota, or a tier.
    pub quota_slots: [Option<u64>; TierId::COUNT],
}

/// Whose slots may be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RoomFrom {
    Anyone,
    /// Those of tenants over their quota first.
    OverFirst,
    /// Those of tenants over their quota, and of this one; no others (W1).
    OverOr(Option<TenantId>),
}

/// Who chooses victims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Chooser {
    /// Those that were found by quota go; if there are none, nothing may.
    Quota,
    /// The policy.
    Policy,
    /// Nobody yet: the next hold of the lock looks on.
    NextHold,
}

/// How far a look by quota has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuotaLook {
    /// Slots that it has looked at.
    seen: u32,
    /// The one that it looks at next; `NONE` for the coldest.
    next: SlotId,
}

impl Default for QuotaLook {
    fn default() -> Self {
        Self { seen: 0, next: SlotId::NONE }
    }
}

impl Pager {
    /// Gives the blocks of `salt` a quota of their own, in place of [`Config::quota`](crate::Config). Nothing is evicted by it; the
    /// next room is made of what is too much. `O(tenants)`.
    ///
    /// # Errors
    /// [`Error::TooManyTenants`] if the table of [`Limits::tenants`](crate::config::Limits) has no place for it.
    pub fn set_quota(&self, salt: Salt, quota: Quota) -> Result<(), Error> {
        let mut core = self.shared.core.lock();
        let by_class = core.quota_by_class(&quota);
        if core.index.tenants_mut().set_quota(salt, &by_class) {
            return Ok(());
        }
        Err(Error::TooManyTenants { limit: u32::from(core.config.limits.tenants) })
    }

    /// Takes the quota of its own from `salt`, which has that of [`Config::quota`](crate::Config) again. `O(tenants)`.
    pub fn clear_quota(&self, salt: Salt) {
        self.shared.core.lock().index.tenants_mut().clear_quota(salt);
    }

    /// What each tenant has that has a block, or a quota of its own; first what all have together that found no place in the table.
    /// `O(tenants)`; allocates.
    pub fn tenants(&self) -> Vec<TenantReport> {
        let core = self.shared.core.lock();
        core.index.tenants().iter().map(|(salt, tenant)| core.report_tenant(salt, tenant)).collect()
    }
}

impl Core {
    /// Takes memory for the tenants' counts.
    pub(super) fn start_tenants(&mut self) {
        let by_class = self.quota_by_class(&self.config.quota);
        self.index.set_tenants(Tenants::new(self.config.limits.tenants, by_class));
    }

    /// How many slots of each class a quota comes to: a share of a tier's bytes is that share of each of its classes, rounded down.
    fn quota_by_class(&self, quota: &Quota) -> Vec<u32> {
        let mut by_class = vec![UNLIMITED; self.groups().len() * TierId::COUNT];
        for (tier, allowance) in TierId::ALL.into_iter().zip([quota.device, quota.host, quota.file]) {
            let Some(classes) = self.tiers[tier.index()].as_ref().map(|tier| tier.classes()) else {
                continue;
            };
            let bytes = |class: &SlotClass| u128::from(class.slot_bytes.as_u64()) * u128::from(class.slots);
            let tier_bytes: u128 = classes.iter().map(bytes).sum();
            for (group, class) in self.groups().zip(classes) {
                by_class[PrefixIndex::class(group, tier)] = match allowance {
                    Allowance::Unlimited => UNLIMITED,
                    Allowance::Slots(slots) => slots,
                    Allowance::Bytes(bytes) => {
                        let slots = u128::from(bytes.as_u64()) * u128::from(class.slots) / tier_bytes.max(1);
                        u32::try_from(slots).unwrap_or(UNLIMITED)
                    }
                };
            }
        }
        by_class
    }

    fn report_tenant(&self, salt: Option<Salt>, tenant: TenantId) -> TenantReport {
        let mut report = TenantReport {
            salt,
            slots: [0; TierId::COUNT],
            bytes: [Bytes::ZERO; TierId::COUNT],
            quota_slots: TierId::ALL.map(|tier| self.pools.has(tier).then_some(0)),
        };
        let tenants = self.index.tenants();
        for (tier, group, _) in self.pools.iter() {
            let class = PrefixIndex::class(group, tier);
            let slots = u64::from(tenants.slots(tenant, class));
            let slot_bytes = self.tiers[tier.index()]
                .as_ref()
                .map_or(0, |tier| tier.classes()[group.index()].slot_bytes.as_u64());
            report.slots[tier.index()] += slots;
            report.bytes[tier.index()] += Bytes::new(slots * slot_bytes);
            let quota = tenants.quota(tenant, class);
            let sum = &mut report.quota_slots[tier.index()];
            *sum = sum.filter(|_| quota != UNLIMITED).map(|sum| sum + u64::from(quota));
        }
        report
    }

    /// Room is made for the blocks of `salt` from now on, until the next call begins.
    pub(super) fn serve(&mut self, salt: Salt) {
        self.room_for = Some(salt);
    }

    /// Leaves of `victims`, which are to be copied to another tier, those of the first one's tenant: room there is made for them. Says
    /// whom room was made for before.
    pub(super) fn serve_victims(&mut self, victims: &mut Vec<BlockId>) -> Option<Salt> {
        let before = self.room_for;
        if let (Some(first), true) = (victims.first(), self.index.tenants().has_quotas()) {
            let salt = self.index.view(*first).salt;
            victims.retain(|victim| self.index.view(*victim).salt == salt);
            self.room_for = Some(salt);
        }
        before
    }

    /// Whose slots may be taken for a need.
    fn room_from(&self, need: Need) -> RoomFrom {
        let tenants = self.index.tenants();
        if !tenants.has_quotas() {
            return RoomFrom::Anyone;
        }
        let class = PrefixIndex::class(need.group, need.tier);
        if let Some(salt) = self.room_for {
            let tenant = tenants.find(salt);
            let has = tenant.map_or(0, |tenant| tenants.slots(tenant, class));
            let quota = tenant.map_or(tenants.default_quota(class), |tenant| tenants.quota(tenant, class));
            let wanted = need.slots.max(self.room_slots);
            if quota != UNLIMITED && has.saturating_add(wanted) > quota {
                return RoomFrom::OverOr(tenant);
            }
        }
        if tenants.is_any_over(class) { RoomFrom::OverFirst } else { RoomFrom::Anyone }
    }

    /// Chooses victims by quota, as far as W1 and W2 say and this hold of the lock goes. Says who is to choose if none was found.
    pub(super) fn choose_by_quota(&mut self, need: Need, decisions: &mut Vec<Decision>) -> Chooser {
        let room_from = self.room_from(need);
        let (own, is_strict) = match room_from {
            RoomFrom::Anyone => return Chooser::Policy,
            RoomFrom::OverFirst => (None, false),
            RoomFrom::OverOr(own) => (own, true),
        };
        let Need { tier, group, slots, .. } = need;
        let mut passed = std::mem::take(&mut self.passed);
        let mut taken = std::mem::take(&mut self.taken);
        passed.clear();
        taken.clear();
        let mut look = self.search(tier, group).by_quota;
        let pool = self.pools.pool(tier, group);
        let most = SLOTS_SEEN.min(pool.capacity());
        // For each that is chosen a child or an ancestor may be looked at.
        let mut left = self.left.div_ceil(2).min(most.saturating_sub(look.seen));
        let first = look.seen;
        let mut coldest = pool.coldest_from(look.next);
        look.next = SlotId::NONE;
        while decisions.len() < slots as usize {
            let Some(slot) = coldest.next() else {
                look.seen = most;
                break;
            };
            if left == 0 {
                look.next = slot;
                break;
            }
            left -= 1;
            look.seen += 1;
            if pool.is_moving(slot) {
                continue;
            }
            let block = pool.block(slot);
            let tenant = self.index.tenant(block);
            if Some(tenant) == own || self.has_too_much(tenant, need, &mut taken) {
                decisions.push(self.fate(block, group, tier));
            } else {
                passed.push(slot);
            }
        }
        // Those of others are looked at again last, in the order in which they are.
        if is_strict {
            let pool = self.pools.pool_mut(tier, group);
            for slot in &passed {
                pool.touch(*slot);
            }
            look.next = SlotId::NONE;
        }
        self.passed = passed;
        self.taken = taken;
        self.handle(look.seen.saturating_sub(first) as usize + decisions.len());
        let is_over = look.seen >= most;
        if !decisions.is_empty() && !is_over {
            look.seen = 0;
        }
        self.search(tier, group).by_quota = look;
        if !decisions.is_empty() {
            Chooser::Quota
        } else if !is_over || !is_strict && look.seen > first {
            // Who looked at so many slots leaves it to the next hold to ask the policy.
            Chooser::NextHold
        } else if is_strict {
            Chooser::Quota
        } else {
            Chooser::Policy
        }
    }

    /// Whether `tenant` is over its quota still, when those that were chosen before have gone; counts this one.
    fn has_too_much(&self, tenant: TenantId, need: Need, taken: &mut Vec<(TenantId, u32)>) -> bool {
        let tenants = self.index.tenants();
        let class = PrefixIndex::class(need.group, need.tier);
        if !tenants.is_over(tenant, class) {
            return false;
        }
        let too_much = tenants.slots(tenant, class) - tenants.quota(tenant, class);
        let place = taken.iter().position(|(other, _)| *other == tenant).unwrap_or_else(|| {
            taken.push((tenant, 0));
            taken.len() - 1
        });
        let count = &mut taken[place].1;
        *count += 1;
        *count <= too_much
    }

    /// Whether the last resort may take a part (W1).
    pub(super) fn may_drop_for(&self, need: Need, block: BlockId) -> bool {
        let RoomFrom::OverOr(own) = self.room_from(need) else { return true };
        let tenant = self.index.tenant(block);
        let class = PrefixIndex::class(need.group, need.tier);
        Some(tenant) == own || self.index.tenants().is_over(tenant, class)
    }

    /// What becomes of a part that has to go: farther, where that can be.
    fn fate(&self, block: BlockId, group: GroupId, tier: TierId) -> Decision {
        let has = |below: TierId| self.whole(block, group, below).is_some();
        match tier.farther() {
            Some(below) if has(below) => Decision::Evict { block, tier, reason: Reason::CleanCopy },
            Some(_) if self.demotable()[tier.index()] => {
                Decision::Demote { block, tier, reason: Reason::OverQuota }
            }
            Some(_) if has(TierId::File) => Decision::Evict { block, tier, reason: Reason::CleanCopy },
            _ => Decision::Drop { block, tier, reason: Reason::OverQuota },
        }
    }

    /// Why a request was refused: one that finds no room within its tenant's quota, and is larger than that, need not try again.
    pub(super) fn why_refused(&self, error: Error, salt: Salt, tokens: usize) -> Error {
        let tenants = self.index.tenants();
        let Error::TierFull { tier: TierId::Device, .. } = error else { return error };
        let size = self.model.tokens_per_block() as usize;
        let quota = |group: GroupId| {
            let class = PrefixIndex::class(group, TierId::Device);
            tenants.find(salt).map_or(tenants.default_quota(class), |tenant| tenants.quota(tenant, class))
        };
        let least = self.full_groups().map(quota).min().unwrap_or(UNLIMITED);
        if least == UNLIMITED || tokens.div_ceil(size) <= least as usize {
            return error;
        }
        Error::OverQuota { tokens, limit: least as usize * size }
    }

    /// The slots of a class that are passed over; for the buffers.
    pub(super) fn reserve_tenants(&mut self) {
        self.passed = Vec::<SlotId>::with_capacity(HOLD_BLOCKS as usize);
        self.taken = Vec::with_capacity(usize::from(self.config.limits.tenants) + 1);
    }
}
