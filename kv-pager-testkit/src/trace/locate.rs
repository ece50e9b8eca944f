//! Where the trace for tests lies, if there is one.
//! Known by: tests, CI.

use std::path::{Path, PathBuf};

/// The environment variable that names a trace for tests.
pub const TRACE_VARIABLE: &str = "KV_PAGER_TRACE";

/// The trace that tests use: the one that [`TRACE_VARIABLE`] names, or the one beside the repository. `None` where there
/// is neither; tests then use the built-in workload and say so.
pub fn locate() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(TRACE_VARIABLE) {
        return Some(PathBuf::from(path));
    }
    let beside =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/traces/mooncake_conversation.jsonl.zst");
    beside.is_file().then_some(beside)
}
