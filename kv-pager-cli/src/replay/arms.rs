//! The arms of a replay: how blocks are kept, and what is loaded.
//! Uses `args`. Known by: `replay::{setup, simulated}`.

use crate::args::{FileWritesName, LoadName, ReplayArguments};
use kv_pager::policy::keeping::Arm;
use kv_pager::policy::{FileWrites, Policy, Steward, StewardSpec};
use kv_pager::units::Bytes;
use std::fmt;

/// One combination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Arms {
    pub(super) keeping: Arm,
    pub(super) load: LoadName,
    file_writes: FileWritesName,
    write_bytes_per_day: Option<Bytes>,
    has_shadows: bool,
}

impl Arms {
    /// The one that the arguments choose.
    pub(super) fn of(arguments: &ReplayArguments) -> Self {
        Self {
            keeping: arguments.policy,
            load: arguments.load,
            file_writes: arguments.file_writes,
            write_bytes_per_day: arguments.write_bytes_per_day,
            has_shadows: arguments.shadows,
        }
    }

    /// Every combination of keeping and loading, the default last.
    pub(super) fn all(arguments: &ReplayArguments) -> Vec<Self> {
        let with = |load| Arm::ALL.map(|keeping| Self { keeping, load, ..Self::of(arguments) });
        LoadName::ALL.into_iter().rev().flat_map(with).collect()
    }

    /// Whether it is the default.
    pub(super) fn is_default(&self) -> bool {
        (self.keeping, self.load) == (Arm::default(), LoadName::Adaptive)
    }

    /// A policy that has seen nothing yet.
    pub(super) fn policy(&self) -> Box<dyn Policy> {
        Box::new(Steward::new(StewardSpec {
            keeping: self.keeping,
            loading: self.load.loading(),
            file_writes: match self.file_writes {
                FileWritesName::All => FileWrites::All,
                FileWritesName::Earned => FileWrites::Earned,
            },
            write_bytes_per_day: self.write_bytes_per_day,
            has_shadows: self.has_shadows,
        }))
    }
}

impl fmt::Display for Arms {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.keeping, self.load.name())
    }
}
