//! Locks and atomics, so that a protocol can be checked under every interleaving (`--cfg kv_loom`).
//! Layer 0. Uses nothing. Known by: `tier`, `pager`.

mod timed;
mod turns;

pub use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
pub use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
pub(crate) use timed::{Held, Timed, TimedGuard};
