//! Who takes part: the arms, and the bound that none of them can reach.
//! Known by: `args`, `compare`.

use kv_pager::policy::keeping::{Arm, UnknownArm};
use std::fmt;
use std::str::FromStr;

/// One row of the comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Contestant {
    /// A policy that decides as requests come.
    Arm(Arm),
    /// The bound: who knows all that is to come.
    Belady,
}

impl Contestant {
    /// The name of the bound on the command line.
    const BELADY: &'static str = "belady";
}

impl fmt::Display for Contestant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arm(arm) => out.write_str(arm.name()),
            Self::Belady => out.write_str(Self::BELADY),
        }
    }
}

impl FromStr for Contestant {
    type Err = UnknownArm;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if name == Self::BELADY { Ok(Self::Belady) } else { name.parse().map(Self::Arm) }
    }
}
