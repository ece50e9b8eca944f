//! Quantities: bytes and nanoseconds that can't be mixed up, and multiply only where overflow is looked at.
//! Layer 0. Uses nothing. Known by: everything.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[repr(transparent)]
pub struct Bytes(u64);

impl Bytes {
    /// No bytes.
    pub const ZERO: Self = Self(0);
    /// The unit of alignment of slots outside the device: 4 KiB, a page and a drive's sector.
    pub const PAGE: Self = Self(4096);

    /// `count` bytes.
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// `count` times 1,048,576 bytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// The bare number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The bare number as an index into this process's memory.
    ///
    /// # Panics
    /// If it exceeds the address space, which 64-bit targets rule out.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).expect("byte counts fit the address space of a 64-bit machine")
    }

    /// `self * factor`, or `None` when it does not fit.
    pub fn checked_mul(self, factor: u64) -> Option<Self> {
        self.0.checked_mul(factor).map(Self)
    }

    /// `self + other`, or `None` when it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// How many whole `unit`s fit, rounding down.
    ///
    /// # Panics
    /// If `unit` is zero.
    pub fn div_down(self, unit: Self) -> u64 {
        self.0 / unit.0
    }

    /// The next multiple of `unit`, or `None` when it does not fit.
    ///
    /// # Panics
    /// If `unit` is zero.
    pub fn round_up(self, unit: Self) -> Option<Self> {
        self.0.checked_next_multiple_of(unit.0).map(Self)
    }
}

impl std::ops::Add for Bytes {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl std::ops::AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl std::iter::Sum for Bytes {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, |sum, item| sum + item)
    }
}

impl fmt::Display for Bytes {
    /// The largest binary unit of which there is at least one: `1.5 GiB`.
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] =
            [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        for (name, size) in UNITS {
            if self.0 >= size {
                let whole = self.0 / size;
                return if self.0.is_multiple_of(size) {
                    write!(out, "{whole} {name}")
                } else {
                    write!(out, "{:.1} {name}", self.0 as f64 / size as f64)
                };
            }
        }
        write!(out, "{} B", self.0)
    }
}

/// Why a text is no byte size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no byte size: write a whole number with a unit, such as 4096, 512MiB or 2GiB")]
pub struct ParseBytesError {
    text: String,
}

impl FromStr for Bytes {
    type Err = ParseBytesError;

    /// Reads `4096`, `64KiB`, `512MiB`, `2GiB`, `1TiB`; a `B` alone or no unit means bytes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseBytesError { text: text.to_owned() };
        let trimmed = text.trim();
        let digits_end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (digits, unit) = trimmed.split_at(digits_end);
        let count: u64 = digits.parse().map_err(|_| wrong())?;
        let factor = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kib" | "k" => 1 << 10,
            "mib" | "m" => 1 << 20,
            "gib" | "g" => 1 << 30,
            "tib" | "t" => 1 << 40,
            _ => return Err(wrong()),
        };
        count.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

/// A span of time in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[repr(transparent)]
pub struct Nanos(u64);

impl Nanos {
    /// No time.
    pub const ZERO: Self = Self(0);
    /// Longer than anything.
    pub const MAX: Self = Self(u64::MAX);

    /// `count` nanoseconds.
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// `count` milliseconds.
    pub const fn from_millis(count: u64) -> Self {
        Self(count * 1_000_000)
    }

    /// The bare number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// In seconds.
    #[expect(clippy::cast_precision_loss, reason = "a span of less than 104 days keeps its nanoseconds")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// As the standard library's type, for waits.
    pub fn as_duration(self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0)
    }

    /// The sum, or [`Nanos::MAX`].
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl From<std::time::Duration> for Nanos {
    /// Saturates at 584 years.
    fn from(span: std::time::Duration) -> Self {
        Self(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::Bytes;

    #[test]
    fn sizes_read_back_what_they_print() {
        for size in [Bytes::new(17), Bytes::new(4096), Bytes::mib(512), Bytes::new(1 << 41)] {
            let text = size.to_string().replace(' ', "");
            assert_eq!(text.parse::<Bytes>(), Ok(size), "{text}");
        }
    }

    #[test]
    fn nonsense_and_overflow_are_no_sizes() {
        for text in ["", "MiB", "1.5GiB", "-1", "12 parsecs", "99999999999TiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }
}
