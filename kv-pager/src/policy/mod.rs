//! What to bring, keep, demote and drop.

pub mod keeping;
