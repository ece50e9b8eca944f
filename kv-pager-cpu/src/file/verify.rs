//! Verifying: reading payloads for no one, to find damage before it is asked for.
//! Uses `file::group`. Known by: `file::inspect`, `file::scrub`.
//!
//! - **VE1** a slot that is written meanwhile is not judged, and nobody is kept from writing it: a slot is judged if its
//!   record is after the reading what it was before, and damage only if its header on the file is too;
//! - **VE2** bytes go to a buffer of the reader's own, so that direct access is possible and no cache is filled.

use super::drive::{self, Drive};
use super::group::Group;
use super::header::{Found, SlotState};
use super::placement::Place;
use super::records::{Record, SlotUse};
use kv_pager::ids::SlotId;
use memmap2::MmapMut;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes read at once.
const PIECE_BYTES: usize = 4 << 20;

/// A piece of one class: adjacent slots of one directory.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) directory: usize,
    pub(super) local: Range<u64>,
}

/// A reader's own memory, at a page.
#[derive(Debug)]
pub(super) struct Buffer {
    map: MmapMut,
}

impl Buffer {
    /// # Errors
    /// What the system says when it has no memory.
    pub(super) fn new(group: &Group) -> io::Result<Self> {
        Ok(Self { map: MmapMut::map_anon(group.slot_bytes * slots_at_once(group))? })
    }
}

fn slots_at_once(group: &Group) -> usize {
    (PIECE_BYTES / group.slot_bytes).max(1)
}

/// All pieces of a class.
pub(super) fn pieces(group: &Group) -> Vec<Piece> {
    let slots = u32::try_from(group.slots()).expect("a class has fewer than 2^32 slots");
    let mut pieces = Vec::new();
    for directory in 0..group.files.len() {
        let count = group.placement.slots_in(directory, slots);
        let step = slots_at_once(group) as u64;
        let starts = (0..count).step_by(slots_at_once(group));
        pieces.extend(starts.map(|start| Piece { directory, local: start..(start + step).min(count) }));
    }
    pieces
}

/// Reads the payloads of `piece`, and calls `judge` for each that should be whole with whether it is. Returns the bytes read.
/// Blocks on I/O.
pub(super) fn verify(
    group: &Group,
    piece: &Piece,
    buffer: &mut Buffer,
    mut judge: impl FnMut(SlotId, bool),
) -> u64 {
    let files = &group.files[piece.directory];
    let slot_at = |local| {
        let slot = group.placement.slot(Place { directory: piece.directory, local });
        usize::try_from(slot).expect("a slot's number is a u32")
    };
    let mut bytes_read = 0;
    let bytes = group.slot_bytes;
    // What is free is not read.
    let wanted: Vec<(u64, Record)> = {
        let records = group.records.lock();
        let full = piece.local.clone().map(|local| (local, records[slot_at(local)]));
        full.filter(|(_, record)| record.usage == SlotUse::Full).collect()
    };
    for run in wanted.chunk_by(|last, next| last.0 + 1 == next.0) {
        let into = &mut buffer.map[..bytes * run.len()];
        let offset = run[0].0 * bytes as u64;
        let whole = read(&*files.payloads, into, offset);
        bytes_read += into.len() as u64;
        for ((local, before), payload) in run.iter().zip(into.chunks_exact_mut(bytes)) {
            let slot = slot_at(*local);
            let is_readable = whole.is_ok() || read(&*files.payloads, payload, *local * bytes as u64).is_ok();
            let is_whole = is_readable && xxh3_64(&payload[..group.kept_bytes]) == before.checksum;
            let after = group.records.lock()[slot];
            let is_same = after.usage == SlotUse::Full && after.generation == before.generation;
            if is_same && (is_whole || header_says(group, piece.directory, *local, before.checksum)) {
                judge(SlotId::from_index(slot), is_whole);
            }
        }
        files.payloads.forget(offset, (bytes * run.len()) as u64);
    }
    bytes_read
}

fn read(drive: &dyn Drive, into: &mut [u8], offset: u64) -> io::Result<()> {
    match drive::read_all(drive, &mut [IoSliceMut::new(into)], offset) {
        // Behind the end of a file that was cut: not the bytes that were written.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        result => result.map(drop),
    }
}

/// Whether the header on the file still promises a payload of this checksum (VE1).
fn header_says(group: &Group, directory: usize, local: u64, checksum: u64) -> bool {
    let mut header = vec![0; group.shape.bytes()];
    let offset = local * header.len() as u64;
    let slot =
        usize::try_from(group.placement.slot(Place { directory, local })).expect("a slot's number is a u32");
    let headers = &*group.files[directory].headers;
    drive::read_all(headers, &mut [IoSliceMut::new(&mut header)], offset).is_ok()
        && match group.shape.read(group.id, SlotId::from_index(slot), &header) {
            Found::Sound(stamp, _) => {
                matches!(stamp.state, SlotState::Full | SlotState::Nameless)
                    && stamp.payload_checksum == checksum
            }
            Found::Blank | Found::Damaged => false,
        }
}
