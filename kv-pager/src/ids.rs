//! The names of things: one newtype per kind of number, so that a slot is never taken for a block.
//! Layer 0. Uses nothing. Known by: everything.
//!
//! Raw integers enter and leave at the edge (`from_index`, `as_u32`); there is no arithmetic on names.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A token of the model's vocabulary. A slice of them has the layout of a `u32` slice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[repr(transparent)]
pub struct TokenId(pub u32);

/// A logical block: an index into the prefix index's records, stable wherever the block's bytes lie.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(transparent)]
pub struct BlockId(u32);

impl BlockId {
    /// "No block", for intrusive links. Never the name of one: the number of blocks is below it.
    pub const NONE: Self = Self(u32::MAX);

    /// The block at `index`.
    ///
    /// # Panics
    /// If `index` does not fit below [`BlockId::NONE`].
    pub fn from_index(index: usize) -> Self {
        assert!(index < u32::MAX as usize, "block index {index} is out of the range of u32");
        Self(u32::try_from(index).expect("just checked against u32::MAX"))
    }

    /// Its place in an array of blocks.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// Whether it is a block at all.
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

/// A place for one part of a block in one tier: an index in `0..capacity` of its class, never a byte offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(transparent)]
pub struct SlotId(u32);

impl SlotId {
    /// "No slot": the entry of a block table whose part is not there. Capacities are below it.
    pub const NONE: Self = Self(u32::MAX);

    /// The slot at `index`.
    ///
    /// # Panics
    /// If `index` does not fit below [`SlotId::NONE`].
    pub fn from_index(index: usize) -> Self {
        assert!(index < u32::MAX as usize, "slot index {index} is out of the range of u32");
        Self(u32::try_from(index).expect("just checked against u32::MAX"))
    }

    /// Its place in an array of slots.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// The number an attention kernel reads.
    pub fn as_u32(self) -> u32 {
        self.0
    }

    /// Whether it is a slot at all.
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

/// A kind of memory; lower is nearer the accelerator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum TierId {
    /// The accelerator's memory, or the part of the host's that plays its role.
    Device = 0,
    /// Host memory, page-locked where a device reads it.
    Host = 1,
    /// Files on a local drive.
    File = 2,
}

impl TierId {
    /// How many kinds there are.
    pub const COUNT: usize = 3;
    /// All of them, nearest first.
    pub const ALL: [Self; Self::COUNT] = [Self::Device, Self::Host, Self::File];

    /// Its place in an array by tier.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The word for it in messages and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Host => "host",
            Self::File => "file",
        }
    }

    /// The next tier away from the device.
    pub fn farther(self) -> Option<Self> {
        match self {
            Self::Device => Some(Self::Host),
            Self::Host => Some(Self::File),
            Self::File => None,
        }
    }
}

impl fmt::Display for TierId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A group of layers that share an attention kind: an index into [`ModelLayout::groups`](crate::layout::ModelLayout).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(transparent)]
pub struct GroupId(u8);

impl GroupId {
    /// The first group; the only one of a uniform model.
    pub const FIRST: Self = Self(0);

    /// The group at `index`.
    ///
    /// # Panics
    /// If `index` is 256 or more.
    pub fn from_index(index: usize) -> Self {
        Self(u8::try_from(index).expect("a model has fewer than 256 groups"))
    }

    /// Its place in an array of groups.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where one part lies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Location {
    /// The group of layers whose bytes these are.
    pub group: GroupId,
    /// The tier.
    pub tier: TierId,
    /// The slot of that group's class in that tier.
    pub slot: SlotId,
}

/// One open request. The generation makes a name of a closed one invalid instead of someone else's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct SequenceId {
    index: u32,
    generation: u32,
}

impl SequenceId {
    /// The `generation`-th user of place `index`.
    pub fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    /// Its place in the table of sequences.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// The name of the place's next user.
    #[must_use]
    pub fn next_user(self) -> Self {
        Self { generation: self.generation.wrapping_add(1), ..self }
    }

    /// How many sequences had the place before.
    pub fn generation(self) -> u32 {
        self.generation
    }
}

/// Separates caches: blocks of different salts never match. A tenant, or a secret per user.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[repr(transparent)]
pub struct Salt(pub u64);

/// The name of a full block: a keyed hash over its parent's name, its tokens and its extra keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(transparent)]
pub struct PrefixHash(pub u128);

/// The key of all names in one cache; a file keeps it, so that names hold across restarts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HashKey(pub u128);

/// What makes bytes of one model useless to another: weights, layout, dtype and epoch, hashed by the engine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[repr(transparent)]
pub struct ModelFingerprint(pub u128);

/// Which of a model's weights were loaded, of those that share a fingerprint: an adapter read anew, a checkpoint swapped in place.
/// Blocks of one epoch are never found in another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[repr(transparent)]
pub struct ModelEpoch(pub u64);

impl ModelEpoch {
    /// The one after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// Whether its number is odd: what a block's record keeps of it.
    pub fn is_odd(self) -> bool {
        self.0 % 2 == 1
    }
}

/// A point in a device's work, opaque to the core: a backend can test it and make a stream wait for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(transparent)]
pub struct Fence(pub u64);

impl Fence {
    /// Nothing to wait for; what a CPU gives, whose work is done when the call returns.
    pub const OVER: Self = Self(0);
}

/// One move of one part: a sequence number, unique in an epoch of a pager.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(transparent)]
pub struct MoveId(pub u64);

/// Which life of a pager a message belongs to; results of an earlier one are ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[repr(transparent)]
pub struct Epoch(pub u32);
