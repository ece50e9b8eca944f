//! The prefill of a dense model as its matrix products alone, to measure what computing costs on a card.
//! Uses `driver`, the core's `cost`. Known by: the command line's `measure`, benchmarks.
//!
//! - **Z1** every matrix lies within the memory that this value owns, which lives until the stream is over;
//! - **Z2** one step is under way at a time: the matrices of the next are the same.
//!
//! A step of `n` tokens after `c` others is, for each layer, the products of queries, keys and values, of the output, and the
//! three of the feed-forward layer, at `n` rows; and for attention the scores of each head's queries with the keys before
//! them, and their sum over the values, in tiles of keys, with query heads that share keys together, skipping whole tiles
//! that come after a query. All in bf16 with sums in f32, by cuBLAS, on numbers that are neither zero nor equal.
//!
//! Left out are embeddings and logits (once a prompt), norms, rotations, softmax, activations, residual sums, and sampling:
//! what a good engine fuses into these products or adds a few per cent for. Scores go through the second-level cache instead
//! of staying in registers, as a fused attention keeps them, which costs about as much as the softmax that is missing.

mod probe;
mod shape;

pub use probe::GemmProbe;
pub use shape::prefill_shape_names;

use crate::driver::{Blas, Device, DeviceMemory, DriverError, Places, Product, Visit};
use kv_pager::Error;
use kv_pager::cost::TokenSpan;
use kv_pager::ids::TierId;
use kv_pager::layout::ModelLayout;
use kv_pager::units::Nanos;
use shape::{DenseShape, tiles};
use std::sync::Arc;

/// How long a step may take.
const PATIENCE: Nanos = Nanos::from_millis(60_000);
/// Weights that are told apart: several times what any cache near the processors holds.
const WEIGHT_BYTES: usize = 512 << 20;
const BF16_BYTES: usize = 2;

/// Matrices with something in them. `[rows, columns]`, row-major.
#[derive(Debug)]
struct Matrices {
    /// One layer's weights after the other: mixed, out, gate and up, down.
    weights: Vec<DeviceMemory>,
    /// `[tokens, hidden]`: a layer's input.
    input: DeviceMemory,
    /// `[tokens, mixed]`: its queries, keys and values. Queries are read as `[kv_heads, tokens * queries_per_key, head_dim]`.
    mixed: DeviceMemory,
    /// `[kv_heads, tokens_max, head_dim]` each.
    keys: DeviceMemory,
    values: DeviceMemory,
    /// `[kv_heads, tokens * queries_per_key, keys of a tile]`.
    scores: DeviceMemory,
    /// `[kv_heads, tokens * queries_per_key, head_dim]`.
    attended: DeviceMemory,
    /// `[tokens, hidden]`.
    output: DeviceMemory,
    /// `[tokens, 2 * feed_forward]`; the first half is read as `[tokens, feed_forward]`.
    widened: DeviceMemory,
}

/// See the module.
#[derive(Debug)]
pub struct PrefillGemms {
    device: Arc<Device>,
    blas: Blas,
    shape: DenseShape,
    step_tokens_max: usize,
    prompt_tokens_max: usize,
    /// Z1.
    matrices: Matrices,
}

impl PrefillGemms {
    /// Products of the model called `name`, in steps of at most `step_tokens_max`, for prompts of at most `prompt_tokens_max`
    /// tokens. Takes 1 to 3 GiB of the device for an 8B model; blocks while they are filled.
    ///
    /// # Errors
    /// [`Error::Configuration`] if the model's widths are not known or cuBLAS is missing; [`Error::DeviceLost`] and
    /// [`Error::Io`] if the device refuses.
    pub fn new(
        device: &Arc<Device>,
        (name, layout): (&str, &ModelLayout),
        step_tokens_max: u32,
        prompt_tokens_max: u32,
    ) -> Result<Self, Error> {
        let Some(shape) = DenseShape::find(name, layout) else {
            let known: Vec<_> = prefill_shape_names().collect();
            let why = format!(
                "the prefill of {name} can't be computed on a card, for its widths are not known; choose one of {}",
                known.join(", ")
            );
            return Err(Error::Configuration { setting: "shape", why });
        };
        let blas = Blas::new(device)?;
        let [tokens, prompt] = [step_tokens_max, prompt_tokens_max].map(|count| count as usize);
        let told = |error: DriverError| error.tell(TierId::Device, "taking memory for matrices");
        let matrices = Matrices::new(device, &shape, tokens, prompt).map_err(told)?;
        let device = Arc::clone(device);
        Ok(Self { device, blas, shape, step_tokens_max: tokens, prompt_tokens_max: prompt, matrices })
    }

    /// Computes one step of all layers. Blocks until it is over.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device refuses, or takes a minute.
    ///
    /// # Panics
    /// If the step has no tokens, more than `step_tokens_max`, or ends after `prompt_tokens_max`.
    pub fn compute(&mut self, step: TokenSpan) -> Result<(), Error> {
        self.run(step, self.shape.layers)
    }

    /// Computes one layer of `step`, so that cuBLAS has loaded what it takes for it before that is timed.
    ///
    /// # Errors
    /// Those of [`PrefillGemms::compute`].
    ///
    /// # Panics
    /// As [`PrefillGemms::compute`].
    pub fn warm(&mut self, step: TokenSpan) -> Result<(), Error> {
        self.run(step, 1)
    }

    fn run(&mut self, step: TokenSpan, layers: usize) -> Result<(), Error> {
        let [tokens, end] = [step.tokens, step.end()].map(|at| usize::try_from(at).expect("32 bits fit"));
        assert!((1..=self.step_tokens_max).contains(&tokens), "{step:?} of {}", self.step_tokens_max);
        assert!(end <= self.prompt_tokens_max, "{step:?} of {}", self.prompt_tokens_max);
        let visit = Visit::begin();
        let told = |error: DriverError| error.tell(TierId::Device, "computing a prefill");
        visit.to(&self.device).map_err(told)?;
        for layer in 0..layers {
            self.queue_layer(step, tokens, layer)?;
        }
        if self.blas.stream().finish(PATIENCE).map_err(told)? {
            return Ok(());
        }
        let why = format!("a prefill of {tokens} tokens did not end within a minute");
        Err(Error::DeviceLost { tier: TierId::Device, why })
    }

    fn queue_layer(&self, step: TokenSpan, tokens: usize, layer: usize) -> Result<(), Error> {
        let DenseShape { hidden, heads, head_dim, feed_forward, .. } = self.shape;
        let Matrices { weights, input, mixed, attended, output, widened, .. } = &self.matrices;
        let mut weight = weights[layer % weights.len()].address();
        let mut linear = |from: &DeviceMemory, inner: usize, columns: usize, to: &DeviceMemory| {
            let product = Product {
                rows: tokens,
                columns,
                inner,
                is_right_transposed: false,
                adds: false,
                count: 1,
                strides: [0; 3],
            };
            let places = Places { left: from.address(), right: weight, out: to.address() };
            weight += (inner * columns * BF16_BYTES) as u64;
            self.queue(&product, places, [from, to])
        };
        linear(input, hidden, self.shape.mixed(), mixed)?;
        self.queue_attention(step, tokens)?;
        linear(attended, heads * head_dim, hidden, output)?;
        linear(input, hidden, 2 * feed_forward, widened)?;
        linear(widened, feed_forward, hidden, output)
    }

    fn queue_attention(&self, step: TokenSpan, tokens: usize) -> Result<(), Error> {
        let DenseShape { kv_heads, head_dim, .. } = self.shape;
        let Matrices { mixed, keys, values, scores, attended, .. } = &self.matrices;
        let queries_per_key = self.shape.queries_per_key();
        let (all_rows, kept) = (tokens * queries_per_key, self.prompt_tokens_max * head_dim);
        for tile in tiles(step, self.shape.keys_per_tile(tokens)) {
            let first_row = tile.first_query * queries_per_key;
            let rows = all_rows - first_row;
            let skipped = (first_row * head_dim * BF16_BYTES) as u64;
            let of_keys = (tile.first_key * head_dim * BF16_BYTES) as u64;
            let looking = Product {
                rows,
                columns: tile.keys,
                inner: head_dim,
                is_right_transposed: true,
                adds: false,
                count: kv_heads,
                strides: [all_rows * head_dim, kept, rows * tile.keys],
            };
            let places = Places {
                left: mixed.address() + skipped,
                right: keys.address() + of_keys,
                out: scores.address(),
            };
            self.queue(&looking, places, [mixed, scores])?;
            let summing = Product {
                rows,
                columns: head_dim,
                inner: tile.keys,
                is_right_transposed: false,
                adds: tile.first_key > 0,
                count: kv_heads,
                strides: [rows * tile.keys, kept, all_rows * head_dim],
            };
            let places = Places {
                left: scores.address(),
                right: values.address() + of_keys,
                out: attended.address() + skipped,
            };
            self.queue(&summing, places, [scores, attended])?;
        }
        Ok(())
    }

    /// Queues a product from the first memory into the second.
    #[expect(unsafe_code, reason = "matrices are named by address")]
    fn queue(&self, product: &Product, places: Places, ends: [&DeviceMemory; 2]) -> Result<(), Error> {
        let spans = [(product.rows, product.inner, 0), (product.rows, product.columns, 2)];
        for ((rows, columns, side), (memory, from)) in
            spans.into_iter().zip([(ends[0], places.left), (ends[1], places.out)])
        {
            let elements = (product.count - 1) * product.strides[side] + rows * columns;
            let end = (from - memory.address()) + (elements * BF16_BYTES) as u64;
            assert!(end <= memory.bytes() as u64, "{product:?} ends at {end} of {}", memory.bytes());
        }
        // SAFETY: Z1: both ends lie in their memories (asserted), and weights, keys and values in theirs, for the shape that
        // sized them sizes the product, and the step's end is bounded (`run`). Z2: the caller has `&mut self` until the
        // stream is over, or gives the device up as lost.
        unsafe { self.blas.multiply(product, places) }
    }
}

impl Matrices {
    fn new(
        device: &Arc<Device>,
        shape: &DenseShape,
        tokens: usize,
        prompt: usize,
    ) -> Result<Self, DriverError> {
        let noise = noise();
        let memory = |elements: usize| {
            let memory = DeviceMemory::allocate(device, elements * BF16_BYTES)?;
            for offset in (0..memory.bytes()).step_by(noise.len()) {
                let length = noise.len().min(memory.bytes() - offset);
                memory.write(offset, &noise[..length])?;
            }
            Ok(memory)
        };
        let layer = shape.layer_weights();
        let told_apart = WEIGHT_BYTES.div_ceil(layer * BF16_BYTES).min(shape.layers);
        let weights = (0..told_apart).map(|_| memory(layer)).collect::<Result<_, DriverError>>()?;
        let kept = shape.kv_heads * prompt * shape.head_dim;
        let queries = tokens * shape.heads * shape.head_dim;
        Ok(Self {
            weights,
            input: memory(tokens * shape.hidden)?,
            mixed: memory(tokens * shape.mixed())?,
            keys: memory(kept)?,
            values: memory(kept)?,
            scores: memory(shape.scores_max(tokens))?,
            attended: memory(queries)?,
            output: memory(tokens * shape.hidden)?,
            widened: memory(tokens * 2 * shape.feed_forward)?,
        })
    }
}

/// 16 MiB of values between 1 and 2 of either sign: a product of zeros takes less power, and so less time.
fn noise() -> Vec<u8> {
    let mut state = 11_u64;
    let mut value = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bits = u16::try_from(state >> 48).expect("16 bits are left");
        (0x3f80 | (bits & 0x807f)).to_ne_bytes()
    };
    (0..8 << 20).flat_map(|_| value()).collect()
}

#[cfg(test)]
mod tests {
    use super::noise;

    #[test]
    fn noise_is_of_both_signs_and_between_one_and_two() {
        let values: Vec<f32> = noise()
            .chunks_exact(2)
            .map(|pair| f32::from_bits(u32::from(u16::from_ne_bytes([pair[0], pair[1]])) << 16))
            .collect();
        assert!(values.iter().all(|value| (1.0..2.0).contains(&value.abs())));
        let positive = values.iter().filter(|value| **value > 0.0).count();
        assert!((values.len() / 3..values.len() * 2 / 3).contains(&positive), "{positive}");
    }
}
