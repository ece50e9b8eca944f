//! Files: a tier of slots that outlive the process.
//! Uses `borrow`, `memory`, `lane`. Known by: `backend`.
//!
//! - **FT1** the tier takes the bytes it was given, all of them when it is opened, and no more;
//! - **FT2** what a read hands out is what was written, or the move fails;
//! - **FT3** after any crash a slot holds what it said, or is free;
//! - **FT4** no fault of a drive becomes a signal, and none but a hung call blocks a thread.
//!
//! The format, what a crash may leave and how it is told from damage stand in `docs/file-format.md`.

mod budget;
mod codes;
mod connect;
mod drive;
mod gate;
mod group;
mod header;
mod housekeeping;
mod inspect;
mod inspection;
mod labels;
mod open;
mod persistence;
mod placement;
mod probe;
mod read;
mod reading;
mod records;
mod recovery;
mod ring;
mod rings;
mod runs;
mod scrub;
mod spec;
mod superblock;
mod verify;
mod volume;
mod write;
mod writing;

pub use drive::{Access, Drive, FileKind, FileRole, Interpose, ReadRequest, SuperblockStep, WriteRequest};
pub use inspect::inspect;
pub use inspection::{Damage, Depth, HotBlock, Inspection, Making};
pub(crate) use read::FileReader;
pub use scrub::{Scrubbed, Scrubber};
pub use spec::{FileSpec, Identity};
pub(crate) use write::FileWriter;

use crate::lane::Queue;
use budget::Budget;
use group::{Group, RunFault};
use kv_pager::Error;
use kv_pager::ids::{Fence, GroupId, SlotId, TierId};
use kv_pager::layout::Format;
use kv_pager::sync::{AtomicU64, Mutex, Ordering};
use kv_pager::tier::{Health, Persistence, RecoveredBlock, SlotClass, Tier};
use kv_pager::units::Bytes;
use recovery::Census;
use rustix::io::Errno;
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};
use volume::Volume;

/// Bytes that a tier has written since it was opened, by cause. Superblocks (8 KiB a directory when a tier is made or resized) and
/// what is written to measure a drive (16 MiB, when a tier is made with [`Access::Auto`]) are not among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BytesWritten {
    /// Payloads, padding included.
    pub payloads: Bytes,
    /// Headers of slots that were filled.
    pub headers: Bytes,
    /// Headers of slots that were given up or retired.
    pub voids: Bytes,
    /// Headers that were written again to say how often their blocks were asked for.
    pub uses: Bytes,
}

/// Slots in files.
#[derive(Debug)]
pub struct FileTier {
    classes: Box<[SlotClass]>,
    format: Format,
    groups: Box<[Group]>,
    access: Access,
    /// How many small requests a thread has under way at once.
    depth: usize,
    health: Mutex<Health>,
    census: Census,
    budget: Option<Budget>,
    recovered: Mutex<Vec<RecoveredBlock>>,
    /// Whoever carries out what `void` asks for.
    housekeeper: OnceLock<Weak<Queue>>,
    payload_bytes_written: AtomicU64,
    header_bytes_written: AtomicU64,
    void_bytes_written: AtomicU64,
    use_bytes_written: AtomicU64,
    scrub_counters: scrub::ScrubCounters,
    /// The process that opened it; a forked child has no threads, and writes nothing.
    owner: u32,
    /// Last, so that the locks go after everything else.
    volumes: Vec<Volume>,
}

impl FileTier {
    /// Opens the directories of `spec`, or makes them. Reads all headers and no payload. Blocks on I/O.
    ///
    /// # Errors
    /// [`Error::Configuration`] if the directories are in use, or hold something else; [`Error::OutOfMemory`] if the drive
    /// is too full; [`Error::Io`] for what else the system refuses. What was made on the way is removed.
    pub fn open(identity: &Identity, spec: &FileSpec) -> Result<Self, Error> {
        let opened = open::open(identity, spec)?;
        let mut census = Census::default();
        let mut blocks = Vec::new();
        for (group, payload_bytes) in opened.groups.iter().zip(&opened.payload_bytes) {
            blocks.append(&mut recovery::read_headers(group, payload_bytes, &mut census, |_, _, _| {}));
        }
        let blocks = recovery::reachable(&opened.groups, blocks, &mut census);
        let classes = opened
            .groups
            .iter()
            .zip(&spec.slots)
            .map(|(group, &slots)| SlotClass { slots, slot_bytes: Bytes::new(group.slot_bytes as u64) });
        let depth = opened.groups.iter().map(Group::depth).min().unwrap_or(1);
        Ok(Self {
            classes: classes.collect(),
            depth,
            format: identity.format,
            groups: opened.groups,
            access: opened.access,
            health: Mutex::new(Health::Well),
            census,
            budget: spec.write_bytes_per_day.map(|bytes| Budget::new(bytes, opened.is_new)),
            recovered: Mutex::new(blocks),
            housekeeper: OnceLock::new(),
            payload_bytes_written: AtomicU64::new(0),
            header_bytes_written: AtomicU64::new(0),
            void_bytes_written: AtomicU64::new(0),
            use_bytes_written: AtomicU64::new(0),
            scrub_counters: scrub::ScrubCounters::default(),
            owner: std::process::id(),
            volumes: opened.volumes,
        })
    }

    /// How payloads are read and written.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Headers and payloads that were found damaged when the tier was opened. Their slots are free.
    pub fn damaged_at_open(&self) -> u64 {
        self.census.damaged
    }

    /// What it has written since it was opened.
    pub fn bytes_written(&self) -> BytesWritten {
        let bytes = |counter: &AtomicU64| Bytes::new(counter.load(Ordering::Relaxed));
        BytesWritten {
            payloads: bytes(&self.payload_bytes_written),
            headers: bytes(&self.header_bytes_written),
            voids: bytes(&self.void_bytes_written),
            uses: bytes(&self.use_bytes_written),
        }
    }

    /// Where it lies.
    pub fn directories(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.volumes.iter().map(Volume::path)
    }

    fn group(&self, group: GroupId) -> &Group {
        &self.groups[group.index()]
    }

    /// Panics if there is no such slot.
    fn check(&self, group: GroupId, slot: SlotId) {
        let slots = self.classes[group.index()].slots;
        assert!(slot.index() < slots as usize, "slot {slot:?} of {slots} in the file tier's group {group:?}");
    }

    fn is_own_process(&self) -> bool {
        self.owner == std::process::id()
    }

    /// Has `queue` carry out what `void` asks for.
    pub(crate) fn set_housekeeper(&self, queue: &Arc<Queue>) {
        // The first lane does it; a second one need not.
        drop(self.housekeeper.set(Arc::downgrade(queue)));
    }

    fn call_housekeeper(&self) {
        if let Some(queue) = self.housekeeper.get().and_then(Weak::upgrade) {
            queue.nudge();
        }
    }

    /// Tells the files what they must be told.
    fn housekeep(&self) -> std::io::Result<()> {
        if !self.is_own_process() {
            return Ok(());
        }
        for group in &self.groups {
            let told = group.housekeep(now_s()).inspect_err(|error| self.note(error))?;
            self.void_bytes_written.fetch_add(told * group.shape.bytes() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes how often blocks were asked for.
    fn write_uses(&self) -> std::io::Result<()> {
        let mut outcome = Ok(());
        for group in &self.groups {
            let mut told = 0;
            let written = group.write_uses(&mut told).inspect_err(|error| self.note(error));
            self.use_bytes_written.fetch_add(told * group.shape.bytes() as u64, Ordering::Relaxed);
            outcome = outcome.and(written);
        }
        outcome
    }

    /// Takes note of what the system said to a write.
    fn note(&self, error: &std::io::Error) {
        let why = match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::ROFS) => "its file system has become read-only",
            Some(Errno::NOSPC | Errno::DQUOT) => {
                "its file system is full, which preallocation did not prevent"
            }
            _ => {
                tracing::warn!(%error, "a request to the file tier failed");
                return;
            }
        };
        let mut health = self.health.lock();
        if *health == Health::Well {
            tracing::error!(%error, why, "the file tier takes nothing in any more");
            *health = Health::ReadOnly { why: why.to_owned() };
        }
    }

    /// Takes note that every thread hangs in the drive. It stays lost, whether or not it answers later.
    fn note_hang(&self) {
        let mut health = self.health.lock();
        if !matches!(*health, Health::Lost { .. }) {
            let why = "its drive does not answer; look at the system's log".to_owned();
            tracing::error!(why, "the file tier is lost");
            *health = Health::Lost { why };
        }
    }

    fn note_fault(&self, fault: &RunFault) {
        if let RunFault::Drive(error) = fault {
            self.note(error);
        }
    }
}

/// Seconds since 1970, for people who look at a tier's age.
#[expect(clippy::disallowed_methods, reason = "a date that outlives the process; nothing is decided by it")]
fn now_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |span| span.as_secs())
}

impl Drop for FileTier {
    fn drop(&mut self) {
        if let Err(error) = self.housekeep() {
            tracing::warn!(%error, "what was given up last may be found again");
        }
    }
}

impl Tier for FileTier {
    fn id(&self) -> TierId {
        TierId::File
    }

    fn classes(&self) -> &[SlotClass] {
        &self.classes
    }

    fn format(&self) -> Format {
        self.format
    }

    /// No compute reads or writes a file.
    fn is_fence_over(&self, fence: Fence) -> bool {
        fence == Fence::OVER
    }

    fn health(&self) -> Health {
        self.health.lock().clone()
    }

    fn persistence(&self) -> Option<&dyn Persistence> {
        Some(self)
    }
}
