//! Formats: how a part's bytes are kept outside the device.
//! Layer 1. Uses `units`, `layout`. Known by: `layout`, backends.

use super::DType;
use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a tier keeps a part's bytes. The formats that lose something are named, and served by no tier yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Format {
    /// As they are.
    Raw,
    /// 8-bit integers with a 16-bit scale for each [`Format::GROUP`] values: 8.25 bits a value.
    Int8,
    /// 4-bit integers with a 16-bit scale and a 16-bit offset for each [`Format::GROUP`] values: 4.5 bits a value.
    Int4,
}

impl Format {
    /// Values that share a scale.
    pub const GROUP: u64 = 64;

    /// Whether what comes back is what went in.
    pub fn is_exact(self) -> bool {
        self == Self::Raw
    }

    /// Bytes that a part of `part` bytes of `dtype` takes; a last, partial group counts whole.
    pub fn encoded_bytes(self, part: Bytes, dtype: DType) -> Bytes {
        let groups = part.div_down(dtype.bytes()).div_ceil(Self::GROUP);
        match self {
            Self::Raw => part,
            Self::Int8 => Bytes::new(groups * (Self::GROUP + 2)),
            Self::Int4 => Bytes::new(groups * (Self::GROUP / 2 + 4)),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Raw => "raw",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        })
    }
}
