//! The cost of a lane: `t = alpha + gamma * copies + bytes / beta`, with gamma and beta by size of copy.
//! Layer 6. Uses `units`, `cost::real`. Known by: `cost`, `policy::plan`, `transfer`.
//!
//! - **C1** a prediction is finite and not negative, and allocates nothing;
//! - **C2** more bytes or more copies never take less time.
//!
//! The classes are kept as knots of one curve, the time of one copy by its size, so that they meet where they change:
//! a class that undercuts its neighbour would make a search over batch sizes jump.

use super::real;
use crate::units::{Bytes, Nanos};
use serde::{Deserialize, Serialize};

/// A batch as a lane feels it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Load {
    /// Bytes moved.
    pub bytes: Bytes,
    /// Copy calls that move them.
    pub copies: u32,
}

/// A point of the curve: one copy of `copy_bytes`, in a row of its like, takes `copy_ns`.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knot {
    /// Bytes of the copy; zero in the first knot, whose time is the call alone.
    pub copy_bytes: Bytes,
    /// Its time in nanoseconds.
    pub copy_ns: f64,
}

/// One size class, for people: what the curve says from `copy_bytes_from` to the next class.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SizeClass {
    /// The smallest copy in the class.
    pub copy_bytes_from: Bytes,
    /// What each copy call costs.
    pub gamma_ns: f64,
    /// The rate of its bytes.
    pub beta_bytes_per_s: f64,
}

/// What a lane takes for a batch. Plain data without heap, so that a plan reads it in a few nanoseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LaneCost {
    alpha_ns: f64,
    chunk_bytes: Bytes,
    knots: [Knot; Self::KNOTS_MAX],
    /// Nanoseconds a byte from each knot to the next; the last piece goes on for ever.
    slopes_ns: [f64; Self::KNOTS_MAX],
    count: usize,
}

impl LaneCost {
    /// The most knots of a lane.
    pub const KNOTS_MAX: usize = 8;

    /// A lane that takes `alpha_ns` before the first byte and is best used in chunks of `chunk_bytes`. What breaks C2 is
    /// mended, the largest copies being trusted most.
    ///
    /// # Panics
    /// If there are fewer than 2 or more than [`LaneCost::KNOTS_MAX`] knots, the first is not at zero bytes, or their sizes
    /// do not grow.
    pub fn new(alpha_ns: f64, chunk_bytes: Bytes, knots: &[Knot]) -> Self {
        assert!((2..=Self::KNOTS_MAX).contains(&knots.len()), "{} knots; a lane has 2 to 8", knots.len());
        assert!(knots[0].copy_bytes == Bytes::ZERO, "the first knot is the call alone, at zero bytes");
        assert!(knots.is_sorted_by(|a, b| a.copy_bytes < b.copy_bytes), "knots grow in size: {knots:?}");
        let mut lane = Self {
            alpha_ns: alpha_ns.max(0.0),
            chunk_bytes,
            knots: [Knot::default(); Self::KNOTS_MAX],
            slopes_ns: [0.0; Self::KNOTS_MAX],
            count: knots.len(),
        };
        for (kept, knot) in lane.knots.iter_mut().zip(knots) {
            *kept = Knot { copy_ns: knot.copy_ns.max(0.0), ..*knot };
        }
        lane.mend();
        lane
    }

    /// A lane with one size class.
    pub fn uniform(alpha_ns: f64, gamma_ns: f64, beta_bytes_per_s: f64, chunk_bytes: Bytes) -> Self {
        let large = Bytes::mib(64);
        let copy_ns = gamma_ns + real::from_bytes(large) * 1e9 / beta_bytes_per_s;
        let call = Knot { copy_bytes: Bytes::ZERO, copy_ns: gamma_ns };
        Self::new(alpha_ns, chunk_bytes, &[call, Knot { copy_bytes: large, copy_ns }])
    }

    /// C2 from the last knot down: a smaller copy is not slower than a larger one, and not better per byte.
    fn mend(&mut self) {
        for index in (0..self.count - 1).rev() {
            let (knot, next) = (self.knots[index], self.knots[index + 1]);
            let least_ns =
                next.copy_ns * real::from_bytes(knot.copy_bytes) / real::from_bytes(next.copy_bytes);
            let copy_ns = knot.copy_ns.clamp(least_ns, next.copy_ns);
            let width_bytes = real::from_bytes(next.copy_bytes) - real::from_bytes(knot.copy_bytes);
            self.knots[index].copy_ns = copy_ns;
            self.slopes_ns[index] = (next.copy_ns - copy_ns) / width_bytes;
        }
    }

    /// What comes before the first byte, once a batch, in nanoseconds.
    pub fn alpha_ns(&self) -> f64 {
        self.alpha_ns
    }

    /// The chunk that saturates the lane.
    pub fn chunk_bytes(&self) -> Bytes {
        self.chunk_bytes
    }

    /// The curve.
    pub fn knots(&self) -> &[Knot] {
        &self.knots[..self.count]
    }

    /// The classes that the curve means, smallest copies first; one fewer than knots.
    pub fn classes(&self) -> impl ExactSizeIterator<Item = SizeClass> + '_ {
        self.knots[..self.count - 1].iter().zip(self.slopes_ns).map(|(knot, slope_ns)| SizeClass {
            copy_bytes_from: knot.copy_bytes,
            gamma_ns: knot.copy_ns - slope_ns * real::from_bytes(knot.copy_bytes),
            beta_bytes_per_s: 1e9 / slope_ns,
        })
    }

    /// How long the lane works on `load`, without what is queued before it. `O(1)`.
    pub fn busy(&self, load: Load) -> Nanos {
        real::to_nanos(self.busy_ns(load))
    }

    /// [`LaneCost::busy`] without rounding.
    pub(crate) fn busy_ns(&self, load: Load) -> f64 {
        if load.copies == 0 { 0.0 } else { self.alpha_ns + self.stream_ns(load) }
    }

    /// The copies of `load` alone, in a row that has begun.
    pub(crate) fn stream_ns(&self, load: Load) -> f64 {
        if load.copies == 0 {
            return 0.0;
        }
        let copies = f64::from(load.copies);
        copies * self.copy_ns(real::from_bytes(load.bytes) / copies)
    }

    fn copy_ns(&self, copy_bytes: f64) -> f64 {
        let index = self.piece_of(copy_bytes);
        let knot = self.knots[index];
        knot.copy_ns + (copy_bytes - real::from_bytes(knot.copy_bytes)) * self.slopes_ns[index]
    }

    /// The piece of the curve that such a copy lies on.
    fn piece_of(&self, copy_bytes: f64) -> usize {
        // From the largest down: most copies are chunks.
        let mut classes = (1..self.count - 1).rev();
        classes.find(|&index| copy_bytes >= real::from_bytes(self.knots[index].copy_bytes)).unwrap_or(0)
    }

    /// The knot that most of the time of the copies of `load` comes from. Whoever corrects another one hardly changes that time, and
    /// goes on without end.
    pub(super) fn ruling_knot(&self, load: Load) -> usize {
        let copy_bytes = real::from_bytes(load.bytes) / f64::from(load.copies.max(1));
        let index = self.piece_of(copy_bytes);
        let (knot, next) = (self.knots[index], self.knots[index + 1]);
        let [from, to] = [knot, next].map(|knot| real::from_bytes(knot.copy_bytes));
        let way = (copy_bytes - from) / (to - from);
        index + usize::from(way * next.copy_ns > (1.0 - way) * knot.copy_ns)
    }

    /// The same lane where each byte takes `byte_ns` longer, or less where that is negative, but a copy no less than in `least`.
    pub(super) fn with_byte_ns(&self, byte_ns: f64, least: impl Fn(usize) -> f64) -> Self {
        let mut lane = *self;
        for (index, knot) in lane.knots[..lane.count].iter_mut().enumerate() {
            knot.copy_ns = (knot.copy_ns + byte_ns * real::from_bytes(knot.copy_bytes)).max(least(index));
        }
        lane.mend();
        lane
    }

    /// The same lane with every time multiplied, the curve by knot.
    pub(super) fn scaled(&self, alpha_factor: f64, knot_factor: impl Fn(usize) -> f64) -> Self {
        let mut lane = *self;
        lane.alpha_ns *= alpha_factor;
        for (index, knot) in lane.knots[..lane.count].iter_mut().enumerate() {
            knot.copy_ns *= knot_factor(index);
        }
        lane.mend();
        lane
    }
}

#[cfg(test)]
mod tests {
    use super::{Knot, LaneCost, Load};
    use crate::units::{Bytes, Nanos};

    fn load(bytes: u64, copies: u32) -> Load {
        Load { bytes: Bytes::new(bytes), copies }
    }

    #[test]
    fn one_class_is_the_formula() {
        let lane = LaneCost::uniform(7_000.0, 2_000.0, 50e9, Bytes::mib(16));
        assert_eq!(lane.busy(load(100_000_000, 6)), Nanos::new(7_000 + 6 * 2_000 + 2_000_000));
        assert_eq!(lane.busy(load(0, 0)), Nanos::ZERO);
        let class = lane.classes().next().expect("one class");
        assert!((class.beta_bytes_per_s / 50e9 - 1.0).abs() < 1e-9, "{class:?}");
    }

    #[test]
    fn a_bent_curve_is_mended_so_that_more_never_takes_less() {
        let knots = [(0, 9_000.0), (1 << 20, 5_000.0), (4 << 20, 80_000.0)];
        let knots = knots.map(|(bytes, copy_ns)| Knot { copy_bytes: Bytes::new(bytes), copy_ns });
        let lane = LaneCost::new(0.0, Bytes::mib(4), &knots);
        let mut before = 0.0;
        for bytes in (0..64).map(|step| step << 18) {
            let now = lane.busy_ns(load(bytes, 1));
            assert!(now >= before, "{bytes} bytes: {now} < {before}");
            assert!(lane.busy_ns(load(bytes, 2)) >= now, "{bytes} bytes in two copies");
            before = now;
        }
    }
}
