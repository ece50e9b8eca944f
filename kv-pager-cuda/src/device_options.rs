//! What a device tier is built with, beyond an engine's tensors.
//! Uses `tensors`. Known by: `device`, `backend`, whoever builds a tier.

use crate::tensors::Inner;
use kv_pager::layout::DeviceLayout;
use std::path::PathBuf;

/// What a device tier is built with, beyond its tensors.
#[derive(Clone, Debug)]
pub struct DeviceOptions {
    /// How many fences may be under way at once.
    pub fences: usize,
    /// Whether copy kernels are used at all.
    pub kernels: bool,
    /// Where compiled kernels are kept between processes; `None` compiles them at each start, in a fraction of a second.
    pub kernel_directory: Option<PathBuf>,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        Self { fences: 4096, kernels: true, kernel_directory: None }
    }
}

/// How a tier of this crate's own lies in memory.
#[derive(Clone, Debug)]
pub struct OwnedSlots {
    /// Slots of each group, in order.
    pub slots: Vec<u32>,
    /// A region a layer and side, or one piece a part.
    pub layout: DeviceLayout,
    /// What comes first inside a fragment.
    pub inner: Inner,
}
