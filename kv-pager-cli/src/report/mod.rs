//! Reports: one HTML file that needs nothing else, with charts for light and dark and for small screens.
//! Uses `plotters`. Known by: every command with `--report`.
//!
//! - **RP1** a page refers to nothing outside itself, and holds no script;
//! - **RP2** whatever a chart shows is told in words or numbers too: beside it, or in a table below.
//!
//! A command says what it found in plain numbers ([`Page`]); how that looks is decided here.

mod bars;
mod lines;
mod map;
mod numbers;
mod page;
mod palette;
mod points;
pub(crate) mod replay;

pub(crate) use bars::Bars;
pub(crate) use lines::{Line, Lines};
pub(crate) use map::Map;
pub(crate) use numbers::Axis;
pub(crate) use page::{Figure, Page, Rows, Section};
pub(crate) use points::Points;

/// Size of a drawing, in its own units: scaled to the width of the screen, where its text must stay readable.
const DRAWING: (u32, u32) = (520, 330);

/// Height of a text with what is above and below it, in the drawing's units.
const TEXT: u32 = 17;

#[cfg(test)]
mod tests;
