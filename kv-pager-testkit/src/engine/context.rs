//! The context of one sequence: everything before a position, as computing the next token needs it.
//! Uses `engine::{arithmetic, digest, memory, model, window}`. Known by: `engine::run`.
//!
//! - **X1** what a token caches depends on the token, its position and the K and V bytes before it, and on nothing else:
//!   not on the chunk it was computed in, nor on whether what lies before it was computed here or read through a table;
//! - **X2** one wrong byte anywhere before a position changes every row and logit from there on: each hidden vector starts
//!   with the digest of all bytes before it.

use super::arithmetic::{WIDTH, add, multiply, normalise, product};
use super::digest::PrefixDigest;
use super::filler::Filler;
use super::logits::Logits;
use super::memory::{KvMemory, PlanesRead};
use super::model::{Model, Setting};
use super::window::Window;
use crate::random::mix;
use kv_pager::ids::{GroupId, SlotId, TokenId};
use std::ops::Range;

/// A context. Its memory grows with the sequence only by a checksum a block, or by the window where that is everything.
#[derive(Debug)]
pub struct Context {
    position: usize,
    digest: PrefixDigest,
    checksums: Vec<u64>,
    windows: Vec<Window>,
    hidden: [f32; WIDTH],
    /// Rows of the block being computed, as they lie in a part.
    part: Box<[u8]>,
    row: Vec<f32>,
}

impl Context {
    /// An empty context for a sequence of at most `tokens_max` tokens.
    pub fn new(model: &Model, tokens_max: usize) -> Self {
        let window_tokens = match model.setting() {
            Setting::Full => tokens_max,
            Setting::Window => Setting::WINDOW_TOKENS,
        };
        Self {
            position: 0,
            digest: PrefixDigest::default(),
            checksums: Vec::with_capacity(model.blocks(tokens_max)),
            windows: model.weights().layers.iter().map(|_| Window::new(window_tokens)).collect(),
            hidden: [0.0; WIDTH],
            part: vec![0; model.part_bytes()].into_boxed_slice(),
            row: vec![0.0; model.row_values()],
        }
    }

    /// How many tokens it covers.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Checksums of the complete blocks it covers, each over that block's K and V bytes alone.
    pub fn checksums(&self) -> &[u64] {
        &self.checksums
    }

    /// Forgets everything, so that it will be read again.
    pub fn forget(&mut self) {
        self.position = 0;
        self.digest = PrefixDigest::default();
        self.checksums.clear();
    }

    /// Reads what lies between here and `position` through `table`.
    ///
    /// # Panics
    /// If `position` lies behind, or the table has no slot for a block before it.
    pub fn read_to(&mut self, position: usize, model: &Model, memory: &dyn KvMemory, table: &[SlotId]) {
        assert!(position >= self.position, "can't read back from {} to {position}", self.position);
        let window_start = position.saturating_sub(self.windows[0].capacity());
        while self.position < position {
            let block = self.position / model.tokens_per_block();
            let (start, tokens) = (self.position, self.tokens_in_block(position, model));
            memory.read_part(GroupId::FIRST, table[block], &mut |planes| {
                let part = Part { model, planes };
                for token in tokens.clone() {
                    part.digest(token, &mut self.digest);
                    let position = start + token - tokens.start;
                    if position >= window_start {
                        part.fill_windows(token, position, &mut self.windows);
                    }
                }
            });
            self.go_on(tokens.len(), model);
        }
    }

    /// Computes what `tokens`, the next ones, cache, and writes it through `table`.
    ///
    /// # Panics
    /// If the table has no slot for a block of theirs.
    pub fn compute(&mut self, tokens: &[TokenId], model: &Model, memory: &dyn KvMemory, table: &[SlotId]) {
        let end = self.position + tokens.len();
        let mut rest = tokens;
        while self.position < end {
            let block = self.position / model.tokens_per_block();
            let places = self.tokens_in_block(end, model);
            let (now, later) = rest.split_at(places.len());
            let first = self.position;
            for (index, &token) in now.iter().enumerate() {
                self.compute_token(token, first + index, places.start + index, model);
            }
            let part = &self.part;
            memory.write_part(GroupId::FIRST, table[block], &mut |planes| {
                let row_bytes = model.row_bytes();
                for row in 0..model.rows() {
                    planes.plane_mut(row)[places.start * row_bytes..places.end * row_bytes]
                        .copy_from_slice(&part[model.place(row, places.clone())]);
                }
            });
            self.go_on(places.len(), model);
            rest = later;
        }
    }

    /// The logits of the token after this context, whose last token was computed here.
    pub fn logits(&self, model: &Model) -> Logits {
        let hidden = normalise(&self.hidden);
        Logits { values: model.weights().embedding.iter().map(|row| product(row, &hidden)).collect() }
    }

    /// Reads everything this context covers once more, and says how many blocks are not as they were.
    ///
    /// # Panics
    /// If the table has no slot for one of its blocks.
    pub fn count_changed_blocks(&self, model: &Model, memory: &dyn KvMemory, table: &[SlotId]) -> u32 {
        let mut changed = 0;
        let tokens_per_block = model.tokens_per_block();
        for (block, &slot) in table.iter().enumerate().take(model.blocks(self.position)) {
            let tokens = tokens_per_block.min(self.position - block * tokens_per_block);
            let mut digest = PrefixDigest::default();
            memory.read_part(GroupId::FIRST, slot, &mut |planes| {
                let part = Part { model, planes };
                for token in 0..tokens {
                    part.digest(token, &mut digest);
                }
            });
            let expected = self.checksums.get(block).copied().unwrap_or(self.digest.unfinished_block());
            changed += u32::from(digest.unfinished_block() != expected);
        }
        changed
    }

    /// The tokens of the current block that lie between here and `end`, counted from the block's start.
    fn tokens_in_block(&self, end: usize, model: &Model) -> Range<usize> {
        let tokens_per_block = model.tokens_per_block();
        let start = self.position % tokens_per_block;
        start..tokens_per_block.min(start + end - self.position)
    }

    fn go_on(&mut self, tokens: usize, model: &Model) {
        self.position += tokens;
        if self.position.is_multiple_of(model.tokens_per_block()) {
            self.checksums.push(self.digest.end_block());
        }
    }

    /// Computes one token at `position`, the `place`-th of its block, into `self.part`.
    fn compute_token(&mut self, token: TokenId, position: usize, place: usize, model: &Model) {
        let weights = model.weights();
        let origin = mix(self.digest.value() ^ mix((position as u64) << 32 | u64::from(token.0)));
        let mut hidden = weights.embedding[token.0 as usize % weights.embedding.len()];
        add(&mut hidden, &Filler::new(origin, 0).vector());
        let known = model.row_values().min(WIDTH);
        for (layer, (weights, window)) in weights.layers.iter().zip(&mut self.windows).enumerate() {
            let input = normalise(&hidden);
            let mut key = multiply(&weights.key, &input);
            let mut value = multiply(&weights.value, &input);
            let first = layer * model.sides();
            let mut write = |row, vector: &mut [f32; WIDTH]| {
                self.row[..known].copy_from_slice(&vector[..known]);
                if model.row_values() > WIDTH {
                    Filler::new(origin, row).fill(&mut self.row[WIDTH..]);
                }
                let bytes = &mut self.part[model.place(row, place..place + 1)];
                model.row_type().encode(&mut self.row, bytes);
                self.digest.push_row(bytes);
                vector[known..].fill(0.0);
                vector[..known].copy_from_slice(&self.row[..known]);
            };
            write(first, &mut key);
            if model.sides() == 2 {
                write(first + 1, &mut value);
            } else {
                value = key;
            }
            window.set(position, &key, &value);
            let attended = window.attend(position, &multiply(&weights.query, &input));
            add(&mut hidden, &multiply(&weights.output, &attended));
            let inner = multiply(&weights.widen, &normalise(&hidden)).map(|value| value.max(0.0));
            add(&mut hidden, &multiply(&weights.narrow, &inner));
        }
        for row in weights.layers.len() * model.sides()..model.rows() {
            Filler::new(origin, row).fill(&mut self.row);
            let bytes = &mut self.part[model.place(row, place..place + 1)];
            model.row_type().encode(&mut self.row, bytes);
            self.digest.push_row(bytes);
        }
        self.hidden = hidden;
    }
}

/// A part as it lies in a slot.
struct Part<'a> {
    model: &'a Model,
    planes: &'a dyn PlanesRead,
}

impl Part<'_> {
    fn row(&self, row: usize, token: usize) -> &[u8] {
        let row_bytes = self.model.row_bytes();
        &self.planes.plane(row)[token * row_bytes..][..row_bytes]
    }

    fn digest(&self, token: usize, digest: &mut PrefixDigest) {
        for row in 0..self.model.rows() {
            digest.push_row(self.row(row, token));
        }
    }

    fn fill_windows(&self, token: usize, position: usize, windows: &mut [Window]) {
        for (layer, window) in windows.iter_mut().enumerate() {
            let first = layer * self.model.sides();
            let (mut key, mut value) = ([0.0; WIDTH], [0.0; WIDTH]);
            self.model.row_type().decode(self.row(first, token), &mut key);
            self.model.row_type().decode(self.row(first + self.model.sides() - 1, token), &mut value);
            window.set(position, &key, &value);
        }
    }
}
