//! `kvbm-logical` as a subject, with its default order of eviction and no tracking of frequencies.

use crate::metadata::TOKENS;
use crate::subject::Subject;
use kv_pager::ids::{HashKey, ModelEpoch, ModelFingerprint, Salt, TokenId};
use kv_pager::prefix::PrefixHasher;
use kvbm_logical::{BlockManager, BlockRegistry, ImmutableBlock, MutableBlock, SequenceHash};

/// The marker of its tier.
#[derive(Clone)]
pub(crate) struct Device;

pub(crate) type Peer = BlockManager<Device>;

/// Guards of what was matched or named, and of what is to be filled.
pub(crate) struct Held {
    named: Vec<ImmutableBlock<Device>>,
    fresh: Vec<MutableBlock<Device>>,
}

impl Subject for Peer {
    type Prompt = Vec<SequenceHash>;
    type Sequence = Held;

    fn new(slots: u32) -> Self {
        let builder = BlockManager::builder().block_count(slots as usize).block_size(TOKENS as usize);
        builder.registry(BlockRegistry::builder().build()).build().expect("fits")
    }

    fn prompt(&self, tokens: &[TokenId]) -> Vec<SequenceHash> {
        let hasher = PrefixHasher::new(HashKey(7), ModelFingerprint::default());
        let mut parent = hasher.root(Salt(0), ModelEpoch(0));
        let blocks = tokens.chunks_exact(TOKENS as usize).enumerate();
        let name = |(at, block): (usize, &[TokenId])| {
            let before = (at > 0).then(|| low_half(parent.0));
            parent = hasher.block(parent, block, &[]);
            SequenceHash::new(low_half(parent.0), before, at as u64)
        };
        blocks.map(name).collect()
    }

    fn open(&self, prompt: &Vec<SequenceHash>) -> Held {
        let named = self.match_blocks(prompt);
        let fresh = self.allocate_blocks(prompt.len() - named.len()).expect("room");
        Held { named, fresh }
    }

    fn fill(&self, prompt: &Vec<SequenceHash>, sequence: &mut Held) {
        let hashes = &prompt[sequence.named.len()..];
        let stage = |(block, hash): (MutableBlock<Device>, &SequenceHash)| {
            block.stage(*hash, TOKENS as usize).unwrap_or_else(|_| panic!("blocks are of {TOKENS} tokens"))
        };
        let filled = sequence.fresh.drain(..).zip(hashes).map(stage).collect();
        sequence.named.extend(self.register_blocks(filled));
    }

    fn fork(&self, sequence: &Held) -> Held {
        Held { named: sequence.named.clone(), fresh: Vec::new() }
    }

    fn append(&self, prompt: &Vec<SequenceHash>, at: usize, sequence: &mut Held) {
        let block = self.allocate_blocks(1).and_then(|mut blocks| blocks.pop()).expect("room");
        let filled = block.stage(prompt[at], TOKENS as usize);
        let filled = filled.unwrap_or_else(|_| panic!("blocks are of {TOKENS} tokens"));
        sequence.named.push(self.register_block(filled));
    }

    fn clear(&self) {
        self.reset_inactive_pool().expect("nothing is held");
    }
}

#[expect(clippy::cast_possible_truncation, reason = "its names have 64 bits of hash")]
fn low_half(hash: u128) -> u64 {
    hash as u64
}
