//! A failing device: what a drive says can be replaced by an error, or kept waiting, while a tier uses it.

use crate::rig::{Rig, Session};
use kv_pager::tier::Signal;
use kv_pager::units::Nanos;
use kv_pager_cpu::file::{Drive, FileKind, FileRole, Interpose};
use rustix::io::Errno;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

/// The switches of a device.
#[derive(Debug, Default)]
pub(crate) struct Device {
    /// Errors, by kind of request; 0 for none.
    pub(crate) reads: AtomicI32,
    pub(crate) payload_writes: AtomicI32,
    pub(crate) header_writes: AtomicI32,
    /// Only requests at offsets up to this one fail.
    pub(crate) fails_up_to: AtomicU64,
    /// Whether requests for payloads wait, whether those for headers do, and whether syncs do.
    is_hanging: AtomicBool,
    is_hanging_in_headers: AtomicBool,
    is_hanging_in_sync: AtomicBool,
    released: Signal,
    /// Whether the next header that is read is met half written.
    pub(crate) is_torn: AtomicBool,
    /// How many requests have begun to wait.
    hung: AtomicU64,
    /// Rings when one begins to wait.
    hangs: Signal,
    /// Rings when a header was written.
    pub(crate) wrote_header: Signal,
}

impl Device {
    pub(crate) fn new() -> Arc<Self> {
        let device = Self::default();
        device.fails_up_to.store(u64::MAX, Ordering::Relaxed);
        Arc::new(device)
    }

    /// Payload requests wait from now on.
    pub(crate) fn hang(&self) {
        self.is_hanging.store(true, Ordering::SeqCst);
    }

    /// Requests for headers wait from now on.
    pub(crate) fn hang_in_headers(&self) {
        self.is_hanging_in_headers.store(true, Ordering::SeqCst);
    }

    /// Waits until `count` requests have begun to wait.
    pub(crate) fn wait_for_hung(&self, count: u64) {
        loop {
            let seen = self.hangs.count();
            if self.hung.load(Ordering::SeqCst) >= count {
                return;
            }
            self.hangs.wait_past(seen, Nanos::MAX);
        }
    }

    /// Nothing becomes durable from now on.
    pub(crate) fn hang_in_sync(&self) {
        self.is_hanging_in_sync.store(true, Ordering::SeqCst);
    }

    /// Lets all that wait go on.
    pub(crate) fn release(&self) {
        for switch in [&self.is_hanging, &self.is_hanging_in_headers, &self.is_hanging_in_sync] {
            switch.store(false, Ordering::SeqCst);
        }
        self.released.ring();
    }

    fn wait_while(&self, is_hanging: &AtomicBool) {
        if is_hanging.load(Ordering::SeqCst) {
            self.hung.fetch_add(1, Ordering::SeqCst);
            self.hangs.ring();
        }
        while is_hanging.load(Ordering::SeqCst) {
            let seen = self.released.count();
            if is_hanging.load(Ordering::SeqCst) {
                self.released.wait_past(seen, Nanos::MAX);
            }
        }
    }

    pub(crate) fn fail(switch: &AtomicI32, errno: Errno) {
        switch.store(errno.raw_os_error(), Ordering::SeqCst);
    }

    pub(crate) fn mend(&self) {
        for switch in [&self.reads, &self.payload_writes, &self.header_writes] {
            switch.store(0, Ordering::SeqCst);
        }
    }

    fn ask(&self, switch: &AtomicI32, role: FileRole, offset: u64) -> io::Result<()> {
        self.wait_while(match role.kind {
            FileKind::Headers => &self.is_hanging_in_headers,
            FileKind::Payloads => &self.is_hanging,
        });
        match switch.load(Ordering::SeqCst) {
            0 => Ok(()),
            _ if offset > self.fails_up_to.load(Ordering::Relaxed) => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// Puts a device's switches before each file.
#[derive(Debug)]
pub(crate) struct Shim(pub(crate) Arc<Device>);

impl Interpose for Shim {
    fn wrap(&self, role: FileRole, drive: Box<dyn Drive>) -> Box<dyn Drive> {
        Box::new(Behind { device: Arc::clone(&self.0), role, drive })
    }
}

#[derive(Debug)]
struct Behind {
    device: Arc<Device>,
    role: FileRole,
    drive: Box<dyn Drive>,
}

impl Drive for Behind {
    fn read(&self, into: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        self.device.ask(&self.device.reads, self.role, offset)?;
        let bytes = self.drive.read(into, offset)?;
        if self.role.kind == FileKind::Headers && self.device.is_torn.swap(false, Ordering::SeqCst) {
            into[0][100] ^= 1;
        }
        Ok(bytes)
    }

    fn write(&self, from: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let switch = match self.role.kind {
            FileKind::Headers => &self.device.header_writes,
            FileKind::Payloads => &self.device.payload_writes,
        };
        self.device.ask(switch, self.role, offset)?;
        let written = self.drive.write(from, offset);
        if self.role.kind == FileKind::Headers {
            self.device.wrote_header.ring();
        }
        written
    }

    fn depth(&self) -> usize {
        self.drive.depth()
    }

    fn announce(&self, offset: u64, bytes: u64) {
        self.drive.announce(offset, bytes);
    }

    fn forget(&self, offset: u64, bytes: u64) {
        self.drive.forget(offset, bytes);
    }

    fn sync(&self) -> io::Result<()> {
        self.device.wait_while(&self.device.is_hanging_in_sync);
        self.drive.sync()
    }
}

/// Opens on a drive that does as `device` says; two threads a lane, which give up soon.
pub(crate) fn open_on(rig: &Rig, device: &Arc<Device>) -> Session {
    rig.open_with(|spec| {
        let shim = Shim(Arc::clone(device));
        spec.file.as_mut().expect("there is one").interpose = Some(Arc::new(shim));
        spec.file_lanes.workers = 2;
        spec.file_lanes.chunk_timeout = Nanos::from_millis(100);
    })
}
