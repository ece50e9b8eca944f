//! Layouts: how many bytes a part of a block has, and where its fragments lie.
//! Layer 1. Uses `ids`, `units`, `error`. Known by: `tier` and above, every backend.
//!
//! - **Y1** a part's bytes are `[layers, sides, tokens, kv_heads, head_dim]`, row-major, whatever the tier;
//! - **Y2** the fragments of a part, in order, are those bytes cut into equal pieces: none is missing, none overlaps;
//! - **Y3** a slot outside the device is the part rounded up to [`Bytes::PAGE`], so that direct I/O can take it.
//!
//! A model is a list of groups because models are: layers that attend to everything and layers that look through a window
//! keep different tokens, and managers that assumed one kind were abandoned over it.

mod format;
mod reach;
mod shapes;

pub use format::Format;
pub use reach::Reach;
pub use shapes::{shape, shape_names};

use crate::error::Error;
use crate::ids::GroupId;
use crate::units::Bytes;
use serde::{Deserialize, Serialize};

/// The type of one cached value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DType {
    /// 32-bit float.
    F32,
    /// IEEE half.
    F16,
    /// bfloat16.
    BF16,
    /// 8-bit float, 4 exponent bits.
    F8E4M3,
    /// 8-bit float, 5 exponent bits.
    F8E5M2,
    /// 8-bit integer, its scales kept by the engine.
    I8,
}

impl DType {
    /// Bytes of one value.
    pub fn bytes(self) -> Bytes {
        Bytes::new(match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::F8E4M3 | Self::F8E5M2 | Self::I8 => 1,
        })
    }
}

/// Which earlier tokens a layer looks at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Attention {
    /// All of them.
    Full,
    /// The last `window_tokens`, the token itself among them, and the first `sink_tokens`.
    SlidingWindow {
        /// Tokens in the window.
        window_tokens: u32,
        /// Tokens at the start that are always seen.
        sink_tokens: u32,
    },
    /// Those of its own chunk of `chunk_tokens`.
    Chunked {
        /// Tokens in a chunk.
        chunk_tokens: u32,
    },
    /// None: the layer carries a state from token to token, of which snapshots are kept. Named, not served yet.
    State,
}

/// What a layer caches for one token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Entry {
    /// A key and a value for each of `kv_heads` heads.
    KeyValue {
        /// Heads that have keys of their own.
        kv_heads: u32,
        /// Values in one head's key.
        head_dim: u32,
    },
    /// One latent vector that keys and values are derived from (MLA), its rotary part included.
    Latent {
        /// Values in the vector.
        dim: u32,
    },
}

impl Entry {
    /// 2 where keys and values are apart, 1 for a latent.
    pub fn sides(self) -> u32 {
        match self {
            Self::KeyValue { .. } => 2,
            Self::Latent { .. } => 1,
        }
    }

    /// Values of one token in one layer and side.
    fn values(self) -> u64 {
        match self {
            Self::KeyValue { kv_heads, head_dim } => u64::from(kv_heads) * u64::from(head_dim),
            Self::Latent { dim } => u64::from(dim),
        }
    }
}

/// The layers of a model that share an attention kind.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct KvGroup {
    /// What they look at.
    pub attention: Attention,
    /// How many layers.
    pub layers: u32,
    /// What each caches for a token.
    pub entry: Entry,
    /// The type of a value.
    pub dtype: DType,
}

impl KvGroup {
    /// How many fragments a part has where each layer and side lies apart: `layers * sides`.
    pub fn fragments(&self) -> u32 {
        self.layers * self.entry.sides()
    }

    /// Bytes that `tokens` tokens take in one layer and side: one fragment of a block.
    fn fragment_bytes(&self, tokens: u32) -> Option<Bytes> {
        self.dtype.bytes().checked_mul(self.entry.values())?.checked_mul(u64::from(tokens))
    }
}

/// A model's cache: its groups, and how many tokens a block has.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct ModelLayout {
    tokens_per_block: u32,
    groups: Vec<KvGroup>,
    part_bytes: Vec<Bytes>,
}

/// A layout as it is written down: what [`ModelLayout::new`] takes.
#[derive(Serialize, Deserialize)]
struct Parts {
    tokens_per_block: u32,
    groups: Vec<KvGroup>,
}

impl TryFrom<Parts> for ModelLayout {
    type Error = Error;
    fn try_from(parts: Parts) -> Result<Self, Error> {
        Self::new(parts.tokens_per_block, parts.groups)
    }
}

impl From<ModelLayout> for Parts {
    fn from(layout: ModelLayout) -> Self {
        Self { tokens_per_block: layout.tokens_per_block, groups: layout.groups }
    }
}

impl ModelLayout {
    /// A layout of `groups`, in blocks of `tokens_per_block` tokens.
    ///
    /// # Errors
    /// [`Error::Configuration`] if anything is zero, there is no group or more than [`ModelLayout::GROUPS_MAX`], or a part
    /// exceeds 1 GiB.
    pub fn new(tokens_per_block: u32, groups: Vec<KvGroup>) -> Result<Self, Error> {
        let wrong = |why: String| Error::Configuration { setting: "model layout", why };
        if tokens_per_block == 0 || tokens_per_block > 4096 {
            return Err(wrong(format!(
                "{tokens_per_block} tokens in a block; choose 1 to 4096, 16 is usual"
            )));
        }
        if groups.is_empty() || groups.len() > Self::GROUPS_MAX {
            return Err(wrong(format!(
                "{} groups of layers; a model has 1 to {}",
                groups.len(),
                Self::GROUPS_MAX
            )));
        }
        let mut part_bytes = Vec::with_capacity(groups.len());
        for (index, group) in groups.iter().enumerate() {
            let bytes = group
                .fragment_bytes(tokens_per_block)
                .filter(|_| group.layers <= Self::LAYERS_MAX)
                .and_then(|bytes| bytes.checked_mul(u64::from(group.fragments())))
                .filter(|bytes| *bytes > Bytes::ZERO && *bytes <= Bytes::mib(1024))
                .ok_or_else(|| {
                    wrong(format!("group {index} ({group:?}) has too many layers, or makes parts of no bytes or of more than 1 GiB"))
                })?;
            part_bytes.push(bytes);
        }
        Ok(Self { tokens_per_block, groups, part_bytes })
    }

    /// The most layers a group may have.
    pub const LAYERS_MAX: u32 = 4096;
    /// The most groups a model may have.
    pub const GROUPS_MAX: usize = 8;

    /// Tokens in a block.
    pub fn tokens_per_block(&self) -> u32 {
        self.tokens_per_block
    }

    /// The groups, in the order of their [`GroupId`]s.
    pub fn groups(&self) -> &[KvGroup] {
        &self.groups
    }

    /// One group.
    ///
    /// # Panics
    /// If the model has no such group.
    pub fn group(&self, group: GroupId) -> &KvGroup {
        &self.groups[group.index()]
    }

    /// The names of the groups, in order.
    pub fn group_ids(&self) -> impl ExactSizeIterator<Item = GroupId> + Clone + use<> {
        (0..self.groups.len()).map(GroupId::from_index)
    }

    /// Bytes of one part of `group`, exact, in the model's dtype.
    ///
    /// # Panics
    /// If the model has no such group.
    pub fn part_bytes(&self, group: GroupId) -> Bytes {
        self.part_bytes[group.index()]
    }

    /// Bytes of one fragment of `group`'s parts (one layer, one side), exact.
    ///
    /// # Panics
    /// If the model has no such group.
    pub fn fragment_bytes(&self, group: GroupId) -> Bytes {
        Bytes::new(self.part_bytes(group).as_u64() / u64::from(self.group(group).fragments()))
    }

    /// Bytes of all parts of one block, exact.
    pub fn block_bytes(&self) -> Bytes {
        self.part_bytes.iter().copied().sum()
    }

    /// Bytes of a slot for a part of `group` outside the device, in `format`: rounded up to [`Bytes::PAGE`].
    ///
    /// # Panics
    /// If the model has no such group.
    pub fn slot_bytes(&self, group: GroupId, format: Format) -> Bytes {
        let encoded = format.encoded_bytes(self.part_bytes(group), self.group(group).dtype);
        encoded.round_up(Bytes::PAGE).expect("a part has at most 1 GiB")
    }

    /// How many full blocks of an `n`-token prompt may be matched: the last token's logits must be computed.
    pub fn matchable_blocks(&self, tokens: usize) -> usize {
        tokens.saturating_sub(1) / self.tokens_per_block as usize
    }
}

/// How a part lies in device memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum DeviceLayout {
    /// A region for each layer and side; a part is one fragment in each of them.
    LayerMajor,
    /// One region; a part is one piece.
    BlockMajor,
}

/// Adjacent bytes of one part in the device's layout.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fragment {
    /// Which region it lies in.
    pub region: u32,
    /// Where its bytes stand in the part.
    pub part_offset: Bytes,
    /// How many there are.
    pub bytes: Bytes,
}

impl DeviceLayout {
    /// The fragments of a part of `group`, in the order of the part's bytes (Y2).
    ///
    /// # Panics
    /// If the model has no such group.
    pub fn fragments(
        self,
        model: &ModelLayout,
        group: GroupId,
    ) -> impl ExactSizeIterator<Item = Fragment> + use<> {
        let (count, bytes) = match self {
            Self::LayerMajor => (model.group(group).fragments(), model.fragment_bytes(group)),
            Self::BlockMajor => (1, model.part_bytes(group)),
        };
        (0..count).map(move |region| Fragment {
            region,
            part_offset: bytes.checked_mul(u64::from(region)).expect("a part has at most 1 GiB"),
            bytes,
        })
    }
}

#[cfg(test)]
mod tests;
