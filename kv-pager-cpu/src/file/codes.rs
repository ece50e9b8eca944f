//! Codes: the numbers that a superblock keeps of attention kinds, entries, types and formats.
//! Uses `kv_pager::layout`. Known by: `file::superblock`.

use super::drive::Access;
use kv_pager::layout::{Attention, DType, Entry, Format};

/// By code; new ones go to the end.
pub(super) const ACCESSES: [Access; 3] = [Access::Auto, Access::Direct, Access::Buffered];
/// By code; new ones go to the end.
pub(super) const FORMATS: [Format; 3] = [Format::Raw, Format::Int8, Format::Int4];
/// By code; new ones go to the end.
pub(super) const DTYPES: [DType; 6] =
    [DType::F32, DType::F16, DType::BF16, DType::F8E4M3, DType::F8E5M2, DType::I8];

/// The code of `item`.
pub(super) fn encode<T: PartialEq + Copy>(known: &[T], item: T) -> u32 {
    let index = known.iter().position(|other| *other == item).expect("every one of this version has a code");
    u32::try_from(index).expect("there are a handful")
}

/// The item of a code, if this version has one.
pub(super) fn decode<T: Copy>(known: &[T], code: u32) -> Option<T> {
    known.get(code as usize).copied()
}

/// Kind, and two numbers.
pub(super) fn attention_code(attention: Attention) -> [u32; 3] {
    match attention {
        Attention::Full => [0; 3],
        Attention::SlidingWindow { window_tokens, sink_tokens } => [1, window_tokens, sink_tokens],
        Attention::Chunked { chunk_tokens } => [2, chunk_tokens, 0],
        Attention::State => [3, 0, 0],
        other => unreachable!("{other:?} has no code in this version of the format"),
    }
}

/// Kind, and two numbers.
pub(super) fn entry_code(entry: Entry) -> [u32; 3] {
    match entry {
        Entry::KeyValue { kv_heads, head_dim } => [0, kv_heads, head_dim],
        Entry::Latent { dim } => [1, dim, 0],
    }
}

/// The inverse of [`attention_code`].
pub(super) fn attention(code: [u32; 3]) -> Option<Attention> {
    match code {
        [0, 0, 0] => Some(Attention::Full),
        [1, window_tokens, sink_tokens] => Some(Attention::SlidingWindow { window_tokens, sink_tokens }),
        [2, chunk_tokens, 0] => Some(Attention::Chunked { chunk_tokens }),
        [3, 0, 0] => Some(Attention::State),
        _ => None,
    }
}

/// The inverse of [`entry_code`].
pub(super) fn entry(code: [u32; 3]) -> Option<Entry> {
    match code {
        [0, kv_heads, head_dim] => Some(Entry::KeyValue { kv_heads, head_dim }),
        [1, dim, 0] => Some(Entry::Latent { dim }),
        _ => None,
    }
}
