//! Layers: how a layer-wise onboarding is cut into pieces.
//! Uses `lane::{books, chunk, options}`. Known by: `lane::issue`.
//!
//! - **L1** pieces cover a part's layers once, in order; a piece brings whole layers.

use super::LaneOptions;
use super::books::Books;
use super::chunk::LayerPiece;
use super::rank::EVENTS;
use crate::device::DeviceTier;
use crate::kernels::MOVES_MAX;
use kv_pager::tier::Move;

/// The pieces of a layer-wise onboarding; `None` where parts have to come whole. A batch is one chunk or is not split by
/// layers at all, so that a layer's fence stands behind all its parts.
pub(super) fn layer_pieces(
    books: &Books,
    (index, ring_bytes): (usize, u64),
    tier: &DeviceTier,
    options: &LaneOptions,
) -> Option<Vec<LayerPiece>> {
    let batch = &books.batches[index];
    if !batch.by_layer || batch.taken > 0 || batch.moves > MOVES_MAX {
        return None;
    }
    let group = books.waiting[0].group;
    let plan = &tier.ranks()[0].plans[group.index()];
    let has_kernels = tier.ranks().iter().all(|rank| rank.kernels.is_some());
    let fences = tier.fences();
    let is_ready = |part: &Move| {
        part.group == group && fences.is_known(part.source_fence) && fences.is_known(part.target_fence)
    };
    let is_uniform = books.waiting.iter().take(batch.moves).all(is_ready);
    if plan.layer_fragments == 0 || !has_kernels || !is_uniform {
        return None;
    }
    let layer_bytes = plan.fragment_bytes * u64::from(plan.layer_fragments);
    let pieces = layer_schedule(
        plan.fragments() / plan.layer_fragments,
        u32::try_from(options.layer_piece_bytes.as_u64().div_ceil(layer_bytes)).unwrap_or(u32::MAX),
    );
    let piece = |(first, layers): (u32, u32)| LayerPiece {
        fragment_first: first * plan.layer_fragments,
        fragments: layers * plan.layer_fragments,
    };
    let widest = pieces.iter().map(|(_, layers)| u64::from(*layers)).max().unwrap_or(0) * layer_bytes;
    let fits = pieces.len() < EVENTS / 2 && widest * batch.moves as u64 <= ring_bytes;
    fits.then(|| pieces.into_iter().map(piece).collect())
}

/// `(first layer, how many)`: two pieces of half the length, so that the first layers are there soon, then the rest.
fn layer_schedule(layers: u32, piece: u32) -> Vec<(u32, u32)> {
    let mut pieces = Vec::new();
    let mut first = 0;
    while first < layers {
        let length = if pieces.len() < 2 { piece.div_ceil(2) } else { piece };
        let length = length.clamp(1, layers - first);
        pieces.push((first, length));
        first += length;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::layer_schedule;

    #[test]
    fn layers_come_once_each_and_the_first_ones_soon() {
        for (layers, piece) in [(32, 2), (32, 1), (24, 16), (1, 8), (61, 8)] {
            let pieces = layer_schedule(layers, piece);
            let mut next = 0;
            for (first, length) in &pieces {
                assert_eq!(*first, next);
                assert!(*length >= 1);
                next += length;
            }
            assert_eq!(next, layers);
        }
        assert_eq!(layer_schedule(32, 2)[..3], [(0, 1), (1, 1), (2, 2)]);
    }
}
