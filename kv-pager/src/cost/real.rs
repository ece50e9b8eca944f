//! Counts as real numbers and back: the one place where the model leaves whole nanoseconds and bytes.
//! Layer 6. Uses `units`. Known by: `cost`, `policy`.
//!
//! Models add and multiply in `f64`, whose basic operations are the same on every machine (I9); what leaves them is whole.

use crate::units::{Bytes, Nanos};

/// A number of bytes; exact below 8 PiB.
#[expect(clippy::cast_precision_loss, reason = "no load has 8 PiB")]
pub(crate) fn from_bytes(count: Bytes) -> f64 {
    count.as_u64() as f64
}

/// A span in nanoseconds; exact below 104 days.
#[expect(clippy::cast_precision_loss, reason = "no transfer lasts 104 days")]
pub(crate) fn from_nanos(span: Nanos) -> f64 {
    span.as_u64() as f64
}

/// The nearest whole span; [`Nanos::MAX`] for what never ends, zero for what is negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates at both ends"
)]
pub(crate) fn to_nanos(span_ns: f64) -> Nanos {
    Nanos::new((span_ns + 0.5) as u64)
}

/// The nearest whole number of bytes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates at both ends"
)]
pub(crate) fn to_bytes(count: f64) -> Bytes {
    Bytes::new((count + 0.5) as u64)
}
