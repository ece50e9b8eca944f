//! A split of a request's cached blocks, priced.
//! Layer 8. Uses nothing. Known by: `policy::plan::{search, scan}`.

/// A way to split the cached blocks, counted from the first that is not ready: compute up to `meet`, load up to `end`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Split {
    pub(super) meet: u32,
    pub(super) end: u32,
    pub(super) front_ns: f64,
    pub(super) load_ns: f64,
    pub(super) rest_ns: f64,
    pub(super) finish_ns: f64,
    /// By how much it misses a deadline that counts.
    pub(super) late_ns: f64,
    /// What the aim makes small.
    pub(super) cost_ns: f64,
}

impl Split {
    /// The one that misses a deadline by less, then the one that costs less; itself if they are alike.
    pub(super) fn better<'s>(&'s self, other: &'s Self) -> &'s Self {
        let order = self.late_ns.total_cmp(&other.late_ns).then(self.cost_ns.total_cmp(&other.cost_ns));
        if order.is_le() { self } else { other }
    }
}
