//! Costs: what the pager has been told of them, what it learns, and what it tells its policy.
//! Layer 9. Uses `cost`, `transfer`, `policy::plan`. Known by: `pager`.
//!
//! Every batch that ends well and every step that the engine reports corrects the model. Queues are priced by it too: bytes
//! before a new load, and what open sequences have still to compute.

use super::Pager;
use super::build::TierSet;
use super::core::Core;
use super::probe::Silence;
use crate::clock::Time;
use crate::cost::{ByLane, CostModel, Learned, Load, TokenSpan, real};
use crate::ids::{GroupId, TierId};
use crate::layout::ModelLayout;
use crate::policy::Prospects;
use crate::policy::plan::EngineAbility;
use crate::tier::LaneEnds;
use crate::transfer::{Priority, TransferEngine};
use crate::units::{Bytes, Nanos};

/// The lanes on which loads come.
pub(super) const WAYS_UP: [LaneEnds; 2] = [
    LaneEnds { source: TierId::Host, target: TierId::Device },
    LaneEnds { source: TierId::File, target: TierId::Host },
];

/// The lanes on which what makes room is written, and the one of them that writes the file.
const WAYS_DOWN: [LaneEnds; 2] = [LaneEnds { source: TierId::Device, target: TierId::Host }, WRITE];
const WRITE: LaneEnds = LaneEnds { source: TierId::Host, target: TierId::File };

/// How many times longer than computing it bringing a block takes, for plans that do both at once to bring hardly any.
const LEFT_OUT_BESIDE: f64 = 8.0;

/// See the module.
#[derive(Debug)]
pub(super) struct Costs {
    pub(super) model: Option<CostModel>,
    engine: EngineAbility,
    queues: ByLane<Nanos>,
    /// By lane: bytes that it moves for each byte that the device has.
    kept_bytes: ByLane<f64>,
    /// What open sequences have still to compute.
    planned: Nanos,
    /// Until when an engine that owns its slots has said that the device is busy, and how long that is still.
    busy_until: Time,
    engine_queue: Nanos,
    /// That of it which waits for moves.
    blocked: Nanos,
    /// Open sequences that wait for moves; where the device slots are an engine's, its onboards that do.
    pub(super) lanes_waiting: u32,
    written: Bytes,
    /// By lane: what has been made of it since anything came over it.
    silences: ByLane<Silence>,
}

impl Costs {
    /// Nothing measured yet.
    pub(super) fn new(model: &ModelLayout, tiers: &TierSet) -> Self {
        let bytes_in = |tier: TierId| -> f64 {
            let format = tiers[tier.index()].as_ref().map(|tier| tier.format());
            let part = |group| match (tier, format) {
                (TierId::Host | TierId::File, Some(format)) => model.slot_bytes(group, format),
                _ => model.part_bytes(group),
            };
            real::from_bytes(model.group_ids().map(part).sum::<Bytes>())
        };
        let mut kept_bytes = ByLane::default();
        for source in TierId::ALL {
            for target in TierId::ALL {
                let far = source.max(target);
                *kept_bytes.get_mut(LaneEnds { source, target }) = bytes_in(far) / bytes_in(TierId::Device);
            }
        }
        Self {
            model: None,
            engine: EngineAbility { can_overlap: false, step_tokens_max: 2048 },
            queues: ByLane::default(),
            kept_bytes,
            planned: Nanos::ZERO,
            busy_until: Time::START,
            engine_queue: Nanos::ZERO,
            blocked: Nanos::ZERO,
            lanes_waiting: 0,
            written: Bytes::ZERO,
            silences: ByLane::default(),
        }
    }

    /// What a policy may know of them, as of the last [`Core::note_queues`].
    pub(super) fn prospects(&self) -> Prospects<'_> {
        Prospects {
            costs: self.model.as_ref(),
            engine: self.engine,
            queues: &self.queues,
            compute_queue: self.planned.max(self.engine_queue),
            lanes_waiting: self.lanes_waiting,
            written: self.written,
        }
    }

    /// Computing `span` will take so long; nothing while nobody knows.
    pub(super) fn prefill(&self, span: TokenSpan) -> Nanos {
        let steps = self.model.as_ref().map(|model| model.prefill().in_steps(self.engine.step_tokens_max));
        steps.map_or(Nanos::ZERO, |steps| steps.span(span))
    }

    /// What open sequences have still to compute.
    pub(super) fn planned(&self) -> Nanos {
        self.planned
    }

    /// What they can compute now: not by those that wait for moves.
    pub(super) fn startable(&self) -> Nanos {
        Nanos::new(self.planned.as_u64().saturating_sub(self.blocked.as_u64()))
    }

    /// What a sequence can't compute before moves have ended was `before`, if it waited for any, and is `now`, if it does.
    pub(super) fn note_waiting(&mut self, before: Option<Nanos>, now: Option<Nanos>) {
        if let Some(before) = before {
            self.lanes_waiting -= 1;
            self.blocked = Nanos::new(self.blocked.as_u64().saturating_sub(before.as_u64()));
        }
        if let Some(now) = now {
            self.lanes_waiting += 1;
            self.blocked = self.blocked.saturating_add(now);
        }
    }

    /// An engine that owns its slots says how long the device is busy: no open sequences tell.
    pub(super) fn note_engine_queue(&mut self, queue: Nanos, now: Time) {
        self.busy_until = now.after(queue);
    }

    pub(super) fn add_planned(&mut self, work: Nanos) {
        self.planned = self.planned.saturating_add(work);
    }

    pub(super) fn drop_planned(&mut self, work: Nanos) {
        self.planned = Nanos::new(self.planned.as_u64().saturating_sub(work.as_u64()));
    }

    pub(super) fn scaled(&self, ends: LaneEnds, bytes: Bytes) -> Bytes {
        real::to_bytes(real::from_bytes(bytes) * self.kept_bytes.get(ends))
    }

    /// Learns from the batches that have ended.
    pub(super) fn learn(&mut self, engine: &mut TransferEngine) {
        engine.take_worked(|ends, worked| {
            let load = Load { bytes: self.scaled(ends, worked.bytes), copies: worked.copies.max(1) };
            if let Some(model) = &mut self.model {
                let is_faster = model.lane(ends).is_some_and(|lane| worked.busy < lane.busy(load));
                let learned = model.observe_move(ends, load, worked.busy);
                *self.silences.get_mut(ends) = Silence::broken(is_faster && learned == Learned::Outlier);
            }
        });
    }

    /// A plan was made by these costs.
    pub(super) fn note_plan(&mut self) {
        for ends in WAYS_UP {
            self.silences.get_mut(ends).note_plan();
        }
    }

    /// What is known of a lane since something came over it.
    pub(super) fn silence(&self, ends: LaneEnds) -> Silence {
        *self.silences.get(ends)
    }

    /// Whether plans leave out what would come over this lane, or nearly all of it, because it is believed to be that slow: bringing a block
    /// of `block_bytes` and `tokens` takes longer than computing it, or much longer where both go on at once.
    pub(super) fn is_left_out(&self, ends: LaneEnds, block_bytes: Bytes, tokens: u32) -> bool {
        let Some(model) = &self.model else { return false };
        let Some(lane) = model.lane(ends) else { return false };
        let (chunk, bytes) = (lane.chunk_bytes(), self.scaled(ends, block_bytes));
        // One of many: what starting a batch takes is not counted.
        let chunk_ns = real::from_nanos(lane.busy(Load { bytes: chunk, copies: 1 })) - lane.alpha_ns();
        let load_ns = chunk_ns * real::from_bytes(bytes) / real::from_bytes(chunk).max(1.0);
        let step_tokens = self.engine.step_tokens_max.max(1);
        let step = model.prefill().in_steps(step_tokens).span(TokenSpan { start: 0, tokens: step_tokens });
        let compute_ns = real::from_nanos(step) * f64::from(tokens) / f64::from(step_tokens);
        load_ns > compute_ns * if self.engine.can_overlap { LEFT_OUT_BESIDE } else { 1.0 }
    }

    /// A lane is tried.
    pub(super) fn note_probe(&mut self, ends: LaneEnds) {
        self.silences.get_mut(ends).note_probe();
    }

    fn note_queue(&mut self, engine: &TransferEngine, ends: LaneEnds, waiting: Bytes, priority: Priority) {
        let before = engine.bytes_before(ends.source, ends.target, priority) + waiting;
        let bytes = self.scaled(ends, before);
        let lane = self.model.as_ref().and_then(|model| model.lane(ends));
        *self.queues.get_mut(ends) = lane.map_or(Nanos::ZERO, |lane| {
            let chunks = bytes.as_u64().div_ceil(lane.chunk_bytes().as_u64().max(1));
            lane.busy(Load { bytes, copies: u32::try_from(chunks).unwrap_or(u32::MAX) })
        });
    }
}

impl Core {
    /// Counts what is written to the file. `O(1)`.
    pub(super) fn note_written(&mut self) {
        let LaneEnds { source, target } = WRITE;
        let written = self.engine.bytes_moved(source, target)
            + self.engine.bytes_before(source, target, Priority::Offload);
        self.costs.written = self.costs.scaled(WRITE, written);
    }

    /// Brings the lanes' queues up to date, and what is written to the file. `O(1)`.
    pub(super) fn note_queues(&mut self) {
        self.note_written();
        self.costs.engine_queue = self.costs.busy_until.since(self.now);
        if self.is_engines() {
            self.costs.lanes_waiting = self.register.onboards();
        }
        if self.costs.model.is_none() {
            return;
        }
        // Loads that have no place in a lane's queue yet come through host memory, nearly always.
        let part = self.model.part_bytes(GroupId::FIRST).as_u64();
        let pending = Bytes::new(part.saturating_mul(self.pending.len() as u64));
        for ends in WAYS_UP {
            let waiting = if ends.source == TierId::File { pending } else { Bytes::ZERO };
            self.costs.note_queue(&self.engine, ends, waiting, Priority::Demand);
        }
        for ends in WAYS_DOWN {
            self.costs.note_queue(&self.engine, ends, Bytes::ZERO, Priority::Offload);
        }
    }
}

impl Pager {
    /// Says what moves and prefill take on this machine, and what the engine can do: from now on plans are made by it, and it
    /// is corrected by what is observed. Without it every hit is loaded.
    pub fn set_costs(&self, mut costs: CostModel, engine: EngineAbility) {
        let mut core = self.shared.core.lock();
        costs.set_formats(&core.model, core.formats());
        core.costs.model = Some(costs);
        core.costs.engine = engine;
    }

    /// The costs as they have been learnt so far; `None` if none were ever set. To be saved for the next start.
    pub fn costs(&self) -> Option<CostModel> {
        self.shared.core.lock().costs.model.clone()
    }

    /// Takes in that the engine computed these tokens of some request in one step of `took`. A step of fewer tokens than the smallest
    /// that was measured, such as one that decodes, teaches nothing ([`CostModel::observe_prefill`]).
    /// [`Sequence::observe`](super::Sequence::observe) does it for a sequence; an engine that owns its device slots has this call.
    pub fn observe_prefill(&self, step: TokenSpan, took: Nanos) {
        if let Some(model) = &mut self.shared.core.lock().costs.model {
            model.observe_prefill(step, took);
        }
    }
}
