//! Paths: the four ways in which a chunk gets across, and which serves which batch.
//! Uses nothing of the crate. Known by: `lane`, `calibration`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A way across the link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Path {
    /// One copy call for each run of adjacent bytes.
    Runs,
    /// All those runs in one call of `cuMemcpyBatchAsync`.
    Batch,
    /// A kernel between the scattered slots and a staging ring, and large copies between the ring and host memory.
    Gather,
    /// A kernel that reads or writes host memory itself. It takes multiprocessors from the engine for the whole copy.
    ZeroCopy,
}

impl Path {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Runs, Self::Batch, Self::Gather, Self::ZeroCopy];

    /// Whether it needs the kernels.
    pub fn needs_kernels(self) -> bool {
        matches!(self, Self::Gather | Self::ZeroCopy)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Runs => "runs",
            Self::Batch => "batch",
            Self::Gather => "gather",
            Self::ZeroCopy => "zero-copy",
        })
    }
}

/// Batches of a similar number of parts, which take the same path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct SizeClass(pub(crate) usize);

impl SizeClass {
    /// How many there are.
    pub(crate) const COUNT: usize = 4;
    /// The number of parts that stands for each in the calibration.
    pub(crate) const PARTS: [usize; Self::COUNT] = [1, 8, 32, 128];

    /// That of a batch of `parts`.
    pub(crate) fn of(parts: usize) -> Self {
        Self(match parts {
            0..=2 => 0,
            3..=16 => 1,
            17..=64 => 2,
            _ => 3,
        })
    }
}

/// Which path serves a batch of one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Choice(pub(crate) [Path; SizeClass::COUNT]);

impl Choice {
    /// What serves before anything was measured.
    pub(crate) fn uncalibrated(has_kernels: bool, has_batch: bool, fragments: u32) -> Self {
        Self(
            [match (has_kernels, has_batch, fragments) {
                (true, ..) if fragments > 1 => Path::Gather,
                (_, true, _) => Path::Batch,
                _ => Path::Runs,
            }; SizeClass::COUNT],
        )
    }

    /// The path of a batch of `parts`.
    pub(crate) fn path(self, parts: usize) -> Path {
        self.0[SizeClass::of(parts).0]
    }
}

#[cfg(test)]
mod tests {
    use super::{Choice, Path, SizeClass};

    #[test]
    fn each_class_has_the_batch_that_stands_for_it() {
        for (class, parts) in SizeClass::PARTS.into_iter().enumerate() {
            assert_eq!(SizeClass::of(parts), SizeClass(class));
        }
    }

    #[test]
    fn without_kernels_copies_serve() {
        assert_eq!(Choice::uncalibrated(false, true, 64).path(64), Path::Batch);
        assert_eq!(Choice::uncalibrated(false, false, 64).path(64), Path::Runs);
        assert_eq!(Choice::uncalibrated(true, true, 64).path(1), Path::Gather);
        assert_eq!(
            Choice::uncalibrated(true, true, 1).path(64),
            Path::Batch,
            "one piece a part needs no kernel"
        );
    }
}
