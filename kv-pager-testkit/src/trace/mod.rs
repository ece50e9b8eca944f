//! Traces: request streams with the names of their prefix blocks instead of their text.
//! Uses `random`. Known by: `workload`, the command line, tests.
//!
//! - **R1** a trace is read and checked whole before anyone sees a request of it;
//! - **R2** arrivals do not go backwards; a request has one id for each started [`TOKENS_PER_ID`] tokens of its prompt;
//! - **R3** an id always has the same predecessor, so it names a whole prefix.
//!
//! One JSON object a line: `timestamp` (milliseconds since the start), `input_length`, `output_length` (tokens),
//! `hash_ids`. Whoever replays a trace derives the tokens of each id from a seed ([`TokenSource`]).

mod error;
mod locate;
mod read;
mod tokens;

pub use error::{LineFault, TraceError};
pub use locate::{TRACE_VARIABLE, locate};
pub use tokens::{TokenSource, VOCABULARY};

use kv_pager::units::Nanos;

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

/// Tokens that one id stands for; the last id of a prompt may stand for fewer of them, its first ones.
pub const TOKENS_PER_ID: u32 = 512;

/// One request of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// When it arrives, from the start of the stream.
    pub arrival: Nanos,
    /// Tokens of its prompt; at least one.
    pub prompt_tokens: u32,
    /// Tokens to generate.
    pub output_tokens: u32,
    /// What its prompt consists of: one id for each started [`TOKENS_PER_ID`] tokens.
    pub ids: Box<[u64]>,
}

/// The largest traces that are read; more is refused with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceLimits {
    /// Bytes of the unpacked text.
    pub text_bytes: u64,
    /// Bytes of one line.
    pub line_bytes: usize,
    /// Requests.
    pub requests: usize,
    /// Ids of all requests together.
    pub references: usize,
    /// Tokens of one prompt or one output.
    pub tokens: u32,
}

impl Default for TraceLimits {
    /// About a hundred times the traces that are in use; under 2 GiB of memory when all are reached.
    fn default() -> Self {
        Self {
            text_bytes: 4 << 30,
            line_bytes: 16 << 20,
            requests: 2_000_000,
            references: 30_000_000,
            tokens: 10_000_000,
        }
    }
}

/// A request stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    requests: Vec<Request>,
}

impl Trace {
    /// Reads and checks the trace at `path`, plain or packed with zstd, whichever its first bytes say. Blocks on I/O.
    ///
    /// # Errors
    /// [`TraceError`], with the line at fault, if anything of R1 to R3 does not hold.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let unreadable = |source| TraceError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        // A directory opens, and fails at the first read as if it were a damaged file.
        if file.metadata().map_err(unreadable)?.is_dir() {
            return Err(unreadable(ErrorKind::IsADirectory.into()));
        }
        Self::from_reader(file, TraceLimits::default()).map_err(|error| error.at_path(path))
    }

    /// Reads and checks a trace of at most `limits`. Blocks on I/O.
    ///
    /// # Errors
    /// As [`Trace::read`].
    pub fn from_reader(input: impl std::io::Read, limits: TraceLimits) -> Result<Self, TraceError> {
        read::read_all(input, limits).map(|requests| Self { requests })
    }

    /// A stream of requests that are known to follow R2 and R3, as a generator makes them.
    pub(crate) fn from_requests(requests: Vec<Request>) -> Self {
        Self { requests }
    }

    /// The requests, in the order of their arrival.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Keeps the first `count` requests.
    pub fn truncate(&mut self, count: usize) {
        self.requests.truncate(count);
    }

    /// Keeps the first requests, as many as it takes for so many references.
    pub fn truncate_references(&mut self, references: u64) {
        let mut before = 0;
        let is_kept = |request: &&Request| {
            let is_short = before < references;
            before += request.ids.len() as u64;
            is_short
        };
        let kept = self.requests.iter().take_while(is_kept).count();
        self.requests.truncate(kept);
    }

    /// Ids of all requests together.
    pub fn references(&self) -> u64 {
        self.requests.iter().map(|request| request.ids.len() as u64).sum()
    }

    /// Tokens of all prompts together.
    pub fn prompt_tokens(&self) -> u64 {
        self.requests.iter().map(|request| u64::from(request.prompt_tokens)).sum()
    }
}

#[cfg(test)]
mod tests;
