//! A scatter of pairs that should be equal, with the line on which they would be.
//! Uses `plotters`. Known by: `report`.

use super::numbers::{Axis, short};
use super::palette::{AXIS, GRID, INK, series};
use super::{DRAWING, TEXT};
use plotters::prelude::*;

/// Pairs over two logarithmic axes.
#[derive(Clone, Debug)]
pub(crate) struct Points {
    /// Across.
    pub(crate) across: Axis,
    /// Up.
    pub(crate) up: Axis,
    /// Names and pairs, in the order of their colours.
    pub(crate) series: Vec<(String, Vec<(f64, f64)>)>,
}

impl Points {
    /// The drawing, as SVG.
    pub(super) fn draw(&self) -> String {
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, DRAWING).into_drawing_area();
        self.draw_on(&area).and_then(|()| area.present()).expect("a string takes all that is drawn");
        drop(area);
        svg
    }

    fn draw_on<'a>(
        &self,
        area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    ) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
        let both = Axis::logarithmic("");
        let pairs = || self.series.iter().flat_map(|(_, pairs)| pairs);
        let range = both.range(pairs().flat_map(|&(across, up)| [across, up]));
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .margin_right(18)
            .x_label_area_size(3 * TEXT)
            .y_label_area_size(4 * TEXT)
            .build_cartesian_2d(range.clone().log_scale(), range.clone().log_scale())?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(AXIS)
            .label_style(("sans-serif", TEXT).into_font().color(&INK))
            .x_desc(&self.across.name)
            .y_desc(&self.up.name)
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&|value| short(*value))
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        let ends = [(range.start, range.start), (range.end, range.end)];
        chart.draw_series(LineSeries::new(ends, AXIS))?;
        for (index, (_, pairs)) in self.series.iter().enumerate() {
            let usable = pairs.iter().filter(|(across, up)| *across > 0.0 && *up > 0.0);
            let mark = |&pair: &(f64, f64)| Circle::new(pair, 2, ShapeStyle::from(series(index)).filled());
            chart.draw_series(usable.map(mark))?;
        }
        Ok(())
    }
}
