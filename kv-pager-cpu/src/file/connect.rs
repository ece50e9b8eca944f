//! Connecting: from a superblock and the directories' paths to classes that can be read and written.
//! Uses `file::{drive, group, superblock}`. Known by: `file::open`, `file::inspect`.

use super::drive::{AbsentDrive, Access, Drive, FileDrive, FileKind, FileRole, Interpose};
use super::gate::Gate;
use super::group::{Files, Group};
use super::header::HeaderShape;
use super::labels::Labels;
use super::placement::Placement;
use super::records::Record;
use super::superblock::Superblock;
use super::volume::{fault, file};
use crate::borrow::Borrows;
use kv_pager::Error;
use kv_pager::ids::GroupId;
use kv_pager::sync::Mutex;
use std::path::Path;
use std::sync::Arc;

/// How files are opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection<'a> {
    pub(super) access: Access,
    pub(super) has_rings: bool,
    pub(super) interpose: Option<&'a dyn Interpose>,
    pub(super) is_writable: bool,
    /// Whether a file that is not there counts as an empty one.
    pub(super) may_lack_files: bool,
}

impl Connection<'_> {
    fn wrap(&self, role: FileRole, drive: Box<dyn Drive>) -> Box<dyn Drive> {
        match self.interpose {
            Some(interpose) => interpose.wrap(role, drive),
            None => drive,
        }
    }

    fn lacks(&self, path: &Path) -> bool {
        self.may_lack_files && !path.exists()
    }

    fn open_headers(&self, path: &Path) -> Result<Box<dyn Drive>, Error> {
        if self.lacks(path) {
            return Ok(Box::new(AbsentDrive));
        }
        let opened = FileDrive::headers(path, self.is_writable);
        Ok(Box::new(opened.map_err(|source| fault(path, "open the headers", source))?))
    }

    fn open_payloads(&self, path: &Path) -> Result<(Box<dyn Drive>, Access), Error> {
        if self.lacks(path) {
            return Ok((Box::new(AbsentDrive), self.access));
        }
        let (opened, way) = FileDrive::payloads(path, self.access, self.is_writable)
            .map_err(|source| fault(path, "open the payloads; try another access", source))?;
        Ok((Box::new(if self.has_rings { opened.with_rings() } else { opened }), way))
    }
}

/// How headers of the set are laid out.
pub(super) fn header_shape(superblock: &Superblock) -> HeaderShape {
    HeaderShape {
        tokens_per_block: superblock.model.tokens_per_block(),
        extra_keys_max: superblock.extra_keys_max,
        seed: superblock.seed(),
    }
}

/// How slots of `group` are spread over the set.
pub(super) fn placement(superblock: &Superblock, group: usize) -> Placement {
    Placement { directories: superblock.stripe_count, stripe_slots: superblock.stripe_slots[group] }
}

/// Opens the files of `directories`, which are in the set's order. Tells how payloads are accessed: directly only if all are.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn connect(
    directories: &[&Path],
    superblock: &Superblock,
    connection: Connection<'_>,
) -> Result<(Box<[Group]>, Access), Error> {
    let mut access = Access::Direct;
    let gate = Arc::new(Gate::default());
    let mut groups = Vec::with_capacity(superblock.slots.len());
    for id in superblock.model.group_ids() {
        let mut files = Vec::with_capacity(directories.len());
        for (index, directory) in directories.iter().enumerate() {
            let (opened, way) = open_files(directory, index, id, connection)?;
            if way == Access::Buffered {
                access = way;
            }
            files.push(opened);
        }
        groups.push(group(superblock, id, files, &gate));
    }
    Ok((groups.into_boxed_slice(), access))
}

fn open_files(
    directory: &Path,
    index: usize,
    id: GroupId,
    connection: Connection<'_>,
) -> Result<(Files, Access), Error> {
    let role = |kind| FileRole { directory: index, group: id.index(), kind };
    let headers = connection.open_headers(&file(directory, id.index(), FileKind::Headers))?;
    let (payloads, access) = connection.open_payloads(&file(directory, id.index(), FileKind::Payloads))?;
    let headers = connection.wrap(role(FileKind::Headers), headers);
    let payloads = connection.wrap(role(FileKind::Payloads), payloads);
    Ok((Files { headers, payloads }, access))
}

fn group(superblock: &Superblock, id: GroupId, files: Vec<Files>, gate: &Arc<Gate>) -> Group {
    let slots = superblock.slots[id.index()] as usize;
    let shape = header_shape(superblock);
    let (model, format) = (&superblock.model, superblock.format);
    let kept = format.encoded_bytes(model.part_bytes(id), model.group(id).dtype);
    Group {
        id,
        placement: placement(superblock, id.index()),
        shape,
        slot_bytes: superblock.slot_bytes(id.index()).as_usize(),
        kept_bytes: kept.as_usize(),
        files: files.into_boxed_slice(),
        borrows: Borrows::new(slots),
        records: Mutex::new(vec![Record::BLANK; slots].into_boxed_slice()),
        labels: Mutex::new(Labels::new(slots, shape.bytes())),
        untold: Mutex::default(),
        telling: Mutex::default(),
        header_lock: Mutex::default(),
        gate: Arc::clone(gate),
    }
}
