//! Why a trace was refused, and what to do about it.
//! Known by: `trace`, the command line.

use super::TOKENS_PER_ID;
use std::path::{Path, PathBuf};

/// Why a trace can't be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's doc names its fields")]
pub enum TraceError {
    /// The file at `path` could not be opened or read.
    #[error("trace {}: {source}; give a readable .jsonl or .jsonl.zst file with --trace", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },

    /// The text could not be read past line `line`.
    #[error("after line {line}: {source}; the file is cut or damaged: fetch it again")]
    Broken { line: usize, source: std::io::Error },

    /// Line `line` is no request, or does not fit those before it.
    #[error("line {line}: {fault}")]
    Line { line: usize, fault: LineFault },

    /// There is no request in it.
    #[error("it holds no request: a trace has one JSON object a line")]
    Empty,

    /// More than `limit` of `what`, at line `line`.
    #[error("line {line}: more than {limit} {what}, as many as are read; split the trace")]
    TooLarge { line: usize, what: &'static str, limit: u64 },

    /// Any of the above, in the file at `path`.
    #[error("trace {}: {error}", path.display())]
    At { path: PathBuf, error: Box<TraceError> },
}

impl TraceError {
    pub(super) fn at_path(self, path: &Path) -> Self {
        Self::At { path: path.to_owned(), error: Box::new(self) }
    }
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's doc names its fields")]
pub enum LineFault {
    /// It ends in the middle of an object.
    #[error("it ends in the middle of a request: the file is cut; fetch it again, or delete the line")]
    Cut,

    /// It is no object with the four fields, for the reason `why`.
    #[error(
        "no request ({why}): each line must be an object like \
         {{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 10, \"hash_ids\": [0, 1]}}"
    )]
    Foreign { why: String },

    /// It arrives at `timestamp`, after a request at `before`.
    #[error(
        "its timestamp {timestamp} lies before {before}, that of the line above: sort the trace by timestamp"
    )]
    Backwards { timestamp: u64, before: u64 },

    /// It arrives more than 584 years after the start.
    #[error("its timestamp {timestamp} is no number of milliseconds since the start of the trace")]
    NeverArrives { timestamp: u64 },

    /// Its prompt is empty.
    #[error("its input_length is 0: a request has at least one token")]
    NoPrompt,

    /// It has `ids` ids for `tokens` tokens.
    #[error(
        "{ids} hash_ids for an input_length of {tokens}: there must be one for each started {TOKENS_PER_ID} tokens, {} here; \
         a trace with blocks of another size can't be replayed",
        tokens.div_ceil(TOKENS_PER_ID)
    )]
    WrongIds { ids: usize, tokens: u32 },

    /// `id` follows `predecessor` here, and followed `before` in an earlier line.
    #[error(
        "id {id} follows {} here and {} in line {first_line}: an id must name a whole prefix",
        name(*predecessor),
        name(*before)
    )]
    OtherPredecessor { id: u64, predecessor: Option<u64>, before: Option<u64>, first_line: usize },
}

fn name(id: Option<u64>) -> String {
    id.map_or_else(|| "nothing".to_owned(), |id| format!("id {id}"))
}
