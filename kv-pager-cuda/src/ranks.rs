//! Ranks: how a model's heads are shared out among devices.
//! Uses the core's `layout`. Known by: `device`, `pinned`.
//!
//! - **K1** every rank has the same slice: the same groups, layers and tokens, `kv_heads / ranks` heads, at least one;
//! - **K2** a part of N ranks is the N slices one after the other, without a gap, in every tier but the device.
//!
//! A latent, and heads of which there are fewer than ranks, are held by several: each keeps its own copy.

use kv_pager::Error;
use kv_pager::layout::{Entry, KvGroup, ModelLayout};

/// What one of `ranks` devices holds of `model`.
///
/// # Errors
/// [`Error::Configuration`] if there are no ranks, or a group's heads can be neither shared out nor replicated evenly.
pub fn rank_slice(model: &ModelLayout, ranks: usize) -> Result<ModelLayout, Error> {
    let wrong = |why: String| Error::Configuration { setting: "ranks", why };
    let count = u32::try_from(ranks).ok().filter(|count| (1..=64).contains(count));
    let count = count.ok_or_else(|| wrong(format!("{ranks} ranks; 1 to 64 are served")))?;
    let slice = |group: &KvGroup| match group.entry {
        Entry::Latent { .. } => Ok(group.clone()),
        Entry::KeyValue { kv_heads, head_dim } => {
            if kv_heads.is_multiple_of(count) || count.is_multiple_of(kv_heads) {
                let entry = Entry::KeyValue { kv_heads: (kv_heads / count).max(1), head_dim };
                Ok(KvGroup { entry, ..group.clone() })
            } else {
                Err(wrong(format!("{kv_heads} heads cannot be shared out evenly among {count} ranks")))
            }
        }
    };
    let groups = model.groups().iter().map(slice).collect::<Result<_, _>>()?;
    ModelLayout::new(model.tokens_per_block(), groups)
}

/// The layout of what `ranks` slices are together (K2): what host memory and files hold.
///
/// # Errors
/// [`Error::Configuration`] if that is more than a part may be.
pub fn stacked_layout(slice: &ModelLayout, ranks: usize) -> Result<ModelLayout, Error> {
    let count = u32::try_from(ranks).unwrap_or(u32::MAX);
    let stack = |group: &KvGroup| {
        let entry = match group.entry {
            Entry::Latent { dim } => Entry::Latent { dim: dim.saturating_mul(count) },
            Entry::KeyValue { kv_heads, head_dim } => {
                Entry::KeyValue { kv_heads: kv_heads.saturating_mul(count), head_dim }
            }
        };
        KvGroup { entry, ..group.clone() }
    };
    ModelLayout::new(slice.tokens_per_block(), slice.groups().iter().map(stack).collect())
}

#[cfg(test)]
mod tests {
    use super::{rank_slice, stacked_layout};
    use kv_pager::ids::GroupId;
    use kv_pager::layout::{Entry, shape};

    #[test]
    fn heads_are_shared_out_then_replicated() {
        let model = shape("llama3-8b").expect("known");
        for (ranks, heads) in [(1, 8), (2, 4), (8, 1), (16, 1)] {
            let slice = rank_slice(&model, ranks).expect("even");
            assert!(
                matches!(slice.group(GroupId::FIRST).entry, Entry::KeyValue { kv_heads, .. } if kv_heads == heads)
            );
        }
        assert!(rank_slice(&model, 0).is_err());
        assert!(rank_slice(&model, 3).expect_err("uneven").to_string().contains("8 heads"));
    }

    #[test]
    fn slices_together_are_their_sum() {
        for name in ["llama3-8b", "deepseek-v3"] {
            let model = shape(name).expect("known");
            for ranks in [1, 2, 8, 16] {
                let slice = rank_slice(&model, ranks).expect("even");
                let stacked = stacked_layout(&slice, ranks).expect("small");
                let bytes = slice.part_bytes(GroupId::FIRST).as_u64() * ranks as u64;
                assert_eq!(stacked.part_bytes(GroupId::FIRST).as_u64(), bytes, "{name}, {ranks} ranks");
            }
        }
    }

    #[test]
    fn a_latent_is_held_by_all() {
        let model = shape("deepseek-v3").expect("known");
        assert_eq!(rank_slice(&model, 4).expect("replicated"), model);
    }
}
