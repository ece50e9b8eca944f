//! The steward: the built-in policy. An arm keeps each tier, plans come from costs, and the file is written all or earned.
//! Layer 8. Uses `policy::{keeping, plan, view}`, `cost`, `layout`. Known by: engines, the command line.
//!
//! - **SW1** nothing is allocated after the pager is built (I8);
//! - **SW2** while nothing has been measured, every hit is loaded and everything is kept as far as there is room.
//!
//! | module | holds |
//! |---|---|
//! | `standing` | one tier's class of slots, and the arm that orders it |
//! | `fates` | what becomes of a victim: evicted, demoted or dropped |
//! | `writes` | what may be written to the file in a day |
//! | `promotion` | what comes nearer while lanes stand idle |
//! | `prices` | what having a block back costs, by tier and depth |
//! | `meeting` | where the fronts of a request meet that waits for its loads |
//! | `beside` | shadows that run beside a live pager |

mod beside;
mod fates;
mod meeting;
mod prices;
mod promotion;
mod standing;
mod writes;

pub use beside::Answer;
pub use writes::FileWrites;

use super::keeping::shadow::Footprint;
use super::keeping::{Arm, Bounds, Keeping, Study};
use super::plan::{Aim, BlockSpan, Loader, Loading, Situation};
use super::{Changed, Decision, Idle, LoadPlan, Matched, Need, Policy, Reason, Setting, Told, View, Waiting};
use crate::cost::LaneCost;
use crate::ids::{BlockId, GroupId, TierId};
use crate::layout::{Format, ModelLayout};
use crate::tier::LaneEnds;
use crate::units::Bytes;
use beside::Beside;
use fates::Fates;
use meeting::Grain;
use promotion::Promotion;
use standing::{SPARED_AT_ONCE, Standing};
use std::fmt;
use std::sync::Arc;
use writes::Writes;

/// The way on which blocks are promoted. From the host to the device it would gain little: a load from there takes a tenth of the
/// time that computing does, and device slots are not free for long.
const PROMOTED: LaneEnds = LaneEnds { source: TierId::File, target: TierId::Host };

/// Requests after which prices are worked out anew.
const PRICES_EVERY: u32 = 64;

/// How a pager is to be kept.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct StewardSpec {
    /// In which order each tier gives up what it holds.
    pub keeping: Arm,
    /// Which plans may be made.
    pub loading: Loading,
    /// What is written to the file.
    pub file_writes: FileWrites,
    /// The most bytes that are written to the file in a day of the pager's clock; `None` for no limit. An hour's share may be saved up,
    /// and is at the start, but not over a file in which something is found.
    pub write_bytes_per_day: Option<Bytes>,
    /// Whether shadows run beside: what each arm would have hit in each tier whose slots the pager gives out, and this one with twice the
    /// memory.
    pub has_shadows: bool,
}

/// The built-in policy.
#[derive(Debug)]
pub struct Steward {
    spec: StewardSpec,
    /// In place of the arm that `spec` names.
    own: Option<Own>,
    standings: Vec<Standing>,
    loader: Option<Loader>,
    fates: Fates,
    beside: Option<Arc<Beside>>,
    /// By group, if there are a file and host memory.
    promotions: Vec<Promotion>,
    /// By group, then by tier: bytes of a part.
    part_bytes: Vec<[Bytes; TierId::COUNT]>,
    /// By tier: bytes of all parts of a block.
    block_bytes: [Bytes; TierId::COUNT],
    tokens_per_block: u32,
    /// Requests until prices are worked out.
    until_prices: u32,
    /// What reads the names of requests.
    study: Option<Arc<dyn Study>>,
    /// Which standing the request at hand is being told to, and how many blocks one call looks at.
    telling: usize,
    slice_blocks: usize,
}

/// Builds the order of a tier.
type Build = dyn Fn(TierId, &Bounds) -> Box<dyn Keeping> + Send;

/// What builds orders of one's own.
struct Own(Box<Build>);

impl fmt::Debug for Own {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Own")
    }
}

/// All that reads names: the arms' own, and the shadows beside.
#[derive(Debug)]
struct Studies {
    arms: Vec<Arc<dyn Study>>,
    beside: Option<Arc<Beside>>,
}

impl Study for Studies {
    fn read(&self, request: &Footprint<'_>) {
        self.arms.iter().for_each(|study| study.read(request));
        if let Some(beside) = &self.beside {
            beside.read(request);
        }
    }
}

impl Default for Steward {
    fn default() -> Self {
        Self::new(StewardSpec::default())
    }
}

impl Steward {
    /// A steward that keeps as `spec` says.
    pub fn new(spec: StewardSpec) -> Self {
        Self {
            spec,
            own: None,
            standings: Vec::new(),
            loader: None,
            fates: Fates::new(spec.file_writes, Writes::new(spec.write_bytes_per_day)),
            beside: None,
            promotions: Vec::new(),
            part_bytes: Vec::new(),
            block_bytes: [Bytes::ZERO; TierId::COUNT],
            tokens_per_block: 1,
            until_prices: 0,
            study: None,
            telling: 0,
            slice_blocks: 1,
        }
    }

    /// A steward that keeps each tier in an order of one's own, which `build` makes for each group when the pager is built, and all else as
    /// `spec` says. [`StewardSpec::keeping`] is then what shadows with twice the memory are kept by: they run the built-in arms alone.
    pub fn with_keeping(
        spec: StewardSpec,
        build: impl Fn(TierId, &Bounds) -> Box<dyn Keeping> + Send + 'static,
    ) -> Self {
        Self { own: Some(Own(Box::new(build))), ..Self::new(spec) }
    }

    /// Prices change as costs are learnt and tiers come and go; not so fast that every request must ask.
    fn price(&mut self, view: &View<'_>) {
        if self.until_prices > 0 {
            self.until_prices -= 1;
            return;
        }
        self.until_prices = PRICES_EVERY;
        for standing in &mut self.standings {
            let prices = prices::prices(view, standing.tier(), &self.block_bytes, self.tokens_per_block);
            standing.set_prices(&prices);
        }
    }
}

impl Policy for Steward {
    fn name(&self) -> &'static str {
        match (&self.own, self.standings.first()) {
            (None, _) => self.spec.keeping.name(),
            (Some(_), None) => "own",
            (Some(_), Some(standing)) => standing.name(),
        }
    }

    fn start(&mut self, view: &View<'_>, setting: &Setting<'_>) -> bool {
        let Setting { model, nearest, formats, limits } = *setting;
        self.tokens_per_block = model.tokens_per_block();
        let bytes_by_tier =
            |group| TierId::ALL.map(|tier| part_bytes(model, group, tier, formats[tier.index()]));
        self.part_bytes = model.group_ids().map(bytes_by_tier).collect();
        self.block_bytes =
            TierId::ALL.map(|tier| self.part_bytes.iter().map(|part| part[tier.index()]).sum());
        let request_blocks = limits.sequence_tokens.div_ceil(self.tokens_per_block).max(1);
        let kept = || TierId::ALL.into_iter().filter(|tier| *tier >= nearest && view.has(*tier));
        for tier in kept() {
            for group in model.group_ids() {
                let capacity = view.capacity(tier, group);
                let bounds = Bounds { capacity, request_blocks, tokens_per_block: self.tokens_per_block };
                let is_full = model.is_full(group);
                let arm = match &self.own {
                    Some(Own(build)) => build(tier, &bounds),
                    None => self.spec.keeping.build(&bounds),
                };
                let standing = Standing::new(arm, tier, group, is_full, &bounds);
                let is_below_engine = tier == nearest && tier > TierId::Device;
                self.standings.push(if is_below_engine { standing.below_engine() } else { standing });
            }
        }
        if view.has(PROMOTED.source) && view.has(PROMOTED.target) {
            self.promotions.extend(model.group_ids().map(|group| {
                let slots = view.capacity(PROMOTED.source, group);
                Promotion::new(group, model.is_full(group), slots, request_blocks)
            }));
        }
        if self.spec.has_shadows {
            let group = model.anchor().unwrap_or(GroupId::FIRST);
            let request = Bounds { capacity: 1, request_blocks, tokens_per_block: self.tokens_per_block };
            self.beside = Some(Arc::new(Beside::new(view, kept(), self.spec.keeping, group, &request)));
        }
        let arms = self.standings.iter().filter_map(Standing::study).collect();
        self.study = Some(Arc::new(Studies { arms, beside: self.beside.clone() }));
        self.slice_blocks = limits.slice_blocks as usize;
        self.loader = Some(Loader::new(model, formats, view.prospects().engine, self.spec.loading));
        self.price(view);
        true
    }

    fn follow(&mut self, view: &View<'_>, changed: &Changed<'_>) {
        let keeps = |standing: &&mut Standing| standing.keeps(changed.tier, changed.group);
        if let Some(standing) = self.standings.iter_mut().find(keeps) {
            standing.follow(view, changed.slots);
        }
    }

    fn study(&mut self, view: &View<'_>) -> Option<Arc<dyn Study>> {
        self.price(view);
        self.study.clone()
    }

    fn visit(&mut self, view: &View<'_>, told: &Told<'_>) -> bool {
        let mut left = self.slice_blocks;
        while let Some(standing) = self.standings.get_mut(self.telling) {
            standing.visit(view, told, &mut left);
            if left == 0 {
                return false;
            }
            self.telling += 1;
        }
        self.telling = 0;
        for promotion in &mut self.promotions {
            promotion.note_told(told.blocks.len());
        }
        true
    }

    fn may_write_out(&mut self, view: &View<'_>, block: BlockId, group: GroupId) -> bool {
        let part_bytes = self.part_bytes[group.index()][TierId::File.index()];
        self.fates.may_write_out(view, block, group, part_bytes)
    }

    fn check(&self) {
        self.standings.iter().for_each(Standing::check);
    }

    fn answers(&self) -> Vec<Answer> {
        self.beside.as_ref().map_or_else(Vec::new, |beside| beside.answers())
    }

    fn plan(&mut self, view: &View<'_>, matched: &Matched<'_>) -> LoadPlan {
        let all = 0..matched.len();
        match (self.spec.loading, view.prospects().costs, self.loader.as_mut()) {
            (Loading::AlwaysRecompute, _, _) => LoadPlan::of(matched.len()..matched.len(), Reason::Asked),
            (Loading::Adaptive, Some(costs), Some(loader)) => {
                let prospects = view.prospects();
                loader.set_engine(prospects.engine);
                let urgency = matched.urgency;
                let situation = Situation {
                    costs,
                    queues: prospects.queues,
                    compute_queue: urgency.compute_queue.unwrap_or(prospects.compute_queue),
                    deadline: urgency.deadline,
                    aim: match urgency.waiting {
                        0 => Aim::Latency,
                        compute_waiting => {
                            Aim::Throughput { compute_waiting, lanes_waiting: prospects.lanes_waiting }
                        }
                    },
                };
                let plan = loader.plan(matched, &situation);
                let BlockSpan { start, end } = plan.load;
                let (mut load, mut is_from_back) =
                    (start as usize..end as usize, prospects.engine.can_overlap);
                if !matched.can_end_early && load.end < matched.len() && !load.is_empty() {
                    (load, is_from_back) = (all, false);
                }
                let chunk_blocks = chunk_blocks(view, self.block_bytes[TierId::Host.index()]);
                LoadPlan { load, is_from_back, chunk_blocks, plan: Some(plan), reason: Reason::Cheapest }
            }
            _ => LoadPlan::of(all, Reason::Asked),
        }
    }

    fn meet(&mut self, view: &View<'_>, waiting: &Waiting) -> usize {
        let prospects = view.prospects();
        let (Loading::Adaptive, Some(costs)) = (self.spec.loading, prospects.costs) else { return 0 };
        if !prospects.engine.can_overlap {
            return 0;
        }
        let left_ns = prices::load_ns(costs, &self.block_bytes, &waiting.blocks);
        let grain = Grain {
            chunk: u32::try_from(chunk_blocks(view, self.block_bytes[TierId::Host.index()]))
                .unwrap_or(u32::MAX),
            tokens_per_block: self.tokens_per_block,
            step_tokens_max: prospects.engine.step_tokens_max,
        };
        meeting::to_compute(costs, waiting, left_ns, grain)
    }

    fn promote(&mut self, view: &View<'_>, idle: &Idle, decisions: &mut Vec<Decision>) {
        let is_meant = |promotion: &&mut Promotion| promotion.group() == idle.group;
        let keeps = |standing: &&mut Standing| standing.keeps(TierId::Host, idle.group);
        let promotion = self.promotions.iter_mut().find(is_meant);
        let host = self.standings.iter_mut().find(keeps);
        if let (PROMOTED, Some(promotion), Some(host)) = (idle.ends, promotion, host) {
            promotion.decide(view, idle, host, decisions);
        }
    }

    fn pass_over(&mut self, view: &View<'_>, block: BlockId, tier: TierId, group: GroupId) {
        if let Some(standing) = self.standings.iter_mut().find(|standing| standing.keeps(tier, group)) {
            standing.pass_over(view, block);
        }
    }

    fn make_room(&mut self, view: &View<'_>, need: Need, decisions: &mut Vec<Decision>) {
        let Need { tier, group, slots, demotions } = need;
        let keeps = |standing: &&mut Standing| standing.keeps(tier, group);
        let Some(standing) = self.standings.iter_mut().find(keeps) else { return };
        self.fates.look_around(view, tier, group, &self.part_bytes[group.index()]);
        let (mut named, mut demoted, mut spared_looks) = (0, 0, SPARED_AT_ONCE);
        while named < slots && (demoted < demotions || demoted == 0) {
            let Some((block, odds)) = standing.victim(view, &mut spared_looks) else { break };
            if let Some(decision) = self.fates.decide(view, block, odds) {
                demoted += u32::from(matches!(decision, Decision::Demote { .. }));
                decisions.push(decision);
                named += 1;
            }
        }
    }
}

/// Bytes of a part, as a tier keeps it.
fn part_bytes(model: &ModelLayout, group: GroupId, tier: TierId, format: Format) -> Bytes {
    match tier {
        TierId::Device => model.part_bytes(group),
        TierId::Host | TierId::File => model.slot_bytes(group, format),
    }
}

/// Blocks in a chunk of the lane to the device.
fn chunk_blocks(view: &View<'_>, block_bytes: Bytes) -> usize {
    let ends = LaneEnds { source: TierId::Host, target: TierId::Device };
    let chunk = view.prospects().costs.and_then(|costs| costs.lane(ends)).map(LaneCost::chunk_bytes);
    let blocks = chunk.map_or(1, |chunk| chunk.div_down(block_bytes));
    usize::try_from(blocks).unwrap_or(usize::MAX).max(1)
}
