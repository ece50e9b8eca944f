//! Drives: one file each, read and written at offsets.
//! Uses `file::rings`. Known by: `file`.
//!
//! - **F1** bytes enter and leave by system calls that return an error, never by a load from a mapping: a truncated file or a
//!   failing drive is a value, and no signal reaches the process;
//! - **F2** a payload file is read and written either around the page cache or through it, never both.
//!
//! The trait is the seam where tests record, delay and fail what reaches the drive.

use super::ring::DEPTH;
use super::rings::{Rings, Turn};
use crate::lane::CHUNK_MOVES_MAX;
use kv_pager::sync::{AtomicU64, Ordering};
use rustix::fs::{Advice, FallocateFlags, OFlags};
use rustix::io::Errno;
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZero;
use std::os::fd::AsFd;
use std::path::Path;

/// What a file of a tier is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FileKind {
    /// Slot headers of a group.
    Headers,
    /// Payloads of a group.
    Payloads,
}

/// Which file of a tier it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileRole {
    /// The directory, by its number in the set.
    pub directory: usize,
    /// The group of layers, by its number in the model.
    pub group: usize,
    /// What the file is for.
    pub kind: FileKind,
}

/// One of several reads.
#[derive(Debug)]
pub struct ReadRequest<'a, 'b> {
    /// What is filled.
    pub into: &'a mut [IoSliceMut<'b>],
    /// From where.
    pub offset: u64,
    /// How many calls it took, once it was carried out.
    pub outcome: io::Result<u32>,
}

impl<'a, 'b> ReadRequest<'a, 'b> {
    /// To be carried out.
    pub fn new(into: &'a mut [IoSliceMut<'b>], offset: u64) -> Self {
        Self { into, offset, outcome: Ok(0) }
    }
}

/// One of several writes.
#[derive(Debug)]
pub struct WriteRequest<'a, 'b> {
    /// What is written.
    pub from: &'a mut [IoSlice<'b>],
    /// Where to.
    pub offset: u64,
    /// How many calls it took, once it was carried out.
    pub outcome: io::Result<u32>,
}

impl<'a, 'b> WriteRequest<'a, 'b> {
    /// To be carried out.
    pub fn new(from: &'a mut [IoSlice<'b>], offset: u64) -> Self {
        Self { from, offset, outcome: Ok(0) }
    }
}

/// One file, as the tier uses it.
pub trait Drive: Debug + Send + Sync {
    /// Reads at `offset` into the slices, as far as one call goes. Blocks on I/O.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, into: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize>;

    /// Writes at `offset` from the slices, as far as one call goes. Blocks on I/O.
    ///
    /// # Errors
    /// What the system says.
    fn write(&self, from: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// How many small requests [`Drive::read_many`] or [`Drive::write_many`] has under way at once.
    fn depth(&self) -> usize {
        1
    }

    /// Reads each of `requests` whole, or says why not. Blocks on I/O.
    fn read_many(&self, requests: &mut [ReadRequest<'_, '_>]) {
        for request in requests {
            request.outcome = read_all(self, std::mem::take(&mut request.into), request.offset);
        }
    }

    /// Writes each of `requests` whole, or says why not. Blocks on I/O.
    fn write_many(&self, requests: &mut [WriteRequest<'_, '_>]) {
        for request in requests {
            request.outcome = write_all(self, std::mem::take(&mut request.from), request.offset);
        }
    }

    /// Says that the range will be read soon. May begin to read it.
    fn announce(&self, offset: u64, bytes: u64);

    /// Says that the range, which was just read, won't be read again soon.
    fn forget(&self, offset: u64, bytes: u64);

    /// Makes what was written durable. Blocks on I/O.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&self) -> io::Result<()>;
}

/// A step of replacing a directory's superblock, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SuperblockStep {
    /// The new one is written beside the old one.
    Write,
    /// Its bytes are made durable.
    Sync,
    /// It takes the old one's name.
    Rename,
    /// That is made durable.
    SyncDirectory,
}

/// Puts something between a tier and its files; for tests.
pub trait Interpose: Debug + Send + Sync {
    /// What the tier uses instead of `drive`.
    fn wrap(&self, role: FileRole, drive: Box<dyn Drive>) -> Box<dyn Drive>;

    /// Has a step of replacing a superblock carried out by `carry_out`. Blocks on I/O.
    ///
    /// # Errors
    /// What `carry_out` says.
    fn replace_superblock(
        &self,
        _step: SuperblockStep,
        carry_out: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        carry_out()
    }
}

/// How payloads are read and written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Access {
    /// Whichever is faster, measured when the tier is made.
    #[default]
    Auto,
    /// Around the page cache (`O_DIRECT`), or not at all.
    Direct,
    /// Through the page cache, announced before and forgotten after.
    Buffered,
}

/// Through the page cache, what was written is made durable and forgotten each time there is so much of it.
const CACHED_BYTES_MAX: u64 = 64 << 20;

/// With so many rings there is always one whose reads the drive is at, while others are being handed in.
const READ_RINGS: usize = 4;

/// A drive answers a write later than a read, and likes more of them at once.
pub(super) const WRITE_RINGS: usize = 8;

/// Small writes that a thread hands over together: twice as many as are under way in a ring, so that some follow those that end.
pub(super) const WRITES_TOGETHER: usize = 2 * DEPTH as usize;

/// A file of the operating system's.
#[derive(Debug)]
pub(crate) struct FileDrive {
    file: File,
    /// If several requests are handed to the system together.
    rings: Option<BothRings>,
    /// Through the page cache, and to be kept out of it as far as possible.
    is_passing: bool,
    /// Bytes written since they were last made durable.
    written: AtomicU64,
}

/// Reads don't wait for rings that writes have.
#[derive(Debug)]
struct BothRings {
    reads: Rings,
    writes: Rings,
}

impl FileDrive {
    /// A file of headers: small, and kept in the page cache, by single pages: a write of a few bytes looks at every block of the
    /// larger pieces that reading ahead would make of it.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn headers(path: &Path, is_writable: bool) -> io::Result<Self> {
        let drive = Self::over(open(path, is_writable, OFlags::empty())?, false);
        drive.advise(0, 0, Advice::Random);
        Ok(drive)
    }

    /// A file of payloads; the second value says how it is accessed.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::Unsupported`] if direct access was asked for and there is none.
    pub(super) fn payloads(path: &Path, access: Access, is_writable: bool) -> io::Result<(Self, Access)> {
        if access != Access::Buffered {
            match open(path, is_writable, OFlags::DIRECT) {
                Ok(file) => return Ok((Self::over(file, false), Access::Direct)),
                Err(Errno::INVAL | Errno::OPNOTSUPP) if access == Access::Auto => {}
                Err(Errno::INVAL | Errno::OPNOTSUPP) => return Err(io::ErrorKind::Unsupported.into()),
                Err(error) => return Err(error.into()),
            }
        }
        let drive = Self::over(open(path, is_writable, OFlags::empty())?, true);
        drive.advise(0, 0, Advice::Random);
        Ok((drive, Access::Buffered))
    }

    /// Hands several requests to the system together, where it takes them so and they go around the page cache: through it, a
    /// ring would keep a thread of the kernel's at each.
    pub(super) fn with_rings(self) -> Self {
        let rings = if self.is_passing { None } else { Rings::new(READ_RINGS).zip(Rings::new(WRITE_RINGS)) };
        Self { rings: rings.map(|(reads, writes)| BothRings { reads, writes }), ..self }
    }

    fn over(file: File, is_passing: bool) -> Self {
        Self { file, rings: None, is_passing, written: AtomicU64::new(0) }
    }

    /// A ring for so many requests of so many bytes in all, if there is one and it would be of use.
    fn turn(&self, which: fn(&BothRings) -> &Rings, requests: usize, bytes: usize) -> Option<Turn<'_>> {
        which(self.rings.as_ref()?).take_for(requests, bytes)
    }

    fn advise(&self, offset: u64, bytes: u64, advice: Advice) {
        // Advice only: a file system that can't take it works without.
        if let Err(refusal) = rustix::fs::fadvise(&self.file, offset, NonZero::new(bytes), advice) {
            tracing::debug!(%refusal, ?advice, "advice refused");
        }
    }
}

fn open(path: &Path, is_writable: bool, more: OFlags) -> Result<File, Errno> {
    let way = if is_writable { OFlags::RDWR } else { OFlags::RDONLY };
    let flags = way | OFlags::CLOEXEC | more;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map(File::from)
}

impl Drive for FileDrive {
    fn read(&self, into: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        Ok(match into {
            [into] => rustix::io::pread(&self.file, &mut **into, offset)?,
            into => rustix::io::preadv(&self.file, into, offset)?,
        })
    }

    fn write(&self, from: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let bytes = match from {
            [from] => rustix::io::pwrite(&self.file, from, offset)?,
            from => rustix::io::pwritev(&self.file, from, offset)?,
        };
        if self.is_passing {
            let before = self.written.fetch_add(bytes as u64, Ordering::Relaxed);
            if before + bytes as u64 >= CACHED_BYTES_MAX {
                self.written.store(0, Ordering::Relaxed);
                self.sync()?;
                self.advise(0, 0, Advice::DontNeed);
            }
        }
        Ok(bytes)
    }

    fn depth(&self) -> usize {
        if self.rings.is_some() { DEPTH as usize } else { 1 }
    }

    fn read_many(&self, requests: &mut [ReadRequest<'_, '_>]) {
        for requests in requests.chunks_mut(CHUNK_MOVES_MAX) {
            let mut read = [const { Ok(0) }; CHUNK_MOVES_MAX];
            let bytes = requests.iter().flat_map(|request| &*request.into).map(|slice| slice.len()).sum();
            if let Some(mut turn) = self.turn(|rings| &rings.reads, requests.len(), bytes) {
                let pieces = requests.iter_mut().map(|request| (&mut *request.into, request.offset));
                turn.ring().read(self.file.as_fd(), pieces, &mut read);
            }
            // What wasn't read through a ring, for whatever reason, is asked for here: this answer counts.
            for (request, read) in requests.iter_mut().zip(read) {
                let mut into = std::mem::take(&mut request.into);
                let bytes = read.unwrap_or(0);
                IoSliceMut::advance_slices(&mut into, bytes);
                let calls = read_all(self, into, request.offset + bytes as u64);
                request.outcome = calls.map(|calls| calls + u32::from(bytes > 0));
            }
        }
    }

    fn write_many(&self, requests: &mut [WriteRequest<'_, '_>]) {
        for requests in requests.chunks_mut(CHUNK_MOVES_MAX) {
            let mut written = [const { Ok(0) }; CHUNK_MOVES_MAX];
            let bytes = requests.iter().flat_map(|request| &*request.from).map(|slice| slice.len()).sum();
            if let Some(mut turn) = self.turn(|rings| &rings.writes, requests.len(), bytes) {
                let pieces = requests.iter().map(|request| (&*request.from, request.offset));
                turn.ring().write(self.file.as_fd(), pieces, &mut written);
            }
            // As for reads.
            for (request, written) in requests.iter_mut().zip(written) {
                let mut from = std::mem::take(&mut request.from);
                let bytes = written.unwrap_or(0);
                IoSlice::advance_slices(&mut from, bytes);
                let calls = write_all(self, from, request.offset + bytes as u64);
                request.outcome = calls.map(|calls| calls + u32::from(bytes > 0));
            }
        }
    }

    fn announce(&self, offset: u64, bytes: u64) {
        if self.is_passing {
            self.advise(offset, bytes, Advice::WillNeed);
        }
    }

    fn forget(&self, offset: u64, bytes: u64) {
        if self.is_passing {
            self.advise(offset, bytes, Advice::DontNeed);
        }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.file)?)
    }
}

/// Whether the drive says that this very place is bad: asking again is of no use.
pub(super) fn is_bad_place(error: &io::Error) -> bool {
    let bad = [Errno::IO, Errno::NODATA, Errno::BADMSG, Errno::ILSEQ, Errno::REMOTEIO];
    error.raw_os_error().is_some_and(|number| bad.contains(&Errno::from_raw_os_error(number)))
}

/// A file that is not there, as one that looks into a tier sees it: empty.
#[derive(Debug)]
pub(super) struct AbsentDrive;

impl Drive for AbsentDrive {
    fn read(&self, _into: &mut [IoSliceMut<'_>], _offset: u64) -> io::Result<usize> {
        Ok(0)
    }

    fn write(&self, _from: &[IoSlice<'_>], _offset: u64) -> io::Result<usize> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn announce(&self, _offset: u64, _bytes: u64) {}

    fn forget(&self, _offset: u64, _bytes: u64) {}

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads until every slice is full. Returns the number of calls.
///
/// # Errors
/// What the system says; [`io::ErrorKind::UnexpectedEof`] where the file ends before.
pub(super) fn read_all(
    drive: &(impl Drive + ?Sized),
    mut into: &mut [IoSliceMut<'_>],
    mut offset: u64,
) -> io::Result<u32> {
    let mut calls = 0;
    IoSliceMut::advance_slices(&mut into, 0);
    while !into.is_empty() {
        match drive.read(into, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => {
                calls += 1;
                offset += bytes as u64;
                IoSliceMut::advance_slices(&mut into, bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(calls)
}

/// Writes every slice whole. Returns the number of calls.
///
/// # Errors
/// What the system says; [`io::ErrorKind::WriteZero`] where nothing more can be written.
pub(super) fn write_all(
    drive: &(impl Drive + ?Sized),
    mut from: &mut [IoSlice<'_>],
    mut offset: u64,
) -> io::Result<u32> {
    let mut calls = 0;
    IoSlice::advance_slices(&mut from, 0);
    while !from.is_empty() {
        match drive.write(from, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => {
                calls += 1;
                offset += bytes as u64;
                IoSlice::advance_slices(&mut from, bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(calls)
}

/// Gives `file` `bytes` bytes that are really there, or frees what lies behind them.
///
/// # Errors
/// `ENOSPC` if the drive is full; what else the system says.
pub(super) fn resize(file: &File, bytes: u64) -> io::Result<()> {
    let before = file.metadata()?.len();
    if before > bytes {
        file.set_len(bytes)?;
    }
    // The system takes no request for nothing.
    if bytes == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // No preallocation here: zeros are written instead, which allocates all the same.
        Err(Errno::OPNOTSUPP) => fill_with_zeros(file, before, bytes),
        Err(error) => Err(error.into()),
    }
}

fn fill_with_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut offset = from;
    while offset < to {
        let bytes = usize::try_from((to - offset).min(zeros.len() as u64)).expect("at most 1 MiB");
        offset += rustix::io::pwrite(file, &zeros[..bytes], offset)? as u64;
    }
    Ok(())
}
