//! What a call returns, and what the last failure of a thread was.
//! Uses the core's `error`. Known by: all modules.
#![expect(unsafe_code, reason = "a function of the C ABI keeps its name")]

use crate::edge;
use kv_pager::{Error, ErrorKind};
use kv_pager_cpu::SlotBusy;
use std::cell::RefCell;
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What became of a call, and what the caller does about it. Unless it is `OK`, nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum KvpStatus {
    /// It happened.
    Ok = 0,
    /// Try again once a transfer has ended or a sequence was closed.
    Retry = 1,
    /// The cached bytes are not to be had: compute them.
    Recompute = 2,
    /// The setting or the request can never work; change it.
    Configuration = 3,
    /// The tier's memory is gone; every hit in it is a miss from now on.
    DeviceLost = 4,
    /// The caller, or the library, broke a rule.
    Bug = 5,
    /// An argument is NULL, out of range, or of another version of the header.
    Argument = 6,
    /// The buffer is too small; the length that was asked for has been told.
    TooSmall = 7,
    /// A broken invariant: do not go on with that pager.
    Panic = 8,
}

/// Which failure it was, beside what to do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum KvpErrorCode {
    /// Nothing has failed on this thread.
    None = 0,
    /// An argument is NULL, out of range, or of another version of the header.
    Argument = 1,
    /// A buffer is too small.
    TooSmall = 2,
    /// A panic was caught.
    Panic = 3,
    /// A setting can't work.
    Configuration = 4,
    /// All slots are held: close a sequence.
    TierFull = 5,
    /// Slots will be free once transfers have ended: wait.
    TierBusy = 6,
    /// As many sequences are open as the limit: close one.
    TooManySequences = 7,
    /// The request can never fit.
    SequenceTooLong = 8,
    /// A device slot is named twice, or is not there, or its move has not ended.
    SlotInUse = 9,
    /// The call does not fit the sequence's state.
    Misuse = 10,
    /// A lane's queue is full.
    QueueFull = 11,
    /// A tier's memory could not be had or used.
    Io = 12,
    /// More memory was asked for than can be given.
    OutOfMemory = 13,
    /// The memory of a tier is lost.
    DeviceLost = 14,
    /// A slot is being copied, or another thread uses the handle.
    InUse = 15,
    /// Another; the message tells.
    Other = 16,
    /// As many prompts are prefetched, or held, as the limit: give one back.
    TooManyKept = 17,
    /// The request is larger than the quota of its salt, and no other slot is free.
    OverQuota = 18,
    /// No place is left in the table of tenants: clear another's quota.
    TooManyTenants = 19,
}

/// Why a call did not happen.
#[derive(Debug)]
pub(crate) struct Failure {
    status: KvpStatus,
    code: KvpErrorCode,
    message: String,
}

impl Failure {
    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self { status: KvpStatus::Argument, code: KvpErrorCode::Argument, message: message.into() }
    }

    pub(crate) fn null(name: &str) -> Self {
        Self::argument(format!("{name} is NULL"))
    }

    pub(crate) fn too_small(wanted: usize, capacity: usize) -> Self {
        let message = format!("{wanted} entries do not fit into a buffer of {capacity}");
        Self { status: KvpStatus::TooSmall, code: KvpErrorCode::TooSmall, message }
    }

    pub(crate) fn in_use(what: &str) -> Self {
        let message = format!("another thread uses the {what}");
        Self { status: KvpStatus::Bug, code: KvpErrorCode::InUse, message }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Retry => KvpStatus::Retry,
            ErrorKind::Recompute => KvpStatus::Recompute,
            ErrorKind::Configuration => KvpStatus::Configuration,
            ErrorKind::DeviceLost => KvpStatus::DeviceLost,
            _ => KvpStatus::Bug,
        };
        let code = match error {
            Error::Configuration { .. } => KvpErrorCode::Configuration,
            Error::TierFull { .. } => KvpErrorCode::TierFull,
            Error::TierBusy { .. } => KvpErrorCode::TierBusy,
            Error::TooManySequences { .. } => KvpErrorCode::TooManySequences,
            Error::SequenceTooLong { .. } => KvpErrorCode::SequenceTooLong,
            Error::SlotInUse { .. } => KvpErrorCode::SlotInUse,
            Error::Misuse { .. } => KvpErrorCode::Misuse,
            Error::QueueFull { .. } => KvpErrorCode::QueueFull,
            Error::Io { .. } => KvpErrorCode::Io,
            Error::OutOfMemory { .. } => KvpErrorCode::OutOfMemory,
            Error::DeviceLost { .. } => KvpErrorCode::DeviceLost,
            Error::TooManyKept { .. } => KvpErrorCode::TooManyKept,
            Error::OverQuota { .. } => KvpErrorCode::OverQuota,
            Error::TooManyTenants { .. } => KvpErrorCode::TooManyTenants,
            _ => KvpErrorCode::Other,
        };
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self { status, code, message }
    }
}

impl From<SlotBusy> for Failure {
    fn from(busy: SlotBusy) -> Self {
        Self { status: KvpStatus::Bug, code: KvpErrorCode::InUse, message: busy.to_string() }
    }
}

thread_local! {
    static LAST: RefCell<Option<Failure>> = const { RefCell::new(None) };
}

/// Runs a call's body: a failure is kept for this thread, and no panic leaves (A3).
pub(crate) fn guarded(body: impl FnOnce() -> Result<(), Failure>) -> KvpStatus {
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return KvpStatus::Ok,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            Failure { status: KvpStatus::Panic, code: KvpErrorCode::Panic, message: text.to_owned() }
        }
    };
    let status = failure.status;
    // A thread that is ending keeps nothing.
    LAST.try_with(|last| *last.borrow_mut() = Some(failure)).ok();
    status
}

/// The version of the ABI that this library has.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_abi_version() -> u32 {
    crate::KVP_ABI_VERSION
}

/// Which failure the last one on this thread was. A call that went well leaves it as it is.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_last_error_code() -> KvpErrorCode {
    LAST.try_with(|last| last.borrow().as_ref().map_or(KvpErrorCode::None, |failure| failure.code))
        .unwrap_or(KvpErrorCode::None)
}

/// Copies the message of the last failure on this thread, as much of it as fits, and a NUL. Returns the length of all of it in
/// bytes, without the NUL; `buffer` may be NULL if `capacity` is 0.
///
/// # Safety
/// A1: `buffer` has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_last_error_message(buffer: *mut c_char, capacity: usize) -> usize {
    let message = LAST
        .try_with(|last| last.borrow().as_ref().map_or_else(String::new, |failure| failure.message.clone()));
    let message = message.unwrap_or_default();
    // SAFETY: A1, given on by this function's own contract.
    if let Ok(buffer) = unsafe { edge::buffer(buffer.cast::<u8>(), capacity, "buffer") } {
        let fits = message.len().min(buffer.len().saturating_sub(1));
        let text = message.as_bytes()[..fits].iter().chain(&[0]);
        for (place, byte) in buffer.iter_mut().zip(text) {
            place.write(*byte);
        }
    }
    message.len()
}

#[cfg(test)]
mod tests {
    use super::{Failure, KvpErrorCode, KvpStatus, guarded, kvp_last_error_code};
    use kv_pager::Error;
    use kv_pager::ids::TierId;

    #[test]
    fn a_panic_becomes_a_status() {
        assert_eq!(guarded(|| panic!("by {}", "test")), KvpStatus::Panic);
        assert_eq!(kvp_last_error_code(), KvpErrorCode::Panic);
    }

    #[test]
    fn a_failure_is_kept_and_a_success_changes_nothing() {
        let busy = || Err(Failure::from(Error::TierBusy { tier: TierId::Device }));
        assert_eq!(guarded(busy), KvpStatus::Retry);
        assert_eq!(guarded(|| Ok(())), KvpStatus::Ok);
        assert_eq!(kvp_last_error_code(), KvpErrorCode::TierBusy);
    }
}
