//! A paged KV cache over device memory, host memory and files: the core.
//!
//! The core owns the bookkeeping of a model's KV cache and moves no byte itself. It is a synchronous,
//! deterministic state machine: time comes from a [`clock::Clock`], randomness from a seed, bytes move on the
//! [`tier::Lane`]s that a backend crate brings. Modules use only modules above them in this list; read in order,
//! they are the life of a block:
//!
//! | module | knows |
//! |---|---|
//! | [`ids`], [`units`], [`error`], [`event`], [`clock`], [`config`], [`sync`] | names, numbers, limits |
//! | [`layout`] | how many bytes a part has and where its fragments lie |
//! | [`pool`] | which slots of one tier are free, filling, resident or leaving |
//! | [`prefix`] | which block has which name, and where its parts are |
//! | [`sequence`] | one request's tokens and block tables |
//! | [`tier`] | the seams: memory with slots, and lanes that copy between two of them |
//! | [`cost`] | what a move and a prefill take |
//! | [`transfer`] | queues, batches, tickets and deadlines of moves |
//! | [`policy`] | what to bring, keep, demote and drop |
//! | [`pager`] | all of it behind one lock |
//! | [`telemetry`] | what the pager did, as metrics |
#![forbid(unsafe_code)]

pub mod clock;
pub mod config;
pub mod cost;
pub mod error;
pub mod event;
pub mod ids;
pub mod layout;
pub mod pager;
pub mod policy;
pub mod pool;
pub mod prefix;
pub mod sequence;
pub mod sync;
pub mod telemetry;
pub mod tier;
pub mod transfer;
pub mod units;

pub use config::Config;
pub use error::{Error, ErrorKind};

pub use pager::Pager;
