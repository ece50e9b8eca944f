//! Memory that holds a tag for each token, lanes that move when told to, and a device stream that computes late.
//!
//! With them a test decides the order of everything that is asynchronous in a real machine, and a wrong byte is a wrong tag:
//!
//! - a move that begins scrambles its target, so that a part shown too early is seen (I3);
//! - it reads its source when it ends, so that a source reused too early is seen (I2);
//! - a move that timed out writes its target when it is over, so that a target reused too early is seen (I2);
//! - compute is queued on a [`Stream`] and happens when a fence is reached, so that a missing wait is seen; where there are several,
//!   fences end in any order, or never.

mod lane;
mod machine;
mod stream;
mod tier;

pub use lane::{Fate, TaggedLane};
pub use machine::{Machine, MachineSpec};
pub use stream::Stream;
pub use tier::{Tag, TaggedTier};
