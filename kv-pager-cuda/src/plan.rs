//! The plan: one group's tensors, checked once, in the form that copies are made from.
//! Uses `tensors`, `kernels::Region`. Known by: `device`, `lane`.
//!
//! - **P1** every address of every slot lies in a plane that the engine named, at a multiple of 16 bytes;
//! - **P2** no two bytes of any two slots or planes share an address;
//! - **P3** fragments of neighbouring planes that are adjacent in every slot are one: `[layers, 2]` in one page is one
//!   fragment a layer, a block-major part is one in all.

use crate::kernels::Region;
use crate::tensors::{GroupTensors, Plane, Sizes};
use kv_pager::Error;
use kv_pager::ids::GroupId;
use kv_pager::layout::ModelLayout;
use kv_pager::units::Bytes;

/// The unit of kernels' loads and stores, in bytes.
const UNIT: u64 = 16;

/// A fragment's inside, where it is not one piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rows {
    pub(crate) heads: u32,
    pub(crate) row_bytes: u64,
    pub(crate) token_stride: u64,
    pub(crate) head_stride: u64,
}

/// Where the parts of one group lie on one device.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) slots: u32,
    /// One a fragment, in the order of a part's bytes.
    pub(crate) regions: Box<[Region]>,
    pub(crate) fragment_bytes: u64,
    /// Fragments of one layer; 0 where a fragment spans layers.
    pub(crate) layer_fragments: u32,
    /// `None` where a fragment is one piece.
    pub(crate) rows: Option<Rows>,
}

impl Plan {
    /// Checks `tensors` and plans for them.
    ///
    /// # Errors
    /// [`Error::Configuration`], with the numbers, if a rule of [`GroupTensors`] or P1 or P2 does not hold.
    pub(crate) fn new(model: &ModelLayout, group: GroupId, tensors: &GroupTensors) -> Result<Self, Error> {
        let sizes = Sizes::of(model, group);
        let wrong = |why: String| Error::Configuration {
            setting: "device tensors",
            why: format!("group {}: {why}", group.index()),
        };
        let count =
            usize::try_from(sizes.layers * sizes.sides).map_err(|_| wrong("too many layers".to_owned()))?;
        if tensors.planes.len() != count {
            let named = tensors.planes.len();
            return Err(wrong(format!("{named} planes were named, and {count} (layers x sides) are needed")));
        }
        if tensors.slots == 0 {
            return Err(wrong("no slots".to_owned()));
        }
        if !sizes.row.is_multiple_of(UNIT) {
            let row = sizes.row;
            return Err(wrong(format!("a token and head has {row} bytes; kernels copy multiples of {UNIT}")));
        }
        for (index, plane) in tensors.planes.iter().enumerate() {
            check_plane(plane, sizes, tensors.slots).map_err(|why| wrong(format!("plane {index}: {why}")))?;
            if plane.strides.token != tensors.planes[0].strides.token
                || plane.strides.head != tensors.planes[0].strides.head
            {
                return Err(wrong(format!("plane {index} is laid out inside unlike plane 0")));
            }
        }
        for (index, plane) in tensors.planes.iter().enumerate() {
            for (other_index, other) in tensors.planes[..index].iter().enumerate() {
                if overlaps(plane, other, sizes, tensors.slots) {
                    let why = format!(
                        "planes {other_index} ({:#x}) and {index} ({:#x}) overlap: strides of {} and {} bytes, {} slots",
                        other.base, plane.base, other.strides.slot, plane.strides.slot, tensors.slots
                    );
                    return Err(wrong(why));
                }
            }
        }
        Ok(Self::merge(tensors, sizes))
    }

    /// P3.
    fn merge(tensors: &GroupTensors, sizes: Sizes) -> Self {
        let planes = &tensors.planes;
        let strides = planes[0].strides;
        let is_one_piece = strides.head == sizes.row && strides.token == sizes.heads * sizes.row
            || (sizes.heads == 1 && strides.token == sizes.row)
            || (sizes.tokens == 1 && strides.head == sizes.row);
        let fragment = sizes.fragment();
        let follows = |index: usize| {
            planes[index].base == planes[index - 1].base + fragment
                && planes[index].strides.slot == planes[index - 1].strides.slot
        };
        let fits = |merged: usize| {
            planes.len().is_multiple_of(merged)
                && (0..planes.len()).all(|index| index.is_multiple_of(merged) || follows(index))
        };
        let merged = if is_one_piece { (1..=planes.len()).rev().find(|merged| fits(*merged)) } else { None };
        let merged = merged.unwrap_or(1);
        let layer_fragments = u32::try_from(sizes.sides / merged as u64).unwrap_or(0);
        Self {
            slots: tensors.slots,
            regions: planes
                .iter()
                .step_by(merged)
                .map(|plane| Region { base: plane.base, stride: plane.strides.slot })
                .collect(),
            fragment_bytes: fragment * merged as u64,
            layer_fragments,
            rows: (!is_one_piece).then_some(Rows {
                heads: u32::try_from(sizes.heads).unwrap_or(u32::MAX),
                row_bytes: sizes.row,
                token_stride: strides.token,
                head_stride: strides.head,
            }),
        }
    }

    /// How many fragments a part has.
    pub(crate) fn fragments(&self) -> u32 {
        u32::try_from(self.regions.len()).expect("a model has far fewer layers")
    }

    /// How many pieces [`Plan::pieces`] names.
    pub(crate) fn pieces_count(&self) -> usize {
        let rows = self.rows.map_or(1, |rows| self.fragment_bytes / rows.row_bytes);
        self.regions.len() * usize::try_from(rows).expect("a part has at most 1 GiB")
    }

    /// Calls `piece(device address, offset in the part, bytes)` for each piece of the part in `slot`, in the order of the
    /// part's bytes. Slots in range give addresses that P1 holds for.
    pub(crate) fn pieces(&self, slot: u32, mut piece: impl FnMut(u64, u64, u64)) {
        for (index, region) in self.regions.iter().enumerate() {
            let address = region.base + region.stride * u64::from(slot);
            let offset = self.fragment_bytes * index as u64;
            match &self.rows {
                None => piece(address, offset, self.fragment_bytes),
                Some(rows) => {
                    for row in 0..self.fragment_bytes / rows.row_bytes {
                        let (token, head) = (row / u64::from(rows.heads), row % u64::from(rows.heads));
                        let inside = token * rows.token_stride + head * rows.head_stride;
                        piece(address + inside, offset + row * rows.row_bytes, rows.row_bytes);
                    }
                }
            }
        }
    }
}

/// Bytes from a slot's first to past its last, in one plane.
fn inner_extent(plane: &Plane, sizes: Sizes) -> Option<u64> {
    let tokens = plane.strides.token.checked_mul(sizes.tokens - 1)?;
    let heads = plane.strides.head.checked_mul(sizes.heads - 1)?;
    tokens.checked_add(heads)?.checked_add(sizes.row)
}

/// P1, and P2 within one plane.
fn check_plane(plane: &Plane, sizes: Sizes, slots: u32) -> Result<(), String> {
    let Plane { base, strides } = *plane;
    if base == 0 {
        return Err("a null address".to_owned());
    }
    for (what, value) in [
        ("address", base),
        ("slot stride", strides.slot),
        ("token stride", strides.token),
        ("head stride", strides.head),
    ] {
        if !value.is_multiple_of(UNIT) {
            return Err(format!("{what} {value:#x} is no multiple of {UNIT}"));
        }
    }
    let rows_fit = match (sizes.tokens, sizes.heads) {
        (1, 1) => true,
        (1, _) => strides.head >= sizes.row,
        (_, 1) => strides.token >= sizes.row,
        _ if strides.head <= strides.token => {
            strides.head >= sizes.row && strides.token >= strides.head * (sizes.heads - 1) + sizes.row
        }
        _ => strides.token >= sizes.row && strides.head >= strides.token * (sizes.tokens - 1) + sizes.row,
    };
    if !rows_fit {
        return Err(format!(
            "strides of {} bytes a token and {} a head do not fit {} tokens of {} heads of {} bytes",
            strides.token, strides.head, sizes.tokens, sizes.heads, sizes.row
        ));
    }
    let extent = inner_extent(plane, sizes).ok_or("strides are out of range")?;
    if strides.slot < extent && slots > 1 {
        return Err(format!("a slot stride of {} bytes is less than a slot's {extent}", strides.slot));
    }
    strides
        .slot
        .checked_mul(u64::from(slots) - 1)
        .and_then(|last| last.checked_add(base)?.checked_add(extent))
        .map(|_| ())
        .ok_or_else(|| format!("{slots} slots of {} do not fit the address space", Bytes::new(strides.slot)))
}

/// Whether any byte of a slot of one lies in a slot of the other. Planes that interleave slot by slot do not.
fn overlaps(one: &Plane, other: &Plane, sizes: Sizes, slots: u32) -> bool {
    let extent = inner_extent(one, sizes).unwrap_or(u64::MAX);
    let end = |plane: &Plane| plane.base + plane.strides.slot * u64::from(slots - 1) + extent;
    if end(one) <= other.base || end(other) <= one.base {
        return false;
    }
    let stride = one.strides.slot;
    if stride != other.strides.slot || stride == 0 {
        return true;
    }
    let distance = one.base.abs_diff(other.base) % stride;
    distance < extent || stride - distance < extent
}

#[cfg(test)]
#[path = "tests/plan.rs"]
mod tests;
