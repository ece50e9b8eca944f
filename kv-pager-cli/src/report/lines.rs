//! A line chart: values of several series over one axis.
//! Uses `plotters`. Known by: `report`.

use super::numbers::{Axis, short};
use super::palette::{AXIS, GRID, INK, series};
use super::{DRAWING, TEXT};
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

/// One series.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// What it shows.
    pub(crate) name: String,
    /// Places and values, in the order of the places.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Several series over one axis.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    /// Across.
    pub(crate) across: Axis,
    /// Up; linear.
    pub(crate) up: Axis,
    /// The series, in the order of their colours.
    pub(crate) series: Vec<Line>,
    /// Whether single values are marked; for few of them.
    pub(crate) is_marked: bool,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

impl Lines {
    /// The drawing, as SVG.
    pub(super) fn draw(&self) -> String {
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, DRAWING).into_drawing_area();
        let points = || self.series.iter().flat_map(|line| &line.points);
        let across = self.across.range(points().map(|point| point.0));
        let up = self.up.range(points().map(|point| point.1));
        let drawn = if self.across.is_logarithmic {
            self.draw_on(&area, across.log_scale(), up)
        } else {
            let across = points().map(|point| point.0).fold(across.end, f64::min)..across.end;
            self.draw_on(&area, RangedCoordf64::from(across), up)
        };
        drawn.and_then(|()| area.present()).expect("a string takes all that is drawn");
        drop(area);
        svg
    }

    fn draw_on<'a, X>(
        &self,
        area: &Area<'a>,
        across: impl plotters::coord::ranged1d::AsRangedCoord<CoordDescType = X, Value = f64>,
        up: std::ops::Range<f64>,
    ) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>
    where
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .margin_right(18)
            .x_label_area_size(3 * TEXT)
            .y_label_area_size(4 * TEXT)
            .build_cartesian_2d(across, up)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(AXIS)
            .label_style(("sans-serif", TEXT).into_font().color(&INK))
            .x_desc(&self.across.name)
            .y_desc(&self.up.name)
            .x_labels(7)
            .y_labels(6)
            .x_label_formatter(&|value| short(*value))
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        for (index, line) in self.series.iter().enumerate() {
            let stroke = ShapeStyle::from(series(index)).stroke_width(2);
            chart.draw_series(LineSeries::new(line.points.iter().copied(), stroke))?;
            if self.is_marked {
                let mark = |&point| Circle::new(point, 3, ShapeStyle::from(series(index)).filled());
                chart.draw_series(line.points.iter().map(mark))?;
            }
        }
        Ok(())
    }
}
