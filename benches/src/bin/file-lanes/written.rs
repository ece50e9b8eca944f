//! Bytes written for each byte of payload, as the system counts them for this process.
//! Uses `subject`. Known by: `main`.
//!
//! Slots that were full are written in a random order, and every few of them are flushed: what an engine does that never writes
//! what it evicts in runs.

use crate::Bench;
use crate::report::Row;
use crate::subject::{Subject, Way};
use kv_pager::Error;
use kv_pager::layout::{Attention, DType, Entry, KvGroup, ModelLayout, shape};
use kv_pager::tier::Persistence;
use kv_pager_cpu::file::Access;

/// Slots written between two flushes.
const FLUSHED_SLOTS: usize = 8;
const SLOTS: u64 = 512;
const FILE_BYTES_MAX: u64 = 256 << 20;
/// For slots of 512 KiB and more.
const MUST: f64 = 1.05;

pub(crate) fn run(bench: &mut Bench, slot_kib: u32) -> Result<(), Error> {
    let model = if slot_kib == 8 {
        shape("tiny").expect("known")
    } else {
        let entry = Entry::KeyValue { kv_heads: 8, head_dim: 64 };
        let group = KvGroup { attention: Attention::Full, layers: slot_kib / 32, entry, dtype: DType::BF16 };
        ModelLayout::new(16, vec![group])?
    };
    let file_bytes = (SLOTS * 1024 * u64::from(slot_kib)).min(FILE_BYTES_MAX);
    let subject = Subject::new(bench, &model, file_bytes, Access::Auto)?;
    let before = written_bytes();
    let pairs = subject.pairs(usize::MAX, 1);
    for pairs in pairs.chunks(FLUSHED_SLOTS) {
        subject.carry(pairs, Way::Write);
        subject.file.flush().expect("a sound drive");
    }
    let payload_bytes = subject.slot_bytes * pairs.len() as u64;
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let times = (written_bytes() - before) as f64 / payload_bytes as f64;
    bench.report.add(Row {
        what: format!("{slot_kib} KiB"),
        way: "bytes written".to_owned(),
        slots: pairs.len(),
        times,
        must: if slot_kib >= 512 { MUST } else { 0.0 },
        note: format!("{times:.3} for each of payload"),
        ..Row::default()
    });
    Ok(())
}

/// What the system counts as written by this process: whole pages of what went through the cache.
fn written_bytes() -> u64 {
    let counters = std::fs::read_to_string("/proc/self/io").expect("Linux tells");
    let line = counters.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("it is told");
    line.parse().expect("a number")
}
