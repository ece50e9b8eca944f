use super::{
    Context, Engine, KvMemory, Model, Output, PlainMemory, Progress, Run, Setting, Uncached, run_uncached,
};
use crate::random::Random;
use crate::trace::VOCABULARY;
use kv_pager::ids::{GroupId, SlotId, TokenId};
use kv_pager::layout::{Attention, DType, Entry, KvGroup, ModelLayout, shape};
use proptest::prelude::*;

fn layout(tokens_per_block: u32, layers: u32, entry: Entry, dtype: DType) -> ModelLayout {
    let group = KvGroup { attention: Attention::Full, layers, entry, dtype };
    ModelLayout::new(tokens_per_block, vec![group]).expect("the layout is valid")
}

fn tiny(setting: Setting) -> Model {
    Model::new(shape("tiny").expect("it is known"), setting, 7).expect("it can be computed")
}

/// Layouts that differ in everything the engine looks at: sides, rows beyond those computed, narrow and wide rows, dtype.
fn odd_layouts() -> Vec<ModelLayout> {
    let heads = |kv_heads, head_dim| Entry::KeyValue { kv_heads, head_dim };
    vec![
        layout(16, 2, heads(1, 32), DType::F32),
        layout(4, 1, heads(2, 4), DType::F32),
        layout(5, 3, heads(3, 20), DType::BF16),
        layout(8, 4, Entry::Latent { dim: 48 }, DType::BF16),
    ]
}

fn prompt(seed: u64, tokens: usize) -> Vec<TokenId> {
    let mut random = Random::new(seed);
    (0..tokens).map(|_| TokenId(random.below(VOCABULARY))).collect()
}

fn identity(blocks: usize) -> Vec<SlotId> {
    (0..blocks).map(SlotId::from_index).collect()
}

fn memory(model: &Model, tokens: usize) -> PlainMemory {
    PlainMemory::new(model.layout(), model.blocks(tokens))
}

/// Computes `tokens` in chunks that end at `cuts`, forgetting and reading everything before each.
fn in_chunks(model: &Model, tokens: &[TokenId], cuts: &[usize]) -> (Context, PlainMemory) {
    let memory = memory(model, tokens.len());
    let table = identity(model.blocks(tokens.len()));
    let mut context = Context::new(model, tokens.len());
    let mut start = 0;
    for &end in cuts.iter().chain([&tokens.len()]) {
        context.forget();
        context.read_to(start, model, &memory, &table);
        context.compute(&tokens[start..end], model, &memory, &table);
        start = end;
    }
    (context, memory)
}

#[test]
fn a_wrong_bit_anywhere_changes_the_logits() {
    for model in odd_layouts().into_iter().flat_map(|layout| {
        [Setting::Full, Setting::Window]
            .map(|setting| Model::new(layout.clone(), setting, 1).expect("it can be computed"))
    }) {
        let tokens = prompt(1, 300);
        let (context, memory) = in_chunks(&model, &tokens, &[299]);
        let right = context.logits(&model);
        let mut random = Random::new(2);
        for _ in 0..40 {
            let place = random.below(299) as usize;
            let block = SlotId::from_index(place / model.tokens_per_block());
            let row = random.below(u32::try_from(model.rows()).expect("it is small")) as usize;
            let token = place % model.tokens_per_block();
            let row_bytes = u32::try_from(model.row_bytes()).expect("it is small");
            let byte = token * model.row_bytes() + random.below(row_bytes) as usize;
            let bit = 1 << random.below(8);
            let flip =
                || memory.write_part(GroupId::FIRST, block, &mut |part| part.plane_mut(row)[byte] ^= bit);
            flip();
            let table = identity(model.blocks(tokens.len()));
            let mut context = Context::new(&model, tokens.len());
            context.read_to(299, &model, &memory, &table);
            context.compute(&tokens[299..], &model, &memory, &table);
            assert_ne!(context.logits(&model), right, "bit {bit} of byte {byte} in row {row} of {block:?}");
            flip();
        }
    }
}

#[test]
fn a_token_or_its_place_changes_everything_after_it() {
    let model = tiny(Setting::Window);
    let tokens = prompt(1, 400);
    let right = run_uncached(&model, &tokens, 1);
    let mut other = tokens.clone();
    other[3] = TokenId((tokens[3].0 + 1) % VOCABULARY);
    let wrong = run_uncached(&model, &other, 1);
    assert_ne!(right.logits_digest, wrong.logits_digest);
    assert!(right.checksums.iter().zip(&wrong.checksums).all(|(right, wrong)| right != wrong));
    let same = vec![TokenId(5); 64];
    let checksums = run_uncached(&model, &same, 1).checksums;
    assert!(checksums[1..].iter().all(|checksum| *checksum != checksums[0]));
}

#[test]
fn a_slot_that_is_overwritten_while_it_is_held_is_found() {
    let model = tiny(Setting::Window);
    let tokens = prompt(9, 60);
    let memory = memory(&model, 64);
    let engine = Engine { model: &model, memory: &memory, verifier: None, chunk_tokens: 7 };
    for damaged in [0, 3] {
        let source = Uncached::new(tokens.len(), model.tokens_per_block());
        let mut run = Run::new(&engine, source, tokens.clone(), 3);
        while run.advance(&engine).expect("plain steps do not fail") != Progress::Finished {}
        memory.write_part(GroupId::FIRST, SlotId::from_index(damaged), &mut |part| part.plane_mut(1)[5] ^= 1);
        assert_eq!(run.finish(&engine).1.changed_blocks, 1);
    }
}

#[test]
fn what_is_generated_goes_on_from_what_was_generated() {
    for setting in [Setting::Full, Setting::Window] {
        let model = tiny(setting);
        let tokens = prompt(4, 300);
        let long = run_uncached(&model, &tokens, 20);
        assert_eq!(long.generated.len(), 20);
        let further = [&tokens[..], &long.generated[..19]].concat();
        assert_eq!(run_uncached(&model, &further, 1).generated, long.generated[19..]);
        assert_eq!(run_uncached(&model, &tokens, 0).generated, []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn chunks_resumes_and_layouts_change_no_bit(
        seed: u64,
        tokens in 1..700_usize,
        cuts in proptest::collection::btree_set(1..700_usize, 0..5),
        kind in 0..4_usize,
        is_full: bool,
    ) {
        let setting = if is_full { Setting::Full } else { Setting::Window };
        let model = Model::new(odd_layouts()[kind].clone(), setting, seed).expect("it can be computed");
        let tokens = prompt(seed, tokens);
        let cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < tokens.len()).collect();
        let (whole, _) = in_chunks(&model, &tokens, &[]);
        let (cut, memory) = in_chunks(&model, &tokens, &cuts);
        prop_assert_eq!(whole.checksums(), cut.checksums());
        prop_assert_eq!(whole.logits(&model), cut.logits(&model));
        let table = identity(model.blocks(tokens.len()));
        prop_assert_eq!(whole.count_changed_blocks(&model, &memory, &table), 0);
        let Output { checksums, .. } = run_uncached(&model, &tokens, 0);
        prop_assert_eq!(&checksums[..], cut.checksums());
    }
}
