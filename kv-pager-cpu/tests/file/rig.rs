//! A file tier under test: one directory, opened again and again, and blocks to put there.

use kv_pager::ids::{Fence, GroupId, MoveId, PrefixHash, Salt, SlotId, TierId, TokenId};
use kv_pager::layout::shape;
use kv_pager::tier::{BlockLabel, Lane, LaneEnds, Move, MoveFault, RecoveredBlock, Ticket, Tier};
use kv_pager::units::Nanos;
use kv_pager_cpu::file::Identity;
use kv_pager_cpu::{CpuBackend, CpuSpec, FileSpec, FileTier};
use kv_pager_testkit::conformance::{pattern, wait};
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Slots of the tier; each payload takes 8,192 bytes.
pub(crate) const SLOTS: u32 = 8;

/// Slots of host memory: 0 is what is written from, 1 and up what is read into.
const HOST_SLOTS: u32 = 10;

/// Much longer than anything here takes that does not hang.
pub(crate) const LONG: Nanos = Nanos::from_millis(30_000);

/// A directory.
pub(crate) struct Rig {
    root: PathBuf,
    /// Removes it at the end, unless it is someone else's.
    _directory: Option<TempDir>,
    pub(crate) slots: u32,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { root: directory.path().to_owned(), _directory: Some(directory), slots: SLOTS }
    }

    /// A directory of another process's.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root, _directory: None, slots: SLOTS }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join("tier").join(name)
    }

    pub(crate) fn spec(&self) -> FileSpec {
        FileSpec::new(self.root.join("tier"), vec![self.slots])
    }

    fn backend_spec(&self) -> CpuSpec {
        CpuSpec {
            host_slots: Some(vec![HOST_SLOTS]),
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

    /// Opens once nobody else has the directory: a thread that hung may be the last to leave it.
    pub(crate) fn open_when_free(&self) -> Session {
        while FileTier::open(&self.identity(), &self.spec()).is_err() {
            std::thread::yield_now();
        }
        self.open()
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

    /// Every file of the directories `names` of the rig, and what it holds.
    pub(crate) fn files(&self, names: &[&str]) -> BTreeMap<PathBuf, Vec<u8>> {
        let of = |name| std::fs::read_dir(self.path(name)).expect("it is there");
        let paths =
            names.iter().flat_map(|name| of(name)).map(|entry| entry.expect("it can be listed").path());
        let files = paths.filter(|path| path.is_file());
        files.map(|path| (path.clone(), std::fs::read(path).expect("it can be read"))).collect()
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

    /// Writes each block to the slot of its number.
    pub(crate) fn write_chain(&self, chain: &[Labelled]) {
        for (index, block) in chain.iter().enumerate() {
            self.write(block, index);
        }
    }

    pub(crate) fn try_write(&self, block: &Labelled, at: usize) -> Result<(), MoveFault> {
        let ticket = self.write_later(block, at);
        wait(&ticket);
        ticket.outcome(0).expect("it is over")
    }

    /// Begins to write.
    pub(crate) fn write_later(&self, block: &Labelled, at: usize) -> Ticket {
        let host = self.backend.host().expect("there is one");
        host.write(GroupId::FIRST, slot(0)).expect("free").fragment_mut(0).copy_from_slice(&block.bytes());
        self.tier().persistence().expect("it has").label(GroupId::FIRST, slot(at), &block.label());
        self.writer.submit(&[order(slot(0), slot(at))]).expect("room")
    }

    /// Writes blocks to slots in one batch.
    pub(crate) fn write_together(&self, blocks: &[(usize, &Labelled)]) -> Vec<Result<(), MoveFault>> {
        let host = self.backend.host().expect("there is one");
        let place = |(index, (at, block)): (usize, &(usize, &Labelled))| {
            let mut lent = host.write(GroupId::FIRST, slot(index)).expect("free");
            lent.fragment_mut(0).copy_from_slice(&block.bytes());
            self.tier().persistence().expect("it has").label(GroupId::FIRST, slot(*at), &block.label());
            order(slot(index), slot(*at))
        };
        let batch: Vec<Move> = blocks.iter().enumerate().map(place).collect();
        let ticket = self.writer.submit(&batch).expect("room");
        wait(&ticket);
        (0..batch.len()).map(|index| ticket.outcome(index).expect("it is over")).collect()
    }

    pub(crate) fn read(&self, from: SlotId) -> Result<Vec<u8>, MoveFault> {
        self.read_into(from, slot(1))
    }

    /// Reads into a certain slot of host memory.
    pub(crate) fn read_into(&self, from: SlotId, host_slot: SlotId) -> Result<Vec<u8>, MoveFault> {
        carry(&*self.reader, from, host_slot)?;
        Ok(self.host_bytes(host_slot))
    }

    /// What a slot of host memory holds.
    pub(crate) fn host_bytes(&self, host_slot: SlotId) -> Vec<u8> {
        let host = self.backend.host().expect("there is one");
        host.read(GroupId::FIRST, host_slot).expect("free").fragment(0).to_vec()
    }

    /// Reads in one batch.
    pub(crate) fn read_together(&self, from: &[SlotId]) -> Vec<Result<(), MoveFault>> {
        let batch: Vec<Move> = (1..).zip(from).map(|(host, from)| order(*from, slot(host))).collect();
        let ticket = self.reader.submit(&batch).expect("room");
        wait(&ticket);
        (0..batch.len()).map(|index| ticket.outcome(index).expect("it is over")).collect()
    }

    /// Begins to read.
    pub(crate) fn read_later(&self, from: SlotId, host_slot: SlotId) -> Ticket {
        self.reader.submit(&[order(from, host_slot)]).expect("room")
    }

    pub(crate) fn void(&self, at: usize) {
        self.tier().persistence().expect("it has").void(GroupId::FIRST, slot(at));
    }
}

/// How many blocks are found in it.
pub(crate) fn recovered(session: &Session) -> usize {
    session.tier().persistence().expect("it has").recover().len()
}

fn order(source: SlotId, target: SlotId) -> Move {
    let fence = Fence::OVER;
    Move { id: MoveId(0), group: GroupId::FIRST, source, target, source_fence: fence, target_fence: fence }
}

fn carry(lane: &dyn Lane, source: SlotId, target: SlotId) -> Result<(), MoveFault> {
    let ticket = lane.submit(&[order(source, target)]).expect("room");
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

    pub(crate) fn hash(&self) -> PrefixHash {
        self.hash
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
