//! Why the driver refused: its code, and the call that got it.
//! Uses cudarc's codes. Known by: the crate.
#![expect(unsafe_code, reason = "the driver is asked for the code's name")]

use cudarc::driver::sys::{self, CUresult};
use kv_pager::Error;
use kv_pager::ids::TierId;
use std::ffi::{CStr, c_char};

/// A driver call that did not succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{call} failed: {} ({})", name(*.code), *.code as u32)]
pub struct DriverError {
    /// The driver's function.
    pub call: &'static str,
    code: CUresult,
}

impl DriverError {
    /// As of a call with an argument that the driver does not take.
    pub(crate) const REFUSED: Self = Self { call: "a call", code: CUresult::CUDA_ERROR_INVALID_VALUE };
    /// As of a card that has fallen off its bus.
    pub(crate) const LOST: Self = Self { call: "a call", code: CUresult::CUDA_ERROR_UNKNOWN };

    /// Success, or the error of `call`.
    pub(crate) fn check(call: &'static str, code: CUresult) -> Result<(), Self> {
        if code == CUresult::CUDA_SUCCESS { Ok(()) } else { Err(Self { call, code }) }
    }

    /// Whether it only says that work is still under way.
    pub(crate) fn is_not_ready(self) -> bool {
        self.code == CUresult::CUDA_ERROR_NOT_READY
    }

    /// Whether a smaller request may succeed.
    pub(crate) fn is_out_of_memory(self) -> bool {
        self.code == CUresult::CUDA_ERROR_OUT_OF_MEMORY
    }

    /// Whether it is about this one call, and the device goes on. All else says that the device can't be used any more.
    pub(crate) fn is_of_one_call(self) -> bool {
        matches!(
            self.code,
            CUresult::CUDA_ERROR_INVALID_VALUE
                | CUresult::CUDA_ERROR_OUT_OF_MEMORY
                | CUresult::CUDA_ERROR_NOT_SUPPORTED
                | CUresult::CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED
        )
    }

    /// As the core tells it. A refusal to use the device at all is a lost device; the rest is a failed `action`.
    pub(crate) fn tell(self, tier: TierId, action: &str) -> Error {
        if self.is_of_one_call() {
            Error::Io { tier, action: action.to_owned(), source: std::io::Error::other(self) }
        } else {
            Error::DeviceLost { tier, why: format!("{action}: {self}") }
        }
    }
}

/// The driver's name of a code.
fn name(code: CUresult) -> String {
    let mut text: *const c_char = std::ptr::null();
    // SAFETY: D1: the library is there, for it returned `code`; `text` is a place for one pointer.
    let told = unsafe { sys::cuGetErrorName(code, &raw mut text) };
    if told != CUresult::CUDA_SUCCESS || text.is_null() {
        return "an unknown error".to_owned();
    }
    // SAFETY: the call succeeded, so `text` is a zero-terminated string that lives as long as the library.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}
