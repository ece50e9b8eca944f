use super::HostTier;
use kv_pager::Error;
use kv_pager::ids::{GroupId, SlotId, TierId};
use kv_pager::layout::{DeviceLayout, Format, ModelLayout, shape};
use kv_pager::tier::Tier;
use kv_pager::units::Bytes;

fn tiny() -> ModelLayout {
    shape("tiny").expect("known")
}

fn slot(index: usize) -> SlotId {
    SlotId::from_index(index)
}

#[test]
fn a_writer_keeps_others_out_and_readers_share() {
    let tier = HostTier::device(&tiny(), DeviceLayout::LayerMajor, &[4]).expect("small");
    let write = tier.write(GroupId::FIRST, slot(1)).expect("free");
    assert!(tier.read(GroupId::FIRST, slot(1)).is_err());
    assert!(tier.write(GroupId::FIRST, slot(1)).is_err());
    assert!(tier.read_run(GroupId::FIRST, slot(0), 3).is_err(), "a run over it is refused too");
    drop(write);
    let first = tier.read(GroupId::FIRST, slot(1)).expect("free");
    let second = tier.read(GroupId::FIRST, slot(1)).expect("readers share");
    assert!(tier.write(GroupId::FIRST, slot(1)).is_err());
    drop((first, second));
    assert!(tier.write(GroupId::FIRST, slot(1)).is_ok());
}

#[test]
fn planes_are_the_same_bytes_in_every_layout() {
    let model = tiny();
    let tiers = [
        HostTier::device(&model, DeviceLayout::LayerMajor, &[3]).expect("small"),
        HostTier::device(&model, DeviceLayout::BlockMajor, &[3]).expect("small"),
        HostTier::host(&model, Format::Raw, &[3]).expect("small"),
    ];
    for tier in &tiers {
        let mut write = tier.write(GroupId::FIRST, slot(2)).expect("free");
        for plane in 0..4 {
            let bytes = write.plane_mut(plane);
            assert_eq!(bytes.len(), 2048);
            // Some tokens only: the others keep what they were.
            bytes[1024..].fill(u8::try_from(plane).expect("small") + 1);
        }
        drop(write);
        let read = tier.read(GroupId::FIRST, slot(2)).expect("free");
        let whole: Vec<u8> = read.fragments().flatten().copied().collect();
        let expected: Vec<u8> = (1..=4).flat_map(|value| [[0; 1024], [value; 1024]].concat()).collect();
        assert_eq!(whole, expected, "{:?}", tier.id());
        let neighbour = tier.read(GroupId::FIRST, slot(1)).expect("free");
        assert!(neighbour.fragments().flatten().all(|byte| *byte == 0));
    }
}

#[test]
fn slots_of_host_memory_start_at_pages() {
    let tier = HostTier::host(&shape("qwen2.5-0.5b").expect("known"), Format::Raw, &[3]).expect("small");
    for index in 0..3 {
        let read = tier.read(GroupId::FIRST, slot(index)).expect("free");
        assert_eq!(read.fragment(0).as_ptr().addr() % 4096, 0);
    }
}

#[test]
fn impossible_sizes_are_refused_before_a_page_is_touched() {
    let model = tiny();
    let refusal = |slots: &[u32]| HostTier::host(&model, Format::Raw, slots).expect_err("impossible");
    assert!(matches!(refusal(&[0]), Error::Configuration { .. }));
    assert!(matches!(refusal(&[]), Error::Configuration { .. }));
    assert!(matches!(refusal(&[1, 1]), Error::Configuration { .. }));
    match refusal(&[u32::MAX - 1]) {
        Error::OutOfMemory { tier: TierId::Host, wanted, available } => {
            assert!(wanted > Bytes::mib(1 << 20));
            assert!(available < wanted);
        }
        other => panic!("{other}"),
    }
}
