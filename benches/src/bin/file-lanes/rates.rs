//! Rates: the lane beside raw requests, and how much of the page cache the tier takes.
//! Uses `subject`, `raw`. Known by: `main`.

use crate::raw::{self, Kind};
use crate::report::Row;
use crate::subject::{Subject, Way};
use crate::{Bench, median};
use kv_pager::Error;
use kv_pager::layout::shape;
use kv_pager::units::Nanos;
use kv_pager_cpu::file::Access;
use rustix::fs::{Advice, Mode, OFlags};
use rustix::io::ReadWriteFlags;
use std::fs::File;
use std::io::IoSliceMut;

const DEPTHS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Rounds that are meant to fit into the time.
const ROUNDS: u64 = 5;
/// And those that are measured even if they don't.
const ROUNDS_LEAST: u64 = 3;
const BATCH_BYTES_MAX: u64 = 192 << 20;
const BATCH_BYTES_LEAST: u64 = 8 << 20;

const PAGE_BYTES: u64 = 4096;
/// Pages that are looked at to tell how much is cached.
const SAMPLES: u64 = 4096;

/// What a lane must reach of the best of raw requests.
const MUST: f64 = 0.9;

pub(crate) fn run(bench: &mut Bench, name: &str, share: Nanos) -> Result<(), Error> {
    let Some(model) = shape(name) else {
        return Err(Error::Configuration { setting: "--shapes", why: format!("no shape is called {name}") });
    };
    let subject = Subject::new(bench, &model, bench.file_bytes, Access::Auto)?;
    let what = format!("{} KiB", subject.slot_bytes / 1024);
    for way in [Way::Read, Way::Write] {
        let row = compare(&subject, way, share);
        bench.report.add(Row { what: what.clone(), ..row });
    }
    let (access, cached) = (subject.file.access(), cached_mib(&subject));
    drop(subject);
    // The other access, to see that the probe was right; it needs no file as large.
    let subject = Subject::new(bench, &model, bench.file_bytes / 4, Access::Buffered)?;
    let count = subject.batch(bench.file_bytes / 8);
    let rates = (0..ROUNDS_LEAST).map(|seed| subject.carry(&subject.pairs(count, seed), Way::Read));
    let buffered = median(rates.collect());
    bench.report.add(Row {
        what,
        way: "read, page cache".to_owned(),
        batch_slots: count,
        lane: buffered,
        note: format!(
            "{access:?} was chosen, and leaves {cached} MiB in the page cache; this leaves {}",
            cached_mib(&subject)
        ),
        ..Row::default()
    });
    Ok(())
}

/// Raw requests beside the lane, in turns, so that what a drive does from one second to the next meets both: the medians of
/// the best depth and of the lane. What raw writes destroy is not read again.
fn compare(subject: &Subject, way: Way, share: Nanos) -> Row {
    // A write is measured at the rate of the filling; reads may be slower, and then fewer rounds are made.
    let batches = u32::try_from(DEPTHS.len() as u64 * 3 * ROUNDS).expect("a few");
    let batch_bytes = subject.fill_rate * share.as_secs_f64() / f64::from(batches) * f64::from(1 << 20);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of bytes")]
    let batch_bytes = (batch_bytes as u64).clamp(BATCH_BYTES_LEAST, BATCH_BYTES_MAX);
    let count = subject.batch(batch_bytes);
    let mut raw = vec![Vec::new(); DEPTHS.len()];
    let (mut checked, mut lane) = (raw.clone(), Vec::new());
    let (mut raw_cpu, mut lane_cpu) = ([0; DEPTHS.len()], 0);
    let mut seeds = u64::from(way == Way::Read) << 32..;
    let mut pairs = || subject.pairs(count, seeds.next().expect("2^64 of them"));
    let start = subject.clock.now();
    let mut rounds = 0;
    while rounds < ROUNDS_LEAST || (rounds < ROUNDS && subject.clock.now().since(start) < share) {
        for (index, depth) in DEPTHS.into_iter().enumerate() {
            let pairs = [pairs(), pairs(), pairs()];
            let before = cpu_us();
            raw[index].push(raw::rate(subject, &pairs[0], depth, Kind { way, is_checked: false }));
            raw_cpu[index] += cpu_us() - before;
            checked[index].push(raw::rate(subject, &pairs[1], depth, Kind { way, is_checked: true }));
            let before = cpu_us();
            lane.push(subject.carry(&pairs[2], way));
            lane_cpu += cpu_us() - before;
        }
        rounds += 1;
    }
    let best = |rates: Vec<Vec<f64>>| {
        let rates = rates.into_iter().map(median).zip(DEPTHS);
        rates.fold((0.0, 0), |best, rate| if rate.0 > best.0 { rate } else { best })
    };
    let ((raw, depth), (checked, _), lane) = (best(raw), best(checked), median(lane));
    let raw_cpu = DEPTHS.iter().position(|own| *own == depth).map_or(0, |index| raw_cpu[index]);
    let slots = rounds * count as u64;
    #[expect(clippy::cast_precision_loss, reason = "printed with one digit")]
    let each = |cpu_us: u64, slots: u64| cpu_us as f64 / slots as f64;
    let (raw_cpu_us, lane_cpu_us) = (each(raw_cpu, slots), each(lane_cpu, slots * DEPTHS.len() as u64));
    Row {
        way: if way == Way::Read { "read" } else { "write" }.to_owned(),
        batch_slots: count,
        rounds,
        raw,
        depth,
        checked,
        lane,
        share: lane / raw,
        must: MUST,
        raw_cpu_us,
        lane_cpu_us,
        note: format!("processor time a slot: raw {raw_cpu_us:.1} µs, lane {lane_cpu_us:.1} µs"),
        ..Row::default()
    }
}

/// Processor time of this process, to 10 ms: what the system counts it in.
fn cpu_us() -> u64 {
    let counters = std::fs::read_to_string("/proc/self/stat").expect("Linux tells");
    // Behind the name, which may have anything in it.
    let fields = counters.rsplit(')').next().expect("there is a name").split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks * 10_000
}

/// MiB of the payload file that the page cache holds, by a sample of its pages: one that isn't there can't be read without
/// waiting.
fn cached_mib(subject: &Subject) -> u64 {
    let opened = rustix::fs::open(subject.payloads(), OFlags::RDONLY, Mode::empty());
    let file = File::from(opened.expect("it is there"));
    if let Err(refusal) = rustix::fs::fadvise(&file, 0, None, Advice::Random) {
        println!("pages are read ahead while the page cache is looked at: {refusal}");
    }
    let bytes = subject.slots as u64 * subject.slot_bytes;
    let is_cached = |sample: &u64| {
        let page = sample * (bytes / PAGE_BYTES / SAMPLES);
        let mut byte = [0];
        let into = &mut [IoSliceMut::new(&mut byte)];
        rustix::io::preadv2(&file, into, page * PAGE_BYTES, ReadWriteFlags::NOWAIT).is_ok()
    };
    let cached = (0..SAMPLES).filter(is_cached).count() as u64;
    (bytes >> 20) * cached / SAMPLES
}
