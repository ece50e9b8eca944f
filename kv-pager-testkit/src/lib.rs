//! What the project tests itself with: request streams, a reference engine, machines under a test's control, suites for
//! backends.
//!
//! | module | holds |
//! |---|---|
//! | [`conformance`] | what every tier and every lane must do |
//! | [`engine`] | a decoder whose outputs tell whether a cache is right |
//! | [`external`] | an engine that owns its device slots, beside a model of what a pager does for it |
//! | [`faulty`], [`late`], [`throttled`] | lanes that fail, fences that end late, lanes of a given speed |
//! | [`random`] | numbers from a seed |
//! | [`ranks`] | several devices behind one tier and one lane |
//! | [`remote`] | workers in processes of their own, and the messages between them and a scheduler |
//! | [`scenario`] | request streams on which one way of keeping or another goes wrong |
//! | [`tagged`] | memory of tags and lanes that move when told to: a wrong byte is a wrong tag |
//! | [`trace`] | request streams recorded elsewhere, read and checked whole |
//! | [`walk`] | random operations on a pager over real tiers, every byte read back |
//! | [`workload`] | a seeded request stream of conversations, where no trace is at hand |
#![forbid(unsafe_code)]

pub mod conformance;
pub mod engine;
pub mod external;
pub mod faulty;
pub mod late;
pub mod model;
pub mod random;
pub mod ranks;
mod relay;
pub mod remote;
pub mod scenario;
pub mod tagged;
pub mod throttled;
pub mod trace;
pub mod walk;
pub mod workload;

/// The README's example compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
