//! The reference model: its weights, and where the rows of its layout lie.
//! Uses `engine::weights`, `engine::row`. Known by: `engine`.

use super::row::RowType;
use super::weights::Weights;
use kv_pager::Error;
use kv_pager::ids::{GroupId, ModelFingerprint};
use kv_pager::layout::{Attention, ModelLayout};
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_128;

/// What a token attends to, and how often the cache is read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setting {
    /// Everything before it; the whole prefix is read again through the tables at every step. For small tests.
    Full,
    /// The last [`Setting::WINDOW_TOKENS`] tokens, and all bytes before them by their digest; the prefix is read when a
    /// sequence is resumed, and once more at its end. For long replays.
    Window,
}

impl Setting {
    /// Tokens in the window, the token itself among them.
    pub const WINDOW_TOKENS: usize = 256;
}

/// Layers that are computed; the rows of further ones are filled from the digest, which covers them like all others.
const LAYERS_COMPUTED_MAX: usize = 2;

/// Goes up when what is computed changes, so that a kept file tier is not taken for this version's.
const ARITHMETIC_VERSION: u32 = 1;

/// A small decoder for any uniform layout. It is shared by all sequences, and never changes.
#[derive(Debug)]
pub struct Model {
    layout: ModelLayout,
    setting: Setting,
    row_type: RowType,
    rows: usize,
    row_values: usize,
    sides: usize,
    weights: Weights,
    fingerprint: ModelFingerprint,
}

impl Model {
    /// The model of `seed` with the cache of `layout`.
    ///
    /// # Errors
    /// [`Error::Configuration`] if the layout has several groups, a group that does not attend to everything, or a dtype
    /// that the engine can't compute in.
    pub fn new(layout: ModelLayout, setting: Setting, seed: u64) -> Result<Self, Error> {
        let [group] = layout.groups() else {
            let why = "the reference engine computes models with one group of layers; choose another shape"
                .to_owned();
            return Err(Error::Configuration { setting: "shape", why });
        };
        if group.attention != Attention::Full {
            let why = format!(
                "the reference engine attends to everything, not {:?}; choose another shape",
                group.attention
            );
            return Err(Error::Configuration { setting: "shape", why });
        }
        let row_type = RowType::new(group.dtype)?;
        let sides = group.entry.sides() as usize;
        let rows = group.fragments() as usize;
        let row_bytes = layout.fragment_bytes(GroupId::FIRST).as_usize() / layout.tokens_per_block() as usize;
        let weights = Weights::new(seed, (rows / sides).min(LAYERS_COMPUTED_MAX));
        let row_values = row_bytes / row_type.bytes();
        let fingerprint = fingerprint(&layout, setting, seed);
        Ok(Self { layout, setting, row_type, rows, row_values, sides, weights, fingerprint })
    }

    /// The layout of its cache.
    pub fn layout(&self) -> &ModelLayout {
        &self.layout
    }

    /// What a token attends to.
    pub fn setting(&self) -> Setting {
        self.setting
    }

    /// What makes its bytes useless to another model, or to another version of this engine.
    pub fn fingerprint(&self) -> ModelFingerprint {
        self.fingerprint
    }

    /// Bytes that a token takes in the cache.
    pub fn bytes_per_token(&self) -> usize {
        self.rows * self.row_bytes()
    }

    /// Tokens in a block.
    pub fn tokens_per_block(&self) -> usize {
        self.layout.tokens_per_block() as usize
    }

    /// Blocks that `tokens` tokens take, the last one perhaps in part.
    pub fn blocks(&self, tokens: usize) -> usize {
        tokens.div_ceil(self.tokens_per_block())
    }

    pub(super) fn weights(&self) -> &Weights {
        &self.weights
    }

    pub(super) fn row_type(&self) -> RowType {
        self.row_type
    }

    /// Rows of a token: layers times sides.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Rows of a token in one layer.
    pub(super) fn sides(&self) -> usize {
        self.sides
    }

    /// Values of one row.
    pub(super) fn row_values(&self) -> usize {
        self.row_values
    }

    /// Bytes of one row.
    pub(super) fn row_bytes(&self) -> usize {
        self.row_values * self.row_type.bytes()
    }

    /// Where the bytes of `row` stand in a part, for the tokens `tokens` of its block (layout rule Y1).
    pub(super) fn place(&self, row: usize, tokens: Range<usize>) -> Range<usize> {
        let first = row * self.tokens_per_block();
        (first + tokens.start) * self.row_bytes()..(first + tokens.end) * self.row_bytes()
    }

    /// Bytes of one part.
    pub(super) fn part_bytes(&self) -> usize {
        self.layout.part_bytes(GroupId::FIRST).as_usize()
    }
}

fn fingerprint(layout: &ModelLayout, setting: Setting, seed: u64) -> ModelFingerprint {
    let description =
        format!("kv-pager reference engine {ARITHMETIC_VERSION}: {layout:?} {setting:?} {seed}");
    ModelFingerprint(xxh3_128(description.as_bytes()))
}
