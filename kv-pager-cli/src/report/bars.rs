//! A bar chart: values of several series, by category, side by side. Bars stand where the names fit under them, and lie otherwise.
//! Uses `plotters`. Known by: `report`.

use super::numbers::{Axis, short};
use super::palette::{AXIS, GRID, INK, series};
use super::{DRAWING, TEXT};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Values by category and series.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    /// Along the bars; linear.
    pub(crate) along: Axis,
    /// What stands beside each other.
    pub(crate) categories: Vec<String>,
    /// Names and values, one for each category.
    pub(crate) series: Vec<(String, Vec<f64>)>,
}

/// Share of a category's width that its bars take.
const FILLED: f64 = 0.76;

/// A letter's width at most, as a share of the text's height: of common fonts, in names of mixed letters.
const LETTER: f64 = 0.56;

/// Room around the chart.
const MARGIN: u32 = 6;

/// Room at its right, where half of the last number stands out.
const MARGIN_RIGHT: u32 = 18;

/// Room for the numbers at the side of standing bars.
const NUMBERS: u32 = 4 * TEXT;

/// How high a lying bar is, and what is between two categories.
const BAR: u32 = 9;

impl Bars {
    /// The drawing, as SVG.
    pub(super) fn draw(&self) -> String {
        let is_lying = !self.do_names_fit();
        let size = if is_lying { (DRAWING.0, self.lying_height()) } else { DRAWING };
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let drawn = if is_lying { self.draw_lying(&area) } else { self.draw_standing(&area) };
        drawn.and_then(|()| area.present()).expect("a string takes all that is drawn");
        drop(area);
        svg
    }

    /// Whether each name has room under its bars.
    fn do_names_fit(&self) -> bool {
        let room = f64::from(DRAWING.0 - NUMBERS - MARGIN - MARGIN_RIGHT) / as_float(self.categories.len());
        f64::from(self.names_width()) < room
    }

    fn names_width(&self) -> u32 {
        let letters = self.categories.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        rounded(as_float(letters) * LETTER * f64::from(TEXT)).unsigned_abs() + TEXT / 2
    }

    fn lying_height(&self) -> u32 {
        let bars = u32::try_from(self.series.len()).expect("there are few").max(2);
        let categories = u32::try_from(self.categories.len()).expect("there are few");
        3 * TEXT + 2 * MARGIN + categories * (bars + 1) * BAR
    }

    fn draw_standing<'a>(&self, area: &DrawingArea<SVGBackend<'a>, Shift>) -> Drawn<'a> {
        let bars = self.bars();
        let along = self.along.range(bars.iter().map(|bar| bar.value));
        let mut chart = ChartBuilder::on(area)
            .margin(MARGIN)
            .margin_right(MARGIN_RIGHT)
            .x_label_area_size(2 * TEXT)
            .y_label_area_size(NUMBERS)
            .build_cartesian_2d(0.0..self.width(), along)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(AXIS)
            .label_style(("sans-serif", TEXT).into_font().color(&INK))
            .y_desc(&self.along.name)
            .y_labels(6)
            .y_label_formatter(&|value| short(*value))
            .draw()?;
        for bar in &bars {
            let corners = [(bar.begin, 0.0), (bar.end, bar.value)];
            chart.draw_series([Rectangle::new(corners, series(bar.series).filled())])?;
        }
        let style = text(HPos::Center, VPos::Bottom);
        for (place, name) in self.categories.iter().enumerate() {
            let (middle, _) = chart.backend_coord(&(as_float(place) + 0.5, 0.0));
            area.draw(&Text::new(name.as_str(), (middle, below(area)), style.clone()))?;
        }
        Ok(())
    }

    /// The first category is uppermost.
    fn draw_lying<'a>(&self, area: &DrawingArea<SVGBackend<'a>, Shift>) -> Drawn<'a> {
        let bars = self.bars();
        let along = self.along.range(bars.iter().map(|bar| bar.value));
        let names = self.names_width();
        let mut chart = ChartBuilder::on(area)
            .margin(MARGIN)
            .margin_right(MARGIN_RIGHT)
            .x_label_area_size(3 * TEXT)
            .y_label_area_size(names)
            .build_cartesian_2d(along, 0.0..self.width())?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(AXIS)
            .label_style(("sans-serif", TEXT).into_font().color(&INK))
            .x_desc(&self.along.name)
            .x_labels(5)
            .x_label_formatter(&|value| short(*value))
            .draw()?;
        for bar in &bars {
            let corners = [(0.0, self.width() - bar.begin), (bar.value, self.width() - bar.end)];
            chart.draw_series([Rectangle::new(corners, series(bar.series).filled())])?;
        }
        let style = text(HPos::Right, VPos::Center);
        for (place, name) in self.categories.iter().enumerate() {
            let (left, middle) = chart.backend_coord(&(0.0, self.width() - as_float(place) - 0.5));
            area.draw(&Text::new(name.as_str(), (left - 6, middle), style.clone()))?;
        }
        Ok(())
    }

    /// The categories' widths together; there is room for one at least.
    fn width(&self) -> f64 {
        as_float(self.categories.len().max(1))
    }

    fn bars(&self) -> Vec<Bar> {
        let width = FILLED / as_float(self.series.len());
        let bar = |place: usize, index: usize, value: f64| {
            let begin = as_float(place) + (1.0 - FILLED) / 2.0 + width * as_float(index);
            Bar { series: index, begin, end: begin + width * 0.96, value }
        };
        let places = 0..self.categories.len();
        let in_place = |place: usize| {
            let values = self.series.iter().enumerate();
            values.filter_map(move |(index, (_, values))| Some(bar(place, index, *values.get(place)?)))
        };
        places.flat_map(in_place).collect()
    }
}

type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// One value: a bar from `begin` to `end` across, in widths of a category.
#[derive(Debug)]
struct Bar {
    series: usize,
    begin: f64,
    end: f64,
    value: f64,
}

fn text(across: HPos, up: VPos) -> TextStyle<'static> {
    ("sans-serif", TEXT).into_font().color(&INK).pos(Pos::new(across, up))
}

/// Where names stand under standing bars.
fn below(area: &DrawingArea<SVGBackend<'_>, Shift>) -> i32 {
    let (_, height) = area.dim_in_pixel();
    i32::try_from(height).expect("a drawing of some hundred units") - 8
}

#[expect(clippy::cast_precision_loss, reason = "categories and letters are few")]
fn as_float(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, reason = "a width in a drawing of some hundred units")]
fn rounded(width: f64) -> i32 {
    width.round() as i32
}
