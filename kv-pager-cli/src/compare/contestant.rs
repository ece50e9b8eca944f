//! Who takes part: the arms, and the bound that none of them can reach.
//! Known by: `args`, `compare`.

use kv_pager::policy::keeping::Arm;
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

/// Nobody of that name takes part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` takes no part: choose of {}", Contestant::all().map(|known| known.to_string()).collect::<Vec<_>>().join(", "))]
pub(crate) struct UnknownContestant {
    name: String,
}

impl Contestant {
    /// The name of the bound on the command line.
    const BELADY: &'static str = "belady";

    /// All who can take part.
    fn all() -> impl Iterator<Item = Self> {
        Arm::ALL.into_iter().map(Self::Arm).chain([Self::Belady])
    }
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
    type Err = UnknownContestant;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::all().find(|known| known.to_string() == name);
        found.ok_or_else(|| UnknownContestant { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::Contestant;

    #[test]
    fn all_names_are_read_and_the_error_lists_them() {
        for known in Contestant::all() {
            assert_eq!(known.to_string().parse(), Ok(known));
        }
        let told = "none".parse::<Contestant>().expect_err("nobody").to_string();
        assert!(Contestant::all().all(|known| told.contains(&known.to_string())), "{told}");
        assert!(told.contains("belady"), "{told}");
    }
}
