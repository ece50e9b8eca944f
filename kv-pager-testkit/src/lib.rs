//! What the project tests itself with: request streams, a reference engine, and what checks them.
//!
//! | module | holds |
//! |---|---|
//! | [`engine`] | a decoder whose outputs tell whether a cache is right |
//! | [`random`] | numbers from a seed |
//! | [`trace`] | request streams recorded elsewhere, read and checked whole |
//! | [`workload`] | a seeded request stream of conversations, where no trace is at hand |
#![forbid(unsafe_code)]

pub mod engine;
pub mod random;
pub mod trace;
pub mod workload;
