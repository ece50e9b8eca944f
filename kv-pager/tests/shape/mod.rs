//! The shapes of models that tests of slices serve.

use kv_pager::layout::{Attention, DType, Entry, KvGroup, ModelLayout};

/// A model of full attention, with blocks of so many tokens; and another group with `windowed` attention, if that is given.
pub(crate) fn model(tokens_per_block: u32, windowed: Option<Attention>) -> ModelLayout {
    let group = |attention| {
        let entry = Entry::KeyValue { kv_heads: 1, head_dim: 8 };
        KvGroup { attention, layers: 1, entry, dtype: DType::F32 }
    };
    let groups = std::iter::once(Attention::Full).chain(windowed).map(group).collect();
    ModelLayout::new(tokens_per_block, groups).expect("valid")
}
