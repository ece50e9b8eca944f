//! The kernels: compiled by NVRTC for the card at hand, cached, loaded.
//! Uses `driver`, `kernels::{cache, job}`. Known by: `lane`.
//!
//! Without NVRTC there are none: lanes then copy piece by piece, and [`Kernels::load`] has warned what that costs.

mod cache;
mod job;

pub(crate) use cache::compiled;
pub(crate) use job::{Job, MOVES_MAX, Region};

use crate::driver::{Device, Kernel, Module};
use std::path::Path;
use std::sync::Arc;

/// Threads of a block; `__launch_bounds__` of `copy.cu`.
pub(crate) const THREADS: u32 = 512;

const SOURCE: &str = include_str!("copy.cu");

/// The copy kernels on one device.
#[derive(Clone, Debug)]
pub(crate) struct Kernels {
    /// Device slots to parts, where a fragment is one piece.
    pub(crate) gather: Kernel,
    /// Parts to device slots, where a fragment is one piece.
    pub(crate) scatter: Kernel,
    /// Device slots to parts, where each token and head is a piece.
    pub(crate) gather_rows: Kernel,
    /// Parts to device slots, where each token and head is a piece.
    pub(crate) scatter_rows: Kernel,
}

impl Kernels {
    /// Compiles and loads them; `None`, after a warning, where that is impossible.
    pub(crate) fn load(device: &Arc<Device>, cache: Option<&Path>) -> Option<Self> {
        let loaded = compiled(SOURCE, device.arch(), cache).and_then(|image| {
            let module = Arc::new(Module::load(device, &image).map_err(|error| error.to_string())?);
            let kernel = |name| module.kernel(name).map_err(|error| error.to_string());
            Ok(Self {
                gather: kernel(c"gather")?,
                scatter: kernel(c"scatter")?,
                gather_rows: kernel(c"gather_rows")?,
                scatter_rows: kernel(c"scatter_rows")?,
            })
        });
        match loaded {
            Ok(kernels) => Some(kernels),
            Err(why) => {
                tracing::warn!(
                    %why,
                    device = device.ordinal(),
                    "no copy kernels: scattered blocks are copied piece by piece, at a fraction of the link's rate; \
                     install NVRTC (libnvrtc), or add its directory to LD_LIBRARY_PATH"
                );
                None
            }
        }
    }
}
