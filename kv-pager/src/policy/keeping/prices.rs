//! What it costs to have a block back, so that a victim is weighed by more than its chances.
//! Layer 8. Uses nothing. Known by: `cost_aware`, `pager`.
//!
//! Relative numbers: only their ratios matter. By depth, for a block far down its prompt attends to more and costs more to
//! compute; by whether a copy lies farther away, for then it need only be loaded.

/// Tokens of the unit in which depths and lengths are sorted into bands, whatever the size of a block.
const UNIT_TOKENS: u32 = 512;

/// How many bands of depth there are: 0, 1 to 3, 4 to 15, 16 to 63, and 64 or more times 512 tokens.
pub const DEPTH_BANDS: usize = 5;

/// The price of one block's return, by band of depth. All blocks of a tier's class have the same bytes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Prices {
    /// Where no copy is left: computing it again.
    pub computed: [f32; DEPTH_BANDS],
    /// Where a copy lies farther away: the cheaper of loading and computing.
    pub loaded: [f32; DEPTH_BANDS],
}

impl Prices {
    /// All blocks alike: what counts is hits.
    pub const EQUAL: Self = Self { computed: [1.0; DEPTH_BANDS], loaded: [1.0; DEPTH_BANDS] };

    /// The price of a block in a band.
    pub(super) fn of(&self, band: usize, is_backed: bool) -> f64 {
        f64::from(if is_backed { self.loaded[band] } else { self.computed[band] })
    }
}

/// How many whole units `blocks` blocks are.
pub(super) fn units(blocks: u32, tokens_per_block: u32) -> u32 {
    let units = u64::from(blocks) * u64::from(tokens_per_block) / u64::from(UNIT_TOKENS);
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// The band of a block that has `units` units before it.
pub(super) fn band(units: u32) -> usize {
    match units {
        0 => 0,
        1..=3 => 1,
        4..=15 => 2,
        16..=63 => 3,
        64.. => 4,
    }
}
