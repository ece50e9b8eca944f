//! A profile: what was measured on one machine with one model, as a file that people can read.
//! Layer 6. Uses `error`, `layout`, `tier`, `units`, `cost`. Known by: `cost`, the command line.
//!
//! - **PF1** a profile that was loaded is plausible: every number is finite and within what machines can do, no lane stands
//!   twice, sizes grow;
//! - **PF2** a profile reads back as it was written.

mod builtin;
mod check;
mod lane;
mod prefill;

pub use lane::LaneProfile;
pub use prefill::PrefillProfile;

use super::CodecCost;
use crate::error::Error;
use serde::{Deserialize, Serialize};

/// What one machine takes for the moves and the prefill of one model.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The format of the file: [`Profile::VERSION`].
    pub version: u32,
    /// The machine. Whoever measures names it, and tells by the name whether it is the same ([`Profile::check_origin`]).
    pub machine: String,
    /// The model's name, as [`crate::layout::shape`] knows it.
    pub model: String,
    /// Its lanes.
    pub lanes: Vec<LaneProfile>,
    /// Its prefill.
    pub prefill: PrefillProfile,
    /// Its formats.
    #[serde(default)]
    pub codecs: Vec<CodecCost>,
}

impl Profile {
    /// The format of the file that this version reads and writes.
    pub const VERSION: u32 = 1;

    /// Reads a profile and checks it (PF1).
    ///
    /// # Errors
    /// [`Error::Configuration`] if `text` is no profile of this version, or not plausible.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let profile: Self = serde_json::from_str(text)
            .map_err(|error| wrong(format!("{error}; write a new one with `kv-pager measure --out`")))?;
        profile.check()?;
        Ok(profile)
    }

    /// Writes it, in lines for people.
    ///
    /// # Panics
    /// Never: a profile has only fields that JSON knows.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("numbers, texts and lists");
        text.push('\n');
        text
    }
}

fn wrong(why: String) -> Error {
    Error::Configuration { setting: "profile", why }
}

#[cfg(test)]
mod tests;
