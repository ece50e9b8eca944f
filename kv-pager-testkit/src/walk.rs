//! A seeded walk of a pager over real tiers: whatever is evicted, moved and found again, each byte is what it was.
//! Uses `engine::memory`, `model`, `random`. Known by: tests of backends.
//!
//! Unlike [`model`](crate::model), whose machine moves when told to, here lanes move at their own pace, so a walk says nothing
//! about orders that this machine does not happen to take. Every token's K and V is filled with words that depend on the salt,
//! the group, the plane and all tokens up to it, and all of what attention looks at is read back before each step and at each end.

use crate::engine::KvMemory;
use crate::model::{Cache, sees, tag};
use crate::random::{Random, mix};
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::config::{Config, Limits, Watermarks};
use kv_pager::ids::{Fence, GroupId, ModelEpoch, Salt, SlotId, TierId, TokenId};
use kv_pager::layout::{Attention, DType, Entry, KvGroup, ModelLayout};
use kv_pager::pager::{Backend, Pager, Request, Sequence, Stats, Step};
use kv_pager::policy::Steward;
use kv_pager::pool::SlotState;
use kv_pager::tier::Tier;
use kv_pager::units::Nanos;
use kv_pager::{Error, ErrorKind};
use std::ops::Range;
use std::sync::Arc;

const TOKENS_PER_BLOCK: usize = 8;
/// Slots of each group on the device: fewer than the sequences that a walk has open would like.
pub const DEVICE_SLOTS: u32 = 48;
/// Slots of each group in host memory.
pub const HOST_SLOTS: u32 = 32;
/// Slots of each group in the file.
pub const FILE_SLOTS: u32 = 160;

const SEQUENCES_MAX: usize = 5;
const BRANCHES: u32 = 12;
const PROMPT_TOKENS_MAX: u32 = 180;
/// Nobody waits so long unless something is stuck.
const STUCK: Nanos = Nanos::from_millis(10_000);

/// What a walk is over.
#[derive(Debug)]
pub struct Ground<'a> {
    /// Tiers and lanes, built with the default fingerprint and hash key for [`walk_model`]; the first tier is the device.
    pub backend: Backend,
    /// The device's slots.
    pub memory: &'a dyn KvMemory,
}

/// What a walk saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Walked {
    /// Tokens found cached, by the tier they came from.
    pub hit_tokens: [u64; TierId::COUNT],
    /// Tokens computed.
    pub computed_tokens: u64,
    /// Tokens whose bytes were read back, in one group each.
    pub read_tokens: u64,
    /// The pager's counters.
    pub stats: Stats,
}

impl Walked {
    /// Moves that ended well from one tier to another.
    pub fn moves(&self, source: TierId, target: TierId) -> u64 {
        let lanes = self.stats.lanes.iter();
        lanes
            .filter(|lane| lane.ends.source == source && lane.ends.target == target)
            .map(|lane| lane.stats.moves)
            .sum()
    }
}

/// Asserts that `walks` together used all tiers both ways, and that nothing was damaged in any. One walk alone may have been served by
/// lanes so slow that it never came back to a file.
///
/// # Panics
/// If not.
pub fn assert_went_everywhere(walks: &[Walked]) {
    use TierId::{Device, File, Host};
    for (source, target) in [(Device, Host), (Host, File), (File, Host), (Host, Device)] {
        let moves: u64 = walks.iter().map(|walked| walked.moves(source, target)).sum();
        assert!(moves > 0, "nothing went from {source} to {target}: {walks:?}");
    }
    for tier in TierId::ALL {
        let tokens: u64 = walks.iter().map(|walked| walked.hit_tokens[tier.index()]).sum();
        assert!(tokens > 0, "nothing was found in {tier}: {walks:?}");
    }
    assert!(walks.iter().any(|walked| walked.stats.evictions[Device.index()] > 0), "{walks:?}");
    // Loads may fail here: one that finds no host slot on its way from the file is called off.
    for walked in walks {
        assert_eq!(walked.stats.damaged, 0, "{:?}", walked.stats);
    }
}

/// A model with a group of full attention and one of a window, that two ranks can share.
///
/// # Panics
/// Never: it is valid.
pub fn walk_model() -> ModelLayout {
    let group = |attention, layers| {
        let entry = Entry::KeyValue { kv_heads: 2, head_dim: 64 };
        KvGroup { attention, layers, entry, dtype: DType::BF16 }
    };
    let window = Attention::SlidingWindow { window_tokens: 20, sink_tokens: 4 };
    let tokens_per_block = u32::try_from(TOKENS_PER_BLOCK).expect("small");
    ModelLayout::new(tokens_per_block, vec![group(Attention::Full, 4), group(window, 2)]).expect("valid")
}

/// Does `operations` random things to a new pager, then closes everything, and asserts on the way all that must hold.
///
/// # Panics
/// If something does not.
pub fn walk(ground: Ground<'_>, seed: u64, operations: usize) -> Walked {
    let model = walk_model();
    let limits = Limits {
        sequences: 8,
        sequence_tokens: DEVICE_SLOTS * model.tokens_per_block(),
        batch_moves: 8,
        slice_blocks: 3,
        ..Limits::default()
    };
    let config = Config { limits, watermarks: Watermarks { low: 0.1, high: 0.2 }, ..Config::default() };
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let device = Arc::clone(ground.backend.tiers.first().expect("a device"));
    let pager = Pager::new(model.clone(), config, ground.backend, Box::new(Steward::default()), clock)
        .expect("it fits");
    let mut walker = Walker {
        model,
        pager,
        device,
        memory: ground.memory,
        random: Random::new(seed),
        sequences: Vec::new(),
        hit_tokens: [0; TierId::COUNT],
        computed_tokens: 0,
        read_tokens: 0,
    };
    for _ in 0..operations {
        walker.advance();
        walker.check();
    }
    walker.finish()
}

/// An open sequence, and the branch that it grows along.
#[derive(Debug)]
struct Walking {
    sequence: Sequence,
    salt: Salt,
    branch: u32,
}

#[derive(Debug)]
struct Walker<'a> {
    model: ModelLayout,
    pager: Pager,
    device: Arc<dyn Tier>,
    memory: &'a dyn KvMemory,
    random: Random,
    sequences: Vec<Walking>,
    hit_tokens: [u64; TierId::COUNT],
    computed_tokens: u64,
    read_tokens: u64,
}

/// Token `place` of a branch of a tree that forks after 20, 52 and 100 tokens.
fn branch_token(branch: u32, place: usize) -> TokenId {
    let side = match place {
        0..20 => 0,
        20..52 => branch % 2,
        52..100 => branch % 4,
        _ => branch,
    };
    let token = mix(u64::from(side) << 32 | place as u64) % 50_000;
    TokenId(u32::try_from(token).expect("small"))
}

fn assert_retry(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
}

impl Walker<'_> {
    fn advance(&mut self) {
        let kind = self.random.below(24);
        if self.sequences.is_empty() || kind < 4 {
            return self.open();
        }
        let count = u32::try_from(self.sequences.len()).expect("few");
        let at = self.random.below(count) as usize;
        match kind {
            4..16 => {
                let tokens_max = self.random.between(1, 60) as usize;
                self.step(at, tokens_max);
            }
            16..19 => self.append(at),
            19 => self.fork(at),
            20 => {
                let len = u32::try_from(self.sequences[at].sequence.len()).expect("short");
                let tokens = self.random.below(len) as usize;
                self.sequences[at].sequence.truncate(tokens.max(1), Fence::OVER);
            }
            _ => self.close(at),
        }
    }

    fn check(&self) {
        self.pager.poll();
        self.pager.check();
        self.sequences.iter().for_each(|walking| walking.sequence.check());
    }

    fn open(&mut self) {
        if self.sequences.len() == SEQUENCES_MAX {
            return;
        }
        let branch = self.random.below(BRANCHES);
        let tokens = self.random.between(1, PROMPT_TOKENS_MAX) as usize;
        let salt = Salt(u64::from(self.random.below(8) == 0));
        let tokens: Vec<_> = (0..tokens).map(|place| branch_token(branch, place)).collect();
        match self.pager.open(&Request::new(&tokens).with_salt(salt)) {
            Ok(sequence) => self.sequences.push(Walking { sequence, salt, branch }),
            Err(error) => assert_retry(&error),
        }
    }

    fn append(&mut self, at: usize) {
        let is_astray = self.random.below(4) == 0;
        let count = self.random.between(1, 12) as usize;
        let Walking { sequence, branch, .. } = &mut self.sequences[at];
        let before = sequence.len();
        let branch = if is_astray { BRANCHES + *branch } else { *branch };
        let tokens: Vec<_> = (before..before + count).map(|place| branch_token(branch, place)).collect();
        if let Err(error) = sequence.append(&tokens) {
            assert!(matches!(error.kind(), ErrorKind::Retry | ErrorKind::Configuration), "{error}");
            assert_eq!(sequence.len(), before, "a failed append adds nothing");
        }
    }

    fn fork(&mut self, at: usize) {
        if self.sequences.len() == SEQUENCES_MAX {
            return;
        }
        let Walking { sequence, salt, branch } = &self.sequences[at];
        match sequence.fork() {
            Ok(child) => {
                let child = Walking { sequence: child, salt: *salt, branch: *branch };
                self.sequences.push(child);
            }
            Err(error) => assert_retry(&error),
        }
    }

    /// Takes one step, and computes all of it or its front. Returns whether everything is there.
    fn step(&mut self, at: usize, tokens_max: usize) -> bool {
        let sequence = &mut self.sequences[at].sequence;
        match sequence.next_step(tokens_max) {
            Err(error) => assert_retry(&error),
            Ok(Step::Wait) => {
                // What it waits for may need another sequence to go on, so this is no fault.
                let _has_ended = sequence.wait(Nanos::from_millis(20));
            }
            Ok(Step::Ready) => {
                let end = sequence.len();
                self.read_front(at, end);
                return true;
            }
            Ok(Step::Compute(range)) => {
                assert!(!range.is_empty() && range.len() <= tokens_max, "a step of {range:?}");
                self.read_front(at, range.start);
                let count = u32::try_from(range.len()).expect("short");
                let part = if self.random.below(4) == 0 { self.random.between(1, count) } else { count };
                let range = range.start..range.start + part as usize;
                self.write(at, range.clone());
                self.computed_tokens += range.len() as u64;
                self.sequences[at].sequence.commit(range, Fence::OVER).expect("a front of the step's range");
            }
        }
        false
    }

    /// Writes the K and V of tokens, in every group.
    fn write(&self, at: usize, range: Range<usize>) {
        let Walking { sequence, salt, .. } = &self.sequences[at];
        for group in self.model.group_ids() {
            let first_block = range.start / TOKENS_PER_BLOCK;
            for block in first_block..range.end.div_ceil(TOKENS_PER_BLOCK) {
                let slot = sequence.table(group)[block];
                assert!(slot.is_some(), "{group:?} has no slot for block {block}, which is computed");
                let tokens = within_block(block, &range);
                self.memory.write_part(group, slot, &mut |part| {
                    for plane in 0..self.planes(group) {
                        let bytes = part.plane_mut(plane);
                        for token in tokens.clone() {
                            let origin = row_seed(*salt, group, sequence.tokens(), token, plane);
                            let row = row_of(bytes.len(), token);
                            for (index, word) in bytes[row].chunks_exact_mut(8).enumerate() {
                                word.copy_from_slice(&mix(origin ^ index as u64).to_le_bytes());
                            }
                        }
                    }
                });
            }
        }
    }

    /// Reads what a token at `end` looks at: all that must be there before it is computed.
    fn read_front(&mut self, at: usize, end: usize) {
        let Walking { sequence, salt, .. } = &self.sequences[at];
        for fence in sequence.waits() {
            while !self.device.is_fence_over(*fence) {
                std::thread::yield_now();
            }
        }
        for group in self.model.group_ids() {
            let attention = self.model.group(group).attention;
            for block in 0..end.div_ceil(TOKENS_PER_BLOCK) {
                let seen: Vec<usize> =
                    within_block(block, &(0..end)).filter(|token| sees(attention, end, *token)).collect();
                if seen.is_empty() {
                    continue;
                }
                let slot = sequence.table(group)[block];
                assert!(slot.is_some(), "{group:?} has no slot for block {block}, seen at {end}");
                self.read_tokens += seen.len() as u64;
                self.assert_rows(group, slot, &seen, sequence, *salt);
            }
        }
    }

    fn assert_rows(&self, group: GroupId, slot: SlotId, seen: &[usize], sequence: &Sequence, salt: Salt) {
        self.memory.read_part(group, slot, &mut |part| {
            for plane in 0..self.planes(group) {
                let bytes = part.plane(plane);
                for token in seen {
                    let origin = row_seed(salt, group, sequence.tokens(), *token, plane);
                    let words = bytes[row_of(bytes.len(), *token)].chunks_exact(8).enumerate();
                    for (index, word) in words {
                        assert!(
                            word == mix(origin ^ index as u64).to_le_bytes(),
                            "I4: token {token} of {:?}, {group:?}, plane {plane}, word {index}, in {slot:?}",
                            sequence.id()
                        );
                    }
                }
            }
        });
    }

    /// Fragments of a part.
    fn planes(&self, group: GroupId) -> usize {
        self.model.group(group).fragments() as usize
    }

    /// Reads everything once more, if it is there, and closes.
    fn close(&mut self, at: usize) {
        self.step(at, 1);
        let walking = self.sequences.swap_remove(at);
        for (sum, tokens) in self.hit_tokens.iter_mut().zip(walking.sequence.report().hit_tokens) {
            *sum += tokens;
        }
        walking.sequence.close(Fence::OVER);
    }

    /// Serves and closes what is open; then nothing may be under way or held (I7).
    fn finish(mut self) -> Walked {
        while let Some(at) = self.sequences.len().checked_sub(1) {
            for _ in 0..100 {
                if self.step(at, 64) {
                    break;
                }
            }
            self.close(at);
            self.check();
        }
        self.settle();
        self.take_everything();
        self.settle();
        Walked {
            hit_tokens: self.hit_tokens,
            computed_tokens: self.computed_tokens,
            read_tokens: self.read_tokens,
            stats: self.pager.stats(),
        }
    }

    /// Waits until no move is under way, and asserts that none has left anything behind.
    fn settle(&self) {
        loop {
            let seen = self.pager.progress();
            self.pager.poll();
            if !self.pager.is_busy() {
                break;
            }
            assert!(self.pager.wait(seen, STUCK), "a transfer does not end");
        }
        self.pager.check();
        for tier in TierId::ALL {
            for group in self.model.group_ids() {
                let Some(counts) = self.pager.occupancy(tier, group) else { continue };
                for state in
                    [SlotState::Filling, SlotState::Leaving, SlotState::Quarantined, SlotState::Retired]
                {
                    assert_eq!(counts.of(state), 0, "I7: {state:?} in {tier}, {group:?}");
                }
            }
        }
    }

    /// One sequence gets every slot of the device, which it could not if anything were held.
    fn take_everything(&mut self) {
        let tokens: Vec<_> = (0..DEVICE_SLOTS as usize * TOKENS_PER_BLOCK)
            .map(|place| branch_token(3 * BRANCHES, place))
            .collect();
        let sequence = loop {
            let seen = self.pager.progress();
            match self.pager.open(&Request::new(&tokens).with_salt(Salt(2))) {
                Ok(sequence) => break sequence,
                Err(error) => assert_retry(&error),
            }
            assert!(self.pager.wait(seen, STUCK), "something holds slots: {:?}", self.pager.stats());
        };
        self.sequences.push(Walking { sequence, salt: Salt(2), branch: 0 });
        for _ in 0..1000 {
            if self.step(0, 64) {
                return self.close(0);
            }
        }
        panic!("a sequence that is alone is never served");
    }
}

/// Tokens of `range` in a block.
fn within_block(block: usize, range: &Range<usize>) -> Range<usize> {
    let first = block * TOKENS_PER_BLOCK;
    range.start.max(first)..range.end.min(first + TOKENS_PER_BLOCK)
}

/// Bytes of a token in a plane of `plane_bytes` bytes.
fn row_of(plane_bytes: usize, token: usize) -> Range<usize> {
    let row_bytes = plane_bytes / TOKENS_PER_BLOCK;
    let first = token % TOKENS_PER_BLOCK * row_bytes;
    first..first + row_bytes
}

/// What all words of a token in one plane come from.
fn row_seed(salt: Salt, group: GroupId, tokens: &[TokenId], token: usize, plane: usize) -> u64 {
    let cache = Cache { salt, epoch: ModelEpoch::default(), is_mortal: false };
    mix(tag(cache, group, tokens, token).0 ^ (plane as u64) << 32)
}
