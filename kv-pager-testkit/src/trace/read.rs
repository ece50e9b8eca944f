//! Reads a trace line by line and checks what a line alone, and what all before it, must fulfil.
//! Uses `trace::error`. Known by: `trace`.

use super::{LineFault, Request, TOKENS_PER_ID, TraceError, TraceLimits};
use kv_pager::units::Nanos;
use serde::Deserialize;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{BufRead, BufReader, Read};

/// The first bytes of a zstd frame.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A line as it is written. Fields that are not known are ignored: they can't change what is replayed.
#[derive(Deserialize)]
struct Line {
    timestamp: u64,
    input_length: u32,
    output_length: u32,
    hash_ids: Box<[u64]>,
}

/// Where an id was first seen, and after what.
struct FirstSeen {
    predecessor: Option<u64>,
    line: usize,
}

/// Reads all of `input`, plain or packed with zstd.
pub(super) fn read_all(input: impl Read, limits: TraceLimits) -> Result<Vec<Request>, TraceError> {
    let broken = |source| TraceError::Broken { line: 0, source };
    let mut input = BufReader::new(input);
    // A short first read is no end: `fill_buf` gives at least one byte of a file that has any, and pipes are read on.
    let mut start = Vec::with_capacity(ZSTD_MAGIC.len());
    input.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut start).map_err(broken)?;
    let is_packed = start == ZSTD_MAGIC;
    let whole = BufReader::new(std::io::Cursor::new(start).chain(input));
    let mut checker = Checker { limits, timestamp: 0, references: 0, seen: HashMap::new() };
    if is_packed {
        let unpacked = zstd::stream::read::Decoder::with_buffer(whole).map_err(broken)?;
        checker.read_lines(BufReader::new(unpacked))
    } else {
        checker.read_lines(whole)
    }
}

/// What must be remembered of the lines read so far.
struct Checker {
    limits: TraceLimits,
    timestamp: u64,
    references: usize,
    seen: HashMap<u64, FirstSeen>,
}

impl Checker {
    fn read_lines(&mut self, text: impl BufRead) -> Result<Vec<Request>, TraceError> {
        let limits = self.limits;
        // One byte more than allowed, so that exceeding the limit differs from reaching it.
        let mut text = text.take(limits.text_bytes + 1);
        let mut requests = Vec::new();
        let mut line_bytes = Vec::new();
        let mut number = 0;
        loop {
            line_bytes.clear();
            let line_limit = limits.line_bytes as u64 + 1;
            let read = text.by_ref().take(line_limit).read_until(b'\n', &mut line_bytes);
            read.map_err(|source| TraceError::Broken { line: number, source })?;
            if line_bytes.is_empty() {
                break;
            }
            number += 1;
            let too_large = |what, limit| TraceError::TooLarge { line: number, what, limit };
            if text.limit() == 0 {
                return Err(too_large("bytes of text", limits.text_bytes));
            }
            if line_bytes.len() > limits.line_bytes {
                return Err(too_large("bytes in a line", limits.line_bytes as u64));
            }
            if line_bytes.trim_ascii().is_empty() {
                continue;
            }
            if requests.len() == limits.requests {
                return Err(too_large("requests", limits.requests as u64));
            }
            let line = parse(&line_bytes).map_err(|fault| TraceError::Line { line: number, fault })?;
            if line.input_length.max(line.output_length) > limits.tokens {
                return Err(too_large("tokens in a prompt or output", u64::from(limits.tokens)));
            }
            self.references += line.hash_ids.len();
            if self.references > limits.references {
                return Err(too_large("hash_ids", limits.references as u64));
            }
            requests
                .push(self.check(line, number).map_err(|fault| TraceError::Line { line: number, fault })?);
        }
        if requests.is_empty() { Err(TraceError::Empty) } else { Ok(requests) }
    }

    /// R2 and R3 for the line `number`.
    fn check(&mut self, line: Line, number: usize) -> Result<Request, LineFault> {
        if line.input_length == 0 {
            return Err(LineFault::NoPrompt);
        }
        if line.hash_ids.len() != line.input_length.div_ceil(TOKENS_PER_ID) as usize {
            return Err(LineFault::WrongIds { ids: line.hash_ids.len(), tokens: line.input_length });
        }
        if line.timestamp < self.timestamp {
            return Err(LineFault::Backwards { timestamp: line.timestamp, before: self.timestamp });
        }
        self.timestamp = line.timestamp;
        let arrival_ns = line
            .timestamp
            .checked_mul(1_000_000)
            .ok_or(LineFault::NeverArrives { timestamp: line.timestamp })?;
        let mut predecessor = None;
        for &id in &line.hash_ids {
            match self.seen.entry(id) {
                Entry::Vacant(place) => {
                    place.insert(FirstSeen { predecessor, line: number });
                }
                Entry::Occupied(place) => {
                    let FirstSeen { predecessor: before, line: first_line } = *place.get();
                    if before != predecessor {
                        return Err(LineFault::OtherPredecessor { id, predecessor, before, first_line });
                    }
                }
            }
            predecessor = Some(id);
        }
        Ok(Request {
            arrival: Nanos::new(arrival_ns),
            prompt_tokens: line.input_length,
            output_tokens: line.output_length,
            ids: line.hash_ids,
        })
    }
}

fn parse(bytes: &[u8]) -> Result<Line, LineFault> {
    serde_json::from_slice(bytes).map_err(|error| {
        if error.is_eof() { LineFault::Cut } else { LineFault::Foreign { why: error.to_string() } }
    })
}
