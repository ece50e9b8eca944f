//! How much longer a batch of reads takes beside a burst of writes than alone.
//! Uses `subject`. Known by: `main`.

use crate::report::Row;
use crate::subject::{Subject, Way, wait};
use crate::{Bench, median};
use kv_pager::Error;
use kv_pager::layout::shape;
use kv_pager_cpu::file::Access;

/// Reads of a batch, in bytes and in slots.
const READ_BYTES: u64 = 48 << 20;
const READ_SLOTS_MAX: usize = 512;
const ROUNDS: u64 = 11;
/// Reads beside writes may take so many times as long.
const MUST: f64 = 2.0;

pub(crate) fn run(bench: &mut Bench, name: &str) -> Result<(), Error> {
    let Some(model) = shape(name) else {
        return Err(Error::Configuration { setting: "--shapes", why: format!("no shape is called {name}") });
    };
    let subject = Subject::new(bench, &model, bench.file_bytes / 2, Access::Auto)?;
    let count = subject.batch(READ_BYTES).min(READ_SLOTS_MAX);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for seed in 0..ROUNDS {
        let pairs = subject.pairs(usize::MAX, seed);
        let (reads, writes) = pairs.split_at(count);
        alone.push(subject.carry(reads, Way::Read));
        let burst = subject.submit(writes, Way::Write);
        beside.push(subject.carry(reads, Way::Read));
        burst.iter().for_each(wait);
    }
    let (alone, beside) = (median(alone), median(beside));
    bench.report.add(Row {
        what: format!("{} KiB", subject.slot_bytes / 1024),
        way: "read beside writes".to_owned(),
        slots: count,
        rounds: ROUNDS,
        raw: alone,
        lane: beside,
        times: alone / beside,
        must: MUST,
        note: format!("{:.2} times as long as alone", alone / beside),
        ..Row::default()
    });
    Ok(())
}
