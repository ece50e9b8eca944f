//! File lanes beside raw direct I/O: cold random batches of slots, on the drive of a directory.
//!
//! `cargo bench -p benches --bench file-lanes -- [DIRECTORY] [MiB of the file] [SHAPE]`. Prints MiB/s, medians of five rounds. Raw is
//! the best over 1 to 32 requests at once, each of one slot, by `pread` and `pwrite` with `O_DIRECT` in as many threads, from
//! and to the same host memory and the same payload file; `checked` is the same with a checksum over each slot. The lane moves
//! a batch of as many slots, headers and checksums included; the percentage compares it with raw. Every batch is of other
//! slots, so that none finds its slots in a cache that the one before has warmed. `KV_PAGER_FILE_WORKERS` sets its threads.
//!
//! The last lines say how many bytes the system writes for each byte of payload, as it counts them for this process, when slots
//! that were full are written in a random order, and every eight of them are flushed.

use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::ids::{Fence, GroupId, MoveId, SlotId, TierId};
use kv_pager::layout::{Attention, DType, Entry, KvGroup, ModelLayout, shape};
use kv_pager::tier::{Lane, LaneEnds, Move, Persistence, Signal, Ticket};
use kv_pager::units::Nanos;
use kv_pager_cpu::file::Access;
use kv_pager_cpu::{CpuBackend, CpuSpec, FileSpec};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

const DEPTHS: [usize; 6] = [1, 2, 4, 8, 16, 32];
const ROUNDS: u64 = 5;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let parent = arguments.first().map_or_else(std::env::temp_dir, PathBuf::from);
    let file_mib: u64 = arguments.get(1).map_or(1024, |mib| mib.parse().expect("a number of MiB"));
    let directory = tempfile::tempdir_in(parent).expect("a directory that can be written");
    say(&format!("{} in files of {file_mib} MiB, MiB/s", directory.path().display()));
    say(
        "shape           KiB  slots  read: raw  checked   lane        write: raw  checked   lane        buffered",
    );
    let shapes = ["llama3-8b", "qwen2.5-0.5b", "tiny"];
    for name in shapes.into_iter().filter(|name| arguments.get(2).is_none_or(|only| only == name)) {
        row(name, directory.path(), file_mib << 20);
    }
    stall(directory.path(), file_mib << 20);
    for slot_kib in [8, 192, 512, 2048] {
        amplification(directory.path(), slot_kib);
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark tells its figures")]
fn say(line: &str) {
    println!("{line}");
}

/// A tier under measurement.
struct Bench {
    backend: CpuBackend,
    slot_bytes: u64,
    slots: usize,
    clock: MonotonicClock,
}

impl Bench {
    fn new(name: &str, directory: &Path, file_bytes: u64, access: Access) -> Self {
        Self::of(
            shape(name).expect("known"),
            &directory.join(format!("{name}-{access:?}")),
            file_bytes,
            access,
        )
    }

    fn of(model: ModelLayout, directory: &Path, file_bytes: u64, access: Access) -> Self {
        let slot_bytes = model.slot_bytes(GroupId::FIRST, kv_pager::layout::Format::Raw).as_u64();
        let slots = u32::try_from(file_bytes / slot_bytes).expect("small");
        let mut file = FileSpec::new(directory, vec![slots]);
        file.access = access;
        let host = u32::try_from((256 << 20) / slot_bytes).expect("small").min(4096);
        let mut spec =
            CpuSpec { host_slots: Some(vec![host]), file: Some(file), ..CpuSpec::new(model, vec![1]) };
        if let Ok(workers) = std::env::var("KV_PAGER_FILE_WORKERS") {
            spec.file_lanes.workers = workers.parse().expect("a number of threads");
        }
        let backend = CpuBackend::new(&spec).expect("room for it");
        Self { backend, slot_bytes, slots: slots as usize, clock: MonotonicClock::new() }
    }

    fn lane(&self, source: TierId, target: TierId) -> Arc<dyn Lane> {
        let ends = LaneEnds { source, target };
        self.backend.lanes().into_iter().find(|lane| lane.ends() == ends).expect("there is one")
    }

    /// Distinct random file slots, each with a host slot.
    fn pairs(&self, count: usize, seed: u64) -> Vec<(usize, usize)> {
        let mut order: Vec<usize> = (0..self.slots).collect();
        order.sort_by_key(|slot| xxhash_rust::xxh3::xxh3_64_with_seed(&slot.to_le_bytes(), seed));
        let host =
            self.backend.host().map_or(1, |host| kv_pager::tier::Tier::classes(&**host)[0].slots as usize);
        order.into_iter().take(count.min(host)).enumerate().map(|(host, file)| (file, host)).collect()
    }

    fn batch(pairs: &[(usize, usize)], is_read: bool) -> Vec<Move> {
        let order = |(file, host): &(usize, usize)| {
            let (file, host) = (SlotId::from_index(*file), SlotId::from_index(*host));
            let (source, target) = if is_read { (file, host) } else { (host, file) };
            let fence = Fence::OVER;
            Move {
                id: MoveId(0),
                group: GroupId::FIRST,
                source,
                target,
                source_fence: fence,
                target_fence: fence,
            }
        };
        pairs.iter().map(order).collect()
    }

    /// MiB/s of one batch over a lane.
    fn carry(&self, pairs: &[(usize, usize)], is_read: bool) -> f64 {
        let (source, target) =
            if is_read { (TierId::File, TierId::Host) } else { (TierId::Host, TierId::File) };
        let lane = self.lane(source, target);
        let batch = Self::batch(pairs, is_read);
        let start = self.clock.now();
        let ticket = lane.submit(&batch).expect("it fits the queue");
        wait(&ticket);
        self.rate(pairs.len(), self.clock.now().since(start))
    }

    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn rate(&self, slots: usize, span: Nanos) -> f64 {
        (slots as u64 * self.slot_bytes) as f64 / f64::from(1 << 20) / span.as_secs_f64()
    }

    /// MiB/s of the same slots by `depth` threads of direct requests, from and to the same host memory.
    fn raw(&self, path: &Path, pairs: &[(usize, usize)], depth: usize, kind: Kind) -> f64 {
        let flags = OFlags::RDWR | OFlags::DIRECT;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty()).expect("direct access"));
        let host = self.backend.host().expect("there is one");
        let next = AtomicUsize::new(0);
        let start = self.clock.now();
        thread::scope(|scope| {
            for _ in 0..depth {
                scope.spawn(|| {
                    while let Some((slot, at)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let offset = *slot as u64 * self.slot_bytes;
                        let mut lent = host.write(GroupId::FIRST, SlotId::from_index(*at)).expect("free");
                        let bytes = lent.fragment_mut(0);
                        if kind.is_checked && !kind.is_read {
                            black_box(xxhash_rust::xxh3::xxh3_64(bytes));
                        }
                        let done = if kind.is_read {
                            rustix::io::pread(&file, &mut *bytes, offset)
                        } else {
                            rustix::io::pwrite(&file, &*bytes, offset)
                        };
                        assert_eq!(done.expect("a sound drive"), bytes.len());
                        if kind.is_checked && kind.is_read {
                            black_box(xxhash_rust::xxh3::xxh3_64(bytes));
                        }
                    }
                });
            }
        });
        self.rate(pairs.len(), self.clock.now().since(start))
    }

    /// Raw requests beside the lane, in turns, so that what a drive does from one second to the next meets both: the medians of
    /// the best depth and of the lane. What raw writes destroy is not read again.
    fn compare(&self, count: usize, is_read: bool) -> Comparison {
        let payloads = self.payloads();
        let mut raw = vec![Vec::new(); DEPTHS.len()];
        let (mut checked, mut lane) = (raw.clone(), Vec::new());
        let mut seeds = u64::from(is_read) << 32..;
        let mut pairs = || self.pairs(count, seeds.next().expect("2^64 of them"));
        for _ in 0..ROUNDS {
            for (index, depth) in DEPTHS.into_iter().enumerate() {
                for (is_checked, rates) in [(false, &mut raw), (true, &mut checked)] {
                    rates[index].push(self.raw(&payloads, &pairs(), depth, Kind { is_read, is_checked }));
                }
                lane.push(self.carry(&pairs(), is_read));
            }
        }
        let best = |rates: Vec<Vec<f64>>| {
            let rates = rates.into_iter().map(median).zip(DEPTHS);
            rates.fold((0.0, 0), |best, rate| if rate.0 > best.0 { rate } else { best })
        };
        let (raw, depth) = best(raw);
        Comparison { raw, depth, checked: best(checked).0, lane: median(lane) }
    }

    /// The file that the slots are in.
    fn payloads(&self) -> PathBuf {
        self.directory().join("kv-pager.0.payloads")
    }

    fn directory(&self) -> PathBuf {
        let tier = self.backend.file().expect("there is one");
        tier.directories().next().expect("there is one").to_owned()
    }
}

/// Which requests.
#[derive(Clone, Copy)]
struct Kind {
    is_read: bool,
    /// With a checksum over each slot, before it is written or after it is read.
    is_checked: bool,
}

struct Comparison {
    raw: f64,
    depth: usize,
    checked: f64,
    lane: f64,
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { raw, depth, checked, lane } = self;
        write!(out, "{raw:6.0} ({depth:2}) {checked:8.0} {lane:6.0} {:4.0}%", lane / raw * 100.0)
    }
}

fn wait(ticket: &Ticket) {
    let signal = Arc::new(Signal::new());
    ticket.attach(&signal);
    loop {
        let seen = signal.count();
        if ticket.is_over() {
            break;
        }
        signal.wait_past(seen, Nanos::MAX);
    }
    let failed = (0..ticket.len()).filter(|index| ticket.outcome(*index) != Some(Ok(()))).count();
    assert_eq!(failed, 0, "moves failed");
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn fill(bench: &Bench) {
    let host = bench.pairs(usize::MAX, 0).len();
    for start in (0..bench.slots).step_by(host) {
        let pairs: Vec<_> =
            (start..bench.slots).take(host).enumerate().map(|(host, file)| (file, host)).collect();
        bench.carry(&pairs, false);
    }
    kv_pager::tier::Tier::persistence(&**bench.backend.file().expect("there is one"))
        .map(Persistence::flush)
        .expect("it has")
        .expect("a sound drive");
}

fn row(name: &str, directory: &Path, file_bytes: u64) {
    let bench = Bench::new(name, directory, file_bytes, Access::Auto);
    fill(&bench);
    let count = usize::try_from((192 << 20) / bench.slot_bytes).expect("small").min(4096);
    let read = bench.compare(count, true);
    let write = bench.compare(count, false);
    let (kib, slots, tier) = (bench.slot_bytes / 1024, bench.slots, bench.directory());
    drop(bench);
    std::fs::remove_dir_all(&tier).expect("it is ours");
    let bench = Bench::new(name, directory, file_bytes / 2, Access::Buffered);
    fill(&bench);
    let buffered = median((0..ROUNDS).map(|seed| bench.carry(&bench.pairs(count, seed), true)).collect());
    say(&format!("{name:14}{kib:5} {slots:6}  {read}  {write} {buffered:9.0}"));
    let tier = bench.directory();
    drop(bench);
    std::fs::remove_dir_all(&tier).expect("it is ours");
}

/// How much longer a batch of reads takes beside a burst of writes.
fn stall(directory: &Path, file_bytes: u64) {
    let bench = Bench::new("llama3-8b", directory, file_bytes, Access::Auto);
    fill(&bench);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for seed in 0..ROUNDS * 2 {
        let pairs = bench.pairs(usize::MAX, seed);
        let (reads, writes) = pairs.split_at(24);
        alone.push(bench.carry(reads, true));
        let burst =
            bench.lane(TierId::Host, TierId::File).submit(&Bench::batch(writes, false)).expect("room");
        beside.push(bench.carry(reads, true));
        wait(&burst);
    }
    let (alone, beside) = (median(alone), median(beside));
    say(&format!(
        "24 reads of 2 MiB: {alone:.0} MiB/s alone, {beside:.0} beside a burst of writes: {:.1} times as long",
        alone / beside
    ));
}

/// Slots written between two flushes.
const FLUSHED_SLOTS: usize = 8;

/// Bytes written for each byte of payload, of slots of `slot_kib`.
fn amplification(directory: &Path, slot_kib: u32) {
    let model = if slot_kib == 8 {
        shape("tiny").expect("known")
    } else {
        let entry = Entry::KeyValue { kv_heads: 8, head_dim: 64 };
        let group = KvGroup { attention: Attention::Full, layers: slot_kib / 32, entry, dtype: DType::BF16 };
        ModelLayout::new(16, vec![group]).expect("valid")
    };
    let file_bytes = 512 * 1024 * u64::from(slot_kib);
    let bench = Bench::of(model, &directory.join(format!("{slot_kib}-kib")), file_bytes, Access::Auto);
    let persistence = kv_pager::tier::Tier::persistence(&**bench.backend.file().expect("there is one"));
    let persistence = persistence.expect("it has");
    fill(&bench);
    let before = written_bytes();
    let pairs = bench.pairs(usize::MAX, 1);
    for pairs in pairs.chunks(FLUSHED_SLOTS) {
        bench.carry(pairs, false);
        persistence.flush().expect("a sound drive");
    }
    let payload_bytes = bench.slot_bytes * pairs.len() as u64;
    let permille = (written_bytes() - before) * 1000 / payload_bytes;
    say(&format!(
        "slots of {slot_kib} KiB: {}.{:03} bytes written for each of payload",
        permille / 1000,
        permille % 1000
    ));
    let tier = bench.directory();
    drop(bench);
    std::fs::remove_dir_all(&tier).expect("it is ours");
}

/// What the system counts as written by this process: whole pages of what went through the cache.
fn written_bytes() -> u64 {
    let counters = std::fs::read_to_string("/proc/self/io").expect("Linux tells");
    let line = counters.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("it is told");
    line.parse().expect("a number")
}
