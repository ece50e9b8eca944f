//! Axes, and numbers as a person reads them.
//! Known by: `report`.

/// One direction of a chart.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// What it measures, and in what.
    pub(crate) name: String,
    /// Whether equal steps are equal factors.
    pub(crate) is_logarithmic: bool,
}

impl Axis {
    /// Equal steps are equal differences.
    pub(crate) fn linear(name: &str) -> Self {
        Self { name: name.to_owned(), is_logarithmic: false }
    }

    /// Equal steps are equal factors.
    pub(crate) fn logarithmic(name: &str) -> Self {
        Self { name: name.to_owned(), is_logarithmic: true }
    }

    /// A range that holds all `values` with some room; from zero if the axis is linear.
    pub(super) fn range(&self, values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
        let usable = values.filter(|value| value.is_finite() && (!self.is_logarithmic || *value > 0.0));
        let (low, high) = usable
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        match (low <= high, self.is_logarithmic) {
            (false, _) => 1.0..10.0,
            (true, true) => low / 1.15..high * 1.15,
            (true, false) if high <= 0.0 => 0.0..1.0,
            (true, false) => 0.0..high * 1.05,
        }
    }
}

/// Three digits at most, and a letter for thousands: `0.137`, `18.3k`, `2M`.
pub(super) fn short(value: f64) -> String {
    let (value, letter) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{letter}")
}
