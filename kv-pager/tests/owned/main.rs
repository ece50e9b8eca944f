//! Engines that own their device slots: what the policy keeps of theirs, and what it plans for them.

mod keeping;
mod plans;
mod world;
