//! Opening a file tier: making, checking and resizing the files of its directories.
//! Uses `file::{volume, superblock, placement, group, recovery}`. Known by: `file`.
//!
//! - **OP1** what belongs to another model, layout, version or byte order is refused, and left as it is;
//! - **OP2** a set of directories counts as made once the first of them says so; before, it is made again from the start;
//! - **OP3** all files have their full size on the drive before the first slot is used: a full drive is an error here.

use super::connect::{Connection, connect, header_shape, placement};
use super::drive::{Access, FileKind};
use super::group::Group;
use super::placement::Placement;
use super::superblock::{Stage, Superblock};
use super::volume::{Volume, fault, refusal};
use super::{FileSpec, Identity, probe};
use kv_pager::Error;
use kv_pager::units::Bytes;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

/// The most directories of one tier.
const DIRECTORIES_MAX: usize = 64;

/// A tier's files, ready.
#[derive(Debug)]
pub(super) struct Opened {
    /// Their locks are held as long as they are.
    pub(super) volumes: Vec<Volume>,
    pub(super) groups: Box<[Group]>,
    /// Sizes of the payload files as they were found, by group and directory.
    pub(super) payload_bytes: Vec<Vec<u64>>,
    pub(super) access: Access,
    /// Whether they were made now.
    pub(super) is_new: bool,
}

/// Opens the directories of `spec`, or makes them.
pub(super) fn open(identity: &Identity, spec: &FileSpec) -> Result<Opened, Error> {
    check(identity, spec)?;
    let mut volumes = Vec::with_capacity(spec.directories.len());
    match claim_and_connect(&mut volumes, identity, spec) {
        Ok(Connected { groups, payload_bytes, access, is_new }) => {
            Ok(Opened { volumes, groups, payload_bytes, access, is_new })
        }
        Err(error) => {
            // The last first: an earlier one may have made a directory that a later one lies in.
            volumes.into_iter().rev().for_each(Volume::discard);
            Err(error)
        }
    }
}

/// What is made of claimed directories.
struct Connected {
    groups: Box<[Group]>,
    payload_bytes: Vec<Vec<u64>>,
    access: Access,
    is_new: bool,
}

/// Claims the directories of `spec`, and makes them or opens them as they are; `volumes` are those that were claimed.
fn claim_and_connect(
    volumes: &mut Vec<Volume>,
    identity: &Identity,
    spec: &FileSpec,
) -> Result<Connected, Error> {
    for directory in &spec.directories {
        volumes.push(Volume::claim(directory)?);
    }
    let is_made = |volume: &Volume| volume.superblock().is_some_and(|block| block.stage == Stage::Complete);
    if volumes.iter().any(is_made) {
        reopen(volumes, identity, spec)
    } else {
        create(volumes, identity, spec)
    }
}

fn check(identity: &Identity, spec: &FileSpec) -> Result<(), Error> {
    let wrong = |why: String| Err(Error::Configuration { setting: "file tier", why });
    let count = spec.directories.len();
    if count == 0 || count > DIRECTORIES_MAX {
        return wrong(format!("{count} directories; give 1 to {DIRECTORIES_MAX}"));
    }
    let groups = identity.model.groups().len();
    if spec.slots.len() != groups {
        return wrong(format!(
            "{} slot counts for a model of {groups} groups; give one each",
            spec.slots.len()
        ));
    }
    if let Some(zero) = spec.slots.iter().position(|&slots| slots == 0 || slots == u32::MAX) {
        return wrong(format!("group {zero} gets {} slots; give it 1 or more", spec.slots[zero]));
    }
    if identity.ranks == 0 {
        return wrong("a part of 0 ranks; give it 1 or more".to_owned());
    }
    if spec.extra_keys_max > 256 {
        return wrong(format!("{} extra keys a block; 256 are the most", spec.extra_keys_max));
    }
    Ok(())
}

fn create(volumes: &mut [Volume], identity: &Identity, spec: &FileSpec) -> Result<Connected, Error> {
    let count = u32::try_from(volumes.len()).expect("checked");
    let random = RandomState::new();
    let name = std::process::id();
    let mut superblock = Superblock {
        stage: Stage::Creating,
        set: (u128::from(random.hash_one(name)) << 64) | u128::from(random.hash_one((name, 1))),
        stripe_index: 0,
        stripe_count: count,
        model: identity.model.clone(),
        format: identity.format,
        fingerprint: identity.fingerprint,
        hash_key: identity.hash_key,
        ranks: identity.ranks,
        access: spec.access,
        extra_keys_max: spec.extra_keys_max,
        slots: spec.slots.clone(),
        stripe_slots: Vec::new(),
    };
    superblock.stripe_slots = (0..spec.slots.len())
        .map(|group| Placement::new(count, superblock.slot_bytes(group).as_u64()).stripe_slots)
        .collect();
    // Whatever an earlier try left behind is not worn by this set.
    volumes.iter_mut().try_for_each(Volume::clear)?;
    write_superblocks(volumes, &superblock, spec)?;
    let payload_bytes = allocate(volumes, &superblock)?;
    superblock.access = settle(volumes, &superblock)?;
    let (groups, access) = connect(&paths(volumes), &superblock, connection(spec, &superblock))?;
    superblock.stage = Stage::Complete;
    write_superblocks(volumes, &superblock, spec)?;
    Ok(Connected { groups, payload_bytes, access, is_new: true })
}

fn reopen(volumes: &mut [Volume], identity: &Identity, spec: &FileSpec) -> Result<Connected, Error> {
    if let Some(stranger) = volumes.iter().find(|volume| volume.superblock().is_none()) {
        let why = "it has no superblock, but the other directories hold parts of a tier; give the same directories as before, or \
                   remove the kv-pager.* files of all of them";
        return Err(refusal(stranger.path(), why));
    }
    let order = |volume: &Volume| volume.superblock().map_or(0, |block| block.stripe_index);
    volumes.sort_by_key(order);
    for (index, volume) in volumes.iter().enumerate() {
        let found = volume.superblock().expect("looked at above");
        if let Some(why) = differs(found, identity, volumes.len(), index, volumes[0].superblock()) {
            return Err(refusal(volume.path(), &why));
        }
    }
    let mut superblock = volumes[0].superblock().expect("looked at above").clone();
    let is_shrinking = superblock.slots.iter().zip(&spec.slots).any(|(had, wanted)| wanted < had);
    let is_growing = superblock.slots.iter().zip(&spec.slots).any(|(had, wanted)| wanted > had);
    superblock.slots.clone_from(&spec.slots);
    // Slots that go are forgotten before their bytes go; slots that come are there before they are promised.
    if is_shrinking {
        write_superblocks(volumes, &superblock, spec)?;
    }
    let payload_bytes = allocate(volumes, &superblock)?;
    if is_growing || volumes.iter().any(Volume::is_superblock_worn) {
        write_superblocks(volumes, &superblock, spec)?;
    }
    let (groups, access) = connect(&paths(volumes), &superblock, connection(spec, &superblock))?;
    Ok(Connected { groups, payload_bytes, access, is_new: false })
}

/// Why `found` can't be used as directory `index` of `count` (OP1).
fn differs(
    found: &Superblock,
    identity: &Identity,
    count: usize,
    index: usize,
    first: Option<&Superblock>,
) -> Option<String> {
    let place = || format!("directory {} of {}", found.stripe_index + 1, found.stripe_count);
    if first.is_none_or(|first| first.set != found.set) {
        return Some(
            "it belongs to another tier than the other directories; give the same ones as before".to_owned(),
        );
    }
    if found.stripe_count as usize != count || found.stripe_index as usize != index {
        return Some(format!("it is {} of a tier; give the same directories as before", place()));
    }
    if found.fingerprint == identity.fingerprint && found.ranks != identity.ranks {
        return Some(format!(
            "its blocks are split over {} and the model runs on {}; run it on as many as before, or choose another directory",
            ranks(found.ranks),
            ranks(identity.ranks)
        ));
    }
    let what = if found.fingerprint != identity.fingerprint {
        "for another model (its fingerprint differs)"
    } else if found.model != identity.model {
        "for another layout of the model's cache"
    } else if found.format != identity.format {
        "in another format"
    } else if found.hash_key != identity.hash_key {
        "with another hash key"
    } else {
        return None;
    };
    Some(format!("it was written {what}; it was left alone, choose another directory"))
}

fn ranks(count: u32) -> String {
    format!("{count} rank{}", if count == 1 { "" } else { "s" })
}

/// Writes all superblocks, the first directory's first: what it says counts (OP2).
fn write_superblocks(volumes: &mut [Volume], superblock: &Superblock, spec: &FileSpec) -> Result<(), Error> {
    for (index, volume) in (0..).zip(volumes) {
        let own = Superblock { stripe_index: index, ..superblock.clone() };
        volume.write_superblock(&own, spec.interpose.as_deref())?;
    }
    Ok(())
}

/// Gives all files their size (OP3). Returns the sizes of the payload files as they were, by group and directory.
pub(super) fn allocate(volumes: &mut [Volume], superblock: &Superblock) -> Result<Vec<Vec<u64>>, Error> {
    let header_bytes = Bytes::new(header_shape(superblock).bytes() as u64);
    let mut payload_bytes = vec![Vec::new(); superblock.slots.len()];
    for (directory, volume) in volumes.iter_mut().enumerate() {
        for (group, sizes) in payload_bytes.iter_mut().enumerate() {
            let slots = placement(superblock, group).slots_in(directory, superblock.slots[group]);
            let size = |each: Bytes| each.checked_mul(slots).unwrap_or(Bytes::new(u64::MAX >> 1));
            volume.allocate(&volume.file(group, FileKind::Headers), size(header_bytes))?;
            let payloads = volume.file(group, FileKind::Payloads);
            sizes.push(volume.allocate(&payloads, size(superblock.slot_bytes(group)))?.as_u64());
        }
    }
    Ok(payload_bytes)
}

fn paths(volumes: &[Volume]) -> Vec<&Path> {
    volumes.iter().map(Volume::path).collect()
}

/// How payloads are to be accessed: as was asked for, or whichever way is faster on the drive of the first directory.
fn settle(volumes: &[Volume], superblock: &Superblock) -> Result<Access, Error> {
    if superblock.access != Access::Auto {
        return Ok(superblock.access);
    }
    let path = volumes[0].file(0, FileKind::Payloads);
    let bytes = fs::metadata(&path).map_or(0, |found| found.len());
    probe::faster(&path, bytes).map_err(|source| fault(&path, "measure the drive", source))
}

/// What the caller asks for goes before what was settled when the tier was made.
fn connection<'a>(spec: &'a FileSpec, superblock: &Superblock) -> Connection<'a> {
    let access = if spec.access == Access::Auto { superblock.access } else { spec.access };
    let (has_rings, interpose) = (spec.has_rings, spec.interpose.as_deref());
    Connection { access, has_rings, interpose, is_writable: true, may_lack_files: false }
}
