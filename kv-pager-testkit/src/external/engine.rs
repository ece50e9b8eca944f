//! An engine that owns its device slots: it computes into them, offloads, onboards, reads, and reuses each once its ticket has ended.
//! Uses `external::block_pool`, `tagged`. Known by: `external`, tests.

use super::{BlockPool, SlotTicket, Worth};
use crate::tagged::{Fate, Machine, MachineSpec, Stream, Tag};
use kv_pager::clock::ManualClock;
use kv_pager::config::{DeviceOwner, Limits, Watermarks};
use kv_pager::ids::{Fence, GroupId, PrefixHash, Salt, TokenId};
use kv_pager::layout::{Attention, DType, Entry, KvGroup, ModelLayout};
use kv_pager::pager::{BlockAt, Deliveries, Delivery, Prompt, Request, RequestPriority};
use kv_pager::policy::{Lru, Policy, Steward};
use kv_pager::units::Nanos;
use kv_pager::{Config, Pager};
use std::sync::Arc;

const TOKENS_PER_BLOCK: usize = 4;
/// After so long a move is given up.
const DEADLINE: Nanos = Nanos::new(1_000);

/// What lies below the engine's slots, who decides there, and how the engine is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct EngineSpec {
    /// Device slots.
    pub device: u32,
    /// Host slots.
    pub host: u32,
    /// File slots; none for no file.
    pub file: u32,
    /// When the host makes room ahead of need.
    pub watermarks: Watermarks,
    /// Whether [`Steward`] decides, and not [`Lru`].
    pub has_steward: bool,
    /// Moves that may wait for a lane.
    pub moves_queued: u32,
    /// On how many streams the engine computes: a salt has one.
    pub streams: usize,
    /// Whether it gives its slots back as soon as a call that names them has returned, as no engine may.
    pub is_hasty: bool,
}

impl EngineSpec {
    /// So many slots, which are all in use before anything goes.
    pub const fn tight(device: u32, host: u32, file: u32) -> Self {
        let watermarks = Watermarks { low: 0.0, high: 0.0 };
        Self {
            device,
            host,
            file,
            watermarks,
            has_steward: false,
            moves_queued: 64,
            streams: 1,
            is_hasty: false,
        }
    }
}

/// Moves that the engine has asked for.
#[derive(Debug)]
struct Asked {
    prompt: Prompt,
    named: Vec<BlockAt>,
    tickets: Vec<SlotTicket>,
    deliveries: Deliveries,
    stream: usize,
    /// The compute that has used the slots when the moves begin.
    fence: Fence,
    is_onboard: bool,
}

/// An engine, its machine and its pager.
#[derive(Debug)]
pub struct Engine {
    machine: Machine,
    clock: Arc<ManualClock>,
    pager: Pager,
    streams: Vec<Stream>,
    pool: BlockPool,
    asked: Vec<Asked>,
    is_hasty: bool,
}

impl Engine {
    /// An engine as the specification says.
    ///
    /// # Panics
    /// If it cannot be.
    pub fn new(spec: EngineSpec) -> Self {
        let EngineSpec { device, host, file, watermarks, has_steward, moves_queued, streams, is_hasty } =
            spec;
        let entry = Entry::KeyValue { kv_heads: 1, head_dim: 8 };
        let group = KvGroup { attention: Attention::Full, layers: 1, entry, dtype: DType::F32 };
        let tokens_per_block = u32::try_from(TOKENS_PER_BLOCK).expect("small");
        let model = ModelLayout::new(tokens_per_block, vec![group]).expect("valid");
        let machine = Machine::new(&model, MachineSpec { device, host, file, lane_limit: 64 });
        let limits = Limits {
            move_deadline: DEADLINE,
            sequence_tokens: 1024,
            moves_queued,
            slice_blocks: if has_steward { 3 } else { Limits::default().slice_blocks },
            ..Limits::default()
        };
        let config = Config { device_owner: DeviceOwner::Engine, limits, watermarks, ..Config::default() };
        let policy: Box<dyn Policy> = if has_steward { Box::new(Steward::default()) } else { Box::new(Lru) };
        let clock = Arc::new(ManualClock::new());
        let pager =
            Pager::new(model, config, machine.backend(), policy, Arc::clone(&clock) as _).expect("fits");
        let streams = (0..streams).map(|_| machine.stream()).collect();
        let pool = BlockPool::new(device as usize);
        Self { machine, clock, pager, streams, pool, asked: Vec::new(), is_hasty }
    }

    /// A prompt of blocks all of whose tokens are the letter, and one token more.
    pub fn prompt(&self, letters: &[u32], salt: Salt) -> Prompt {
        self.prompt_worth(letters, salt, Worth::default())
    }

    /// The same, of a request that is worth something.
    pub fn prompt_worth(&self, letters: &[u32], salt: Salt, worth: Worth) -> Prompt {
        let blocks = letters.iter().flat_map(|letter| [TokenId(*letter); TOKENS_PER_BLOCK]);
        let tokens: Vec<TokenId> = blocks.chain([TokenId(9)]).collect();
        let mut request = Request::new(&tokens).with_salt(salt);
        if worth.is_high {
            request = request.with_priority(RequestPriority::High);
        }
        if let Some(ns) = worth.time_to_live {
            request = request.with_time_to_live(Nanos::new(ns));
        }
        self.pager.prepare(&request)
    }

    /// Its pager.
    pub fn pager(&self) -> &Pager {
        &self.pager
    }

    /// Its machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Its pool.
    pub fn pool(&self) -> &BlockPool {
        &self.pool
    }

    /// Its streams.
    pub fn streams(&mut self) -> &mut [Stream] {
        &mut self.streams
    }

    /// How many calls it has made whose moves have not all ended, as far as it knows.
    pub fn asked(&self) -> usize {
        self.asked.len()
    }

    /// As many free slots as there are for the blocks of a prompt from `from` on, with the fences of what has used them last.
    fn allocate(&mut self, prompt: &Prompt, from: usize) -> (Vec<BlockAt>, Vec<Fence>) {
        let pool = &mut self.pool;
        let given = (from..prompt.names().len()).map_while(|block| Some((block, pool.allocate()?)));
        given.map(|(block, (slot, last_use))| (BlockAt { block, slot }, last_use)).unzip()
    }

    /// The stream of a prompt, with a new fence of it that is behind all of `before`.
    fn fence_behind(&mut self, salt: Salt, before: &[Fence]) -> (usize, Fence) {
        let stream = usize::try_from(salt.0).expect("small") % self.streams.len();
        let fence = self.streams[stream].fence();
        for other in before {
            self.streams[stream].wait_for(*other);
        }
        (stream, fence)
    }

    /// Computes blocks of a prompt from `from` on, as many as there are slots for, and offloads them. Returns the names of those.
    ///
    /// # Panics
    /// If a slot is reused too early.
    pub fn offload(&mut self, prompt: Prompt, salt: Salt, from: usize) -> &[BlockAt] {
        let (named, before) = self.allocate(&prompt, from);
        let (stream, fence) = self.fence_behind(salt, &before);
        for BlockAt { block, slot } in &named {
            self.streams[stream].write(GroupId::FIRST, *slot, 0, tags(&prompt, *block));
        }
        let deliveries = self.pager.offload(&prompt, &named, fence).expect("the engine holds its slots");
        self.ask(prompt, named, deliveries, (stream, fence), false)
    }

    /// Asks for blocks of a prompt from `from` on, as many as there are slots for. Returns their names.
    ///
    /// # Panics
    /// If a slot is reused too early.
    pub fn onboard(&mut self, prompt: Prompt, salt: Salt, from: usize) -> &[BlockAt] {
        let (named, before) = self.allocate(&prompt, from);
        let (stream, fence) = self.fence_behind(salt, &before);
        let deliveries = self.pager.onboard(&prompt, &named, fence).expect("the engine holds its slots");
        self.ask(prompt, named, deliveries, (stream, fence), true)
    }

    fn ask(
        &mut self,
        prompt: Prompt,
        named: Vec<BlockAt>,
        deliveries: Deliveries,
        (stream, fence): (usize, Fence),
        is_onboard: bool,
    ) -> &[BlockAt] {
        let tickets = named.iter().map(|at| self.pool.lend(at.slot)).collect();
        if self.is_hasty {
            for at in &named {
                self.pool.give_back(at.slot, fence);
            }
        }
        self.asked.push(Asked { prompt, named, tickets, deliveries, stream, fence, is_onboard });
        self.asked.last().map_or(&[], |asked| &asked.named)
    }

    /// How the moves of the last call stand.
    pub fn last_outcomes(&mut self) -> Vec<Delivery> {
        self.asked.last_mut().map_or_else(Vec::new, |asked| asked.deliveries.poll().to_vec())
    }

    /// Looks at all tickets. The slots of calls that are over are the engine's again: compute reads what was brought, and then they
    /// are free. Returns the names and ends of those moves, and whether each brought a block.
    ///
    /// # Panics
    /// If a slot has another ticket.
    pub fn look(&mut self) -> Vec<(PrefixHash, Delivery, bool)> {
        let mut ended = Vec::new();
        let mut index = 0;
        while index < self.asked.len() {
            if !self.asked[index].deliveries.is_over() {
                index += 1;
                continue;
            }
            let mut asked = self.asked.swap_remove(index);
            let outcomes = asked.deliveries.poll().to_vec();
            for ((at, ticket), outcome) in asked.named.iter().zip(&asked.tickets).zip(outcomes) {
                self.pool.end(at.slot, *ticket, outcome);
                ended.push((asked.prompt.names()[at.block], outcome, asked.is_onboard));
                self.take_back(&asked, *at, outcome);
            }
        }
        ended
    }

    /// Uses a slot whose move has ended, if there is a use for it, and gives it back unless that may go on (BP2).
    fn take_back(&mut self, asked: &Asked, at: BlockAt, outcome: Delivery) {
        let mut last_use = asked.fence;
        if asked.is_onboard && outcome == Delivery::Done {
            let stream = &mut self.streams[asked.stream];
            last_use = stream.fence();
            let what = format!("block {} of {:?}", at.block, asked.prompt.tokens());
            stream.read(GroupId::FIRST, at.slot, 0, tags(&asked.prompt, at.block), what);
        }
        if outcome != Delivery::Lost && !self.is_hasty {
            self.pool.give_back(at.slot, last_use);
        }
    }

    /// Drops the deliveries of a call: their slots stay lent, for all that the engine knows.
    pub fn forget(&mut self, which: usize) {
        if !self.asked.is_empty() {
            let which = which % self.asked.len();
            self.asked.swap_remove(which);
        }
    }

    /// Ends the next `count` moves of a lane with this fate.
    pub fn advance(&self, lane: usize, count: usize, fate: Fate) {
        self.machine.lanes()[lane % self.machine.lanes().len()].advance(count, |_| fate);
    }

    /// Ends what has stalled, and what goes on although it was given up.
    pub fn release_stalled(&self) {
        self.machine.lanes().iter().for_each(|lane| lane.release_stalled());
    }

    /// Lets so much time pass that what is under way is given up.
    pub fn let_deadline_pass(&self) {
        self.clock.advance(DEADLINE);
    }
}

/// What stands for the K and V of a block of a prompt: it depends on its name.
fn tags(prompt: &Prompt, block: usize) -> Vec<Tag> {
    let name = u64::try_from(prompt.names()[block].0 >> 64).expect("the upper half");
    (0..TOKENS_PER_BLOCK as u64).map(|at| Tag(name.rotate_left(7) ^ at)).collect()
}
