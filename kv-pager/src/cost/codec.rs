//! The cost of a format: what encoding and decoding add to a move.
//! Layer 6. Uses `units`, `layout`, `cost::real`. Known by: `cost`.
//!
//! Encoded bytes make a lane faster, and are priced there; what is left is the part of the codec that the copy doesn't hide. It is
//! priced as part of the lane too ([`CostModel::set_formats`](super::CostModel::set_formats)), and nowhere else.

use super::real;
use crate::layout::Format;
use crate::units::{Bytes, Nanos};
use serde::{Deserialize, Serialize};

/// What one format adds, for each byte of the part as the model has it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodecCost {
    /// The format.
    pub format: Format,
    /// Nanoseconds a byte on the way from the device.
    pub encode_ns_per_byte: f64,
    /// Nanoseconds a byte on the way to it.
    pub decode_ns_per_byte: f64,
}

/// What all formats add; those that were not measured add nothing.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct CodecTable {
    formats: [Option<CodecCost>; Self::FORMATS_MAX],
}

impl CodecTable {
    /// The most formats.
    pub const FORMATS_MAX: usize = 4;

    /// A table of the first [`CodecTable::FORMATS_MAX`] of `costs`.
    pub fn new(costs: &[CodecCost]) -> Self {
        let mut table = Self::default();
        for (entry, cost) in table.formats.iter_mut().zip(costs) {
            *entry = Some(*cost);
        }
        table
    }

    /// The formats that were measured.
    pub fn iter(&self) -> impl Iterator<Item = &CodecCost> {
        self.formats.iter().flatten()
    }

    /// What encoding `raw` bytes adds.
    pub fn encode(&self, format: Format, raw: Bytes) -> Nanos {
        real::to_nanos(self.encode_ns_per_byte(format) * real::from_bytes(raw))
    }

    /// What decoding to `raw` bytes adds.
    pub fn decode(&self, format: Format, raw: Bytes) -> Nanos {
        real::to_nanos(self.decode_ns_per_byte(format) * real::from_bytes(raw))
    }

    /// Nanoseconds for each byte that goes in.
    pub(super) fn encode_ns_per_byte(&self, format: Format) -> f64 {
        self.find(format).map_or(0.0, |cost| cost.encode_ns_per_byte)
    }

    /// Nanoseconds for each byte that comes out.
    pub(super) fn decode_ns_per_byte(&self, format: Format) -> f64 {
        self.find(format).map_or(0.0, |cost| cost.decode_ns_per_byte)
    }

    fn find(&self, format: Format) -> Option<&CodecCost> {
        self.iter().find(|cost| cost.format == format)
    }
}
