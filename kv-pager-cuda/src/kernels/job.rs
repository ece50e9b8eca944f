//! A job: the one parameter of the copy kernels.
//! Uses nothing of the crate. Known by: `lane`, `kernels`.
//!
//! - **J1** the layout is that of `Job` in `copy.cu`, and fits the 4,096 bytes of parameters that every driver takes.
//!
//! Slot numbers travel in the parameters, so a batch needs no upload and no memory of its own.

/// The most parts that one launch copies; `MOVES_MAX` of `copy.cu`.
pub(crate) const MOVES_MAX: usize = 480;

/// What one launch copies. Field by field as in `copy.cu`; addresses and strides in bytes, units of 16 bytes.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct Job {
    /// Address of the table's entry for the first fragment to copy.
    pub(crate) regions: u64,
    /// Address of part 0's first copied byte.
    pub(crate) part_base: u64,
    /// From part to part.
    pub(crate) part_stride: u64,
    /// From token to token, where rows are apart.
    pub(crate) token_stride: u64,
    /// From head to head, where rows are apart.
    pub(crate) head_stride: u64,
    /// Fragments of each part to copy.
    pub(crate) fragments: u32,
    /// Units of a fragment.
    pub(crate) fragment_units: u32,
    /// Units of one token and head.
    pub(crate) row_units: u32,
    /// Heads of a token.
    pub(crate) heads: u32,
    /// How many entries of the lists count.
    pub(crate) moves: u32,
    /// Padding, spelled out.
    pub(crate) unused: u32,
    /// Where each part lies on the device.
    pub(crate) device_slots: [u32; MOVES_MAX],
    /// Where each part lies from `part_base`, in `part_stride`s.
    pub(crate) part_slots: [u32; MOVES_MAX],
}

impl Job {
    /// A job that copies nothing.
    pub(crate) fn empty() -> Self {
        Self {
            regions: 0,
            part_base: 0,
            part_stride: 0,
            token_stride: 0,
            head_stride: 0,
            fragments: 0,
            fragment_units: 0,
            row_units: 1,
            heads: 1,
            moves: 0,
            unused: 0,
            device_slots: [0; MOVES_MAX],
            part_slots: [0; MOVES_MAX],
        }
    }
}

const _: () = assert!(size_of::<Job>() <= 4096, "J1");
const _: () = assert!(size_of::<Job>() == 5 * 8 + 6 * 4 + 2 * 4 * MOVES_MAX, "J1");

/// One entry of the device's table: `Region` of `copy.cu`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Region {
    /// Address of slot 0.
    pub(crate) base: u64,
    /// From slot to slot.
    pub(crate) stride: u64,
}

impl Region {
    /// As the device reads it.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.base.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.stride.to_ne_bytes());
        bytes
    }
}
