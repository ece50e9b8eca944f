//! What a pager is built from, and whether it fits together.
//! Layer 9. Uses `ids`, `error`, `layout`, `tier`. Known by: `pager`.

use crate::config::{Config, DeviceOwner};
use crate::error::Error;
use crate::ids::TierId;
use crate::layout::{Attention, ModelLayout};
use crate::tier::{Lane, Tier};
use crate::units::Bytes;
use std::sync::Arc;

/// The tiers and lanes that a backend crate brings.
#[derive(Clone, Debug, Default)]
pub struct Backend {
    /// A device tier, and below it a host tier and a file tier, or the first of them, or none.
    pub tiers: Vec<Arc<dyn Tier>>,
    /// The lanes between neighbours, each way, and one within the device.
    pub lanes: Vec<Arc<dyn Lane>>,
}

/// A backend by tier.
pub(super) type TierSet = [Option<Arc<dyn Tier>>; TierId::COUNT];

fn wrong(setting: &'static str, why: String) -> Error {
    Error::Configuration { setting, why }
}

/// Sorts the tiers by kind.
///
/// # Errors
/// [`Error::Configuration`] if a group is of a kind that is not served, the device tier is missing, a kind is there twice, a file tier has no host tier above it, or
/// the slots of a tier don't fit the model.
pub(super) fn tier_set(model: &ModelLayout, config: &Config, backend: &Backend) -> Result<TierSet, Error> {
    if config.device_owner == DeviceOwner::Engine && (model.groups().len() != 1 || model.anchor().is_none()) {
        let why =
            "device slots of the engine's are served for models with one group of full attention".to_owned();
        return Err(wrong("Config::device_owner", why));
    }
    if let Some(group) = model.groups().iter().find(|group| group.attention == Attention::State) {
        let why = format!("{group:?} carries a state from token to token, which is not served yet");
        return Err(wrong("model layout", why));
    }
    let mut tiers = TierSet::default();
    for tier in &backend.tiers {
        let place = &mut tiers[tier.id().index()];
        if place.is_some() {
            return Err(wrong("Backend::tiers", format!("two {} tiers; bring one of each kind", tier.id())));
        }
        check_classes(model, tier.as_ref())?;
        *place = Some(Arc::clone(tier));
    }
    if tiers[TierId::Device.index()].is_none() {
        return Err(wrong(
            "Backend::tiers",
            "no device tier; a host tier of limited size can play it".to_owned(),
        ));
    }
    if tiers[TierId::File.index()].is_some() && tiers[TierId::Host.index()].is_none() {
        return Err(wrong(
            "Backend::tiers",
            "a file tier needs a host tier, through which its blocks pass".to_owned(),
        ));
    }
    for (near, far) in [(TierId::Device, TierId::Host), (TierId::Host, TierId::File)] {
        if tiers[far.index()].is_some() {
            require_lane(backend, near, far)?;
            require_lane(backend, far, near)?;
        }
    }
    require_lane(backend, TierId::Device, TierId::Device)?;
    Ok(tiers)
}

fn require_lane(backend: &Backend, source: TierId, target: TierId) -> Result<(), Error> {
    let is_there = |lane: &Arc<dyn Lane>| lane.ends().source == source && lane.ends().target == target;
    if backend.lanes.iter().any(is_there) {
        return Ok(());
    }
    Err(wrong("Backend::lanes", format!("no lane from {source} to {target}")))
}

fn check_classes(model: &ModelLayout, tier: &dyn Tier) -> Result<(), Error> {
    let classes = tier.classes();
    if classes.len() != model.groups().len() {
        let why = format!(
            "tier {} has {} slot classes for {} groups",
            tier.id(),
            classes.len(),
            model.groups().len()
        );
        return Err(wrong("Backend::tiers", why));
    }
    for (class, group) in classes.iter().zip(model.group_ids()) {
        let least = if tier.id() == TierId::Device {
            model.part_bytes(group)
        } else {
            model.slot_bytes(group, tier.format())
        };
        if class.slot_bytes < least || class.slots == 0 {
            let why = format!(
                "tier {} has {} slots of {} for group {group:?}; each part needs {least}, and there must be at least one slot",
                tier.id(),
                class.slots,
                class.slot_bytes
            );
            return Err(wrong("Backend::tiers", why));
        }
    }
    Ok(())
}

/// Capacities by tier, then by group.
pub(super) fn capacities(tiers: &TierSet) -> [Vec<u32>; TierId::COUNT] {
    TierId::ALL.map(|tier| match &tiers[tier.index()] {
        Some(tier) => tier.classes().iter().map(|class| class.slots).collect(),
        None => Vec::new(),
    })
}

/// How many records of blocks these slots need: one lives by a slot, or by a reference to a block without one, which has a device slot
/// set aside for it.
///
/// # Errors
/// [`Error::Configuration`] if there are not as many names.
pub(super) fn records(capacities: &[Vec<u32>; TierId::COUNT]) -> Result<usize, Error> {
    let slots: u64 = capacities.iter().flatten().map(|slots| u64::from(*slots)).sum();
    let set_aside: u64 = capacities[TierId::Device.index()].iter().map(|slots| u64::from(*slots)).sum();
    usize::try_from(slots + set_aside).ok().filter(|blocks| *blocks < u32::MAX as usize).ok_or_else(|| {
        let why = format!("{slots} slots in all tiers are more than there are names for; use larger blocks");
        wrong("Backend::tiers", why)
    })
}

/// Bytes that a move carries, by group.
pub(super) fn move_bytes(model: &ModelLayout) -> Vec<Bytes> {
    model.group_ids().map(|group| model.part_bytes(group)).collect()
}
