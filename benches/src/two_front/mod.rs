//! Loads beside computing, by plan and by force: what a request takes by every split that is tried, and by the pager's own plan.
//! Uses the core. Known by: the binary `two-front`, its test in virtual time.
//!
//! - **T1** every request goes through the pager: the same calls, lanes and queues for a split by force as for a plan;
//! - **T2** before each request its blocks lie where its cell says, and nothing is under way;
//! - **T3** a split by force is carried out to its end: its fronts do not move.
//!
//! | module | holds |
//! |---|---|
//! | `cell` | the grid, and the splits that are tried |
//! | `placement` | a policy that leaves blocks where a cell wants them, and plans as it is told |
//! | `scene` | a pager with blocks in place, and one request served |
//! | `contest` | all splits and the plan of one cell, round after round |
//! | `results` | what came of it, as a table and as JSON |

mod cell;
mod contest;
mod placement;
mod results;
mod scene;

pub use cell::{BLOCK_TOKENS, Cell, Split, grid};
pub use contest::{Pace, contest};
pub use results::{CellResult, Results, SplitResult};
pub use scene::{Ground, Scene, SceneSpec, Served};

#[cfg(test)]
mod tests;
