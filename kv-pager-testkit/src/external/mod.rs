//! An engine that owns its device slots, on a machine under a test's control, and a model of what a pager does for it.
//!
//! - [`BlockPool`] is the engine's pool: it notes which ticket is on which slot, and says so when the engine reuses one too early;
//! - [`Engine`] allocates, computes, offloads, onboards, reads and reuses, late and on several streams;
//! - [`ExternalRig`] holds it beside the model: what was computed under which name, and what the event stream says is where.

mod block_pool;
mod engine;
mod operation;
mod rig;

pub use block_pool::{BlockPool, SlotTicket};
pub use engine::{Engine, EngineSpec};
pub use operation::{ExternalOperation, Worth, external_operation};
pub use rig::ExternalRig;
