use super::{Attention, DType, DeviceLayout, Entry, Format, KvGroup, ModelLayout, shape, shape_names};
use crate::ids::GroupId;
use crate::units::Bytes;

#[test]
fn published_shapes_have_their_known_sizes() {
    let expected = [
        ("llama3-8b", 2 << 20, 64),
        ("llama3-70b", 5 << 20, 160),
        ("qwen2.5-0.5b", 192 << 10, 48),
        ("deepseek-v3", 61 * 16 * 576 * 2, 61),
        ("smollm2-135m", 30 * 2 * 16 * 3 * 64 * 2, 60),
        ("tiny", 16 * 512, 4),
        ("gemma3-12b", 8 * 2 * 16 * 8 * 256 * 2, 16),
        ("gpt-oss-20b", 12 * 2 * 16 * 8 * 64 * 2, 24),
        ("llama4-scout", 12 * 2 * 16 * 8 * 128 * 2, 24),
    ];
    assert_eq!(expected.len(), shape_names().len());
    for (name, bytes, fragments) in expected {
        let model = shape(name).expect(name);
        assert_eq!(model.part_bytes(GroupId::FIRST), Bytes::new(bytes), "{name}");
        assert_eq!(model.group(GroupId::FIRST).fragments(), fragments, "{name}");
    }
    let gemma = shape("gemma3-12b").expect("known");
    assert_eq!(gemma.part_bytes(GroupId::from_index(1)), Bytes::new(40 * 2 * 16 * 8 * 256 * 2));
    assert_eq!(gemma.anchor(), Some(GroupId::FIRST));
    assert_eq!(shape("llama3-8b").expect("known").fragment_bytes(GroupId::FIRST), Bytes::new(32 << 10));
    assert_eq!(shape("deepseek-v3").expect("known").fragment_bytes(GroupId::FIRST), Bytes::new(18 << 10));
}

#[test]
fn every_dtype_gives_its_exact_bytes() {
    for (dtype, bytes) in [
        (DType::F32, 4),
        (DType::F16, 2),
        (DType::BF16, 2),
        (DType::F8E4M3, 1),
        (DType::F8E5M2, 1),
        (DType::I8, 1),
    ] {
        let entry = Entry::KeyValue { kv_heads: 3, head_dim: 40 };
        let group = KvGroup { attention: Attention::Full, layers: 5, entry, dtype };
        let model = ModelLayout::new(7, vec![group]).expect("valid");
        assert_eq!(model.part_bytes(GroupId::FIRST), Bytes::new(5 * 2 * 7 * 3 * 40 * bytes));
    }
}

#[test]
fn fragments_cover_the_part_once_in_order() {
    for name in shape_names() {
        let model = shape(name).expect("listed");
        for layout in [DeviceLayout::LayerMajor, DeviceLayout::BlockMajor] {
            let mut end = Bytes::ZERO;
            for fragment in layout.fragments(&model, GroupId::FIRST) {
                assert_eq!(fragment.part_offset, end, "{name} {layout:?}");
                end += fragment.bytes;
            }
            assert_eq!(end, model.part_bytes(GroupId::FIRST), "{name} {layout:?}");
        }
    }
}

#[test]
fn slots_are_pages_and_quantised_ones_smaller() {
    let model = shape("llama3-8b").expect("known");
    let raw = model.slot_bytes(GroupId::FIRST, Format::Raw);
    assert_eq!(raw, Bytes::mib(2));
    assert_eq!(model.slot_bytes(GroupId::FIRST, Format::Int8), Bytes::new((1 << 20) / 64 * 66));
    assert_eq!(model.slot_bytes(GroupId::FIRST, Format::Int4), Bytes::new((1 << 20) / 64 * 36));
    assert_eq!(shape("tiny").expect("known").slot_bytes(GroupId::FIRST, Format::Raw), Bytes::new(8192));
}

#[test]
fn impossible_layouts_are_refused() {
    let group = |layers, kv_heads| KvGroup {
        attention: Attention::Full,
        layers,
        entry: Entry::KeyValue { kv_heads, head_dim: 128 },
        dtype: DType::BF16,
    };
    assert!(ModelLayout::new(0, vec![group(1, 1)]).is_err());
    assert!(ModelLayout::new(16, vec![]).is_err());
    assert!(ModelLayout::new(16, vec![group(0, 1)]).is_err());
    assert!(ModelLayout::new(16, vec![group(1, 0)]).is_err());
    assert!(ModelLayout::new(16, vec![group(u32::MAX / 2, u32::MAX)]).is_err());
    assert!(ModelLayout::new(16, vec![group(1, 1); 9]).is_err());
}

#[test]
fn the_last_token_is_never_matched() {
    let model = shape("tiny").expect("known");
    for (tokens, blocks) in [(0, 0), (1, 0), (16, 0), (17, 1), (32, 1), (33, 2)] {
        assert_eq!(model.matchable_blocks(tokens), blocks, "{tokens} tokens");
    }
}
