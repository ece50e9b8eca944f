//! Headers: what each slot of a file holds, apart from the payloads, so that opening reads none of them.
//! Uses `kv_pager::tier`. Known by: `file`.
//!
//! - **D1** a header is believed only if its checksum holds, which is seeded with the set's name and covers the slot's own
//!   number: a header of another set, or of another place, is damaged;
//! - **D2** a header says `Full` only if the payload it names was written before it.
//!
//! A header is [`FIXED_BYTES`] of fields, then the block's tokens, then its extra keys, then zeros up to a multiple of 64.

use super::superblock::{halves, whole};
use bytemuck::{Pod, Zeroable};
use kv_pager::ids::{GroupId, PrefixHash, Salt, SlotId, TokenId};
use kv_pager::tier::{BlockLabel, RecoveredBlock};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of the fields that every header has.
pub(crate) const FIXED_BYTES: usize = size_of::<Fields>();
const MAGIC: u32 = u32::from_ne_bytes(*b"kvsl");

/// What a slot is, as its header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum SlotState {
    /// It was given up.
    Void = 1,
    /// Its payload was about to be written.
    Writing = 2,
    /// It holds a whole payload, and a label.
    Full = 3,
    /// It holds a whole payload that has no name.
    Nameless = 4,
    /// It is not to be used.
    Retired = 5,
}

impl SlotState {
    fn from_code(code: u32) -> Option<Self> {
        [Self::Void, Self::Writing, Self::Full, Self::Nameless, Self::Retired]
            .into_iter()
            .find(|state| *state as u32 == code)
    }
}

/// The fields, at the front of each header.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Fields {
    /// xxh3 of the rest of the header.
    checksum: u64,
    magic: u32,
    state: u32,
    /// How often the slot had been written.
    generation: u64,
    /// xxh3 of the payload, without padding.
    payload_checksum: u64,
    slot: u32,
    group: u32,
    hash: [u64; 2],
    parent: [u64; 2],
    salt: u64,
    depth: u32,
    has_parent: u32,
    tokens: u32,
    extra_keys: u32,
    uses: u32,
    /// How often the payload was found damaged.
    strikes: u32,
    /// Seconds since 1970.
    written_s: u64,
    reserved: [u64; 2],
}

/// How headers of one file are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HeaderShape {
    pub(crate) tokens_per_block: u32,
    pub(crate) extra_keys_max: u32,
    /// Seeds the checksums (D1).
    pub(crate) seed: u64,
}

/// Which slot a header is for, and what it says of the payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    pub(crate) group: GroupId,
    pub(crate) slot: SlotId,
    pub(crate) state: SlotState,
    pub(crate) generation: u64,
    pub(crate) payload_checksum: u64,
    pub(crate) strikes: u32,
    pub(crate) written_s: u64,
}

/// What the bytes of a header turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// Zeros: the slot has never been written.
    Blank,
    /// Its checksum doesn't hold.
    Damaged,
    /// Believed; the block is there if the state is [`SlotState::Full`].
    Sound(Stamp, Option<RecoveredBlock>),
}

/// Bytes of a header with room for so many tokens and keys.
pub(crate) fn header_bytes(tokens_per_block: u32, extra_keys_max: u32) -> usize {
    (FIXED_BYTES + tokens_per_block as usize * 4 + extra_keys_max as usize * 8).next_multiple_of(64)
}

impl HeaderShape {
    /// Bytes of one header.
    pub(crate) fn bytes(&self) -> usize {
        header_bytes(self.tokens_per_block, self.extra_keys_max)
    }

    /// Writes `label` into `header`, to be stamped later. False if it has more tokens or keys than there is room for.
    pub(crate) fn write_label(&self, label: &BlockLabel<'_>, header: &mut [u8]) -> bool {
        let fits = label.tokens.len() <= self.tokens_per_block as usize
            && label.extra_keys.len() <= self.extra_keys_max as usize;
        if !fits {
            return false;
        }
        header.fill(0);
        let count = |length: usize| u32::try_from(length).expect("just compared with a u32");
        let fields = Fields {
            hash: halves(label.hash.0),
            parent: halves(label.parent.map_or(0, |parent| parent.0)),
            has_parent: u32::from(label.parent.is_some()),
            salt: label.salt.0,
            depth: label.depth,
            tokens: count(label.tokens.len()),
            extra_keys: count(label.extra_keys.len()),
            uses: label.uses,
            ..Zeroable::zeroed()
        };
        header[..FIXED_BYTES].copy_from_slice(bytemuck::bytes_of(&fields));
        let mut end = FIXED_BYTES;
        for token in label.tokens {
            header[end..end + 4].copy_from_slice(&token.0.to_ne_bytes());
            end += 4;
        }
        for key in label.extra_keys {
            header[end..end + 8].copy_from_slice(&key.to_ne_bytes());
            end += 8;
        }
        true
    }

    /// Stamps `header`, which holds a label or zeros.
    pub(crate) fn stamp(&self, stamp: &Stamp, header: &mut [u8]) {
        let labelled: Fields = bytemuck::pod_read_unaligned(&header[..FIXED_BYTES]);
        let fields = Fields {
            magic: MAGIC,
            state: stamp.state as u32,
            generation: stamp.generation,
            payload_checksum: stamp.payload_checksum,
            slot: stamp.slot.as_u32(),
            group: u32::try_from(stamp.group.index()).expect("fewer than 256 groups"),
            strikes: stamp.strikes,
            written_s: stamp.written_s,
            ..labelled
        };
        header[..FIXED_BYTES].copy_from_slice(bytemuck::bytes_of(&fields));
        self.seal(header);
    }

    /// Changes how often the block of a sound header was asked for.
    pub(crate) fn set_uses(&self, header: &mut [u8], uses: u32) {
        let fields: Fields = bytemuck::pod_read_unaligned(&header[..FIXED_BYTES]);
        header[..FIXED_BYTES].copy_from_slice(bytemuck::bytes_of(&Fields { uses, ..fields }));
        self.seal(header);
    }

    fn seal(&self, header: &mut [u8]) {
        let checksum = xxh3_64_with_seed(&header[8..], self.seed);
        header[..8].copy_from_slice(&checksum.to_ne_bytes());
    }

    /// Reads the header of `slot` (D1).
    pub(crate) fn read(&self, group: GroupId, slot: SlotId, header: &[u8]) -> Found {
        if header.iter().all(|byte| *byte == 0) {
            return Found::Blank;
        }
        let fields: Fields = bytemuck::pod_read_unaligned(&header[..FIXED_BYTES]);
        let is_sound = fields.checksum == xxh3_64_with_seed(&header[8..], self.seed)
            && fields.magic == MAGIC
            && fields.slot == slot.as_u32()
            && fields.group as usize == group.index()
            && fields.tokens <= self.tokens_per_block
            && fields.extra_keys <= self.extra_keys_max;
        let Some(state) = SlotState::from_code(fields.state).filter(|_| is_sound) else {
            return Found::Damaged;
        };
        let stamp = Stamp {
            group,
            slot,
            state,
            generation: fields.generation,
            payload_checksum: fields.payload_checksum,
            strikes: fields.strikes,
            written_s: fields.written_s,
        };
        let block = (state == SlotState::Full).then(|| fields.block(group, slot, &header[FIXED_BYTES..]));
        Found::Sound(stamp, block)
    }
}

impl Fields {
    fn block(&self, group: GroupId, slot: SlotId, variable: &[u8]) -> RecoveredBlock {
        let (tokens, keys) = variable.split_at(self.tokens as usize * 4);
        let keys = &keys[..self.extra_keys as usize * 8];
        RecoveredBlock {
            group,
            slot,
            hash: PrefixHash(whole(self.hash)),
            parent: (self.has_parent != 0).then(|| PrefixHash(whole(self.parent))),
            salt: Salt(self.salt),
            depth: self.depth,
            tokens: tokens
                .chunks_exact(4)
                .map(|bytes| TokenId(bytemuck::pod_read_unaligned(bytes)))
                .collect(),
            extra_keys: keys.chunks_exact(8).map(bytemuck::pod_read_unaligned).collect(),
            uses: self.uses,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Found, HeaderShape, SlotState, Stamp};
    use kv_pager::ids::{GroupId, PrefixHash, Salt, SlotId, TokenId};
    use kv_pager::tier::BlockLabel;

    const SHAPE: HeaderShape = HeaderShape { tokens_per_block: 4, extra_keys_max: 2, seed: 99 };

    fn stamp(slot: usize) -> Stamp {
        Stamp {
            group: GroupId::FIRST,
            slot: SlotId::from_index(slot),
            state: SlotState::Full,
            generation: 7,
            payload_checksum: 0xfeed,
            strikes: 1,
            written_s: 12,
        }
    }

    fn header(slot: usize) -> Vec<u8> {
        let tokens = [1, 2, 3, u32::MAX].map(TokenId);
        let label = BlockLabel {
            hash: PrefixHash(5 << 100),
            parent: Some(PrefixHash(6)),
            salt: Salt(8),
            depth: 3,
            tokens: &tokens,
            extra_keys: &[11],
            uses: 21,
        };
        let mut bytes = vec![0xaa; SHAPE.bytes()];
        assert!(SHAPE.write_label(&label, &mut bytes));
        SHAPE.stamp(&stamp(slot), &mut bytes);
        bytes
    }

    fn read(slot: usize, bytes: &[u8]) -> Found {
        SHAPE.read(GroupId::FIRST, SlotId::from_index(slot), bytes)
    }

    #[test]
    fn a_label_is_read_back_whole() {
        let Found::Sound(found, Some(block)) = read(3, &header(3)) else { panic!("a sound header") };
        assert_eq!(found, stamp(3));
        assert_eq!((block.hash, block.parent), (PrefixHash(5 << 100), Some(PrefixHash(6))));
        assert_eq!((block.salt, block.depth, block.uses), (Salt(8), 3, 21));
        assert_eq!(*block.tokens, [1, 2, 3, u32::MAX].map(TokenId));
        assert_eq!(*block.extra_keys, [11]);
    }

    #[test]
    fn every_flipped_bit_and_every_misplaced_header_is_noticed() {
        let bytes = header(3);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(3, &damaged), Found::Damaged, "bit {bit}");
        }
        assert_eq!(read(4, &bytes), Found::Damaged);
        let other_set = HeaderShape { seed: 100, ..SHAPE };
        assert_eq!(other_set.read(GroupId::FIRST, SlotId::from_index(3), &bytes), Found::Damaged);
        assert_eq!(read(3, &vec![0; bytes.len()]), Found::Blank);
    }

    #[test]
    fn a_label_with_too_many_keys_has_no_room() {
        let label = BlockLabel {
            hash: PrefixHash(1),
            parent: None,
            salt: Salt(0),
            depth: 0,
            tokens: &[],
            extra_keys: &[1, 2, 3],
            uses: 0,
        };
        assert!(!SHAPE.write_label(&label, &mut vec![0; SHAPE.bytes()]));
    }
}
