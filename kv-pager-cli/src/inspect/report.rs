//! An inspection as text.
//! Known by: `inspect`.

use comfy_table::{Cell, CellAlignment, Table, presets};
use kv_pager::units::Bytes;
use kv_pager_cpu::file::{Inspection, Making};

/// `1 place is`, `2 places are`.
pub(crate) fn count(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// What people read.
pub(crate) fn text(found: &Inspection) -> String {
    match found.making {
        Making::Empty => return "there is no tier here".to_owned(),
        Making::HalfCreated => {
            return "a tier was being made here, and holds nothing; it is made anew when it is opened"
                .to_owned();
        }
        Making::Complete => {}
    }
    let mut text = numbers(found).to_string();
    if !found.hottest.is_empty() {
        text.push_str("\n\n");
        text.push_str(&hottest(found).to_string());
    }
    for damage in &found.damages {
        let place = match (damage.group, damage.slot) {
            (Some(group), Some(slot)) => format!("group {group}, slot {slot}"),
            _ => "superblock".to_owned(),
        };
        text.push_str(&format!("\n{place}: {}", damage.what));
    }
    text
}

fn numbers(found: &Inspection) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut row = |name: &str, value: String| {
        table.add_row([Cell::new(name), Cell::new(value).set_alignment(CellAlignment::Right)]);
    };
    row("files", found.files.to_string());
    row("slots", found.slots.to_string());
    row("slots in use", found.used_slots.to_string());
    row("slots retired", found.retired_slots.to_string());
    row("writes cut short", found.interrupted_slots.to_string());
    row("slots damaged", found.damaged_slots.to_string());
    row("blocks", found.blocks.to_string());
    row("blocks without their parent", found.orphaned_blocks.to_string());
    row("chains", found.chains.to_string());
    row("tenants", found.tenants.to_string());
    row("formats", found.formats.join(", "));
    row("payloads", Bytes::new(found.payload_bytes).to_string());
    row("payloads read", Bytes::new(found.verified_bytes).to_string());
    if let Some((oldest, newest)) = found.written_s {
        row("written, seconds since 1970", format!("{oldest} to {newest}"));
    }
    table
}

fn hottest(found: &Inspection) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["asked for most", "depth", "times"]);
    for block in &found.hottest {
        table.add_row([block.hash.clone(), block.depth.to_string(), block.uses.to_string()]);
    }
    table
}
