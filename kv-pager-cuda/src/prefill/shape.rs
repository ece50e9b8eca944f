//! What a dense transformer computes in a step: its matrices, and which keys each query sees.
//! Uses the core's `layout`, `cost`. Known by: `prefill`.
//!
//! A cache's layout says what is kept, not what is computed: widths come from the models' published configurations.

use kv_pager::cost::TokenSpan;
use kv_pager::layout::{Attention, Entry, ModelLayout};

/// The widths of a model whose layers are all alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DenseShape {
    pub(super) layers: usize,
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) feed_forward: usize,
}

/// By name: hidden width, query heads, width of the feed-forward layer.
const WIDTHS: [(&str, usize, usize, usize); 4] = [
    ("smollm2-135m", 576, 9, 1536),
    ("qwen2.5-0.5b", 896, 14, 4864),
    ("llama3-8b", 4096, 32, 14_336),
    ("llama3-70b", 8192, 64, 28_672),
];

/// The names of shapes whose prefill is known.
pub fn prefill_shape_names() -> impl Iterator<Item = &'static str> {
    WIDTHS.iter().map(|(name, ..)| *name)
}

impl DenseShape {
    /// The widths of the model called `name`, whose cache is `layout`; `None` if they are not known.
    pub(super) fn find(name: &str, layout: &ModelLayout) -> Option<Self> {
        let &(_, hidden, heads, feed_forward) = WIDTHS.iter().find(|(known, ..)| *known == name)?;
        let [group] = layout.groups() else { return None };
        let (Attention::Full, Entry::KeyValue { kv_heads, head_dim }) = (group.attention, group.entry) else {
            return None;
        };
        let [layers, kv_heads, head_dim] =
            [group.layers, kv_heads, head_dim].map(|count| usize::try_from(count).expect("32 bits fit"));
        Some(Self { layers, hidden, heads, kv_heads, head_dim, feed_forward })
    }

    /// Queries that share a head's keys.
    pub(super) fn queries_per_key(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The width of what the first product of a layer makes: queries, keys and values.
    pub(super) fn mixed(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Elements of one layer's weights.
    pub(super) fn layer_weights(&self) -> usize {
        self.hidden * (self.mixed() + self.heads * self.head_dim + 3 * self.feed_forward)
    }

    /// How many keys are looked at together in a step of `tokens`: their scores for all queries stay near 32 MiB, which the
    /// second-level cache of a large card holds.
    pub(super) fn keys_per_tile(&self, tokens: usize) -> usize {
        let keys = SCORES / (tokens.max(1) * self.heads);
        let keys = if keys.is_power_of_two() { keys } else { keys.next_power_of_two() / 2 };
        keys.clamp(KEYS_MIN, KEYS_MAX)
    }

    /// Elements of the largest tile of scores in steps of up to `tokens`.
    pub(super) fn scores_max(&self, tokens: usize) -> usize {
        (SCORES).max(KEYS_MIN * tokens * self.heads)
    }
}

/// Elements of a tile of scores.
const SCORES: usize = 16 << 20;
const KEYS_MIN: usize = 128;
const KEYS_MAX: usize = 4096;

/// Keys that are looked at together, and who looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tile {
    pub(super) first_key: usize,
    pub(super) keys: usize,
    /// The first token of the step that sees any of them; all after it do.
    pub(super) first_query: usize,
}

/// The tiles of a step: of the tokens before it, then of its own, of which each query sees those up to its own place. Whole
/// tiles are computed, so a query also meets the few keys of its tile that come after it.
pub(super) fn tiles(step: TokenSpan, keys_per_tile: usize) -> impl Iterator<Item = Tile> {
    let [start, end] = [step.start, step.end()].map(|at| usize::try_from(at).expect("32 bits fit"));
    let cut = move |from: usize, to: usize| {
        (from..to).step_by(keys_per_tile).map(move |first_key| Tile {
            first_key,
            keys: keys_per_tile.min(to - first_key),
            first_query: first_key.saturating_sub(start),
        })
    };
    cut(0, start).chain(cut(start, end))
}

#[cfg(test)]
mod tests {
    use super::{DenseShape, TokenSpan, prefill_shape_names, tiles};
    use kv_pager::layout::shape;

    fn find(name: &str) -> DenseShape {
        DenseShape::find(name, &shape(name).expect("known")).expect("known")
    }

    #[test]
    fn weights_are_those_of_the_published_models() {
        // 8.03 billion parameters, of which 2 * 128,256 * 4,096 are embeddings; the rest, but for norms, is in the layers.
        let eight = find("llama3-8b");
        assert_eq!(eight.layers * eight.layer_weights(), 6_979_321_856);
        for name in prefill_shape_names() {
            let found = find(name);
            assert_eq!(found.heads % found.kv_heads, 0, "{name}");
            assert_eq!(found.heads * found.head_dim, found.hidden, "{name}");
        }
    }

    #[test]
    fn models_of_other_kinds_have_no_dense_shape() {
        for name in ["tiny", "deepseek-v3", "gemma3-12b"] {
            assert_eq!(DenseShape::find(name, &shape(name).expect("known")), None, "{name}");
        }
    }

    #[test]
    fn every_query_meets_every_key_before_it_once() {
        for (start, tokens, size) in [(0, 100, 16), (37, 100, 16), (1000, 7, 128), (128, 128, 128)] {
            let step = TokenSpan { start, tokens };
            let mut met = 0;
            let mut next_key = 0;
            for tile in tiles(step, size) {
                assert_eq!(tile.first_key, next_key, "keys follow each other");
                next_key += tile.keys;
                assert!(tile.first_query < tokens as usize);
                met += tile.keys * (tokens as usize - tile.first_query);
            }
            assert_eq!(next_key, (start + tokens) as usize);
            let (start, tokens) = (start as usize, tokens as usize);
            let least = tokens * start + tokens * (tokens + 1) / 2;
            assert!((least..=least + tokens * size / 2).contains(&met), "{met} of {least}");
        }
    }

    #[test]
    fn scores_stay_within_their_memory() {
        for name in prefill_shape_names() {
            let found = find(name);
            for tokens in [1, 16, 17, 300, 2048, 8192] {
                let scores = found.keys_per_tile(tokens) * tokens * found.heads;
                assert!(scores <= found.scores_max(8192), "{name}: {tokens}");
            }
        }
        assert_eq!(find("llama3-8b").keys_per_tile(2048), 256);
    }
}
