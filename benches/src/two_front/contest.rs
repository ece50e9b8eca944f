//! A contest: all splits of a cell by force, and the pager's own plan, round after round.
//! Uses `two_front::{cell, scene, results}`. Known by: the binary.
//!
//! Splits take turns, so that a machine that is slow for a second is slow for all of them. The first round warms up.

use super::cell::{Cell, Split};
use super::results::CellResult;
use super::scene::{Ground, Scene, Served};
use kv_pager::Error;

/// How often everything is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Rounds that count, at most.
    pub rounds: usize,
    /// Rounds that count, at least, however long they take.
    pub rounds_min: usize,
}

/// Serves the cell by every split and by plan. `may_go_on` is asked before every round above the least.
///
/// # Errors
/// If a tier or the device refuses.
pub fn contest(
    scene: &mut Scene,
    cell: &Cell,
    pace: Pace,
    ground: &mut dyn Ground,
    mut may_go_on: impl FnMut() -> bool,
) -> Result<CellResult, Error> {
    scene.prepare(cell, ground)?;
    let splits = cell.splits();
    let mut forced: Vec<(Split, Vec<Served>)> = splits.iter().map(|split| (*split, Vec::new())).collect();
    let mut planned = Vec::new();
    for round in 0..=pace.rounds {
        if round > pace.rounds_min && !may_go_on() {
            break;
        }
        for (split, served) in &mut forced {
            let one = scene.serve(cell, Some(*split), ground)?;
            if round > 0 {
                served.push(one);
            }
        }
        let one = scene.serve(cell, None, ground)?;
        if round > 0 {
            planned.push(one);
        }
    }
    Ok(CellResult::new(cell, &forced, &planned))
}
