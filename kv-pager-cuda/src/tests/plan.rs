use super::Plan;
use crate::tensors::{GroupTensors, Inner};
use kv_pager::ids::GroupId;
use kv_pager::layout::{DeviceLayout, ModelLayout, shape};

const BASE: u64 = 0x7000_0000_0000;

fn model() -> ModelLayout {
    shape("llama3-8b").expect("known")
}

fn bases(count: u64, apart: u64) -> Vec<u64> {
    (0..count).map(|index| BASE + index * apart).collect()
}

/// Every byte of every slot, by its address, must be named exactly once.
fn assert_covers(model: &ModelLayout, tensors: &GroupTensors) -> Plan {
    let plan = Plan::new(model, GroupId::FIRST, tensors).expect("valid tensors");
    let mut pieces = Vec::new();
    for slot in 0..plan.slots {
        let mut end = 0;
        plan.pieces(slot, |address, offset, bytes| {
            assert_eq!(offset, end, "pieces come in the order of the part's bytes");
            end += bytes;
            pieces.push((address, bytes));
        });
        assert_eq!(end, model.part_bytes(GroupId::FIRST).as_u64());
    }
    pieces.sort_unstable();
    for pair in pieces.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:x?} overlap");
    }
    plan
}

#[test]
fn every_layout_in_use_is_covered_once() {
    let model = model();
    let group = (&model, GroupId::FIRST);
    let fragment = 32 << 10;
    for inner in [Inner::Nhd, Inner::Hnd] {
        let slots = 5;
        let keys = bases(32, 64 << 20);
        let values = bases(32, 64 << 20).iter().map(|base| base + (32 << 20)).collect::<Vec<_>>();
        let separate = assert_covers(&model, &GroupTensors::separate(group, slots, (&keys, &values), inner));
        let by_side = assert_covers(&model, &GroupTensors::joint_by_side(group, slots, &keys, inner));
        let by_slot = assert_covers(&model, &GroupTensors::joint_by_slot(group, slots, &keys, inner));
        let block_major = assert_covers(&model, &GroupTensors::block_major(group, slots, BASE, inner));
        let owned = GroupTensors::owned(group, slots, BASE, (DeviceLayout::LayerMajor, inner));
        let owned = assert_covers(&model, &owned);
        assert_eq!(separate.regions.len(), 64);
        assert_eq!(by_side.regions.len(), 64);
        assert_eq!(owned.regions.len(), 64);
        if inner == Inner::Nhd {
            assert_eq!((by_slot.regions.len(), by_slot.fragment_bytes), (32, 2 * fragment), "P3");
            assert_eq!((block_major.regions.len(), block_major.fragment_bytes), (1, 64 * fragment), "P3");
            assert_eq!((separate.layer_fragments, by_slot.layer_fragments), (2, 1));
            assert_eq!(block_major.layer_fragments, 0);
        } else {
            assert!(by_slot.rows.is_some() && block_major.rows.is_some());
        }
    }
}

#[test]
fn impossible_tensors_are_refused_with_the_numbers() {
    let model = model();
    let group = (&model, GroupId::FIRST);
    let good = GroupTensors::joint_by_slot(group, 4, &bases(32, 64 << 20), Inner::Nhd);
    let refusal = |change: &dyn Fn(&mut GroupTensors)| {
        let mut tensors = good.clone();
        change(&mut tensors);
        Plan::new(&model, GroupId::FIRST, &tensors).expect_err("impossible").to_string()
    };
    assert!(refusal(&|tensors| tensors.planes[3].base += 8).contains("no multiple of 16"));
    assert!(refusal(&|tensors| tensors.planes[3].strides.slot = 4096).contains("4096"));
    assert!(refusal(&|tensors| tensors.planes[3].base = tensors.planes[0].base + 4096).contains("overlap"));
    assert!(refusal(&|tensors| tensors.planes[1] = tensors.planes[0]).contains("planes 0"));
    assert!(refusal(&|tensors| tensors.planes[3].strides.token = 16).contains("do not fit"));
    assert!(refusal(&|tensors| tensors.planes[3].strides.slot = u64::MAX - 15).contains("address space"));
    assert!(refusal(&|tensors| tensors.planes[0].base = 0).contains("null"));
    assert!(refusal(&|tensors| tensors.slots = 0).contains("no slots"));
    assert!(refusal(&|tensors| tensors.planes.truncate(63)).contains("63 planes"));
}

#[test]
fn rows_that_kernels_cannot_copy_are_refused() {
    use kv_pager::layout::{Attention, DType, Entry, KvGroup};
    let entry = Entry::KeyValue { kv_heads: 1, head_dim: 4 };
    let group = KvGroup { attention: Attention::Full, layers: 1, entry, dtype: DType::BF16 };
    let model = ModelLayout::new(16, vec![group]).expect("valid");
    let tensors = GroupTensors::block_major((&model, GroupId::FIRST), 4, BASE, Inner::Nhd);
    let error = Plan::new(&model, GroupId::FIRST, &tensors).expect_err("8 bytes a row");
    assert!(error.to_string().contains("8 bytes"), "{error}");
}
