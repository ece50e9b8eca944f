//! `kv-pager inspect`: what a file tier holds, and whether it is whole.
//!
//! - **IC1** without `--repair` nothing is written into the directories;
//! - **IC2** damage makes the exit status 1 with `--verify` or `--repair`; an empty or half-made tier is no damage.

mod report;

use crate::args::InspectArguments;
use crate::destination::Destination;
use crate::failure::Failure;
use crate::output;
use kv_pager_cpu::file::Depth;

/// Runs the command.
///
/// # Errors
/// [`Failure`] that says what to do; [`Failure::Wrong`] if something is damaged.
pub(crate) fn inspect(arguments: &InspectArguments) -> Result<(), Failure> {
    let destination = arguments.json.as_deref().map(Destination::new).transpose()?;
    let depth = match (arguments.repair, arguments.verify) {
        (true, _) => Depth::Repair,
        (false, true) => Depth::Verify,
        (false, false) => Depth::Look,
    };
    let found = kv_pager_cpu::inspect(&arguments.directories, depth)?;
    output::line(&report::text(&found))?;
    if let Some(destination) = destination {
        destination.write(&found)?;
    }
    if found.is_damaged() && depth != Depth::Look {
        let advice = if depth == Depth::Repair {
            "it was retired, and is not used again"
        } else {
            "run again with --repair to retire it"
        };
        return Err(Failure::Wrong(format!(
            "{} damaged: {advice}",
            report::count(found.damages.len(), "place is", "places are")
        )));
    }
    Ok(())
}
