//! The driver: every CUDA call that this crate makes, each in one checked function.
//! Lowest layer of the crate. Known by: everything else here.
//!
//! - **D1** no call is made before [`probe`](crate::probe()) has found the driver library, so no symbol lookup can panic;
//! - **D2** a handle is destroyed once, by the type that made it, while its context is still retained;
//! - **D3** calls that touch memory are `unsafe fn`: who calls them proves the addresses.
//!
//! cudarc's own safe layer is not used: it allocates per copy, blocks in drops, and cannot name another engine's memory.

mod batch;
mod blas;
mod copy;
mod device;
mod error;
mod event;
mod idle;
mod memory;
mod module;
mod registration;
mod stream;
mod visit;

pub(crate) use batch::BatchCopy;
pub(crate) use blas::{Blas, Places, Product};
pub(crate) use copy::{Pitched, copy_async, copy_pitched_async};
pub use device::Device;
pub use error::DriverError;
pub(crate) use event::Event;
pub use memory::DeviceMemory;
pub(crate) use module::{Kernel, Module};
pub(crate) use registration::Registration;
pub use stream::{RawStream, Stream};
pub(crate) use visit::Visit;
