//! A map: which of several won, over two axes.
//! Uses `plotters`. Known by: `report`.

use super::numbers::{Axis, short};
use super::palette::{AXIS, INK, series};
use super::{DRAWING, TEXT};
use plotters::prelude::*;

/// Winners over two axes of steps.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    /// Across.
    pub(crate) across: Axis,
    /// Up.
    pub(crate) up: Axis,
    /// The steps across.
    pub(crate) columns: Vec<f64>,
    /// The steps up, lowest first.
    pub(crate) rows: Vec<f64>,
    /// Who can win, in the order of their colours.
    pub(crate) names: Vec<String>,
    /// By row and column: who won, or nobody.
    pub(crate) winners: Vec<Vec<Option<usize>>>,
}

impl Map {
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
        let (columns, rows) = (self.columns.len().max(1), self.rows.len().max(1));
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .margin_right(18)
            .x_label_area_size(3 * TEXT)
            .y_label_area_size(5 * TEXT)
            .build_cartesian_2d((0..columns - 1).into_segmented(), (0..rows - 1).into_segmented())?;
        let label = |steps: &[f64], value: &SegmentValue<usize>| match value {
            SegmentValue::CenterOf(step) => steps.get(*step).map(|&value| short(value)).unwrap_or_default(),
            SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
        };
        chart
            .configure_mesh()
            .disable_mesh()
            .axis_style(AXIS)
            .label_style(("sans-serif", TEXT).into_font().color(&INK))
            .x_desc(&self.across.name)
            .y_desc(&self.up.name)
            .x_labels(columns.min(9))
            .y_labels(rows.min(9))
            .x_label_formatter(&|value| label(&self.columns, value))
            .y_label_formatter(&|value| label(&self.rows, value))
            .draw()?;
        for (row, winners) in self.winners.iter().enumerate().take(rows) {
            for (column, winner) in winners.iter().enumerate().take(columns) {
                let Some(winner) = *winner else { continue };
                let corners = [
                    (SegmentValue::Exact(column), SegmentValue::Exact(row)),
                    (end_of(column, columns), end_of(row, rows)),
                ];
                let mut cell = Rectangle::new(corners, series(winner).filled());
                cell.set_margin(1, 1, 1, 1);
                chart.draw_series([cell])?;
            }
        }
        Ok(())
    }
}

/// Where a step ends: where the next begins, or at the end of the axis.
fn end_of(step: usize, steps: usize) -> SegmentValue<usize> {
    if step + 1 < steps { SegmentValue::Exact(step + 1) } else { SegmentValue::Last }
}
