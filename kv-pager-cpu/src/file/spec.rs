//! Specifications: where a file tier lies, how large it is, and whose bytes it keeps.
//! Uses `kv_pager::layout`. Known by: `file`, `backend`.

use super::drive::{Access, Interpose};
use super::header::header_bytes;
use kv_pager::ids::ModelFingerprint;
use kv_pager::layout::{Format, ModelLayout};
use kv_pager::units::Bytes;
use std::path::PathBuf;
use std::sync::Arc;

/// Pages for the superblock, and for what rounding takes of each pair of files.
const FIXED_PAGES: u64 = 4;

/// Whose bytes a tier keeps. Files of another identity are refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The model's layout.
    pub model: ModelLayout,
    /// How parts are kept.
    pub format: Format,
    /// What makes bytes of another model useless.
    pub fingerprint: ModelFingerprint,
    /// The key that block names are hashed with.
    pub hash_key: u128,
    /// Of how many ranks' slices, one after the other, a part consists: 1 where no model is split.
    pub ranks: u32,
}

/// Where a file tier lies, and how large it is.
#[derive(Clone, Debug)]
pub struct FileSpec {
    /// One directory for each drive; made if they are not there.
    pub directories: Vec<PathBuf>,
    /// Slots by group, over all directories. May differ from last time: the tier is grown or shrunk.
    pub slots: Vec<u32>,
    /// How payloads are read and written.
    pub access: Access,
    /// Whether several small requests are handed to the system together where it takes them so (`io_uring`), or each on its own.
    pub has_rings: bool,
    /// The most extra keys of a block that are kept; one with more is not found again after a restart.
    pub extra_keys_max: u32,
    /// Payloads are read again and again at this rate, so that damage is found early, for as long as the backend that opened the tier
    /// is held; `None` for only when asked for.
    pub scrub_bytes_per_s: Option<Bytes>,
    /// The most payload that is written in a day, or `None`; an hour's share may be saved up and written at once. A tier that is made
    /// begins with that share, one that is opened again with nothing. A move beyond it ends as
    /// [`MoveFault::Cancelled`](kv_pager::tier::MoveFault).
    pub write_bytes_per_day: Option<Bytes>,
    /// What stands between the tier and its files; for tests.
    pub interpose: Option<Arc<dyn Interpose>>,
}

impl FileSpec {
    /// A tier in one directory that takes no more than `bytes`, headers and all, with as many slots for each group: none, which
    /// opening refuses, if there is no room for one block.
    pub fn within(directory: impl Into<PathBuf>, model: &ModelLayout, format: Format, bytes: Bytes) -> Self {
        let mut spec = Self::new(directory, Vec::new());
        let header_bytes = header_bytes(model.tokens_per_block(), spec.extra_keys_max) as u64;
        let payload_bytes: Bytes = model.group_ids().map(|group| model.slot_bytes(group, format)).sum();
        let groups = model.groups().len() as u64;
        let fixed_bytes = FIXED_PAGES * Bytes::PAGE.as_u64() * (groups + 1);
        let room = bytes.as_u64().saturating_sub(fixed_bytes);
        let slots = room / (payload_bytes.as_u64() + groups * header_bytes);
        spec.slots = vec![u32::try_from(slots).unwrap_or(u32::MAX - 1); model.groups().len()];
        spec
    }

    /// A tier of `slots` in one directory.
    pub fn new(directory: impl Into<PathBuf>, slots: Vec<u32>) -> Self {
        Self {
            directories: vec![directory.into()],
            slots,
            access: Access::Auto,
            has_rings: true,
            extra_keys_max: 8,
            scrub_bytes_per_s: None,
            write_bytes_per_day: None,
            interpose: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FileSpec, Identity};
    use crate::file::FileTier;
    use kv_pager::ids::ModelFingerprint;
    use kv_pager::layout::{Format, shape};
    use kv_pager::units::Bytes;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_tier_takes_no_more_than_it_was_given() {
        for (name, mib) in [("tiny", 3), ("qwen2.5-0.5b", 5)] {
            let folder = tempfile::tempdir().expect("a directory");
            let directory = folder.path().join("tier");
            let (model, bytes) = (shape(name).expect("known"), Bytes::mib(mib));
            let spec = FileSpec::within(&directory, &model, Format::Raw, bytes);
            let block_bytes = model.block_bytes();
            let fingerprint = ModelFingerprint(0);
            let identity = Identity { model, format: Format::Raw, fingerprint, hash_key: 0, ranks: 1 };
            let tier = FileTier::open(&identity, &spec).expect("room for it");
            let files = std::fs::read_dir(&directory).expect("it was made").flatten();
            let taken: u64 = files.map(|file| file.metadata().map_or(0, |meta| meta.blocks() * 512)).sum();
            assert!(taken <= bytes.as_u64(), "{name}: {taken} of {bytes}");
            assert!(
                u64::from(spec.slots[0]) * block_bytes.as_u64() > bytes.as_u64() / 10 * 9,
                "{name}: {:?}",
                spec.slots
            );
            drop(tier);
        }
    }
}
