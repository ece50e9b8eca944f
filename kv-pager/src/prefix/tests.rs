use super::{BlockKeys, PrefixHasher, PrefixIndex};
use crate::clock::Time;
use crate::ids::{
    BlockId, GroupId, HashKey, ModelEpoch, ModelFingerprint, PrefixHash, Salt, SlotId, TierId, TokenId,
};
use crate::units::Nanos;

const FIRST: GroupId = GroupId::FIRST;

fn keys(parent: BlockId, tokens: &[TokenId]) -> BlockKeys<'_> {
    BlockKeys { parent, salt: Salt(7), tokens, extra_keys: &[] }
}

fn tokens(seed: u32) -> [TokenId; 4] {
    [0, 1, 2, 3].map(|offset| TokenId(seed * 10 + offset))
}

/// A chain of three blocks, each with a slot in the device tier.
fn chain(index: &mut PrefixIndex) -> [BlockId; 3] {
    let mut parent = BlockId::NONE;
    [0_u32, 1, 2].map(|at| {
        let block =
            index.insert(PrefixHash(u128::from(at)), &keys(parent, &tokens(at)), Time::START).expect("room");
        index.set_location(block, FIRST, TierId::Device, SlotId::from_index(at as usize));
        parent = block;
        block
    })
}

#[test]
fn a_forced_collision_is_a_miss() {
    let mut index = PrefixIndex::new(8, 4, &[true]);
    let hash = PrefixHash(42);
    let mine = index.insert(hash, &keys(BlockId::NONE, &tokens(1)), Time::START).expect("room");
    assert_eq!(index.find(hash, &keys(BlockId::NONE, &tokens(1))), Some(mine));
    assert_eq!(index.find(hash, &keys(BlockId::NONE, &tokens(2))), None, "other tokens");
    let same = tokens(1);
    let other_salt = BlockKeys { salt: Salt(8), ..keys(BlockId::NONE, &same) };
    assert_eq!(index.find(hash, &other_salt), None, "another salt");
    let other_keys = BlockKeys { extra_keys: &[1], ..keys(BlockId::NONE, &same) };
    assert_eq!(index.find(hash, &other_keys), None, "another adapter");
    let theirs = index.insert(hash, &keys(BlockId::NONE, &tokens(2)), Time::START).expect("room");
    assert_eq!(index.find(hash, &keys(BlockId::NONE, &tokens(1))), Some(mine), "both live in one chain");
    assert_eq!(index.find(hash, &keys(BlockId::NONE, &tokens(2))), Some(theirs));
}

#[test]
fn a_parent_waits_for_its_children() {
    let mut index = PrefixIndex::new(8, 4, &[true]);
    let [root, middle, leaf] = chain(&mut index);
    assert!(!index.may_evict(root, FIRST, TierId::Device));
    assert!(!index.may_evict(middle, FIRST, TierId::Device));
    assert!(index.may_evict(leaf, FIRST, TierId::Device));
    index.set_location(middle, FIRST, TierId::File, SlotId::from_index(0));
    index.set_location(leaf, FIRST, TierId::Host, SlotId::from_index(0));
    index.clear_location(leaf, FIRST, TierId::Device);
    assert!(
        !index.may_evict(middle, FIRST, TierId::Device),
        "its next copy would be farther than its child's"
    );
    index.set_location(middle, FIRST, TierId::Host, SlotId::from_index(1));
    assert!(index.may_evict(middle, FIRST, TierId::Device));
    index.check();
}

#[test]
fn a_record_goes_when_nothing_keeps_it() {
    let mut index = PrefixIndex::new(3, 4, &[true]);
    let [root, middle, leaf] = chain(&mut index);
    assert_eq!(index.insert(PrefixHash(9), &keys(leaf, &tokens(9)), Time::START), None, "the index is full");
    index.add_reference(leaf);
    index.clear_location(leaf, FIRST, TierId::Device);
    assert_eq!(index.remove_unused(leaf), None, "a sequence relies on it");
    index.drop_reference(leaf);
    assert_eq!(index.remove_unused(leaf), Some(middle));
    assert_eq!(index.remove_unused(middle), None, "it has a slot");
    index.clear_location(root, FIRST, TierId::Device);
    assert_eq!(index.remove_unused(root), None, "it has a child");
    index.check();
    assert_eq!(index.len(), 2);
}

#[test]
fn an_end_that_is_told_late_takes_back_no_later_use() {
    let mut index = PrefixIndex::new(8, 4, &[true]);
    let [root, middle, leaf] = chain(&mut index);
    let [early, late] = [5, 9].map(|ns| Time::START.after(Nanos::new(ns)));
    for block in [root, middle] {
        index.note_use(block, late);
    }
    index.note_end(root, early);
    index.extend_use(middle, early);
    index.note_end(leaf, early);
    let last_uses = [root, middle, leaf].map(|block| index.view(block).last_use);
    assert_eq!(last_uses, [late, late, early]);
}

#[test]
fn a_detached_block_is_not_found_again() {
    let mut index = PrefixIndex::new(4, 4, &[true]);
    let [root, ..] = chain(&mut index);
    index.detach(root);
    assert_eq!(index.find(PrefixHash(0), &keys(BlockId::NONE, &tokens(0))), None);
    index.check();
}

#[test]
fn names_depend_on_all_that_makes_a_block() {
    let hasher = PrefixHasher::new(HashKey(1), ModelFingerprint(1));
    let root = hasher.root(Salt(1), ModelEpoch(0));
    let name = hasher.block(root, &tokens(1), &[]);
    assert_eq!(name, hasher.block(root, &tokens(1), &[]));
    let others = [
        hasher.block(root, &tokens(2), &[]),
        hasher.block(hasher.root(Salt(2), ModelEpoch(0)), &tokens(1), &[]),
        hasher.block(root, &tokens(1), &[1]),
        PrefixHasher::new(HashKey(2), ModelFingerprint(1)).block(root, &tokens(1), &[]),
        hasher.block(hasher.root(Salt(1), ModelEpoch(1)), &tokens(1), &[]),
        hasher.block(
            PrefixHasher::new(HashKey(1), ModelFingerprint(2)).root(Salt(1), ModelEpoch(0)),
            &tokens(1),
            &[],
        ),
    ];
    assert!(!others.contains(&name));
}

#[test]
fn long_blocks_are_named_as_short_ones_are() {
    let hasher = PrefixHasher::new(HashKey(3), ModelFingerprint(1));
    let long: Vec<TokenId> = (0..60).map(TokenId).collect();
    let parent = PrefixHash(5);
    assert_eq!(hasher.block(parent, &long, &[]), hasher.long_block(parent, &long, &[]));
}

#[test]
fn words_that_change_places_make_another_name() {
    let hasher = PrefixHasher::new(HashKey::default(), ModelFingerprint(1));
    let parent = hasher.root(Salt(1), ModelEpoch(0));
    let name = |tokens: [u32; 4]| hasher.block(parent, &tokens.map(TokenId), &[]);
    assert_ne!(name([0, 0, 1, 1]), name([1, 1, 0, 0]));
}

#[test]
fn an_ancestor_is_found_in_few_steps() {
    const LENGTH: u32 = 5000;
    let mut index = PrefixIndex::new(LENGTH as usize + 1, 1, &[true]);
    let mut chain = Vec::new();
    for at in 0..LENGTH {
        let parent = chain.last().copied().unwrap_or(BlockId::NONE);
        let token = [TokenId(at)];
        let hash = PrefixHash(u128::from(at));
        // Both ways in which a block comes into the index.
        let block = if at % 3 == 0 {
            index.insert(hash, &keys(parent, &token), Time::START)
        } else {
            index.insert_computed(hash, &keys(parent, &token), SlotId::from_index(at as usize), Time::START)
        };
        chain.push(block.expect("room"));
    }
    for (from, to) in
        (1..LENGTH).step_by(37).flat_map(|from| (0..=from).step_by(61).map(move |to| (from, to)))
    {
        let looks = std::cell::Cell::new(0);
        let found = index.topmost(chain[from as usize], |above| {
            looks.set(looks.get() + 1);
            index.view(above).depth >= to
        });
        assert_eq!(found, chain[to as usize], "the ancestor at {to} of the block at {from}");
        assert_eq!(found, index.ancestor_at(chain[from as usize], to));
        assert!(looks.get() <= 50, "{} looks from {from} to {to}", looks.get());
    }
    index.check();
}
