//! The arms by name.
//! Layer 8. Uses `policy::keeping`. Known by: `pager`, the command line.

use super::arc::Arc;
use super::cost_aware::CostAware;
use super::lru::Lru;
use super::s3fifo::S3Fifo;
use super::slru::Slru;
use super::{Bounds, Keeping};
use std::fmt;
use std::str::FromStr;

/// An order of eviction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Arm {
    /// The least recently used goes first.
    Lru,
    /// Used once goes before used twice; each half in order of use.
    Slru,
    /// Used once against used twice, shared out by what was asked for after it left.
    Arc,
    /// A small queue for newcomers, a large one for what was asked for while in it; both first in, first out.
    S3Fifo,
    /// The least expected value goes first, by a model that learns from the requests; or the least recently used, while
    /// that is seen to hit more.
    #[default]
    CostAware,
}

/// There is no arm of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no keeping policy: choose one of lru, slru, arc, s3fifo, cost-aware")]
pub struct UnknownArm {
    name: String,
}

impl Arm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Lru, Self::Slru, Self::Arc, Self::S3Fifo, Self::CostAware];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::Slru => "slru",
            Self::Arc => "arc",
            Self::S3Fifo => "s3fifo",
            Self::CostAware => "cost-aware",
        }
    }

    /// The arm, for a tier of these bounds. Allocates all it will ever need.
    ///
    /// # Panics
    /// If a bound that must be at least one is zero, or their sum is out of range.
    pub fn build(self, bounds: &Bounds) -> Box<dyn Keeping> {
        match self {
            Self::Lru => Box::new(Lru::new(bounds)),
            Self::Slru => Box::new(Slru::new(bounds)),
            Self::Arc => Box::new(Arc::new(bounds)),
            Self::S3Fifo => Box::new(S3Fifo::new(bounds)),
            Self::CostAware => Box::new(CostAware::new(bounds)),
        }
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Arm {
    type Err = UnknownArm;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let arm = Self::ALL.into_iter().find(|arm| arm.name() == name);
        arm.ok_or_else(|| UnknownArm { name: name.to_owned() })
    }
}
