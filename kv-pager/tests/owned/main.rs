//! Engines that own their device slots: what the policy keeps of theirs, what it plans for them, and what their requests are worth.

mod keeping;
mod plans;
mod standing;
mod world;
