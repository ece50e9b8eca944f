//! A bar chart: values of several series, by category, side by side or on one another.
//! Uses `plotters`. Known by: `report`.

use super::numbers::{Axis, short};
use super::palette::{AXIS, GRID, INK, series};
use super::{DRAWING, TEXT};
use plotters::prelude::*;

/// Values by category and series.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    /// Up; linear.
    pub(crate) up: Axis,
    /// What stands beside each other.
    pub(crate) categories: Vec<String>,
    /// Names and values, one for each category.
    pub(crate) series: Vec<(String, Vec<f64>)>,
    /// Whether series stand on one another.
    pub(crate) is_stacked: bool,
}

/// Share of a category's width that its bars take.
const FILLED: f64 = 0.76;

impl Bars {
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
        let bars = self.rectangles();
        let up = self.up.range(bars.iter().map(|bar| bar.high));
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .margin_right(18)
            .x_label_area_size(2 * TEXT)
            .y_label_area_size(4 * TEXT)
            .build_cartesian_2d(0.0..as_float(self.categories.len().max(1)), up)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(AXIS)
            .label_style(("sans-serif", TEXT).into_font().color(&INK))
            .y_desc(&self.up.name)
            .y_labels(6)
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        for bar in &bars {
            let corners = [(bar.left, bar.low), (bar.right, bar.high)];
            chart.draw_series([Rectangle::new(corners, series(bar.series).filled())])?;
        }
        let (width, height) = DRAWING;
        let inner = as_float(width as usize) - as_float(4 * TEXT as usize) - 30.0;
        for (place, name) in self.categories.iter().enumerate() {
            let middle = as_float(4 * TEXT as usize)
                + 6.0
                + inner * (as_float(place) + 0.5) / as_float(self.categories.len());
            let anchor = plotters::style::text_anchor::Pos::new(
                plotters::style::text_anchor::HPos::Center,
                plotters::style::text_anchor::VPos::Bottom,
            );
            let style = ("sans-serif", TEXT).into_font().color(&INK).pos(anchor);
            area.draw(&Text::new(name.as_str(), (rounded(middle), rounded(f64::from(height) - 8.0)), style))?;
        }
        Ok(())
    }

    fn rectangles(&self) -> Vec<Bar> {
        let mut bars = Vec::new();
        for place in 0..self.categories.len() {
            let mut low = 0.0;
            for (index, (_, values)) in self.series.iter().enumerate() {
                let Some(&value) = values.get(place) else { continue };
                let width = if self.is_stacked { FILLED } else { FILLED / as_float(self.series.len()) };
                let shift = if self.is_stacked { 0.0 } else { width * as_float(index) };
                let left = as_float(place) + (1.0 - FILLED) / 2.0 + shift;
                bars.push(Bar { series: index, left, right: left + width * 0.96, low, high: low + value });
                if self.is_stacked {
                    low += value;
                }
            }
        }
        bars
    }
}

#[derive(Debug)]
struct Bar {
    series: usize,
    left: f64,
    right: f64,
    low: f64,
    high: f64,
}

#[expect(clippy::cast_precision_loss, reason = "categories and widths are few")]
fn as_float(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, reason = "a place in a drawing of some hundred units")]
fn rounded(place: f64) -> i32 {
    place.round() as i32
}
