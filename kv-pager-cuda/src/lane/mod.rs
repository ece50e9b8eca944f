//! Lanes between device memory and pinned memory, one each way, over all ranks at once.
//! Uses `device`, `pinned`, `driver`, `staging`. Known by: `calibration`, `backend`, engines.
//!
//! - **N1** a lane over N cards is one lane: a move ends when all ranks have ended it, and well only if all did;
//! - **N2** submitting makes the driver calls on the caller's thread and never waits for a device; the lane's own thread
//!   only looks whether chunks are over, and issues what had to wait;
//! - **N3** nothing waits without a limit: what has not ended in time counts as timed out; a lost device ends everything, and
//!   what is under way as lost, for nobody can say when it ends; a call that is refused fails its chunk alone;
//! - **N4** a move whose fence is not given out yet, or its work not queued, is set aside, and others pass it;
//! - **N5** our calls are made in a [`Visit`](crate::driver), so a graph capture of the engine is not disturbed.
//!
//! How: kernels gather a chunk's scattered fragments into a staging ring on the card, and one large copy takes it across;
//! the other way round coming in. A kernel that copies across the link itself would take multiprocessors from the engine.

mod books;
mod carry;
mod chunk;
mod cut;
mod issue;
mod launch;
mod layers;
mod options;
mod parts;
mod path;
mod rank;
mod shared;
mod worker;

pub use options::LaneOptions;
pub use path::Path;
pub(crate) use path::{Abilities, Choice, SizeClass};
#[doc(hidden)]
pub use rank::Refusal;

use crate::device::DeviceTier;
use crate::pinned::PinnedTier;
use books::Books;
use issue::Issuer;
use kv_pager::Error;
use kv_pager::clock::Clock;
use kv_pager::ids::TierId;
use kv_pager::sync::{Condvar, Mutex};
use kv_pager::tier::{Lane, LaneEnds, Move, Ticket, Tier};
use rank::{EVENTS, RankLane};
use shared::{Shared, State};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Which way a lane goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// From pinned memory to the device.
    Onboard,
    /// From the device to pinned memory.
    Offload,
    /// From slot to slot of the device.
    Within,
}

impl Direction {
    /// The tiers that it joins.
    pub fn ends(self) -> LaneEnds {
        match self {
            Self::Onboard => LaneEnds { source: TierId::Host, target: TierId::Device },
            Self::Offload => LaneEnds { source: TierId::Device, target: TierId::Host },
            Self::Within => LaneEnds { source: TierId::Device, target: TierId::Device },
        }
    }
}

/// A lane between device memory and pinned memory.
#[derive(Debug)]
pub struct CudaLane {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

impl CudaLane {
    /// A lane between `device` and `host` in `direction`. Makes its streams, events and staging memory, and a thread.
    ///
    /// # Errors
    /// [`Error::Configuration`] if the tiers or the options do not fit each other; [`Error::OutOfMemory`] or
    /// [`Error::DeviceLost`] if a card does not give what is needed.
    pub fn new(
        device: &Arc<DeviceTier>,
        host: &Arc<PinnedTier>,
        direction: Direction,
        options: LaneOptions,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        check_options(&options)?;
        if device.classes().len() != host.classes().len()
            || !std::ptr::eq(device.fences().as_ref(), host.fences())
        {
            let why = "the pinned tier was made for another device tier".to_owned();
            return Err(Error::Configuration { setting: "lane", why });
        }
        let ranks = (0..device.ranks().len())
            .map(|index| RankLane::new((index, device), direction, &options))
            .collect::<Result<Vec<_>, _>>();
        let ranks = ranks
            .map_err(|error| error.tell(TierId::Device, "making a lane's streams and staging memory"))?;
        let has_kernels = device.ranks().iter().all(|rank| rank.kernels.is_some());
        let batch_copies = ranks.iter().all(RankLane::has_batch);
        match (batch_copies, options.batch_copies) {
            (true, _) => {}
            (false, true) => tracing::warn!(
                "the driver has no cuMemcpyBatchAsync (CUDA 12.8 has): pieces are copied one by one"
            ),
            (false, false) => {
                tracing::warn!("batch copies are turned off: pieces are copied one by one");
            }
        }
        let abilities = Abilities { kernels: has_kernels, batch_copies };
        let is_served = |path: Path| !path.needs_kernels() || has_kernels;
        if let Some(path) = options.path.filter(|path| !is_served(*path)) {
            let why = format!("the path {path} was asked for, and there are no kernels");
            return Err(Error::Configuration { setting: "lane", why });
        }
        let plans = &device.ranks()[0].plans;
        let choices = plans.iter().map(|plan| Choice::uncalibrated(abilities, plan.fragments())).collect();
        let books = Books::new(options.moves_max, options.batches_max, EVENTS);
        let state = State {
            books,
            issuer: Issuer::new(ranks, choices),
            is_quiet: false,
            is_stopping: false,
            is_idle: false,
            bytes_per_s: 50e9,
            rank_busy_ns: vec![0; device.ranks().len()],
        };
        let shared = Arc::new(Shared {
            direction,
            device: Arc::clone(device),
            host: Arc::clone(host),
            options,
            clock: Arc::clone(clock),
            state: Mutex::new(state),
            bell: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let name = format!("kv-{}", direction.ends());
        let worker = std::thread::Builder::new().name(name).spawn(move || theirs.work());
        let worker = worker.map_err(|source| Error::Io {
            tier: TierId::Device,
            action: "starting a lane's thread".to_owned(),
            source,
        })?;
        Ok(Self { shared, worker: Some(worker) })
    }

    /// Which way it goes.
    pub fn direction(&self) -> Direction {
        self.shared.direction
    }

    /// As [`Lane::submit`], by `path` whatever was calibrated: for calibration and benchmarks.
    ///
    /// # Errors
    /// As for [`Lane::submit`], and [`Error::Configuration`] if there are no kernels for `path`.
    pub fn submit_by_path(&self, batch: &[Move], path: Path) -> Result<Ticket, Error> {
        if path.needs_kernels() && !self.has_kernels() {
            let why = format!("there are no kernels for the path {path}");
            return Err(Error::Configuration { setting: "lane", why });
        }
        if self.shared.direction == Direction::Within && matches!(path, Path::Batch | Path::ZeroCopy) {
            let why = format!("the path {path} leads across the link, and this lane does not");
            return Err(Error::Configuration { setting: "lane", why });
        }
        self.shared.submit(batch, false, Some(path))
    }

    /// Until [`CudaLane::resume`], hands nothing new to the device: batches wait in the queue. What is under way goes on.
    pub fn pause(&self) {
        self.shared.state.lock().is_quiet = true;
    }

    /// Ends the quiet period.
    pub fn resume(&self) {
        let mut state = self.shared.state.lock();
        state.is_quiet = false;
        self.shared.issue(&mut state);
        self.shared.wake(&mut state);
    }

    /// Which path serves batches of each size, by group: `(parts, path)`.
    pub fn paths(&self) -> Vec<[(usize, Path); 4]> {
        let state = self.shared.state.lock();
        let choices = state.issuer.choices.iter();
        choices
            .map(|choice| std::array::from_fn(|class| (SizeClass::PARTS[class], choice.0[class])))
            .collect()
    }

    /// How long each rank has worked on chunks so far: for each chunk, from its start until the rank was seen to be over.
    pub fn rank_busy_ns(&self) -> Vec<u64> {
        self.shared.state.lock().rank_busy_ns.clone()
    }

    pub(crate) fn choose(&self, group: usize, class: usize, path: Path) {
        self.shared.state.lock().issuer.choices[group].0[class] = path;
    }

    fn has_kernels(&self) -> bool {
        self.shared.device.ranks().iter().all(|rank| rank.kernels.is_some())
    }

    /// What it chooses among.
    pub(crate) fn abilities(&self) -> Abilities {
        let batch_copies = self.shared.state.lock().issuer.ranks.iter().all(RankLane::has_batch);
        Abilities { kernels: self.has_kernels(), batch_copies }
    }

    /// For tests alone: leaves out the waits for fences, so that a test of them can show that it would notice.
    #[doc(hidden)]
    pub fn ignore_fences_for_test(&self) {
        self.shared.state.lock().issuer.ranks.iter_mut().for_each(RankLane::ignore_fences);
    }

    /// For tests alone: has the card of `rank` refuse its share of every chunk from now on, or take it again.
    ///
    /// # Panics
    /// If there is no such rank.
    #[doc(hidden)]
    pub fn refuse_rank_for_test(&self, rank: usize, refusal: Option<Refusal>) {
        self.shared.state.lock().issuer.ranks[rank].refuse(refusal);
    }
}

/// Limits that would make a lane stand still, or its events wrap around.
fn check_options(options: &LaneOptions) -> Result<(), Error> {
    let wrong = |why: String| Err(Error::Configuration { setting: "lane", why });
    if options.moves_max == 0 || options.batches_max == 0 {
        return wrong("a queue of no moves or no batches".to_owned());
    }
    if options.chunks_in_flight == 0 || options.chunks_in_flight > EVENTS / 2 {
        return wrong(format!("{} chunks in flight; choose 1 to {}", options.chunks_in_flight, EVENTS / 2));
    }
    if options.chunk_bytes > options.staging_bytes || options.chunk_bytes.as_u64() == 0 {
        return wrong(format!(
            "chunks of {} in {} of staging memory",
            options.chunk_bytes, options.staging_bytes
        ));
    }
    Ok(())
}

impl Lane for CudaLane {
    fn ends(&self) -> LaneEnds {
        self.shared.direction.ends()
    }

    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        self.shared.submit(batch, false, None)
    }

    fn submit_by_layer(&self, batch: &[Move]) -> Result<Ticket, Error> {
        let by_layer = self.shared.direction == Direction::Onboard;
        self.shared.submit(batch, by_layer, None)
    }
}

impl Drop for CudaLane {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state.lock();
            state.is_stopping = true;
            state.is_idle = false;
            self.shared.bell.notify_one();
        }
        if let Some(worker) = self.worker.take()
            && worker.join().is_err()
        {
            tracing::error!("a lane's thread panicked");
        }
    }
}
