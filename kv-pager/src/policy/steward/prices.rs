//! What having a block back costs: loaded from the next tier, or computed, by depth.
//! Layer 8. Uses `ids`, `tier`, `cost`, `policy::{keeping, view}`. Known by: `steward`.
//!
//! Marginal times: of one block among many, in chunks and steps as large as they should be.

use crate::cost::{CostModel, Load, TokenSpan, real};
use crate::ids::TierId;
use crate::policy::View;
use crate::policy::keeping::{DEPTH_BANDS, Prices};
use crate::tier::LaneEnds;
use crate::units::{Bytes, Nanos};

/// Tokens before a block of each band, about.
const BAND_TOKENS: [u32; DEPTH_BANDS] = [256, 1_024, 5_120, 20_480, 49_152];
/// A step that fills a device.
const STEP_TOKENS: u32 = 2_048;
/// The band whose price is 1.
const UNIT_BAND: usize = 1;

/// Nanoseconds of a lane for `bytes` among many; `None` if it was never measured.
fn move_ns(costs: &CostModel, ends: LaneEnds, bytes: Bytes) -> Option<f64> {
    let lane = costs.lane(ends)?;
    let chunk_ns =
        real::from_nanos(lane.busy(Load { bytes: lane.chunk_bytes(), copies: 1 })) - lane.alpha_ns();
    Some(chunk_ns * real::from_bytes(bytes) / real::from_bytes(lane.chunk_bytes()).max(1.0))
}

/// The same, whole; zero if it was never measured.
pub(super) fn move_time(costs: &CostModel, ends: LaneEnds, bytes: Bytes) -> Nanos {
    real::to_nanos(move_ns(costs, ends, bytes).unwrap_or(0.0))
}

fn compute_ns(costs: &CostModel, context: u32, tokens: u32) -> f64 {
    let step = TokenSpan { start: context, tokens: STEP_TOKENS };
    real::from_nanos(costs.prefill().in_steps(STEP_TOKENS).span(step)) * f64::from(tokens)
        / f64::from(STEP_TOKENS)
}

/// What computing a block of `tokens` tokens takes that has `depth` others before it.
pub(super) fn compute_time(costs: &CostModel, depth: u32, tokens: u32) -> Nanos {
    real::to_nanos(compute_ns(costs, depth.saturating_mul(tokens), tokens))
}

/// What lanes take to bring so many blocks of each tier to the device: two hops work at once, and the slower one counts.
pub(super) fn load_ns(
    costs: &CostModel,
    block_bytes: &[Bytes; TierId::COUNT],
    blocks: &[u32; TierId::COUNT],
) -> f64 {
    let [_, host, file] = blocks.map(f64::from);
    let hop = |source: TierId, target: TierId| {
        move_ns(costs, LaneEnds { source, target }, block_bytes[source.index()]).unwrap_or(0.0)
    };
    let up_ns = (host + file) * hop(TierId::Host, TierId::Device);
    up_ns.max(file * hop(TierId::File, TierId::Host))
}

/// The prices of blocks in `tier`, relative to that of computing one near the front of its prompt.
pub(super) fn prices(
    view: &View<'_>,
    tier: TierId,
    block_bytes: &[Bytes; TierId::COUNT],
    tokens_per_block: u32,
) -> Prices {
    let Some(costs) = view.prospects().costs else { return Prices::EQUAL };
    let unit_ns = compute_ns(costs, BAND_TOKENS[UNIT_BAND], tokens_per_block);
    let below = tier.farther().filter(|below| view.has(*below) && view.can_demote_from(tier));
    let load_ns = below.and_then(|below| {
        move_ns(costs, LaneEnds { source: below, target: tier }, block_bytes[below.index()])
    });
    if unit_ns <= 0.0 {
        return Prices::EQUAL;
    }
    let price = |least_ns: f64| {
        BAND_TOKENS.map(|context| {
            let compute_ns = compute_ns(costs, context, tokens_per_block);
            #[expect(clippy::cast_possible_truncation, reason = "a ratio needs no more than 24 bits")]
            let price = (compute_ns.min(least_ns) / unit_ns) as f32;
            price
        })
    };
    let returned = price(load_ns.unwrap_or(f64::INFINITY));
    Prices { computed: returned, loaded: returned }
}
