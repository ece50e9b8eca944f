//! `kv-pager inspect`: what a file tier holds, and whether it is whole.
//!
//! - **A1** looking and verifying write nothing; repairing retires the slots that are damaged, makes superblocks and files whole
//!   again, and needs the tier for itself;
//! - **A2** the exit status is 1 when `--verify` finds damage, and 0 when `--repair` has retired it; a write that was cut
//!   short, a block whose parent is gone, and a tier that is empty or half made are no damage.

use crate::args::InspectArguments;
use crate::destination::Destination;
use crate::failure::Failure;
use crate::output;
use comfy_table::{Cell, CellAlignment, Table, presets};
use kv_pager::units::Bytes;
use kv_pager_cpu::file::{Damage, Depth, HotBlock, Inspection, Making};

/// How many damaged places are listed for a person; `--json` lists them all.
const DAMAGES_SHOWN: usize = 50;

/// Runs the command.
///
/// # Errors
/// [`Failure`] that says what to do; [`Failure::Wrong`] if something is damaged and was not repaired.
pub(crate) fn inspect(arguments: &InspectArguments) -> Result<(), Failure> {
    let destination = arguments.json.as_deref().map(Destination::new).transpose()?;
    let depth = match (arguments.verify, arguments.repair) {
        (_, true) => Depth::Repair,
        (true, false) => Depth::Verify,
        (false, false) => Depth::Look,
    };
    let found = kv_pager_cpu::inspect(&arguments.directories, depth)?;
    output::line(&text(&found))?;
    if let Some(destination) = destination {
        destination.write(&found)?;
    }
    let places = found.damages.len();
    match depth {
        Depth::Verify if found.is_damaged() => Err(Failure::Wrong(format!(
            "{places} places are damaged, and will be misses; --repair retires the slots and makes the rest whole again"
        ))),
        Depth::Repair if found.is_damaged() => output::line(&format!(
            "{places} places were damaged: slots are retired, superblocks and files are whole again"
        )),
        _ => Ok(()),
    }
}

/// What was found, for a person.
fn text(found: &Inspection) -> String {
    match found.making {
        Making::Empty => return "empty: there is no tier here yet".to_owned(),
        Making::HalfCreated => {
            return "half created: the tier holds nothing, and will be made again".to_owned();
        }
        Making::Complete => {}
    }
    let hot = |block: &HotBlock| {
        format!("hot: {} at depth {}, asked for {} times", block.hash, block.depth, block.uses)
    };
    let mut lines = vec![table(found).to_string()];
    lines.extend(found.hottest.iter().map(hot));
    lines
        .extend(found.damages.iter().take(DAMAGES_SHOWN).map(|damage| format!("damaged: {}", place(damage))));
    let more = found.damages.len().saturating_sub(DAMAGES_SHOWN);
    if more > 0 {
        lines.push(format!("and {more} more; --json lists them all"));
    }
    lines.join("\n")
}

fn table(found: &Inspection) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let counts = [
        ("slots", found.slots),
        ("used", found.used_slots),
        ("retired", found.retired_slots),
        ("interrupted", found.interrupted_slots),
        ("damaged", found.damaged_slots),
        ("blocks", found.blocks),
        ("orphaned", found.orphaned_blocks),
        ("chains", found.chains),
        ("tenants", found.tenants),
    ];
    let mut rows: Vec<(&str, String)> = counts.map(|(name, count)| (name, count.to_string())).into();
    rows.push(("formats", found.formats.join(", ")));
    rows.push(("payload", Bytes::new(found.payload_bytes).to_string()));
    if let Some((oldest, newest)) = found.written_s {
        rows.push(("written", format!("from {oldest} to {newest}, in seconds since 1970")));
    }
    for (name, value) in rows {
        table.add_row([Cell::new(name), Cell::new(value).set_alignment(CellAlignment::Right)]);
    }
    table
}

fn place(damage: &Damage) -> String {
    match (damage.group, damage.slot) {
        (Some(group), Some(slot)) => format!("slot {slot} of group {group}: {}", damage.what),
        _ => damage.what.clone(),
    }
}
