//! The reference model of the pager: a set of the prefixes that were committed, and a list of what the event stream says is where.
//!
//! A [`Rig`] holds it beside a real pager on a machine under the test's control, and asserts after every operation.

mod claims;
mod copies;
mod machine;
mod operation;
mod policies;

pub(crate) use copies::Copies;
pub use machine::{ModelMachine, TaggedMachine};
pub use operation::{Operation, decode, operation};
pub use policies::POLICIES;

use crate::tagged::{Fate, MachineSpec, Tag};
use kv_pager::clock::ManualClock;
use kv_pager::config::{Allowance, Limits, Quota, Watermarks};
use kv_pager::ids::{GroupId, HashKey, ModelEpoch, ModelFingerprint, PrefixHash, Salt, TierId, TokenId};
use kv_pager::layout::{Attention, DType, Entry, KvGroup, ModelLayout};
use kv_pager::pager::{Hold, Kept, Prefetch, Request, RequestPriority, Sequence, Step};
use kv_pager::prefix::PrefixHasher;
use kv_pager::units::Nanos;
use kv_pager::{Config, Error, ErrorKind, Pager};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

const TOKENS_PER_BLOCK: usize = 4;
/// Machines that are ample, and machines one tier of which is smaller than a chain, or missing.
pub const MACHINES: [MachineSpec; 6] = [
    MachineSpec { device: 14, host: 12, file: 16, lane_limit: 64 },
    MachineSpec { device: 14, host: 4, file: 40, lane_limit: 64 },
    MachineSpec { device: 14, host: 14, file: 4, lane_limit: 3 },
    MachineSpec { device: 14, host: 5, file: 8, lane_limit: 64 },
    MachineSpec { device: 14, host: 4, file: 0, lane_limit: 64 },
    MachineSpec { device: 14, host: 0, file: 0, lane_limit: 64 },
];
const DEADLINE: Nanos = Nanos::new(1_000);

/// What separates the bytes of two sequences with the same tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cache {
    pub(crate) salt: Salt,
    pub(crate) epoch: ModelEpoch,
    /// Whether the sequence has a time to live.
    pub(crate) is_mortal: bool,
}

/// A hold, and what it kept when it was last looked at.
#[derive(Debug)]
struct Held {
    hold: Hold,
    salt: Salt,
    /// `None` for all that the salt has.
    tokens: Option<Vec<TokenId>>,
    kept: Kept,
    gave_way: u64,
}

/// A sequence that is open, and the stream on which the engine computes for it.
#[derive(Debug)]
struct Opened {
    sequence: Sequence,
    cache: Cache,
    stream: usize,
}

/// The system and its model.
#[derive(Debug)]
pub struct Rig {
    model: ModelLayout,
    machine: Box<dyn ModelMachine>,
    clock: Arc<ManualClock>,
    pager: Pager,
    hasher: PrefixHasher,
    sequences: Vec<Opened>,
    /// How many sequences were ever opened: each computes on the next stream.
    opened: usize,
    /// Streams that hang.
    hung: HashSet<usize>,
    prefetches: Vec<Prefetch>,
    holds: Vec<Held>,
    /// The model's set: names of blocks that some sequence has committed, and in which epoch and salt.
    committed: HashMap<PrefixHash, (ModelEpoch, Salt)>,
    /// Those that a sequence without a time to live has used.
    immortal: HashSet<PrefixHash>,
    /// The model's list: where the event stream says that each block is.
    copies: Copies,
    /// Whether a fault may have taken slots out of use for good.
    has_lost_slots: bool,
    /// Whether a move has failed or timed out.
    has_faults: bool,
}

/// How many kinds of model are tried.
pub const KINDS: usize = 5;

/// The kinds of model that are tried.
fn model(kind: usize) -> ModelLayout {
    let group = |attention| {
        let entry = Entry::KeyValue { kv_heads: 1, head_dim: 8 };
        KvGroup { attention, layers: 1, entry, dtype: DType::F32 }
    };
    let window = |window_tokens, sink_tokens| group(Attention::SlidingWindow { window_tokens, sink_tokens });
    let groups = match kind {
        0 => vec![group(Attention::Full)],
        1 => vec![window(6, 0), group(Attention::Full)],
        2 => vec![group(Attention::Full), window(9, 3), group(Attention::Chunked { chunk_tokens: 10 })],
        3 => vec![window(9, 3)],
        _ => vec![group(Attention::Full), group(Attention::Full)],
    };
    ModelLayout::new(u32::try_from(TOKENS_PER_BLOCK).expect("small"), groups).expect("valid")
}

/// Blocks all of whose tokens are the letter.
fn prompt(letters: &[u32]) -> Vec<TokenId> {
    letters.iter().flat_map(|letter| [TokenId(*letter); TOKENS_PER_BLOCK]).collect()
}

fn assert_kind(error: &Error, kinds: &[ErrorKind]) {
    assert!(kinds.contains(&error.kind()), "{error}");
}

/// What stands for K and V of token `at`: it depends on all tokens up to it.
pub(crate) fn tag(cache: Cache, group: GroupId, tokens: &[TokenId], at: usize) -> Tag {
    let Cache { salt, epoch, .. } = cache;
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ salt.0 ^ epoch.0 << 32 ^ (group.index() as u64) << 60;
    for token in &tokens[..=at] {
        hash = (hash ^ u64::from(token.0)).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    }
    Tag(hash)
}

/// Whether the token at `position` looks at the one at `earlier`: the definitions, token by token.
pub(crate) fn sees(attention: Attention, position: usize, earlier: usize) -> bool {
    match attention {
        Attention::SlidingWindow { window_tokens, sink_tokens } => {
            position - earlier < window_tokens as usize || earlier < sink_tokens as usize
        }
        Attention::Chunked { chunk_tokens } => {
            earlier / chunk_tokens as usize == position / chunk_tokens as usize
        }
        _ => true,
    }
}

impl Rig {
    /// A rig for a kind of model, 0 to [`KINDS`], on one of [`MACHINES`], kept by one of [`POLICIES`]. Its engine has one, two or three
    /// streams.
    ///
    /// # Panics
    /// If there is no such machine.
    pub fn new(kind: usize, machine: usize, policy: usize) -> Self {
        let streams = 1 + machine % 3;
        Self::over(kind, machine, policy, |model, spec| Box::new(TaggedMachine::new(model, spec, streams)))
    }

    /// As [`Rig::new`], on a machine of this kind.
    ///
    /// # Panics
    /// If there is no such one of [`MACHINES`].
    pub fn over(
        kind: usize,
        machine: usize,
        policy: usize,
        build: impl FnOnce(&ModelLayout, MachineSpec) -> Box<dyn ModelMachine>,
    ) -> Self {
        let model = model(kind);
        // On every second machine calls are cut into small slices.
        let slice_blocks = if machine.is_multiple_of(2) { 2 } else { Limits::default().slice_blocks };
        let machine = build(&model, MACHINES[machine]);
        let clock = Arc::new(ManualClock::new());
        let limits = Limits {
            sequences: 6,
            sequence_tokens: 48,
            move_deadline: DEADLINE,
            batch_moves: 4,
            slice_blocks,
            ..Limits::default()
        };
        let config = Config { limits, watermarks: Watermarks { low: 0.1, high: 0.2 }, ..Config::default() };
        let keeper = policies::policy(policy);
        let pager = Pager::new(model.clone(), config, machine.backend(), keeper, Arc::clone(&clock) as _)
            .expect("fits");
        policies::set_costs(policy, &pager);
        Self {
            model,
            machine,
            clock,
            pager,
            hasher: PrefixHasher::new(HashKey::default(), ModelFingerprint::default()),
            sequences: Vec::new(),
            opened: 0,
            hung: HashSet::new(),
            prefetches: Vec::new(),
            holds: Vec::new(),
            committed: HashMap::new(),
            immortal: HashSet::new(),
            copies: Copies::default(),
            has_lost_slots: false,
            has_faults: false,
        }
    }

    /// Lets it happen, to whatever is there.
    ///
    /// # Panics
    /// If a claim does not hold.
    pub fn apply(&mut self, operation: &Operation) {
        let place = |sequence: usize| sequence % self.sequences.len().max(1);
        match operation {
            Operation::Open { letters, tail, salt } => self.open(letters, *tail, Salt(*salt)),
            Operation::Step { sequence, tokens_max, part } if !self.sequences.is_empty() => {
                self.step(place(*sequence), *tokens_max, *part);
            }
            Operation::Append { sequence, letter, count } if !self.sequences.is_empty() => {
                let at = place(*sequence);
                let sequence = &mut self.sequences[at].sequence;
                let before = sequence.len();
                let tokens = vec![TokenId(*letter); *count];
                if let Err(error) = sequence.append(&tokens) {
                    assert!(matches!(error.kind(), ErrorKind::Retry | ErrorKind::Configuration), "{error}");
                    assert_eq!(sequence.len(), before, "a failed append adds nothing");
                }
                // One that had no tokens is matched now.
                self.note_matched(at);
            }
            Operation::Fork { sequence } if !self.sequences.is_empty() => {
                let Opened { sequence, cache, .. } = &self.sequences[place(*sequence)];
                if let Ok(child) = sequence.fork() {
                    let cache = *cache;
                    self.enter(child, cache);
                }
            }
            Operation::Truncate { sequence, tokens } if !self.sequences.is_empty() => {
                let at = place(*sequence);
                let fence = self.machine.fence(self.sequences[at].stream);
                self.sequences[at].sequence.truncate(*tokens, fence);
            }
            Operation::Close { sequence } if !self.sequences.is_empty() => {
                self.close(place(*sequence));
            }
            Operation::Lane { lane, count } => {
                self.machine.advance(self.lane(*lane), *count, Fate::Done);
            }
            Operation::Fault { lane, fault } => {
                self.has_faults = true;
                self.has_lost_slots |= fault.may_go_on() && !self.machine.concludes();
                self.machine.advance(self.lane(*lane), 1, Fate::Failed(*fault));
            }
            Operation::Stall { lane } => {
                self.machine.advance(self.lane(*lane), 1, Fate::Stalled);
            }
            Operation::Release { lane } => self.machine.release_stalled(self.lane(*lane)),
            Operation::Compute { stream, fences } => {
                let stream = stream % self.machine.streams();
                if !self.hung.contains(&stream) {
                    self.machine.compute(stream, *fences);
                }
            }
            Operation::Hang { stream } => {
                let stream = stream % self.machine.streams();
                self.hung.extend((stream > 0).then_some(stream));
            }
            Operation::Deadline => {
                self.has_faults = true;
                self.clock.advance(DEADLINE);
            }
            Operation::Invalidate { salt } => {
                self.pager.invalidate(Salt(*salt)).expect("no tier of this machine outlives it");
                let names = self.pager.prepare(&Request::new(&[TokenId(0); 5]).with_salt(Salt(*salt)));
                assert_eq!(self.pager.lookup(&names), [], "nothing of an erased salt is found");
            }
            Operation::Epoch => {
                let before = self.pager.epoch();
                let prompt = self.pager.prepare(&Request::new(&[TokenId(0); 5]));
                assert_eq!(self.pager.advance_epoch(), before.next());
                assert_eq!(self.pager.lookup(&prompt), [], "H1: nothing of an earlier epoch is found");
            }
            other => self.apply_to_keeping(other),
        }
        self.pager.poll();
        self.follow_events();
        self.look_at_holds(operation);
    }

    /// What is asked of how long blocks stay, and where.
    fn apply_to_keeping(&mut self, operation: &Operation) {
        match operation {
            Operation::OpenFor { letters, salt, is_high, time_to_live } => {
                let tokens = prompt(letters);
                let mut request = Request::new(&tokens).with_salt(Salt(*salt));
                if *is_high {
                    request = request.with_priority(RequestPriority::High);
                }
                if let Some(ns) = time_to_live {
                    request = request.with_time_to_live(Nanos::new(*ns));
                }
                self.open_request(&request, &tokens, Salt(*salt), time_to_live.is_some());
            }
            Operation::Quota { salt, slots, is_device } => {
                let allowance = slots.map_or(Allowance::Unlimited, Allowance::Slots);
                let quota = if *is_device {
                    Quota { device: allowance, ..Quota::default() }
                } else {
                    Quota { host: allowance, file: allowance, ..Quota::default() }
                };
                self.pager.set_quota(Salt(*salt), quota).expect("there is a place");
            }
            Operation::Time { ns } => self.clock.advance(Nanos::new(*ns)),
            Operation::Prefetch { letters, salt } => {
                let prompt = self.pager.prepare(&Request::new(&prompt(letters)).with_salt(Salt(*salt)));
                match self.pager.prefetch(&prompt) {
                    Ok(prefetch) => self.prefetches.push(prefetch),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
                }
            }
            Operation::CallOff { prefetch } if !self.prefetches.is_empty() => {
                let at = prefetch % self.prefetches.len();
                drop(self.prefetches.swap_remove(at));
            }
            Operation::Hold { letters, salt, is_device } => {
                let (salt, tokens) = (Salt(*salt), prompt(letters));
                let prompt = self.pager.prepare(&Request::new(&tokens).with_salt(salt));
                let tier = if *is_device { TierId::Device } else { TierId::Host };
                match self.pager.hold(&prompt, tier) {
                    Ok(hold) => self.keep(hold, salt, Some(tokens)),
                    Err(error) => assert_kind(&error, &[ErrorKind::Retry, ErrorKind::Configuration]),
                }
            }
            Operation::HoldSalt { salt, blocks, is_device } => {
                let tier = if *is_device { TierId::Device } else { TierId::Host };
                let most = blocks.map_or(Allowance::Unlimited, Allowance::Slots);
                match self.pager.hold_salt(Salt(*salt), tier, most) {
                    Ok(hold) => self.keep(hold, Salt(*salt), None),
                    Err(error) => assert_kind(&error, &[ErrorKind::Retry, ErrorKind::Configuration]),
                }
            }
            Operation::ReleaseHold { hold } if !self.holds.is_empty() => {
                let at = hold % self.holds.len();
                drop(self.holds.swap_remove(at));
            }
            _ => {}
        }
    }

    fn keep(&mut self, hold: Hold, salt: Salt, tokens: Option<Vec<TokenId>>) {
        self.holds.push(Held { hold, salt, tokens, kept: Kept::default(), gave_way: 0 });
    }

    fn lane(&self, lane: usize) -> usize {
        lane % self.machine.lanes()
    }

    fn names(&self, cache: Cache, tokens: &[TokenId]) -> Vec<PrefixHash> {
        let mut parent = self.hasher.root(cache.salt, cache.epoch);
        let name = |block: &[TokenId]| {
            parent = self.hasher.block(parent, block, &[]);
            parent
        };
        tokens.chunks_exact(TOKENS_PER_BLOCK).map(name).collect()
    }

    fn open(&mut self, letters: &[u32], tail: usize, salt: Salt) {
        let mut tokens = prompt(letters);
        tokens.extend(std::iter::repeat_n(TokenId(9), tail));
        self.open_request(&Request::new(&tokens).with_salt(salt), &tokens, salt, false);
    }

    fn open_request(&mut self, request: &Request<'_>, tokens: &[TokenId], salt: Salt, is_mortal: bool) {
        let cache = Cache { salt, epoch: self.pager.epoch(), is_mortal };
        let names = self.names(cache, tokens);
        let matchable = tokens.len().saturating_sub(1) / TOKENS_PER_BLOCK;
        let expected = names[..matchable].iter().take_while(|name| self.copies.has(name)).count();
        let cache = Cache { is_mortal, ..cache };
        match self.pager.open(request) {
            Ok(sequence) => {
                let matched = sequence.matched_tokens() / TOKENS_PER_BLOCK;
                let is_committed = |name| self.committed.contains_key(name);
                assert!(names[..matched].iter().all(is_committed), "I3: what is matched was committed");
                if self.model.anchor().is_some() {
                    assert!(matched <= expected, "{matched} blocks are matched, {expected} are stored");
                }
                if self.model.groups().len() == 1 && self.model.anchor().is_some() {
                    assert_eq!(matched, expected, "all that is stored is matched");
                }
                if !is_mortal {
                    self.immortal.extend(&names[..matched]);
                }
                self.enter(sequence, cache);
            }
            Err(Error::OverQuota { .. }) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
        }
    }

    fn enter(&mut self, sequence: Sequence, cache: Cache) {
        let stream = self.opened % self.machine.streams();
        self.opened += 1;
        self.sequences.push(Opened { sequence, cache, stream });
    }

    /// Closes a sequence, when compute has read all of it once more.
    fn close(&mut self, at: usize) {
        self.read_back(at);
        let fence = self.machine.fence(self.sequences[at].stream);
        self.sequences.swap_remove(at).sequence.close(fence);
    }

    /// Takes one step; computes all of it, or its first `part` tokens. Returns whether it is to wait.
    fn step(&mut self, at: usize, tokens_max: usize, part: usize) -> bool {
        let Opened { sequence, cache, stream } = &mut self.sequences[at];
        let (cache, stream) = (*cache, *stream);
        let step = sequence.next_step(tokens_max);
        self.note_matched(at);
        let step = match step {
            Ok(step) => step,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
                return false;
            }
        };
        let Step::Compute(range) = step else { return step == Step::Wait };
        assert!(!range.is_empty() && range.len() <= tokens_max, "a step of {range:?}");
        let range = range.start..range.end.min(range.start + part);
        let fence = self.machine.fence(stream);
        self.read_front(at, range.start);
        let tokens = self.sequences[at].sequence.tokens().to_vec();
        for group in self.model.group_ids() {
            let table = self.sequences[at].sequence.table(group).to_vec();
            for position in range.clone() {
                let slot = table[position / TOKENS_PER_BLOCK];
                assert!(slot.is_some(), "{group:?} has a slot for the token {position} that is computed");
                let tags = [tag(cache, group, &tokens, position)];
                self.machine.write(stream, group, slot, position % TOKENS_PER_BLOCK, &tags);
            }
        }
        // The set first: the block may be seen stored as soon as it is committed.
        let committed = self.names(cache, &tokens)[..range.end / TOKENS_PER_BLOCK].to_vec();
        if !cache.is_mortal {
            self.immortal.extend(&committed);
        }
        self.committed.extend(committed.into_iter().map(|name| (name, (cache.epoch, cache.salt))));
        let sequence = &mut self.sequences[at].sequence;
        sequence.observe(range.clone(), Nanos::new(1_000));
        sequence.commit(range, fence).expect("the front of the step's range");
        false
    }

    /// Compute at `end` reads the K and V of all tokens before it that each group looks at, after what it is told to wait for.
    fn read_front(&mut self, at: usize, end: usize) {
        let Opened { sequence, cache, stream } = &self.sequences[at];
        for fence in sequence.waits() {
            self.machine.wait_for(*stream, *fence);
        }
        for group in self.model.group_ids() {
            let table = sequence.table(group);
            for position in 0..end {
                let slot = table[position / TOKENS_PER_BLOCK];
                if !sees(self.model.group(group).attention, end, position) {
                    continue;
                }
                assert!(
                    slot.is_some(),
                    "{group:?} of {:?} has no slot for token {position}, seen at {end}",
                    sequence.id()
                );
                let expected = [tag(*cache, group, sequence.tokens(), position)];
                let what = format!("token {position} of {:?}", sequence.id());
                self.machine.read(*stream, (group, slot), position % TOKENS_PER_BLOCK, &expected, &what);
            }
        }
    }

    /// What a sequence has matched, when it was opened or, since a load failed, opened again, it has used.
    fn note_matched(&mut self, at: usize) {
        let Opened { sequence, cache, .. } = &self.sequences[at];
        if !cache.is_mortal {
            let names = self.names(*cache, sequence.tokens());
            self.immortal.extend(names.into_iter().take(sequence.matched_tokens() / TOKENS_PER_BLOCK));
        }
    }

    /// If all tokens are there, compute reads them once more.
    fn read_back(&mut self, at: usize) {
        let step = self.sequences[at].sequence.next_step(1);
        self.note_matched(at);
        if let Ok(Step::Ready) = step {
            self.machine.fence(self.sequences[at].stream);
            self.read_front(at, self.sequences[at].sequence.len());
        }
    }
}
