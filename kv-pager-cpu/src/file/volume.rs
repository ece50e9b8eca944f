//! Volumes: one directory of a file tier, claimed for this process.
//! Uses `file::superblock`, `file::drive`. Known by: `file::open`.
//!
//! - **V1** whoever holds the lock on `kv-pager.lock` is the only process that writes the directory's files;
//! - **V2** when opening fails, what it made is removed, and nothing else: a file that was found stays, whatever it holds;
//! - **V3** a superblock is replaced whole, by renaming a durable copy over it.
//!
//! Only files named `kv-pager.*` are ever touched. The lock is given back by the process that took it alone, and by name: a
//! child between its fork and its exec still has the file, and would keep the lock; a forked child that ends must not free
//! its parent's.

use super::drive::{self, FileKind, Interpose, SuperblockStep};
use super::superblock::{COPY_BYTES, Superblock, SuperblockFault};
use kv_pager::Error;
use kv_pager::ids::TierId;
use kv_pager::layout::ModelLayout;
use kv_pager::units::Bytes;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(super) const LOCK: &str = "kv-pager.lock";
const SUPERBLOCK: &str = "kv-pager.superblock";
const SUPERBLOCK_NEW: &str = "kv-pager.superblock.new";

/// A directory whose lock this process holds.
#[derive(Debug)]
pub(super) struct Volume {
    path: PathBuf,
    /// V1.
    _lock: Lock,
    superblock: Option<Superblock>,
    is_superblock_worn: bool,
    /// Whether it was emptied: from then on its superblock is this making's.
    is_cleared: bool,
    made: Made,
}

/// What was made and was not there before, in the order of its making (V2).
#[derive(Debug, Default)]
struct Made {
    directories: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

/// The lock on a directory, until it is dropped.
#[derive(Debug)]
struct Lock {
    file: File,
    /// The process that took it.
    owner: u32,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.owner != std::process::id() {
            return;
        }
        if let Err(error) = rustix::fs::flock(&self.file, FlockOperation::Unlock) {
            tracing::warn!(%error, "a directory's lock goes with the process");
        }
    }
}

impl Volume {
    /// Makes the directory if there is none, locks it and reads its superblock.
    ///
    /// # Errors
    /// [`Error::Io`] if it can't be made or written; [`Error::Configuration`] if another process has it, or it holds files
    /// that this version can't use.
    pub(super) fn claim(path: &Path) -> Result<Self, Error> {
        let missing = path.ancestors().take_while(|path| !path.exists()).map(Path::to_owned);
        let mut made = Made { directories: missing.collect(), files: Vec::new() };
        made.directories.reverse();
        let refused = |source| {
            fault(path, "make or write the directory; choose one that this process may write", source)
        };
        fs::create_dir_all(path).map_err(refused)?;
        let lock = match lock(path, &mut made) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Err(in_use(path)),
            Err(source) => {
                made.discard();
                return Err(refused(source));
            }
        };
        match read_superblock(path) {
            Ok(found) => {
                let is_superblock_worn = found.as_ref().is_some_and(|(_, copies)| *copies < 2);
                let superblock = found.map(|(superblock, _)| superblock);
                let path = path.to_owned();
                Ok(Self { path, _lock: lock, superblock, is_superblock_worn, is_cleared: false, made })
            }
            Err(error) => {
                made.discard();
                Err(error)
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the directory is, if it is anything yet.
    pub(super) fn superblock(&self) -> Option<&Superblock> {
        self.superblock.as_ref()
    }

    /// Whether one of the superblock's copies is damaged.
    pub(super) fn is_superblock_worn(&self) -> bool {
        self.is_superblock_worn
    }

    /// The path of a file of the directory's.
    pub(super) fn file(&self, group: usize, kind: FileKind) -> PathBuf {
        file(&self.path, group, kind)
    }

    /// Makes the file if there is none, and gives it `bytes` bytes that are really there. Returns how many it had.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the drive hasn't got them; [`Error::Io`] for the rest.
    pub(super) fn allocate(&mut self, path: &Path, bytes: Bytes) -> Result<Bytes, Error> {
        let available = rustix::fs::statvfs(&self.path)
            .map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        let full = |had: u64| Error::OutOfMemory {
            tier: TierId::File,
            wanted: bytes,
            available: Bytes::new(available.saturating_add(had)),
        };
        let is_new = !path.exists();
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|source| fault(path, "make or write the file", source))?;
        if is_new {
            self.made.files.push(path.to_owned());
        }
        let before = file.metadata().map_err(|source| fault(path, "read the file's size", source))?;
        let had = before.blocks().saturating_mul(512);
        if bytes.as_u64().saturating_sub(had) > available {
            return Err(full(had));
        }
        match drive::resize(&file, bytes.as_u64()) {
            Ok(()) => Ok(Bytes::new(before.len())),
            Err(error) => {
                // What was there before stays as it was.
                if let Err(error) = file.set_len(before.len().min(bytes.as_u64())) {
                    tracing::warn!(%error, path = %path.display(), "a file that could not be grown keeps what it got");
                }
                let is_full =
                    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
                Err(if is_full { full(had) } else { fault(path, "preallocate the file", error) })
            }
        }
    }

    /// Replaces the superblock (V3), each step by way of `interpose` if there is one. Blocks on I/O.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn write_superblock(
        &mut self,
        superblock: &Superblock,
        interpose: Option<&dyn Interpose>,
    ) -> Result<(), Error> {
        let (own, new) = (self.path.join(SUPERBLOCK), self.path.join(SUPERBLOCK_NEW));
        if self.is_cleared {
            self.made.files.extend([own.clone(), new.clone()]);
        }
        let step = |step, carry_out: &mut dyn FnMut() -> io::Result<()>| match interpose {
            Some(interpose) => interpose.replace_superblock(step, carry_out),
            None => carry_out(),
        };
        let write = || {
            let mut file = File::create(&new)?;
            step(SuperblockStep::Write, &mut || file.write_all(&superblock.encode()))?;
            step(SuperblockStep::Sync, &mut || file.sync_all())?;
            step(SuperblockStep::Rename, &mut || fs::rename(&new, &own))?;
            step(SuperblockStep::SyncDirectory, &mut || File::open(&self.path)?.sync_all())
        };
        write().map_err(|source| fault(&self.path, "write the superblock", source))?;
        self.superblock = Some(superblock.clone());
        self.is_superblock_worn = false;
        Ok(())
    }

    /// Removes what an earlier try left of a tier that was never made. Blocks on I/O.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn clear(&mut self) -> Result<(), Error> {
        let mut left = vec![self.path.join(SUPERBLOCK), self.path.join(SUPERBLOCK_NEW)];
        // The earlier model may have had more groups than this one.
        for group in 0..ModelLayout::GROUPS_MAX {
            left.extend([FileKind::Headers, FileKind::Payloads].map(|kind| self.file(group, kind)));
        }
        for path in left {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(fault(&path, "remove what an earlier try left", error));
                }
                _ => {}
            }
        }
        self.superblock = None;
        self.is_cleared = true;
        Ok(())
    }

    /// Removes what was made since it was claimed (V2), and gives the directory back.
    pub(super) fn discard(self) {
        self.made.discard();
    }
}

impl Made {
    /// The last first: the superblock before the files that it speaks of, and the lock after all of them.
    fn discard(self) {
        for path in self.files.iter().rev() {
            remove(fs::remove_file(path));
        }
        for path in self.directories.iter().rev() {
            remove(fs::remove_dir(path));
        }
    }
}

fn remove(result: io::Result<()>) {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "something is left behind");
        }
        _ => {}
    }
}

pub(super) fn fault(path: &Path, action: &str, source: io::Error) -> Error {
    Error::Io { tier: TierId::File, action: format!("{}: cannot {action}", path.display()), source }
}

pub(super) fn refusal(path: &Path, why: &str) -> Error {
    Error::Configuration { setting: "file directory", why: format!("{}: {why}", path.display()) }
}

fn in_use(path: &Path) -> Error {
    let owner = fs::read_to_string(path.join(LOCK)).unwrap_or_default();
    let owner = if owner.is_empty() { "another process" } else { owner.trim() };
    refusal(path, &format!("{owner} is using it; end that one, or choose another directory"))
}

/// Takes the lock, if nobody has it.
fn lock(directory: &Path, made: &mut Made) -> io::Result<Option<Lock>> {
    let path = directory.join(LOCK);
    let open = |more| {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | more;
        rustix::fs::open(&path, flags, Mode::from_raw_mode(0o644)).map(File::from)
    };
    loop {
        let (mut file, is_new) = match open(OFlags::CREATE | OFlags::EXCL) {
            Err(Errno::EXIST) => (open(OFlags::CREATE)?, false),
            opened => (opened?, true),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // Whoever had it before may have removed the name since it was opened: then this lock excludes nobody.
        let named = rustix::fs::statat(rustix::fs::CWD, &path, AtFlags::empty());
        if named.is_ok_and(|named| file.metadata().is_ok_and(|own| own.ino() == named.st_ino)) {
            if is_new {
                made.files.push(path);
            }
            file.set_len(0)?;
            let owner = std::process::id();
            file.write_all(format!("process {owner}\n").as_bytes())?;
            return Ok(Some(Lock { file, owner }));
        }
    }
}

/// The path of a file of `directory`'s.
pub(super) fn file(directory: &Path, group: usize, kind: FileKind) -> PathBuf {
    let kind = match kind {
        FileKind::Headers => "headers",
        FileKind::Payloads => "payloads",
    };
    directory.join(format!("kv-pager.{group}.{kind}"))
}

/// Reads a directory's superblock and the number of its copies that are whole; `None` if it has none, which is also so when
/// it was being made for the first time.
pub(super) fn read_superblock(directory: &Path) -> Result<Option<(Superblock, usize)>, Error> {
    let path = directory.join(SUPERBLOCK);
    let mut bytes = Vec::new();
    match File::open(&path).and_then(|file| file.take(2 * COPY_BYTES as u64).read_to_end(&mut bytes)) {
        Ok(0) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(fault(&path, "read the superblock", source)),
        Ok(_) => {}
    }
    match Superblock::decode(&bytes) {
        Ok(found) => Ok(Some(found)),
        Err(why @ (SuperblockFault::Foreign | SuperblockFault::Damaged)) => Err(refusal(
            &path,
            &format!(
                "{why}, so nothing here can be used; remove the kv-pager.* files, or choose another directory"
            ),
        )),
        Err(why) => Err(refusal(&path, &format!("{why}; it was left alone, choose another directory"))),
    }
}
