//! A tier under measurement, with host memory and the lanes between them.
//! Uses `memory`. Known by: the sections.

use crate::Bench;
use crate::memory::HostSlots;
use kv_pager::Error;
use kv_pager::clock::Clock;
use kv_pager::config::Limits;
use kv_pager::ids::{Fence, GroupId, ModelFingerprint, MoveId, SlotId};
use kv_pager::layout::{Format, ModelLayout};
use kv_pager::tier::{Lane, Move, Persistence, Signal, Ticket};
use kv_pager::units::Nanos;
use kv_pager_cpu::file::{Access, Identity};
use kv_pager_cpu::{FileSpec, FileTier, HostTier, LaneSpec, file_lanes};
use std::path::PathBuf;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of host memory: as many as the pager has under way on a lane.
const HOST_BYTES: u64 = 256 << 20;
/// Slots of host memory.
const SLOTS_MAX: u64 = 4096;

/// A slot of the file, and one of host memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) file: usize,
    pub(crate) host: usize,
}

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    Read,
    Write,
}

/// A tier that is filled. Dropping it removes its files.
pub(crate) struct Subject {
    writer: Arc<dyn Lane>,
    reader: Arc<dyn Lane>,
    pub(crate) file: Arc<FileTier>,
    host: HostSlots,
    pub(crate) slot_bytes: u64,
    pub(crate) slots: usize,
    host_slots: usize,
    pub(crate) clock: Arc<dyn Clock>,
    directory: PathBuf,
}

impl Subject {
    /// Makes a tier of about `file_bytes`, and fills it.
    ///
    /// # Errors
    /// What the tiers say.
    pub(crate) fn new(
        bench: &Bench,
        model: &ModelLayout,
        file_bytes: u64,
        access: Access,
    ) -> Result<Self, Error> {
        let slot_bytes = model.slot_bytes(GroupId::FIRST, Format::Raw).as_u64();
        let slots = u32::try_from((file_bytes / slot_bytes).max(1)).expect("a class has fewer than 2^32");
        let host_slots = u32::try_from((HOST_BYTES / slot_bytes).clamp(1, SLOTS_MAX)).expect("at most 4096");
        let directory = bench.directory.join("tier");
        let has_rings = bench.has_rings;
        let spec = FileSpec { access, has_rings, ..FileSpec::new(&directory, vec![slots]) };
        let identity = Identity {
            model: model.clone(),
            format: Format::Raw,
            fingerprint: ModelFingerprint(0),
            hash_key: 0,
            ranks: 1,
        };
        let host = bench.memory.slots(model, host_slots)?;
        let file = Arc::new(FileTier::open(&identity, &spec)?);
        let mut lanes = LaneSpec::file();
        lanes.workers = bench.workers.unwrap_or(lanes.workers);
        let [writer, reader] = file_lanes(&host.tier, &file, &lanes, &bench.clock)?;
        let (slots, host_slots) = (slots as usize, host_slots as usize);
        let clock = Arc::clone(&bench.clock);
        let subject = Self { writer, reader, file, host, slot_bytes, slots, host_slots, clock, directory };
        subject.fill();
        Ok(subject)
    }

    fn fill(&self) {
        for first in (0..self.slots).step_by(self.host_slots) {
            let files = first..self.slots.min(first + self.host_slots);
            let pairs: Vec<Pair> = files.enumerate().map(|(host, file)| Pair { file, host }).collect();
            self.carry(&pairs, Way::Write);
        }
        self.file.flush().expect("a sound drive");
    }

    /// Distinct random slots of the file, each with one of host memory.
    pub(crate) fn pairs(&self, count: usize, seed: u64) -> Vec<Pair> {
        let mut order: Vec<usize> = (0..self.slots).collect();
        order.sort_by_cached_key(|slot| xxh3_64_with_seed(&slot.to_le_bytes(), seed));
        let pairs = order.into_iter().take(count.min(self.host_slots)).enumerate();
        pairs.map(|(host, file)| Pair { file, host }).collect()
    }

    /// How many slots of host memory `bytes` are.
    pub(crate) fn batch(&self, bytes: u64) -> usize {
        let most = self.host_slots.min(self.slots / 2);
        usize::try_from(bytes / self.slot_bytes).expect("it is to fit memory").clamp(1, most.max(1))
    }

    /// Begins to move slots, in batches as the pager makes them, one behind the other.
    pub(crate) fn submit(&self, pairs: &[Pair], way: Way) -> Vec<Ticket> {
        let limits = Limits::default();
        let most =
            usize::try_from(limits.batch_bytes.as_u64() / self.slot_bytes).expect("it is to fit memory");
        let batches = pairs.chunks(most.clamp(1, limits.batch_moves as usize));
        let submit = |pairs: &[Pair]| {
            let batch: Vec<Move> = pairs.iter().map(|pair| order(*pair, way)).collect();
            let lane = if way == Way::Read { &self.reader } else { &self.writer };
            lane.submit(&batch).expect("it fits the queue")
        };
        batches.map(submit).collect()
    }

    /// MiB/s of slots over a lane.
    pub(crate) fn carry(&self, pairs: &[Pair], way: Way) -> f64 {
        let start = self.clock.now();
        self.submit(pairs, way).iter().for_each(wait);
        self.rate(pairs.len(), self.clock.now().since(start))
    }

    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    pub(crate) fn rate(&self, slots: usize, span: Nanos) -> f64 {
        (slots as u64 * self.slot_bytes) as f64 / f64::from(1 << 20) / span.as_secs_f64()
    }

    pub(crate) fn host(&self) -> &HostTier {
        &self.host.tier
    }

    /// The file that the slots are in.
    pub(crate) fn payloads(&self) -> PathBuf {
        self.directory.join("kv-pager.0.payloads")
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("file-lanes: {}: {error}", self.directory.display());
        }
    }
}

fn order(pair: Pair, way: Way) -> Move {
    let (file, host) = (SlotId::from_index(pair.file), SlotId::from_index(pair.host));
    let (source, target) = if way == Way::Read { (file, host) } else { (host, file) };
    let fence = Fence::OVER;
    Move { id: MoveId(0), group: GroupId::FIRST, source, target, source_fence: fence, target_fence: fence }
}

/// Waits for the end of a batch, every move of which must end well: otherwise there is nothing to measure.
pub(crate) fn wait(ticket: &Ticket) {
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
