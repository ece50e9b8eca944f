//! Tenants: which salts have how many slots where, and how many they may have.
//! Layer 3. Uses `ids`. Known by: `pager`.
//!
//! - **T1** each block is counted to one tenant from its record's first day to its last: its salt's own, or the shared one;
//! - **T2** of each class, a tenant's count is the number of locations of its blocks.
//!
//! A salt gets a place of its own with its first block, or with a quota of its own, while there are places; after its last block
//! it loses it, unless it has a quota. Salts that find no place share one tenant, and so one quota.

use super::notes::Notes;
use crate::ids::Salt;
use std::collections::HashMap;

/// No quota.
pub const UNLIMITED: u32 = u32::MAX;

/// A place in the table of tenants.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TenantId(pub(super) u16);

impl TenantId {
    /// All salts that have no place of their own.
    pub const SHARED: Self = Self(0);

    fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Who has a place.
#[derive(Clone, Copy, Debug)]
struct Place {
    salt: Salt,
    /// Blocks that are counted to it.
    records: u32,
    /// Whether its quota was set for it.
    has_own_quota: bool,
}

const EMPTY: Place = Place { salt: Salt(0), records: 0, has_own_quota: false };

/// All tenants. A class is a number below `classes`, whatever that means to the caller.
#[derive(Debug)]
pub struct Tenants {
    by_salt: HashMap<Salt, TenantId>,
    places: Vec<Place>,
    /// Places that nobody has, the lowest last.
    vacant: Vec<TenantId>,
    classes: usize,
    /// By tenant, then by class.
    slots: Vec<u32>,
    quotas: Vec<u32>,
    /// By class: the quota of those who have none of their own.
    default_quotas: Vec<u32>,
    /// By class: how many tenants have more than their quota.
    over: Vec<u32>,
    has_quotas: bool,
    /// Whom the last block was counted to: the next one is most often of the same salt.
    last: Option<(Salt, TenantId)>,
}

impl Tenants {
    /// A table with places for `limit` salts, and the shared one. Takes all memory now.
    ///
    /// # Panics
    /// If they are more than a record can tell apart.
    pub fn new(limit: u16, default_quotas: Vec<u32>) -> Self {
        assert!(limit <= Notes::TENANTS_MAX, "{limit} tenants are more than can be told apart");
        let (places, classes) = (usize::from(limit) + 1, default_quotas.len());
        Self {
            // Twice as many: what is removed and entered again never makes it grow.
            by_salt: HashMap::with_capacity(2 * places),
            places: vec![EMPTY; places],
            vacant: (1..=limit).rev().map(TenantId).collect(),
            classes,
            slots: vec![0; places * classes],
            quotas: default_quotas.repeat(places),
            over: vec![0; classes],
            has_quotas: default_quotas.iter().any(|quota| *quota != UNLIMITED),
            default_quotas,
            last: None,
        }
    }

    /// Who a block of `salt` would be counted to; `None` if it has none yet, and would get a place of its own.
    pub fn find(&self, salt: Salt) -> Option<TenantId> {
        match self.last {
            Some((last, tenant)) if last == salt => Some(tenant),
            _ => self.by_salt.get(&salt).copied().or(self.vacant.is_empty().then_some(TenantId::SHARED)),
        }
    }

    /// How many slots of a class those may have who have no quota of their own.
    pub fn default_quota(&self, class: usize) -> u32 {
        self.default_quotas[class]
    }

    /// Counts a new block of `salt`, and says to whom.
    pub(super) fn enter(&mut self, salt: Salt) -> TenantId {
        let tenant = match self.last {
            Some((last, tenant)) if last == salt => tenant,
            _ => self.settle(salt),
        };
        self.last = Some((salt, tenant));
        self.places[tenant.index()].records += 1;
        tenant
    }

    fn settle(&mut self, salt: Salt) -> TenantId {
        if let Some(tenant) = self.by_salt.get(&salt) {
            return *tenant;
        }
        let Some(tenant) = self.vacant.pop() else { return TenantId::SHARED };
        self.by_salt.insert(salt, tenant);
        self.places[tenant.index()] = Place { salt, ..EMPTY };
        let start = tenant.index() * self.classes;
        self.quotas[start..start + self.classes].copy_from_slice(&self.default_quotas);
        // It may be the one that was found to have no place.
        self.last = None;
        tenant
    }

    /// A block of `tenant` is forgotten.
    pub(super) fn leave(&mut self, tenant: TenantId) {
        self.places[tenant.index()].records -= 1;
        self.vacate_unused(tenant);
    }

    fn vacate_unused(&mut self, tenant: TenantId) {
        let Place { salt, records, has_own_quota } = self.places[tenant.index()];
        if tenant != TenantId::SHARED && records == 0 && !has_own_quota {
            self.by_salt.remove(&salt);
            self.places[tenant.index()] = EMPTY;
            self.vacant.push(tenant);
            self.last = None;
        }
    }

    /// A block of `tenant` has one slot more of a class.
    pub(super) fn count_in(&mut self, tenant: TenantId, class: usize) {
        let at = tenant.index() * self.classes + class;
        self.slots[at] += 1;
        self.over[class] += u32::from(self.quotas[at] != UNLIMITED && self.slots[at] == self.quotas[at] + 1);
    }

    /// A block of `tenant` has one slot less.
    pub(super) fn count_out(&mut self, tenant: TenantId, class: usize) {
        let at = tenant.index() * self.classes + class;
        self.over[class] -= u32::from(self.quotas[at] != UNLIMITED && self.slots[at] == self.quotas[at] + 1);
        self.slots[at] -= 1;
    }

    /// Gives `salt` a quota of its own, by class, and a place for good. False, and nothing done, if there is no place.
    pub fn set_quota(&mut self, salt: Salt, quotas: &[u32]) -> bool {
        let tenant = self.settle(salt);
        if tenant == TenantId::SHARED {
            return false;
        }
        self.places[tenant.index()].has_own_quota = true;
        self.replace_quota(tenant, quotas);
        true
    }

    /// Takes the quota of its own from `salt`, which has the default from now on.
    pub fn clear_quota(&mut self, salt: Salt) {
        let Some(tenant) = self.by_salt.get(&salt).copied() else { return };
        self.places[tenant.index()].has_own_quota = false;
        let quotas = self.default_quotas.clone();
        self.replace_quota(tenant, &quotas);
        self.vacate_unused(tenant);
    }

    fn replace_quota(&mut self, tenant: TenantId, quotas: &[u32]) {
        for (class, quota) in quotas.iter().enumerate() {
            let at = tenant.index() * self.classes + class;
            self.over[class] -= u32::from(self.slots[at] > self.quotas[at]);
            self.quotas[at] = *quota;
            self.over[class] += u32::from(self.slots[at] > *quota);
        }
        self.has_quotas = self.quotas.iter().any(|quota| *quota != UNLIMITED);
    }

    /// Whether anybody has a quota.
    pub fn has_quotas(&self) -> bool {
        self.has_quotas
    }

    /// How many slots of a class `tenant` has.
    pub fn slots(&self, tenant: TenantId, class: usize) -> u32 {
        self.slots[tenant.index() * self.classes + class]
    }

    /// How many it may have; [`UNLIMITED`] if there is no quota.
    pub fn quota(&self, tenant: TenantId, class: usize) -> u32 {
        self.quotas[tenant.index() * self.classes + class]
    }

    /// Whether `tenant` has more than its quota.
    pub fn is_over(&self, tenant: TenantId, class: usize) -> bool {
        self.slots(tenant, class) > self.quota(tenant, class)
    }

    /// Whether anybody has more than their quota.
    pub fn is_any_over(&self, class: usize) -> bool {
        self.over[class] > 0
    }

    /// All tenants that have a block or a quota, in the order of their places, with their salts; the shared one has none.
    pub fn iter(&self) -> impl Iterator<Item = (Option<Salt>, TenantId)> + '_ {
        let shared = (self.places[0].records > 0).then_some((None, TenantId::SHARED));
        let own = self.places.iter().zip(0..=u16::MAX).skip(1).filter_map(|(place, index)| {
            let is_there = place.records > 0 || place.has_own_quota;
            is_there.then_some((Some(place.salt), TenantId(index)))
        });
        shared.into_iter().chain(own)
    }

    /// Asserts T1 and T2 against what was counted: blocks by tenant, and slots by tenant and class. For tests.
    ///
    /// # Panics
    /// If one of them does not hold.
    pub(super) fn check(&self, records: &HashMap<TenantId, u32>, slots: &HashMap<(TenantId, usize), u32>) {
        for (index, place) in self.places.iter().enumerate() {
            let tenant = TenantId(u16::try_from(index).expect("no more than the limit"));
            let counted = records.get(&tenant).copied().unwrap_or(0);
            assert!(
                counted == place.records,
                "T1: {tenant:?} has {counted} blocks, and counts {}",
                place.records
            );
            for class in 0..self.classes {
                let counted = slots.get(&(tenant, class)).copied().unwrap_or(0);
                let kept = self.slots(tenant, class);
                assert!(
                    counted == kept,
                    "T2: {tenant:?} has {counted} slots of class {class}, and counts {kept}"
                );
            }
        }
        for class in 0..self.classes {
            let over = (0..self.places.len()).filter(|place| {
                self.slots[place * self.classes + class] > self.quotas[place * self.classes + class]
            });
            let counted = over.count();
            assert!(counted == self.over[class] as usize, "T2: {counted} are over in class {class}");
        }
        assert!(self.vacant.len() + self.by_salt.len() + 1 == self.places.len(), "T1: a place is lost");
    }
}

#[cfg(test)]
mod tests {
    use super::{Salt, TenantId, Tenants, UNLIMITED};

    #[test]
    fn salts_beyond_the_table_share_one_place_and_places_are_used_again() {
        let mut tenants = Tenants::new(2, vec![UNLIMITED]);
        let [first, second, third] = [1, 2, 3].map(|salt| tenants.enter(Salt(salt)));
        assert_eq!([first, second, third], [TenantId(1), TenantId(2), TenantId::SHARED]);
        assert_eq!(tenants.enter(Salt(4)), TenantId::SHARED);
        assert_eq!(tenants.find(Salt(4)), Some(TenantId::SHARED));
        tenants.leave(first);
        assert_eq!(tenants.enter(Salt(4)), TenantId(1), "it has a place from now on");
        tenants.leave(TenantId::SHARED);
        tenants.leave(TenantId::SHARED);
        assert_eq!(tenants.iter().map(|(salt, _)| salt).collect::<Vec<_>>(), [Some(Salt(4)), Some(Salt(2))]);
    }

    #[test]
    fn a_tenant_is_over_when_it_has_more_than_its_quota() {
        let mut tenants = Tenants::new(2, vec![2, UNLIMITED]);
        let tenant = tenants.enter(Salt(1));
        (0..2).for_each(|_| tenants.count_in(tenant, 0));
        assert!(!tenants.is_over(tenant, 0) && !tenants.is_any_over(0));
        tenants.count_in(tenant, 0);
        (0..9).for_each(|_| tenants.count_in(tenant, 1));
        assert!(tenants.is_over(tenant, 0) && tenants.is_any_over(0) && !tenants.is_any_over(1));
        assert!(tenants.set_quota(Salt(1), &[3, 8]));
        assert!(!tenants.is_any_over(0) && tenants.is_over(tenant, 1));
        tenants.clear_quota(Salt(1));
        assert!(tenants.is_any_over(0) && !tenants.is_any_over(1));
        tenants.count_out(tenant, 0);
        assert!(!tenants.is_any_over(0));
    }

    #[test]
    fn a_quota_keeps_its_place_without_a_block() {
        let mut tenants = Tenants::new(1, vec![UNLIMITED]);
        assert!(!tenants.has_quotas());
        assert_eq!(tenants.find(Salt(1)), None);
        assert!(tenants.set_quota(Salt(1), &[5]) && tenants.has_quotas());
        assert!(!tenants.set_quota(Salt(2), &[5]), "there is no place left");
        let tenant = tenants.enter(Salt(1));
        tenants.leave(tenant);
        assert_eq!(tenants.find(Salt(1)), Some(tenant));
        assert_eq!(tenants.quota(tenant, 0), 5);
        tenants.clear_quota(Salt(1));
        assert!(tenants.set_quota(Salt(2), &[5]));
    }
}
