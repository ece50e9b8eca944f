//! A file tier under test: one directory, opened again and again, and blocks to put there.

use kv_pager::ids::{Fence, GroupId, MoveId, PrefixHash, Salt, SlotId, TierId, TokenId};
use kv_pager::layout::shape;
use kv_pager::tier::{BlockLabel, Lane, LaneEnds, Move, MoveFault, RecoveredBlock, Tier};
use kv_pager_cpu::file::Identity;
use kv_pager_cpu::{CpuBackend, CpuSpec, FileSpec, FileTier};
use kv_pager_testkit::conformance::{pattern, wait};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// Slots of the tier; each payload takes 8,192 bytes.
pub(crate) const SLOTS: u32 = 8;

/// A directory.
pub(crate) struct Rig {
    directory: TempDir,
    pub(crate) slots: u32,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), slots: SLOTS }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("tier").join(name)
    }

    pub(crate) fn spec(&self) -> FileSpec {
        FileSpec::new(self.directory.path().join("tier"), vec![self.slots])
    }

    fn backend_spec(&self) -> CpuSpec {
        CpuSpec {
            host_slots: Some(vec![2]),
            file: Some(self.spec()),
            ..CpuSpec::new(shape("tiny").expect("known"), vec![1])
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        self.backend_spec().identity()
    }

    pub(crate) fn open(&self) -> Session {
        self.open_with(|_| {})
    }

    pub(crate) fn open_with(&self, change: impl FnOnce(&mut CpuSpec)) -> Session {
        let mut spec = self.backend_spec();
        change(&mut spec);
        let backend = CpuBackend::new(&spec).expect("it opens");
        let lane = |source, target| {
            let ends = LaneEnds { source, target };
            backend.lanes().into_iter().find(|lane| lane.ends() == ends).expect("there is one")
        };
        let (reader, writer) = (lane(TierId::File, TierId::Host), lane(TierId::Host, TierId::File));
        Session { backend, reader, writer }
    }

    /// Flips a bit of a file.
    pub(crate) fn flip(&self, name: &str, offset: u64) {
        let file =
            std::fs::File::options().read(true).write(true).open(self.path(name)).expect("it is there");
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).expect("it is that long");
        file.write_all_at(&[byte[0] ^ 1], offset).expect("it can be written");
    }
}

/// The tier while it is open. Dropping it closes it.
pub(crate) struct Session {
    backend: CpuBackend,
    reader: Arc<dyn Lane>,
    writer: Arc<dyn Lane>,
}

impl Session {
    pub(crate) fn tier(&self) -> &Arc<FileTier> {
        self.backend.file().expect("there is one")
    }

    pub(crate) fn write(&self, block: &Labelled, at: usize) {
        assert_eq!(self.try_write(block, at), Ok(()));
    }

    pub(crate) fn try_write(&self, block: &Labelled, at: usize) -> Result<(), MoveFault> {
        let host = self.backend.host().expect("there is one");
        host.write(GroupId::FIRST, slot(0)).expect("free").fragment_mut(0).copy_from_slice(&block.bytes());
        self.tier().persistence().expect("it has").label(GroupId::FIRST, slot(at), &block.label());
        carry(&*self.writer, slot(0), slot(at))
    }

    pub(crate) fn read(&self, from: SlotId) -> Result<Vec<u8>, MoveFault> {
        carry(&*self.reader, from, slot(1))?;
        let host = self.backend.host().expect("there is one");
        Ok(host.read(GroupId::FIRST, slot(1)).expect("free").fragment(0).to_vec())
    }

    pub(crate) fn void(&self, at: usize) {
        self.tier().persistence().expect("it has").void(GroupId::FIRST, slot(at));
    }
}

fn carry(lane: &dyn Lane, source: SlotId, target: SlotId) -> Result<(), MoveFault> {
    let fence = Fence::OVER;
    let group = GroupId::FIRST;
    let order = Move { id: MoveId(0), group, source, target, source_fence: fence, target_fence: fence };
    let ticket = lane.submit(&[order]).expect("room");
    wait(&ticket);
    ticket.outcome(0).expect("it is over")
}

pub(crate) fn slot(index: usize) -> SlotId {
    SlotId::from_index(index)
}

/// A block with its label; its bytes follow from its name.
pub(crate) struct Labelled {
    hash: PrefixHash,
    parent: Option<PrefixHash>,
    depth: u32,
    tokens: Vec<TokenId>,
}

impl Labelled {
    /// A chain of `blocks` blocks, root first.
    pub(crate) fn chain(blocks: u32) -> Vec<Self> {
        Self::chain_named(blocks, 0)
    }

    /// One of many chains that share nothing.
    pub(crate) fn chain_named(blocks: u32, name: u64) -> Vec<Self> {
        let hash = |depth: u32| PrefixHash((u128::from(name) << 64) | u128::from(depth + 1));
        let block = |depth| Self {
            hash: hash(depth),
            parent: depth.checked_sub(1).map(hash),
            depth,
            tokens: (0..16).map(|token| TokenId(depth * 16 + token)).collect(),
        };
        (0..blocks).map(block).collect()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        bytes_of(self.hash)
    }

    fn label(&self) -> BlockLabel<'_> {
        BlockLabel {
            hash: self.hash,
            parent: self.parent,
            salt: Salt(9),
            depth: self.depth,
            tokens: &self.tokens,
            extra_keys: &[3, 4],
            uses: 7 + self.depth,
        }
    }

    pub(crate) fn assert_is(&self, found: &RecoveredBlock) {
        assert_eq!((found.hash, found.parent, found.salt), (self.hash, self.parent, Salt(9)));
        assert_eq!((found.depth, found.uses, &*found.extra_keys), (self.depth, 7 + self.depth, &[3, 4][..]));
        assert_eq!(*found.tokens, *self.tokens);
    }
}

/// What a block of this name holds.
pub(crate) fn bytes_of(hash: PrefixHash) -> Vec<u8> {
    let folded = u64::try_from(hash.0 % u128::from(u64::MAX)).expect("reduced");
    pattern(folded, 8192)
}
