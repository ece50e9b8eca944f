//! Recovery: what the headers of a class say when the tier is opened.
//! Uses `file::{group, header, records}`. Known by: `file::open`, `file::inspect`.
//!
//! - **X1** no payload is read; a block whose payload is damaged is found out when it is asked for;
//! - **X2** a block is handed over only if its parent is, so that all of it can be reached (I6), and once for each class.
//!
//! Headers are read in large pieces; a piece that can't be read costs its slots, not the tier. A header that looks damaged is read
//! again before it counts as such: who inspects a tier that is in use may meet one that is half written.

use super::drive::{self, Drive};
use super::group::Group;
use super::header::{Found, SlotState};
use super::placement::Place;
use super::records::{Record, STRIKES_MAX, SlotUse};
use kv_pager::ids::{PrefixHash, SlotId};
use kv_pager::tier::RecoveredBlock;
use std::collections::HashSet;
use std::io::{self, IoSliceMut};

/// What the slots of a tier are, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Census {
    /// Slots that hold a payload.
    pub(crate) used: u64,
    /// Slots whose write was cut short: they are free.
    pub(crate) interrupted: u64,
    /// Slots that are not to be used.
    pub(crate) retired: u64,
    /// Headers whose checksum doesn't hold, and payloads that lay behind the end of their file.
    pub(crate) damaged: u64,
    /// Blocks whose parent is gone, and second copies.
    pub(crate) orphaned: u64,
}

/// Bytes read at once.
const PIECE_BYTES: usize = 1 << 20;

/// How often a header that looks damaged is read again.
const LOOKS: usize = 3;

/// Reads every header of `group`. `payload_bytes` are the sizes of its payload files as they were found, by directory.
pub(super) fn read_headers(
    group: &Group,
    payload_bytes: &[u64],
    census: &mut Census,
    mut found: impl FnMut(SlotId, &Found, SlotUse),
) -> Vec<RecoveredBlock> {
    let header_bytes = group.shape.bytes();
    let slots = u32::try_from(group.slots()).expect("a class has fewer than 2^32 slots");
    let mut records = group.records.lock();
    let mut blocks = Vec::new();
    let mut piece = vec![0; (PIECE_BYTES / header_bytes).max(1) * header_bytes];
    for (directory, files) in group.files.iter().enumerate() {
        let count = group.placement.slots_in(directory, slots);
        let mut local = 0;
        while local < count {
            let wanted = (count - local).min((piece.len() / header_bytes) as u64);
            let bytes = usize::try_from(wanted).expect("at most a piece") * header_bytes;
            let offset = local * header_bytes as u64;
            let readable = read_piece(&*files.headers, &mut piece[..bytes], offset, header_bytes);
            for (header, is_readable) in piece[..bytes].chunks_exact_mut(header_bytes).zip(readable) {
                let place = Place { directory, local };
                let index = usize::try_from(group.placement.slot(place)).expect("a slot's number is a u32");
                let slot = SlotId::from_index(index);
                let end = (local + 1) * group.slot_bytes as u64;
                let mut what = group.shape.read(group.id, slot, header);
                for _ in 0..LOOKS {
                    let is_settled = what != Found::Damaged || !is_readable;
                    if is_settled || read(&*files.headers, header, local * header_bytes as u64).is_err() {
                        break;
                    }
                    what = group.shape.read(group.id, slot, header);
                }
                let has_payload = payload_bytes[directory] >= end;
                records[index] = record(&what, is_readable, has_payload, census);
                if records[index].is_on_file && records[index].usage == SlotUse::Empty {
                    records[index].is_listed = true;
                    group.untold.lock().push(index);
                }
                found(slot, &what, records[index].usage);
                if let (Found::Sound(_, Some(block)), SlotUse::Full) = (what, records[index].usage) {
                    blocks.push(block);
                }
                local += 1;
            }
        }
    }
    blocks
}

/// What becomes of a slot whose header was found.
fn record(found: &Found, is_readable: bool, has_payload: bool, census: &mut Census) -> Record {
    if !is_readable {
        census.damaged += 1;
        return Record { usage: SlotUse::Retired, ..Record::BLANK };
    }
    let stamp = match found {
        Found::Blank => return Record::BLANK,
        Found::Damaged => {
            census.damaged += 1;
            return Record { is_on_file: true, ..Record::BLANK };
        }
        Found::Sound(stamp, _) => stamp,
    };
    let strikes = u8::try_from(stamp.strikes).unwrap_or(u8::MAX);
    let sound =
        Record { strikes, generation: stamp.generation, checksum: stamp.payload_checksum, ..Record::BLANK };
    match stamp.state {
        SlotState::Void => sound,
        SlotState::Writing => {
            census.interrupted += 1;
            sound
        }
        SlotState::Retired => {
            census.retired += 1;
            let usage = if strikes >= STRIKES_MAX { SlotUse::Retired } else { SlotUse::Empty };
            Record { usage, ..sound }
        }
        SlotState::Full | SlotState::Nameless if !has_payload => {
            census.damaged += 1;
            Record { is_on_file: true, ..sound }
        }
        SlotState::Full => {
            census.used += 1;
            Record { usage: SlotUse::Full, is_on_file: true, ..sound }
        }
        // Nobody can ask for it by name, so it is room.
        SlotState::Nameless => Record { is_on_file: true, ..sound },
    }
}

/// Reads headers, piecewise where the whole can't be read; tells which could.
fn read_piece(drive: &dyn Drive, into: &mut [u8], offset: u64, header_bytes: usize) -> Vec<bool> {
    into.fill(0);
    let whole = read(drive, into, offset);
    let each = (offset..).step_by(header_bytes).zip(into.chunks_exact_mut(header_bytes));
    match whole {
        Ok(()) => each.map(|_| true).collect(),
        Err(error) => {
            tracing::warn!(%error, offset, "headers cannot be read; what can't be costs its slots");
            each.map(|(offset, header)| read(drive, header, offset).is_ok()).collect()
        }
    }
}

fn read(drive: &dyn Drive, into: &mut [u8], offset: u64) -> io::Result<()> {
    match drive::read_all(drive, &mut [IoSliceMut::new(into)], offset) {
        // Behind the end of a file that was cut there are no headers.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        result => result.map(drop),
    }
}

/// Keeps of the `blocks` of all classes what can be reached, parents first, and gives up the rest (X2).
pub(super) fn reachable(
    groups: &[Group],
    mut blocks: Vec<RecoveredBlock>,
    census: &mut Census,
) -> Vec<RecoveredBlock> {
    // Of two copies the one that was asked for more often goes first, and stays.
    blocks
        .sort_unstable_by_key(|block| (block.depth, block.group.index(), u32::MAX - block.uses, block.slot));
    let mut names: HashSet<PrefixHash> = HashSet::with_capacity(blocks.len());
    let mut copies = HashSet::with_capacity(blocks.len());
    blocks.retain(|block| {
        let is_reachable = block.parent.is_none_or(|parent| names.contains(&parent));
        let is_first = is_reachable && copies.insert((block.group.index(), block.hash));
        if is_first {
            names.insert(block.hash);
        } else {
            census.orphaned += 1;
            census.used = census.used.saturating_sub(1);
            groups[block.group.index()].give_up(block.slot);
        }
        is_first
    });
    blocks
}
