//! The lanes between host memory and a file tier, for a backend that brings its own host memory.
//! Uses `file`, `lane`, `memory`. Known by: backends of devices.

use crate::file::{FileReader, FileTier, FileWriter};
use crate::lane::{LaneSpec, WorkerLane};
use crate::memory::HostTier;
use kv_pager::Error;
use kv_pager::clock::Clock;
use kv_pager::tier::Lane;
use std::sync::Arc;

/// A lane into `file`, and one out of it: payloads go between the drive and `host`'s slots directly.
///
/// # Errors
/// [`Error::Configuration`] if the tiers keep parts in different formats; [`Error::Io`] if threads can't be had.
pub fn file_lanes(
    host: &Arc<HostTier>,
    file: &Arc<FileTier>,
    spec: &LaneSpec,
    clock: &Arc<dyn Clock>,
) -> Result<[Arc<dyn Lane>; 2], Error> {
    let writer = WorkerLane::new(spec, Arc::new(FileWriter::new(host, file, clock)?), clock)?;
    file.set_housekeeper(writer.queue());
    let reader = FileReader { source: Arc::clone(file), target: Arc::clone(host) };
    let reader = WorkerLane::new(spec, Arc::new(reader), clock)?;
    Ok([Arc::new(writer), Arc::new(reader)])
}
