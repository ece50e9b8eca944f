//! The layouts of known models, by name.
//! Layer 1. Uses `layout`. Known by: the command line, examples, tests.
//!
//! Numbers are those of the models' published configurations (`config.json`).

use super::{Attention, DType, Entry, KvGroup, ModelLayout};

/// A full-attention model with one group of layers.
fn uniform(layers: u32, entry: Entry, dtype: DType) -> Vec<KvGroup> {
    vec![KvGroup { attention: Attention::Full, layers, entry, dtype }]
}

fn heads(kv_heads: u32, head_dim: u32) -> Entry {
    Entry::KeyValue { kv_heads, head_dim }
}

/// A model of which `windowed` layers look through a window and `full` ones at everything.
fn hybrid(full: u32, windowed: u32, attention: Attention, entry: Entry) -> Vec<KvGroup> {
    let dtype = DType::BF16;
    vec![
        KvGroup { attention: Attention::Full, layers: full, entry, dtype },
        KvGroup { attention, layers: windowed, entry, dtype },
    ]
}

fn window(window_tokens: u32) -> Attention {
    Attention::SlidingWindow { window_tokens, sink_tokens: 0 }
}

/// The names that [`shape`] knows.
pub fn shape_names() -> &'static [&'static str] {
    &[
        "tiny",
        "smollm2-135m",
        "qwen2.5-0.5b",
        "llama3-8b",
        "llama3-70b",
        "deepseek-v3",
        "gemma3-12b",
        "gpt-oss-20b",
        "llama4-scout",
    ]
}

/// The layout of the model called `name`, in blocks of 16 tokens; `None` if no model of the name is known.
///
/// `tiny` is the reference engine's own: 512 bytes a token.
///
/// # Panics
/// Never: every shape in the table is valid.
pub fn shape(name: &str) -> Option<ModelLayout> {
    let groups = match name {
        "tiny" => uniform(2, heads(1, 32), DType::F32),
        "smollm2-135m" => uniform(30, heads(3, 64), DType::BF16),
        "qwen2.5-0.5b" => uniform(24, heads(2, 64), DType::BF16),
        "llama3-8b" => uniform(32, heads(8, 128), DType::BF16),
        "llama3-70b" => uniform(80, heads(8, 128), DType::BF16),
        "deepseek-v3" => uniform(61, Entry::Latent { dim: 576 }, DType::BF16),
        // Of its 48 layers every sixth looks at everything.
        "gemma3-12b" => hybrid(8, 40, window(1024), heads(8, 256)),
        // Its learned attention sinks are logits, not tokens.
        "gpt-oss-20b" => hybrid(12, 12, window(128), heads(8, 64)),
        // Of its 48 layers every fourth looks at everything, the others at a chunk of 8,192 tokens.
        "llama4-scout" => hybrid(12, 36, Attention::Chunked { chunk_tokens: 8192 }, heads(8, 128)),
        _ => return None,
    };
    Some(ModelLayout::new(16, groups).expect("published shapes are valid"))
}
