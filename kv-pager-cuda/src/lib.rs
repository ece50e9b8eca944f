//! The CUDA backend of kv-pager: slots in device memory and in pinned host memory, and the lanes between them.
//!
//! Builds, and starts, where there is no GPU: libraries are looked for at run time, and [`probe()`] says what is missing.
//! Layers, lowest first; each uses only those before it:
//!
//! | module | knows |
//! |---|---|
//! | `numa`, `driver`, [`probe()`] | the machine, and every call to CUDA |
//! | `prefill` | a model's matrix products, to measure computing |
//! | `kernels` | gather and scatter, compiled by NVRTC for the card at hand |
//! | `mapping`, `staging` | host memory; the books of a staging ring |
//! | `tensors`, `ranks`, `plan` | where an engine's keys and values lie, checked once |
//! | `fences` | points in the engine's and the lanes' work |
//! | `device`, `pinned` | the two tiers |
//! | `lane` | moves across the link, by the path that was measured to be the fastest |
//! | `calibration`, `backend` | which path that is; all of it for the pager |

mod backend;
mod calibration;
mod device;
mod device_options;
mod device_slots;
mod driver;
mod fences;
mod kernels;
mod lane;
mod mapping;
mod numa;
mod pinned;
mod plan;
mod prefill;
mod probe;
mod ranks;
mod staging;
mod tensors;

pub use backend::{CudaBackend, CudaBackendBuilder, CudaFileSpec};
pub use calibration::{Calibration, Measured};
pub use device::DeviceTier;
pub use device_options::{DeviceOptions, OwnedSlots};
pub use driver::{Device, DeviceMemory, DriverError, RawStream, Stream};
#[doc(hidden)]
pub use lane::Refusal;
pub use lane::{CudaLane, Direction, LaneOptions, Path};
pub use numa::NodeId;
pub use pinned::PinnedTier;
pub use prefill::{GemmProbe, PrefillGemms, prefill_shape_names};
pub use probe::{Absent, Machine, open_device, probe};
pub use ranks::{rank_slice, stacked_layout};
pub use tensors::{GroupTensors, Inner, Plane, Strides};
