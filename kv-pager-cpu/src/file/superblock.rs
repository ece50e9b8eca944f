//! The superblock: what the files of a directory are, and whose.
//! Uses `kv_pager::layout`. Known by: `file`.
//!
//! - **U1** a file's bytes are used only under a superblock whose checksum holds, and that says the same version, byte order,
//!   model, hash key, number of ranks and format as the caller;
//! - **U2** it is kept twice, in two pages; a reader takes the first that is whole.
//!
//! Numbers are in the machine's own byte order, and the order is marked: a cache doesn't travel between machines.

use super::codes;
use super::drive::Access;
use bytemuck::{Pod, Zeroable};
use kv_pager::ids::{GroupId, ModelFingerprint};
use kv_pager::layout::{Format, KvGroup, ModelLayout};
use kv_pager::units::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The version of the format this code reads and writes (`docs/file-format.md`).
pub(crate) const VERSION: u32 = 1;
/// Bytes of one copy.
pub(crate) const COPY_BYTES: usize = 4096;
const MAGIC: [u8; 8] = *b"KVPAGER1";
const BYTE_ORDER: u32 = 0x0a0b_0c0d;

/// How far the making of a set of directories had come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// The set was being made: there is nothing in it.
    Creating,
    /// The set is in use.
    Complete,
}

/// What a superblock says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Superblock {
    pub(crate) stage: Stage,
    /// Tells the files that belong together.
    pub(crate) set: u128,
    /// Which of the set's directories this is, of how many.
    pub(crate) stripe_index: u32,
    pub(crate) stripe_count: u32,
    pub(crate) model: ModelLayout,
    pub(crate) format: Format,
    pub(crate) fingerprint: ModelFingerprint,
    pub(crate) hash_key: u128,
    /// Of how many ranks' slices a payload consists.
    pub(crate) ranks: u32,
    /// How payloads are read and written; [`Access::Auto`] if that was never settled.
    pub(crate) access: Access,
    /// The most extra keys that a header has room for.
    pub(crate) extra_keys_max: u32,
    /// By group, over all directories.
    pub(crate) slots: Vec<u32>,
    /// By group: slots that stand together in one directory.
    pub(crate) stripe_slots: Vec<u32>,
}

/// Why bytes are no superblock that this code can use.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum SuperblockFault {
    #[error("it is no file of kv-pager's")]
    Foreign,
    #[error("it was written on a machine of the other byte order")]
    ByteOrder,
    #[error("it has version {0} of the format, and this program reads version {VERSION}")]
    Version(u32),
    #[error("its checksum does not hold")]
    Damaged,
}

/// The bytes of one group's class.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ClassRecord {
    attention: [u32; 3],
    layers: u32,
    entry: [u32; 3],
    dtype: u32,
    slots: u32,
    stripe_slots: u32,
    reserved: [u32; 6],
}

/// The bytes of one copy, up to its end.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Record {
    magic: [u8; 8],
    byte_order: u32,
    version: u32,
    /// See [`checksum`].
    checksum: u64,
    set: [u64; 2],
    fingerprint: [u64; 2],
    hash_key: [u64; 2],
    stage: u32,
    stripe_index: u32,
    stripe_count: u32,
    tokens_per_block: u32,
    groups: u32,
    format: u32,
    extra_keys_max: u32,
    access: u32,
    classes: [ClassRecord; ModelLayout::GROUPS_MAX],
    /// 0 is 1.
    ranks: u32,
    reserved: u32,
}

/// Where the checksum's own bytes end.
const CHECKSUM_END: usize = 24;

/// Covers the page but for the checksum itself, and is the same in every version of the format.
fn checksum(page: &[u8]) -> u64 {
    xxh3_64_with_seed(&page[CHECKSUM_END..], xxh3_64(&page[..CHECKSUM_END - size_of::<u64>()]))
}

/// A 128-bit number as two fields that need no alignment of 16.
pub(super) fn halves(number: u128) -> [u64; 2] {
    let low = u64::try_from(number & u128::from(u64::MAX)).expect("masked");
    [u64::try_from(number >> 64).expect("shifted"), low]
}

/// The inverse of [`halves`].
pub(super) fn whole(halves: [u64; 2]) -> u128 {
    (u128::from(halves[0]) << 64) | u128::from(halves[1])
}

impl Superblock {
    /// Both copies.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut record = Record {
            magic: MAGIC,
            byte_order: BYTE_ORDER,
            version: VERSION,
            checksum: 0,
            set: halves(self.set),
            fingerprint: halves(self.fingerprint.0),
            hash_key: halves(self.hash_key),
            stage: u32::from(self.stage == Stage::Complete),
            stripe_index: self.stripe_index,
            stripe_count: self.stripe_count,
            tokens_per_block: self.model.tokens_per_block(),
            groups: u32::try_from(self.model.groups().len()).expect("at most GROUPS_MAX"),
            format: codes::encode(&codes::FORMATS, self.format),
            extra_keys_max: self.extra_keys_max,
            access: codes::encode(&codes::ACCESSES, self.access),
            classes: Zeroable::zeroed(),
            ranks: self.ranks,
            reserved: 0,
        };
        for (index, group) in self.model.groups().iter().enumerate() {
            record.classes[index] = ClassRecord {
                attention: codes::attention_code(group.attention),
                layers: group.layers,
                entry: codes::entry_code(group.entry),
                dtype: codes::encode(&codes::DTYPES, group.dtype),
                slots: self.slots[index],
                stripe_slots: self.stripe_slots[index],
                reserved: [0; 6],
            };
        }
        let mut page = vec![0; COPY_BYTES];
        page[..size_of::<Record>()].copy_from_slice(bytemuck::bytes_of(&record));
        let checksum = checksum(&page);
        page[16..CHECKSUM_END].copy_from_slice(&checksum.to_ne_bytes());
        page.repeat(2)
    }

    /// Reads the first copy that is whole (U2), and tells how many are.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, usize), SuperblockFault> {
        let mut copies = bytes.chunks(COPY_BYTES).take(2).map(Self::decode_copy);
        let (first, second) = (copies.next().unwrap_or(Err(SuperblockFault::Foreign)), copies.next());
        match (first, second) {
            (Ok(superblock), Some(Ok(_))) => Ok((superblock, 2)),
            (Ok(superblock), _) | (_, Some(Ok(superblock))) => Ok((superblock, 1)),
            (Err(fault), _) => Err(fault),
        }
    }

    fn decode_copy(page: &[u8]) -> Result<Self, SuperblockFault> {
        if page.len() < COPY_BYTES || page[..8] != MAGIC {
            return Err(SuperblockFault::Foreign);
        }
        let record: Record = bytemuck::pod_read_unaligned(&page[..size_of::<Record>()]);
        if record.byte_order == BYTE_ORDER.swap_bytes() {
            return Err(SuperblockFault::ByteOrder);
        }
        if record.checksum != checksum(page) || record.byte_order != BYTE_ORDER {
            return Err(SuperblockFault::Damaged);
        }
        if record.version != VERSION {
            return Err(SuperblockFault::Version(record.version));
        }
        record.decode().ok_or(SuperblockFault::Damaged)
    }

    /// What the checksums of this set's headers are seeded with.
    pub(crate) fn seed(&self) -> u64 {
        let [high, low] = halves(self.set);
        high ^ low
    }

    /// Bytes of a slot in the payload file of `group`.
    pub(crate) fn slot_bytes(&self, group: usize) -> Bytes {
        self.model.slot_bytes(GroupId::from_index(group), self.format)
    }
}

impl Record {
    fn decode(&self) -> Option<Superblock> {
        let classes = self.classes.get(..self.groups as usize)?;
        let groups = classes.iter().map(ClassRecord::decode).collect::<Option<Vec<_>>>()?;
        Some(Superblock {
            stage: if self.stage == 0 { Stage::Creating } else { Stage::Complete },
            set: whole(self.set),
            stripe_index: self.stripe_index,
            stripe_count: self.stripe_count,
            model: ModelLayout::new(self.tokens_per_block, groups).ok()?,
            format: codes::decode(&codes::FORMATS, self.format)?,
            fingerprint: ModelFingerprint(whole(self.fingerprint)),
            hash_key: whole(self.hash_key),
            ranks: self.ranks.max(1),
            access: codes::decode(&codes::ACCESSES, self.access)?,
            extra_keys_max: self.extra_keys_max,
            slots: classes.iter().map(|class| class.slots).collect(),
            stripe_slots: classes.iter().map(|class| class.stripe_slots).collect(),
        })
    }
}

impl ClassRecord {
    fn decode(&self) -> Option<KvGroup> {
        let attention = codes::attention(self.attention)?;
        let entry = codes::entry(self.entry)?;
        let dtype = codes::decode(&codes::DTYPES, self.dtype)?;
        let is_usable = self.slots > 0 && self.stripe_slots > 0;
        is_usable.then_some(KvGroup { attention, layers: self.layers, entry, dtype })
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, COPY_BYTES, Stage, Superblock, SuperblockFault, checksum};
    use kv_pager::ids::ModelFingerprint;
    use kv_pager::layout::{Attention, DType, Entry, Format, KvGroup, ModelLayout};

    fn superblock() -> Superblock {
        let group = |attention, entry, dtype| KvGroup { attention, layers: 5, entry, dtype };
        let groups = vec![
            group(Attention::Full, Entry::KeyValue { kv_heads: 2, head_dim: 64 }, DType::BF16),
            group(
                Attention::SlidingWindow { window_tokens: 128, sink_tokens: 4 },
                Entry::Latent { dim: 576 },
                DType::F8E5M2,
            ),
            group(Attention::Chunked { chunk_tokens: 8192 }, Entry::Latent { dim: 3 }, DType::I8),
        ];
        Superblock {
            stage: Stage::Complete,
            set: 0x1234_5678_9abc_def0_0fed_cba9_8765_4321,
            stripe_index: 1,
            stripe_count: 3,
            model: ModelLayout::new(16, groups).expect("valid"),
            format: Format::Int8,
            fingerprint: ModelFingerprint(u128::MAX - 5),
            hash_key: 77,
            ranks: 4,
            access: Access::Buffered,
            extra_keys_max: 8,
            slots: vec![100, 7, 1],
            stripe_slots: vec![16, 1, 2],
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let bytes = superblock().encode();
        assert_eq!(bytes.len(), 2 * COPY_BYTES);
        assert_eq!(Superblock::decode(&bytes), Ok((superblock(), 2)));
    }

    #[test]
    fn either_copy_is_enough_and_no_bit_of_both_may_differ() {
        let bytes = superblock().encode();
        for bit in 0..COPY_BYTES * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Superblock::decode(&damaged), Ok((superblock(), 1)), "bit {bit} of the first copy");
            damaged[COPY_BYTES + bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(&damaged).is_err(), "bit {bit} of both copies");
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        let mut page = superblock().encode();
        page.truncate(COPY_BYTES);
        page[8..12].reverse();
        assert_eq!(Superblock::decode(&page), Err(SuperblockFault::ByteOrder));
        page[8..12].reverse();
        page[12] = 9;
        assert_eq!(Superblock::decode(&page), Err(SuperblockFault::Damaged), "the version is covered too");
        let checksum = checksum(&page);
        page[16..24].copy_from_slice(&checksum.to_ne_bytes());
        assert_eq!(Superblock::decode(&page), Err(SuperblockFault::Version(9)));
        assert_eq!(Superblock::decode(b"#!/bin/sh"), Err(SuperblockFault::Foreign));
        assert_eq!(Superblock::decode(&[]), Err(SuperblockFault::Foreign));
    }
}
