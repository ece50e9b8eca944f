//! The colours: names in the drawings, values in the page's style sheet, one set for light and one for dark.
//! Known by: `report`.
//!
//! A drawing is made once and shown on both grounds, so it can't hold real colours. It holds stand-ins, which the style
//! sheet replaces by attribute.

use plotters::style::RGBColor;
use std::fmt::Write as _;

/// Text.
pub(super) const INK: RGBColor = RGBColor(1, 1, 1);
/// Axes.
pub(super) const AXIS: RGBColor = RGBColor(2, 2, 2);
/// The grid.
pub(super) const GRID: RGBColor = RGBColor(3, 3, 3);

/// Stand-in, light and dark.
const GROUND: [(RGBColor, &str, &str); 3] =
    [(INK, "#3a3a38", "#c9c8c3"), (AXIS, "#8a8984", "#7d7c77"), (GRID, "#e6e4de", "#34342f")];

/// Light and dark, told apart with every common kind of colour blindness; the next starts over.
const SERIES: [(&str, &str); 8] = [
    ("#1f6fd6", "#6aaefb"),
    ("#c4540a", "#f59a4c"),
    ("#16803c", "#57c878"),
    ("#8a3ab9", "#c792ea"),
    ("#0b7a86", "#4fc6d3"),
    ("#b3265e", "#f27fae"),
    ("#7a6a12", "#d3c154"),
    ("#5b5a56", "#a5a49e"),
];

/// The stand-in of a series.
pub(super) fn series(index: usize) -> RGBColor {
    RGBColor(16, 16, u8::try_from(index % SERIES.len()).expect("there are few"))
}

/// The name of a series' colour in the style sheet.
pub(super) fn class(index: usize) -> String {
    format!("s{}", index % SERIES.len())
}

/// The rules that replace the stand-ins.
pub(super) fn style() -> String {
    let mut rules = String::new();
    let mut values = [String::new(), String::new()];
    let ground = GROUND.map(|(stand_in, light, dark)| (stand_in, light, dark));
    let all = ground
        .into_iter()
        .chain(SERIES.iter().enumerate().map(|(index, &(light, dark))| (series(index), light, dark)));
    for (number, (RGBColor(red, green, blue), light, dark)) in all.enumerate() {
        let stand_in = format!("#{red:02X}{green:02X}{blue:02X}");
        write!(
            rules,
            "svg [fill=\"{stand_in}\"]{{fill:var(--c{number})}}svg [stroke=\"{stand_in}\"]{{stroke:var(--c{number})}}"
        )
        .expect("a string takes everything");
        for (value, colour) in values.iter_mut().zip([light, dark]) {
            write!(value, "--c{number}:{colour};").expect("a string takes everything");
        }
        if let Some(index) = number.checked_sub(GROUND.len()) {
            write!(rules, ".{}{{background:var(--c{number})}}", class(index))
                .expect("a string takes everything");
        }
    }
    let [light, dark] = values;
    format!(":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}{rules}")
}
