//! The weights of the reference model, derived from a seed.
//! Uses `random`. Known by: `engine`.

use super::arithmetic::WIDTH;
use crate::random::Random;
use crate::trace::VOCABULARY;

/// Values of the hidden layer between the two matrices that follow attention.
const INNER: usize = 2 * WIDTH;

/// One layer's matrices, each stored by input.
#[derive(Debug)]
pub(super) struct LayerWeights {
    pub(super) query: [[f32; WIDTH]; WIDTH],
    pub(super) key: [[f32; WIDTH]; WIDTH],
    pub(super) value: [[f32; WIDTH]; WIDTH],
    pub(super) output: [[f32; WIDTH]; WIDTH],
    pub(super) widen: [[f32; INNER]; WIDTH],
    pub(super) narrow: [[f32; WIDTH]; INNER],
}

/// All of a model's weights.
#[derive(Debug)]
pub(super) struct Weights {
    /// A vector for each token, also what logits are products with.
    pub(super) embedding: Vec<[f32; WIDTH]>,
    pub(super) layers: Vec<LayerWeights>,
}

impl Weights {
    /// The weights of `seed` for `layers` layers.
    pub(super) fn new(seed: u64, layers: usize) -> Self {
        let mut random = Random::new(seed);
        let embedding = (0..VOCABULARY).map(|_| std::array::from_fn(|_| random.signed_unit())).collect();
        let layers = (0..layers)
            .map(|_| LayerWeights {
                query: matrix(&mut random),
                key: matrix(&mut random),
                value: matrix(&mut random),
                output: matrix(&mut random),
                widen: matrix(&mut random),
                narrow: matrix(&mut random),
            })
            .collect();
        Self { embedding, layers }
    }
}

/// A matrix that keeps the size of what it multiplies, roughly: the variance of an entry is near `1 / IN`.
fn matrix<const IN: usize, const OUT: usize>(random: &mut Random) -> [[f32; OUT]; IN] {
    let scale = if IN == WIDTH { 0.3 } else { 0.2 };
    std::array::from_fn(|_| std::array::from_fn(|_| random.signed_unit() * scale))
}
