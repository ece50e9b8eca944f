//! Opening a file tier: how long until its prefixes can be asked for.
//!
//! `cargo bench -p benches --bench file-open -- [DIRECTORY] [SLOTS]`. Chains of 64 blocks of 16 tokens, 8 KiB a slot; the page
//! cache is warm, as after a restart of the process.

use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::ids::{Fence, GroupId, MoveId, PrefixHash, Salt, SlotId, TierId, TokenId};
use kv_pager::layout::shape;
use kv_pager::tier::{BlockLabel, LaneEnds, Move, Persistence, Signal};
use kv_pager::units::Nanos;
use kv_pager_cpu::file::Depth;
use kv_pager_cpu::{CpuBackend, CpuSpec, FileSpec, FileTier, inspect};
use std::path::PathBuf;
use std::sync::Arc;

/// Blocks of a chain.
const CHAIN: usize = 64;
/// Moves of a batch.
const BATCH: usize = 1024;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let parent = arguments.first().map_or_else(std::env::temp_dir, PathBuf::from);
    let slots: u32 = arguments.get(1).map_or(100_000, |slots| slots.parse().expect("a number of slots"));
    let directory = tempfile::tempdir_in(parent).expect("a directory that can be written");
    let spec = CpuSpec {
        host_slots: Some(vec![u32::try_from(BATCH).expect("small")]),
        file: Some(FileSpec::new(directory.path().join("tier"), vec![slots])),
        ..CpuSpec::new(shape("tiny").expect("known"), vec![1])
    };
    let before = written_bytes();
    fill(&spec, slots as usize);
    let amplification =
        written_bytes().zip(before).map(|(after, before)| ratio(after - before, u64::from(slots) * 8192));
    let clock = MonotonicClock::new();
    let file = spec.file.as_ref().expect("given above");
    let mut spans = Vec::new();
    let mut blocks = 0;
    for _ in 0..5 {
        let start = clock.now();
        let tier = FileTier::open(&spec.identity(), file).expect("it was closed");
        blocks = tier.recover().len();
        spans.push(clock.now().since(start));
    }
    spans.sort();
    let start = clock.now();
    let found = inspect(&file.directories, Depth::Look).expect("it can be read");
    let looked = clock.now().since(start);
    say(&format!(
        "{slots} slots: {blocks} blocks open in {:.0} ms (median of 5, best {:.0}), inspect in {:.0} ms ({} chains)",
        ms(spans[2]),
        ms(spans[0]),
        ms(looked),
        found.chains
    ));
    if let Some(amplification) = amplification {
        say(&format!(
            "bytes given to the drive for each byte of payload, 8 KiB slots in runs: {amplification:.3}"
        ));
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark tells its figures")]
fn say(line: &str) {
    println!("{line}");
}

fn ms(span: Nanos) -> f64 {
    span.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other as f64
}

/// Bytes that this process has caused to be sent to drives, as the kernel counts them.
fn written_bytes() -> Option<u64> {
    let counters = std::fs::read_to_string("/proc/self/io").ok()?;
    counters.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

fn fill(spec: &CpuSpec, slots: usize) {
    let backend = CpuBackend::new(spec).expect("room for it");
    let tier = backend.file().expect("given above");
    let ends = LaneEnds { source: TierId::Host, target: TierId::File };
    let lane = backend.lanes().into_iter().find(|lane| lane.ends() == ends).expect("there is one");
    let signal = Arc::new(Signal::new());
    let hash = |slot: usize| PrefixHash(slot as u128 + 1);
    for start in (0..slots).step_by(BATCH) {
        let batch: Vec<Move> =
            (start..slots.min(start + BATCH)).map(|slot| order(slot - start, slot)).collect();
        for slot in start..slots.min(start + BATCH) {
            let depth = slot % CHAIN;
            let token = u32::try_from(slot).expect("a slot's number is a u32");
            let label = BlockLabel {
                hash: hash(slot),
                parent: (depth > 0).then(|| hash(slot - 1)),
                salt: Salt(0),
                depth: u32::try_from(depth).expect("small"),
                tokens: &[TokenId(token); 16],
                extra_keys: &[],
                uses: 1,
            };
            tier.label(GroupId::FIRST, SlotId::from_index(slot), &label);
        }
        let ticket = lane.submit(&batch).expect("it fits the queue");
        ticket.attach(&signal);
        loop {
            let seen = signal.count();
            if ticket.is_over() {
                break;
            }
            signal.wait_past(seen, Nanos::MAX);
        }
    }
    tier.flush().expect("a sound drive");
}

fn order(source: usize, target: usize) -> Move {
    let (source, target) = (SlotId::from_index(source), SlotId::from_index(target));
    let fence = Fence::OVER;
    Move { id: MoveId(0), group: GroupId::FIRST, source, target, source_fence: fence, target_fence: fence }
}
