//! Why a command ended badly, and with which status.
//! Known by: every command.

use kv_pager::{Error, ErrorKind};
use kv_pager_testkit::trace::TraceError;
use std::path::PathBuf;
use std::process::ExitCode;

/// Why a command ended badly.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The argument `option` can't work for the reason `why`, which says what to do.
    #[error("{option}: {why}")]
    Argument { option: &'static str, why: String },

    /// The trace can't be replayed.
    #[error(transparent)]
    Trace(#[from] TraceError),

    /// The pager or a tier refused.
    #[error(transparent)]
    Pager(#[from] Error),

    /// A file or directory could not be used.
    #[error("{action} {}: {source}; choose another place, or make it writable", path.display())]
    File { action: &'static str, path: PathBuf, source: std::io::Error },

    /// The results could not be printed.
    #[error("the results could not be printed: {0}")]
    Output(#[from] std::io::Error),

    /// Someone asked to stop.
    #[error("interrupted")]
    Interrupted,

    /// Everything ran, and something was wrong: the message says what.
    #[error("{0}")]
    Wrong(String),
}

impl Failure {
    /// 2 if other arguments would do, 1 for the rest.
    pub(crate) fn exit_code(&self) -> ExitCode {
        let is_argument = match self {
            Self::Argument { .. } | Self::Trace(TraceError::Unreadable { .. }) => true,
            Self::Pager(error) => error.kind() == ErrorKind::Configuration,
            _ => false,
        };
        ExitCode::from(if is_argument { 2 } else { 1 })
    }
}
