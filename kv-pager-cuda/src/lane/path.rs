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

/// What the cards and their driver can do: it decides which paths there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Abilities {
    /// Kernels were compiled for every rank.
    pub(crate) kernels: bool,
    /// Many copies go in one call.
    pub(crate) batch_copies: bool,
}

impl Abilities {
    /// Whether `path` is worth choosing: a batch that is copied piece by piece is [`Path::Runs`].
    pub(crate) fn serve(self, path: Path) -> bool {
        match path {
            Path::Runs => true,
            Path::Batch => self.batch_copies,
            Path::Gather | Path::ZeroCopy => self.kernels,
        }
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
    pub(crate) fn uncalibrated(abilities: Abilities, fragments: u32) -> Self {
        // One piece a part needs no kernel.
        let preferred = if fragments > 1 { [Path::Gather, Path::Batch] } else { [Path::Batch, Path::Runs] };
        let path = preferred.into_iter().find(|path| abilities.serve(*path));
        Self([path.unwrap_or(Path::Runs); SizeClass::COUNT])
    }

    /// The path of a batch of `parts`.
    pub(crate) fn path(self, parts: usize) -> Path {
        self.0[SizeClass::of(parts).0]
    }
}

#[cfg(test)]
mod tests {
    use super::{Abilities, Choice, Path, SizeClass};

    #[test]
    fn each_class_has_the_batch_that_stands_for_it() {
        for (class, parts) in SizeClass::PARTS.into_iter().enumerate() {
            assert_eq!(SizeClass::of(parts), SizeClass(class));
        }
    }

    fn abilities(kernels: bool, batch_copies: bool) -> Abilities {
        Abilities { kernels, batch_copies }
    }

    #[test]
    fn what_is_chosen_unmeasured_is_always_served() {
        for (kernels, batch_copies) in [(false, false), (false, true), (true, false), (true, true)] {
            let abilities = abilities(kernels, batch_copies);
            assert!(abilities.serve(Path::Runs), "every driver copies");
            for fragments in [1, 2, 64] {
                let path = Choice::uncalibrated(abilities, fragments).path(64);
                assert!(abilities.serve(path), "{abilities:?}, {fragments} fragments: {path}");
            }
        }
    }

    #[test]
    fn without_kernels_copies_serve() {
        assert_eq!(Choice::uncalibrated(abilities(false, true), 64).path(64), Path::Batch);
        assert_eq!(Choice::uncalibrated(abilities(true, true), 64).path(1), Path::Gather);
        let one_piece = Choice::uncalibrated(abilities(true, true), 1);
        assert_eq!(one_piece.path(64), Path::Batch, "one piece a part needs no kernel");
    }

    #[test]
    fn a_driver_without_batch_copies_copies_runs_or_gathers() {
        assert_eq!(Choice::uncalibrated(abilities(false, false), 64).path(64), Path::Runs);
        assert_eq!(Choice::uncalibrated(abilities(true, false), 64).path(64), Path::Gather);
        assert_eq!(Choice::uncalibrated(abilities(true, false), 1).path(64), Path::Runs);
        assert!(!abilities(true, false).serve(Path::Batch));
    }
}
