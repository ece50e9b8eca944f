//! How long loading a range of blocks takes: one hop, or two as a pipeline.
//! Layer 8. Uses `ids`, `tier`, `units`, `cost`, `policy::plan::{counts, request}`. Known by: `policy::plan::search`.
//!
//! - **O1** loading fewer blocks of a range, from the back, never takes longer.
//!
//! What lies in the file goes up by a direct lane if there is one, else through host memory: then the slower hop counts,
//! and the faster one for the chunk that fills the pipeline or empties it. What lies in host memory goes first meanwhile. What is
//! being loaded for another request is there when the queues are empty.

use super::counts::{Counts, NOWHERE, Places};
use super::{BlockSpan, GroupPrefix, PlanRequest};
use crate::cost::{LaneCost, Load, real};
use crate::ids::TierId;
use crate::layout::ModelLayout;
use crate::tier::LaneEnds;
use crate::units::Bytes;

const HOST: usize = TierId::Host as usize;
const FILE: usize = TierId::File as usize;

/// A lane on the way up, and when it is free.
#[derive(Clone, Copy, Debug)]
struct Hop<'a> {
    lane: &'a LaneCost,
    queue_ns: f64,
    /// A chunk of the lane from the file, which nearly every split asks for.
    chunk: Chunk,
}

/// One copy over a lane.
#[derive(Clone, Copy, Debug, Default)]
struct Chunk {
    bytes: Bytes,
    busy_ns: f64,
}

impl<'a> Hop<'a> {
    fn new(request: &PlanRequest<'a>, source: TierId, target: TierId) -> Option<Self> {
        let ends = LaneEnds { source, target };
        let lane = request.costs.lane(ends)?;
        let queue_ns = real::from_nanos(*request.queues.get(ends));
        Some(Self { lane, queue_ns, chunk: Chunk::default() })
    }

    fn busy_ns(&self, cargo: Load) -> f64 {
        self.lane.busy_ns(cargo)
    }

    /// The same hop, which knows what a chunk of so many bytes takes.
    fn with_chunk(self, bytes: Bytes) -> Self {
        Self { chunk: Chunk { bytes, busy_ns: self.lane.busy_ns(Load { bytes, copies: 1 }) }, ..self }
    }

    /// The time of what the first hop hands over at once: one of its chunks, or all of `cargo` if that is less.
    fn chunk_ns(&self, cargo: Load) -> f64 {
        let Load { bytes, copies } = cargo;
        if copies > 0 && bytes >= self.chunk.bytes {
            self.chunk.busy_ns
        } else {
            self.lane.busy_ns(Load { bytes, copies: copies.min(1) })
        }
    }

    /// How many parts of `part_bytes` a chunk carries.
    fn parts_per_chunk(&self, part_bytes: Bytes) -> u32 {
        let parts = self.lane.chunk_bytes().as_u64() / part_bytes.as_u64().max(1);
        u32::try_from(parts).unwrap_or(u32::MAX).max(1)
    }
}

/// Adds `blocks` parts of `part_bytes` to what goes over a hop.
fn add(cargo: &mut Load, blocks: u32, blocks_per_copy: u32, part_bytes: Bytes) {
    cargo.bytes += Bytes::new(part_bytes.as_u64() * u64::from(blocks));
    cargo.copies += blocks.div_ceil(blocks_per_copy);
}

/// One group, ready to be counted.
#[derive(Clone, Copy, Debug)]
struct Group {
    counts: Counts,
    window_blocks: u32,
    part_bytes: [Bytes; TierId::COUNT],
    /// Parts in a copy, by the tier the hop starts in.
    parts_per_copy: [u32; TierId::COUNT],
}

impl Group {
    const EMPTY: Self = Self {
        counts: Counts::EMPTY,
        window_blocks: u32::MAX,
        part_bytes: [Bytes::ZERO; TierId::COUNT],
        parts_per_copy: [1; TierId::COUNT],
    };

    /// Where the parts lie that `start..end` needs, `at_end` being those before `end`.
    fn needed(&self, start: u32, end: u32, at_end: &Places) -> Places {
        let from = start.max(end.saturating_sub(self.window_blocks)).min(end);
        let before = self.counts.before(from);
        [0, 1, 2, 3].map(|place| at_end[place] - before[place])
    }
}

/// What loading takes.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct OnboardTime {
    /// When the last byte is in place; infinite when a part lies nowhere, or no lane leads up.
    pub(super) end_ns: f64,
    /// How long lanes work on it, all of them together.
    pub(super) busy_ns: f64,
}

/// Prices loads of one request's blocks, counted from the first that is not ready.
#[derive(Debug)]
pub(super) struct Onboarding<'a> {
    groups: [Group; ModelLayout::GROUPS_MAX],
    count: usize,
    up: Option<Hop<'a>>,
    /// From the file: to the device if there is such a lane, else to host memory.
    file: Option<Hop<'a>>,
    is_file_direct: bool,
    /// Blocks that are on their way for another request, and when the last of them is there.
    coming: BlockSpan,
    coming_ns: f64,
}

impl<'a> Onboarding<'a> {
    /// Reads the request's runs. `O(runs)`, on the stack.
    ///
    /// # Panics
    /// If there are more groups than a model has.
    pub(super) fn new(request: &PlanRequest<'a>) -> Self {
        let groups = request.prefix.groups;
        assert!(groups.len() <= ModelLayout::GROUPS_MAX, "{} groups of layers", groups.len());
        let direct = Hop::new(request, TierId::File, TierId::Device);
        let up = Hop::new(request, TierId::Host, TierId::Device);
        let file = direct.or_else(|| Hop::new(request, TierId::File, TierId::Host));
        let chunk_bytes = file.map_or(Bytes::ZERO, |file| file.lane.chunk_bytes());
        let mut onboarding = Self {
            groups: [Group::EMPTY; ModelLayout::GROUPS_MAX],
            count: groups.len(),
            up: up.map(|hop| hop.with_chunk(chunk_bytes)),
            file: file.map(|hop| hop.with_chunk(chunk_bytes)),
            is_file_direct: direct.is_some(),
            coming: BlockSpan::default(),
            coming_ns: 0.0,
        };
        if let Some(coming) = request.prefix.coming {
            onboarding.coming = coming.blocks;
            onboarding.coming_ns = onboarding.queued_ns(coming.from);
        }
        for (index, group) in groups.iter().enumerate() {
            onboarding.groups[index] = onboarding.read(group);
        }
        onboarding
    }

    /// When what is queued to come from `farthest`, or from nearer, is on the device.
    fn queued_ns(&self, farthest: TierId) -> f64 {
        let queue_ns = |hop: &Option<Hop<'_>>| hop.map_or(0.0, |hop| hop.queue_ns);
        let up_ns = queue_ns(&self.up);
        if farthest == TierId::File { up_ns.max(queue_ns(&self.file)) } else { up_ns }
    }

    fn read(&self, prefix: &GroupPrefix<'_>) -> Group {
        let mut group = Group { part_bytes: prefix.part_bytes, ..Group::EMPTY };
        group.window_blocks = prefix.window_blocks.unwrap_or(u32::MAX);
        group.counts.fill(prefix.runs);
        for (tier, hop) in [(HOST, &self.up), (FILE, &self.file)] {
            let parts = hop.as_ref().map_or(1, |hop| hop.parts_per_chunk(prefix.part_bytes[tier]));
            group.parts_per_copy[tier] = parts;
        }
        group
    }

    /// Blocks in a chunk of the last hop: the grain of a plan.
    pub(super) fn blocks_per_chunk(&self) -> u32 {
        let groups = &self.groups[..self.count];
        let (hop, tier) = if self.up.is_some() { (&self.up, HOST) } else { (&self.file, FILE) };
        let block_bytes = groups.iter().map(|group| group.part_bytes[tier]).sum();
        hop.as_ref().map_or(1, |hop| hop.parts_per_chunk(block_bytes))
    }

    /// Where any group's runs end, before `end`; some more than once.
    pub(super) fn cuts(&self, end: u32) -> impl Iterator<Item = u32> + '_ {
        self.groups[..self.count].iter().flat_map(move |group| group.counts.cuts(end))
    }

    /// Fixes the end of the range to load.
    pub(super) fn until(&self, end: u32) -> OnboardUntil<'_, 'a> {
        let mut at_end = [[0; TierId::COUNT + 1]; ModelLayout::GROUPS_MAX];
        for (places, group) in at_end.iter_mut().zip(&self.groups[..self.count]) {
            *places = group.counts.before(end);
        }
        OnboardUntil { onboarding: self, end, at_end }
    }
}

/// Prices loads that end at one block.
#[derive(Clone, Copy, Debug)]
pub(super) struct OnboardUntil<'o, 'a> {
    onboarding: &'o Onboarding<'a>,
    end: u32,
    at_end: [Places; ModelLayout::GROUPS_MAX],
}

impl OnboardUntil<'_, '_> {
    /// The time to load what the blocks from `start` need (O1). `O(groups * log runs)`.
    pub(super) fn from(&self, start: u32) -> OnboardTime {
        let all = self.onboarding;
        let (mut host, mut file, mut file_up) = (Load::default(), Load::default(), Load::default());
        for (group, at_end) in all.groups[..all.count].iter().zip(&self.at_end) {
            let needed = group.needed(start, self.end, at_end);
            if needed[NOWHERE] > 0 {
                return NEVER;
            }
            let part_bytes = &group.part_bytes;
            add(&mut host, needed[HOST], group.parts_per_copy[HOST], part_bytes[HOST]);
            if needed[FILE] > 0 {
                add(&mut file, needed[FILE], group.parts_per_copy[FILE], part_bytes[FILE]);
                add(&mut file_up, needed[FILE], group.parts_per_copy[HOST], part_bytes[HOST]);
            }
        }
        let time = self.time(host, file, file_up);
        if start < all.coming.end && all.coming.start < self.end {
            return OnboardTime { end_ns: time.end_ns.max(all.coming_ns), ..time };
        }
        time
    }

    fn time(&self, host: Load, file: Load, file_up: Load) -> OnboardTime {
        let all = self.onboarding;
        let mut time = OnboardTime::default();
        let mut work = |queue_ns: f64, busy_ns: f64| {
            time.end_ns = time.end_ns.max(queue_ns + busy_ns);
            time.busy_ns += busy_ns;
        };
        let has_file = file.copies > 0;
        let climbs = has_file && !all.is_file_direct;
        if host.copies > 0 || climbs {
            let Some(up) = all.up else { return NEVER };
            let mut cargo = host;
            if climbs {
                cargo.bytes += file_up.bytes;
                cargo.copies += file_up.copies;
            }
            work(up.queue_ns, up.busy_ns(cargo));
        }
        if has_file {
            let Some(hop) = all.file else { return NEVER };
            let busy_ns = hop.busy_ns(file);
            work(hop.queue_ns, busy_ns);
            if let (true, Some(up)) = (climbs, all.up) {
                let drained_ns = hop.queue_ns + busy_ns + up.chunk_ns(file_up);
                let filled_ns = hop.queue_ns + hop.chunk_ns(file) + up.busy_ns(file_up);
                time.end_ns = time.end_ns.max(drained_ns).max(filled_ns);
            }
        }
        time
    }
}

/// What no lane brings.
const NEVER: OnboardTime = OnboardTime { end_ns: f64::INFINITY, busy_ns: f64::INFINITY };
