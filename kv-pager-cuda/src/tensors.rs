//! Tensors: where one group's keys and values lie in a device's memory, this crate's own or an engine's.
//! Uses the core's `layout`. Known by: `plan`, `device`.
//!
//! - **T1** a group has one [`Plane`] for each layer and side, in the order of a part's bytes: `[layers, sides]`;
//! - **T2** inside a plane, value `d` of head `h` of token `t` of slot `s` lies at
//!   `base + s * slot + t * token + h * head + d * size_of(dtype)`.
//!
//! So one description serves every layout in use: a tensor a layer or one for all, K and V apart or joint, heads before
//! tokens or after. The constructors build it from the shapes that engines use.

use kv_pager::ids::GroupId;
use kv_pager::layout::{DeviceLayout, Entry, ModelLayout};

/// What comes first inside a fragment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Inner {
    /// `[tokens, heads, dim]`: a fragment is one piece.
    Nhd,
    /// `[heads, tokens, dim]`: a fragment is transposed on its way, a row a token and head.
    Hnd,
}

/// How far apart things are inside a plane, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Strides {
    /// From slot to slot.
    pub slot: u64,
    /// From token to token.
    pub token: u64,
    /// From head to head.
    pub head: u64,
}

/// One layer's keys, or values, or latents.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Plane {
    /// Device address of slot 0.
    pub base: u64,
    /// How far apart things are.
    pub strides: Strides,
}

/// Where the parts of one group lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupTensors {
    /// How many slots each plane has.
    pub slots: u32,
    /// T1.
    pub planes: Vec<Plane>,
}

/// Sizes of a group that addresses follow from, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) layers: u64,
    pub(crate) sides: u64,
    pub(crate) tokens: u64,
    pub(crate) heads: u64,
    pub(crate) row: u64,
}

impl Sizes {
    pub(crate) fn of(model: &ModelLayout, group: GroupId) -> Self {
        let shape = model.group(group);
        let (heads, values) = match shape.entry {
            Entry::KeyValue { kv_heads, head_dim } => (kv_heads, head_dim),
            Entry::Latent { dim } => (1, dim),
        };
        Self {
            layers: u64::from(shape.layers),
            sides: u64::from(shape.entry.sides()),
            tokens: u64::from(model.tokens_per_block()),
            heads: u64::from(heads),
            row: u64::from(values) * shape.dtype.bytes().as_u64(),
        }
    }

    /// Bytes of one block in one plane.
    pub(crate) fn fragment(self) -> u64 {
        self.tokens * self.heads * self.row
    }

    fn inner(self, inner: Inner) -> (u64, u64) {
        match inner {
            Inner::Nhd => (self.heads * self.row, self.row),
            Inner::Hnd => (self.row, self.tokens * self.row),
        }
    }

    fn plane(self, base: u64, slot: u64, inner: Inner) -> Plane {
        let (token, head) = self.inner(inner);
        Plane { base, strides: Strides { slot, token, head } }
    }
}

impl GroupTensors {
    /// A tensor `[slots, tokens, heads, dim]` (or heads first) for each layer's keys and another for its values; for a
    /// latent, give `values` as empty. Addresses by layer.
    pub fn separate(
        (model, group): (&ModelLayout, GroupId),
        slots: u32,
        (keys, values): (&[u64], &[u64]),
        inner: Inner,
    ) -> Self {
        let sizes = Sizes::of(model, group);
        let plane = |base: &u64| sizes.plane(*base, sizes.fragment(), inner);
        let planes = if values.is_empty() {
            keys.iter().map(plane).collect()
        } else {
            keys.iter().zip(values).flat_map(|(key, value)| [plane(key), plane(value)]).collect()
        };
        Self { slots, planes }
    }

    /// A tensor `[2, slots, tokens, heads, dim]` for each layer: all keys, then all values. Addresses by layer.
    pub fn joint_by_side(
        (model, group): (&ModelLayout, GroupId),
        slots: u32,
        layers: &[u64],
        inner: Inner,
    ) -> Self {
        let sizes = Sizes::of(model, group);
        let side = u64::from(slots) * sizes.fragment();
        let planes = layers.iter().flat_map(|base| {
            (0..sizes.sides).map(move |index| sizes.plane(base + index * side, sizes.fragment(), inner))
        });
        Self { slots, planes: planes.collect() }
    }

    /// A tensor `[slots, 2, tokens, heads, dim]` for each layer: each slot's keys, then its values. Addresses by layer.
    pub fn joint_by_slot(
        (model, group): (&ModelLayout, GroupId),
        slots: u32,
        layers: &[u64],
        inner: Inner,
    ) -> Self {
        let sizes = Sizes::of(model, group);
        let slot = sizes.sides * sizes.fragment();
        let planes = layers.iter().flat_map(|base| {
            (0..sizes.sides).map(move |index| sizes.plane(base + index * sizes.fragment(), slot, inner))
        });
        Self { slots, planes: planes.collect() }
    }

    /// One tensor `[slots, layers, 2, tokens, heads, dim]`: a part is one piece.
    pub fn block_major((model, group): (&ModelLayout, GroupId), slots: u32, base: u64, inner: Inner) -> Self {
        let sizes = Sizes::of(model, group);
        let count = sizes.layers * sizes.sides;
        let slot = count * sizes.fragment();
        let planes = (0..count).map(|index| sizes.plane(base + index * sizes.fragment(), slot, inner));
        Self { slots, planes: planes.collect() }
    }

    /// What a tier of this crate's own lays out in memory from `base`, `slots * part_bytes` long.
    pub(crate) fn owned(
        (model, group): (&ModelLayout, GroupId),
        slots: u32,
        base: u64,
        (layout, inner): (DeviceLayout, Inner),
    ) -> Self {
        match layout {
            DeviceLayout::BlockMajor => Self::block_major((model, group), slots, base, inner),
            DeviceLayout::LayerMajor => {
                let sizes = Sizes::of(model, group);
                let plane = u64::from(slots) * sizes.fragment();
                let planes = (0..sizes.layers * sizes.sides)
                    .map(|index| sizes.plane(base + index * plane, sizes.fragment(), inner));
                Self { slots, planes: planes.collect() }
            }
        }
    }
}
