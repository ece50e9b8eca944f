//! Inspecting: what the files of a tier hold, and whether it is whole.
//! Uses `file::{connect, recovery, verify, volume}`. Known by: the command line.
//!
//! - **IN1** looking and verifying write nothing, and may be done while a process uses the tier;
//! - **IN3** repairing takes the locks before it looks, and tells what it found, not what it left;
//! - **IN4** a file that is missing is told as such, and the rest is shown: its slots count as if it were empty.

use super::connect::{Connection, connect};
use super::drive::Access;
use super::group::Group;
use super::header::{Found, SlotState};
use super::inspection::{Damage, Depth, Inspection, Making};
use super::open::allocate;
use super::records::SlotUse;
use super::recovery::{self, Census};
use super::superblock::{Stage, Superblock};
use super::verify;
use super::volume::{LOCK, Volume, fault, file, read_superblock, refusal};
use super::{FileKind, now_s};
use kv_pager::Error;
use kv_pager::ids::{SlotId, TierId};
use kv_pager::tier::RecoveredBlock;
use std::fs;
use std::path::{Path, PathBuf};

/// A directory, and what its superblock says.
struct Looked<'a> {
    directory: &'a Path,
    superblock: Option<Superblock>,
    /// Of two.
    whole_copies: usize,
}

/// Looks into all directories of one tier, in any order. Blocks on I/O.
///
/// # Errors
/// [`Error::Configuration`] if they are not all directories of one tier, or can't be read by this version, or are in use and
/// were to be repaired; [`Error::OutOfMemory`] if a drive hasn't got the bytes of a file that was to be repaired;
/// [`Error::Io`] for what the system refuses.
pub fn inspect(directories: &[PathBuf], depth: Depth) -> Result<Inspection, Error> {
    let mut volumes = Vec::new();
    let found = look_into(directories, depth, &mut volumes);
    if !found.as_ref().is_ok_and(|found| found.making == Making::Complete) {
        // Nothing was repaired, and a lock that was not there before is to be found by nobody.
        volumes.into_iter().for_each(Volume::discard);
    }
    found
}

/// As [`inspect`]; `volumes` are those that were claimed, if anything was to be repaired.
fn look_into(directories: &[PathBuf], depth: Depth, volumes: &mut Vec<Volume>) -> Result<Inspection, Error> {
    let mut looked = Vec::new();
    for directory in directories {
        fs::read_dir(directory)
            .map_err(|source| fault(directory, "read the directory; give one that holds a tier", source))?;
        if depth == Depth::Repair {
            volumes.push(Volume::claim(directory)?);
        }
        let found = read_superblock(directory)?;
        let whole_copies = found.as_ref().map_or(0, |(_, copies)| *copies);
        looked.push(Looked { directory, superblock: found.map(|(block, _)| block), whole_copies });
    }
    let mut inspection = Inspection::of_nothing(making(&looked));
    if inspection.making != Making::Complete {
        return Ok(inspection);
    }
    let superblock = in_order(&mut looked)?;
    let paths: Vec<&Path> = looked.iter().map(|looked| looked.directory).collect();
    let connection = Connection {
        // A copy on another file system may not be accessed as the tier was.
        access: if superblock.access == Access::Buffered { Access::Buffered } else { Access::Auto },
        has_rings: false,
        interpose: None,
        is_writable: depth == Depth::Repair,
        may_lack_files: true,
    };
    let (groups, _) = connect(&paths, &superblock, connection)?;
    inspection.files = 2 * (groups.len() * paths.len()) as u64;
    inspection.formats = vec![superblock.format.to_string()];
    inspection.slots = superblock.slots.iter().map(|&slots| u64::from(slots)).sum();
    for worn in looked.iter().filter(|looked| looked.whole_copies < 2) {
        let what = format!("{}: one copy of the superblock is damaged", worn.directory.display());
        inspection.damages.push(Damage { group: None, slot: None, what });
    }
    let mut blocks = Vec::new();
    for group in &groups {
        note_missing(group, &paths, &mut inspection);
        blocks.append(&mut look(group, &paths, &mut inspection));
        if depth != Depth::Look {
            verify_all(group, &mut inspection)?;
        }
        inspection.count_slots(group);
    }
    let is_whole = |block: &RecoveredBlock| {
        groups[block.group.index()].records.lock()[block.slot.index()].usage == SlotUse::Full
    };
    blocks.retain(is_whole);
    inspection.count_blocks(&groups, blocks);
    if depth == Depth::Repair {
        repair(&groups, &inspection.damages, volumes, &superblock)?;
    }
    Ok(inspection)
}

/// Notes which files of a class are not there.
fn note_missing(group: &Group, paths: &[&Path], inspection: &mut Inspection) {
    for directory in paths {
        for (kind, lost) in [
            (FileKind::Headers, "nothing is known of its slots"),
            (FileKind::Payloads, "what was in it is lost"),
        ] {
            let path = file(directory, group.id.index(), kind);
            if !path.exists() {
                let path = path.display();
                let what = format!(
                    "{path} is missing: {lost}; put it back, or have it made again, empty, by --repair or by opening the tier"
                );
                inspection.damages.push(Damage { group: Some(group.id.index()), slot: None, what });
            }
        }
    }
}

fn making(looked: &[Looked<'_>]) -> Making {
    let is_at = |stage| {
        looked.iter().filter_map(|looked| looked.superblock.as_ref()).any(|block| block.stage == stage)
    };
    let has_files = |looked: &Looked<'_>| {
        let names = fs::read_dir(looked.directory).into_iter().flatten().flatten();
        let mut names = names.map(|entry| entry.file_name());
        names.any(|name| name != LOCK && name.to_string_lossy().starts_with("kv-pager."))
    };
    if is_at(Stage::Complete) {
        Making::Complete
    } else if looked.iter().any(has_files) {
        Making::HalfCreated
    } else {
        Making::Empty
    }
}

/// Sorts the directories of one tier into the tier's order.
fn in_order(looked: &mut [Looked<'_>]) -> Result<Superblock, Error> {
    let count = looked.len();
    let index = |looked: &Looked<'_>| looked.superblock.as_ref().map_or(u32::MAX, |block| block.stripe_index);
    looked.sort_by_key(index);
    let first = looked[0].superblock.clone().ok_or_else(|| refusal(looked[0].directory, "it is no tier"))?;
    for (place, looked) in looked.iter().enumerate() {
        let belongs = looked.superblock.as_ref().is_some_and(|block| {
            block.set == first.set
                && block.stripe_index as usize == place
                && block.stripe_count as usize == count
        });
        if !belongs {
            let why =
                format!("the tier has {} directories; give all of them, and no other", first.stripe_count);
            return Err(refusal(looked.directory, &why));
        }
    }
    Ok(first)
}

/// Reads the headers of a class.
fn look(group: &Group, paths: &[&Path], inspection: &mut Inspection) -> Vec<RecoveredBlock> {
    let size = |path: &&Path| {
        fs::metadata(file(path, group.id.index(), FileKind::Payloads)).map_or(0, |meta| meta.len())
    };
    let sizes: Vec<u64> = paths.iter().map(size).collect();
    let mut census = Census::default();
    let blocks = recovery::read_headers(group, &sizes, &mut census, |slot, found, usage| match found {
        Found::Damaged => inspection.note(group.id, slot, "its header is damaged"),
        Found::Sound(stamp, _) => match stamp.state {
            SlotState::Full if usage == SlotUse::Empty => {
                inspection.note(group.id, slot, "its payload lies behind the end of its file");
            }
            SlotState::Full => inspection.note_date(stamp.written_s),
            SlotState::Retired => inspection.retired_slots += 1,
            SlotState::Void | SlotState::Writing | SlotState::Nameless => {}
        },
        Found::Blank => {}
    });
    inspection.interrupted_slots += census.interrupted;
    blocks
}

/// Reads the payloads of a class; what is damaged becomes spoiled.
fn verify_all(group: &Group, inspection: &mut Inspection) -> Result<(), Error> {
    let mut buffer = verify::Buffer::new(group).map_err(|source| Error::Io {
        tier: TierId::File,
        action: "cannot get memory to read payloads into".to_owned(),
        source,
    })?;
    for piece in verify::pieces(group) {
        let bytes = verify::verify(group, &piece, &mut buffer, |slot, is_whole| {
            if !is_whole {
                inspection.note(group.id, slot, "its payload is damaged");
                group.spoil(slot);
            }
        });
        inspection.verified_bytes += bytes;
    }
    Ok(())
}

/// Retires the slots among `damages`, and makes superblocks and files whole again.
fn repair(
    groups: &[Group],
    damages: &[Damage],
    volumes: &mut [Volume],
    superblock: &Superblock,
) -> Result<(), Error> {
    let fault =
        |source| Error::Io { tier: TierId::File, action: "cannot retire damaged slots".to_owned(), source };
    for damage in damages {
        if let (Some(group), Some(slot)) = (damage.group, damage.slot) {
            groups[group].condemn(SlotId::from_index(slot as usize));
        }
    }
    for group in groups {
        group.housekeep(now_s()).map_err(fault)?;
        group.files.iter().try_for_each(|files| files.headers.sync()).map_err(fault)?;
    }
    volumes.sort_by_key(|volume| volume.superblock().map_or(0, |block| block.stripe_index));
    for (stripe_index, volume) in (0..).zip(&mut *volumes) {
        if volume.is_superblock_worn() {
            volume.write_superblock(&Superblock { stripe_index, ..superblock.clone() }, None)?;
        }
    }
    allocate(volumes, superblock).map(drop)
}
