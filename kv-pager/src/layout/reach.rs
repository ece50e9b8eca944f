//! Reach: which blocks a group of layers must have to go on at a position.
//! Layer 1. Uses `ids`, `layout`. Known by: `sequence`, `pager`, `policy`.
//!
//! A layer that looks at everything needs every block before the position. One that looks through a window needs the window
//! and its sinks, and may lose the rest: that is what selective dropping of old tokens rests on.

use super::{Attention, ModelLayout};
use crate::ids::GroupId;
use std::ops::Range;

/// The blocks that a group needs: two ranges, which may touch or be empty but never overlap.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reach {
    /// The first blocks, which hold the sinks.
    pub sinks: Range<usize>,
    /// The blocks before the position that its tokens look at.
    pub window: Range<usize>,
}

impl Reach {
    /// Whether block `index` is needed.
    pub fn contains(&self, index: usize) -> bool {
        self.sinks.contains(&index) || self.window.contains(&index)
    }

    /// All needed blocks, in order.
    pub fn blocks(&self) -> impl Iterator<Item = usize> + use<> {
        self.sinks.clone().chain(self.window.clone())
    }
}

impl ModelLayout {
    /// The blocks that `group` needs so that the token at `position`, and those after it, can be computed.
    ///
    /// # Panics
    /// If the model has no such group.
    pub fn reach(&self, group: GroupId, position: usize) -> Reach {
        let size = self.tokens_per_block as usize;
        let end = position.div_ceil(size);
        let (first_token, sink_tokens) = match self.group(group).attention {
            Attention::Full => (0, 0),
            Attention::SlidingWindow { window_tokens, sink_tokens } => {
                // The token itself is one of its window.
                (position.saturating_sub(window_tokens.saturating_sub(1) as usize), sink_tokens as usize)
            }
            Attention::Chunked { chunk_tokens } => (position - position % chunk_tokens.max(1) as usize, 0),
            Attention::State => (position, 0),
        };
        let window = if first_token >= position { end..end } else { first_token / size..end };
        let sinks = 0..sink_tokens.div_ceil(size).min(window.start);
        Reach { sinks, window }
    }

    /// Whether `group` needs every block.
    ///
    /// # Panics
    /// If the model has no such group.
    pub fn is_full(&self, group: GroupId) -> bool {
        self.group(group).attention == Attention::Full
    }

    /// The first group that needs every block: where its parts are decides what may be evicted (I6). None if all groups look
    /// through windows.
    pub fn anchor(&self) -> Option<GroupId> {
        self.group_ids().find(|group| self.is_full(*group))
    }
}

#[cfg(test)]
mod tests {
    use crate::ids::GroupId;
    use crate::layout::{Attention, DType, Entry, KvGroup, ModelLayout};

    /// The token positions that the token at `position` looks at, itself aside: the definition, token by token.
    fn seen(attention: Attention, position: usize) -> Vec<usize> {
        let sees = |earlier: &usize| match attention {
            Attention::Full => true,
            Attention::SlidingWindow { window_tokens, sink_tokens } => {
                position - earlier < window_tokens as usize || *earlier < sink_tokens as usize
            }
            Attention::Chunked { chunk_tokens } => {
                earlier / chunk_tokens as usize == position / chunk_tokens as usize
            }
            Attention::State => false,
        };
        (0..position).filter(sees).collect()
    }

    #[test]
    fn a_reach_is_the_blocks_of_the_tokens_that_are_seen() {
        let kinds = [
            Attention::Full,
            Attention::SlidingWindow { window_tokens: 1, sink_tokens: 0 },
            Attention::SlidingWindow { window_tokens: 9, sink_tokens: 0 },
            Attention::SlidingWindow { window_tokens: 8, sink_tokens: 5 },
            Attention::Chunked { chunk_tokens: 16 },
            Attention::Chunked { chunk_tokens: 6 },
        ];
        for attention in kinds {
            let entry = Entry::KeyValue { kv_heads: 1, head_dim: 8 };
            let group = KvGroup { attention, layers: 1, entry, dtype: DType::F32 };
            let model = ModelLayout::new(4, vec![group]).expect("valid");
            for position in 0..60 {
                let mut expected: Vec<usize> =
                    seen(attention, position).iter().map(|token| token / 4).collect();
                expected.dedup();
                let found: Vec<usize> = model.reach(GroupId::FIRST, position).blocks().collect();
                assert_eq!(found, expected, "{attention:?} at {position}");
            }
        }
    }
}
