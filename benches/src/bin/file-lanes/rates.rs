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
/// Rounds in which the best depths are found.
const ROUNDS_CHOOSING: u64 = 3;
/// Rounds that are meant to fit into the time, after those.
const ROUNDS: u64 = 9;
/// And those that are measured even if they don't.
const ROUNDS_LEAST: u64 = 3;
/// Of a round, however slow the drive is.
const ROUND_BYTES_LEAST: u64 = 8 << 20;

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
        slots: count,
        lane: buffered,
        note: format!(
            "{access:?} was chosen, and leaves {cached} MiB in the page cache; this leaves {}",
            cached_mib(&subject)
        ),
        ..Row::default()
    });
    Ok(())
}

/// Raw requests beside the lane, in turns, so that what a drive does from one second to the next meets both. First the depths are
/// compared. Then the two best are measured again, each as often as the lane, and the better one counts: a best of six medians of
/// few rounds each is above what any of them comes to. What raw writes destroy is not read again.
fn compare(subject: &Subject, way: Way, share: Nanos) -> Row {
    let kind = Kind { way, is_checked: false };
    let mut seeds = u64::from(way == Way::Read) << 32..;
    let mut pairs = |count| subject.pairs(count, seeds.next().expect("2^64 of them"));
    let count = {
        let measures = u32::try_from(DEPTHS.len() as u64 * ROUNDS_CHOOSING + 4 * ROUNDS).expect("a few");
        let sample = pairs(subject.batch(ROUND_BYTES_LEAST));
        let rate = raw::rate(subject, &sample, DEPTHS[DEPTHS.len() / 2], kind);
        let bytes = rate * share.as_secs_f64() / f64::from(measures) * f64::from(1 << 20);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive number of bytes"
        )]
        subject.batch((bytes as u64).max(ROUND_BYTES_LEAST))
    };
    let start = subject.clock.now();
    let mut depths = DEPTHS.map(|depth| {
        let rates = (0..ROUNDS_CHOOSING).map(|_| raw::rate(subject, &pairs(count), depth, kind));
        (median(rates.collect()), depth)
    });
    depths.sort_by(|one, other| other.0.total_cmp(&one.0));
    let (mut best, mut second) = (Figure::new(depths[0].1), Figure::new(depths[1].1));
    let (mut checked, mut lane) = (Figure::new(depths[0].1), Figure::new(0));
    let mut rounds = 0;
    while rounds < ROUNDS_LEAST || (rounds < ROUNDS && subject.clock.now().since(start) < share) {
        let own = [(); 4].map(|()| pairs(count));
        best.take(|depth| raw::rate(subject, &own[0], depth, kind));
        second.take(|depth| raw::rate(subject, &own[1], depth, kind));
        checked.take(|depth| raw::rate(subject, &own[2], depth, Kind { is_checked: true, ..kind }));
        lane.take(|_| subject.carry(&own[3], way));
        rounds += 1;
    }
    let slots = rounds * count as u64;
    let [raw, second, checked, lane] = [best, second, checked, lane].map(|figure| figure.sum(slots));
    let raw = if second.rate > raw.rate { second } else { raw };
    Row {
        way: if way == Way::Read { "read" } else { "write" }.to_owned(),
        slots: count,
        rounds,
        raw: raw.rate,
        depth: raw.depth,
        checked: checked.rate,
        lane: lane.rate,
        share: lane.rate / raw.rate,
        must: MUST,
        raw_cpu_us: raw.cpu_us,
        lane_cpu_us: lane.cpu_us,
        note: format!("processor time a slot: raw {:.1} µs, lane {:.1} µs", raw.cpu_us, lane.cpu_us),
        ..Row::default()
    }
}

/// One way of moving slots, round after round.
struct Figure {
    depth: usize,
    rates: Vec<f64>,
    /// Of all rounds.
    cpu_us: u64,
}

/// What it comes to.
struct Sum {
    depth: usize,
    /// The median, in MiB/s.
    rate: f64,
    /// Processor time of a slot.
    cpu_us: f64,
}

impl Figure {
    fn new(depth: usize) -> Self {
        Self { depth, rates: Vec::new(), cpu_us: 0 }
    }

    fn take(&mut self, round: impl FnOnce(usize) -> f64) {
        let before = cpu_us();
        self.rates.push(round(self.depth));
        self.cpu_us += cpu_us() - before;
    }

    #[expect(clippy::cast_precision_loss, reason = "printed with one digit")]
    fn sum(self, slots: u64) -> Sum {
        Sum { depth: self.depth, rate: median(self.rates), cpu_us: self.cpu_us as f64 / slots as f64 }
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
