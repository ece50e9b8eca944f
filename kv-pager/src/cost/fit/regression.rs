//! A robust linear regression on relative errors.
//! Layer 6. Uses nothing. Known by: `cost::fit`.
//!
//! Iteratively reweighted least squares with Huber's weights, then one step without what lies beyond [`TRIM`] typical
//! errors. A little of each column's weight is added to its diagonal, so that columns which the samples don't tell apart
//! share their effect instead of cancelling each other.

/// The most columns.
pub(super) const COLUMNS_MAX: usize = 26;
/// Where Huber's loss turns from square to straight, in typical errors.
const HUBER: f64 = 1.345;
/// Beyond how many typical errors a sample has no say.
const TRIM: f64 = 4.0;
/// Steps of reweighting; the weights settle in fewer.
const STEPS: u32 = 30;
/// What is added to the diagonal, relative to it.
const RIDGE: f64 = 1e-9;

/// One sample: what multiplies each coefficient, and what came out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// By column.
    pub(super) features: [f64; COLUMNS_MAX],
    /// Positive.
    pub(super) observed: f64,
}

impl Row {
    /// The relative error of the prediction by `coefficients`.
    fn error(&self, coefficients: &[f64]) -> f64 {
        let predicted: f64 =
            coefficients.iter().zip(&self.features).map(|(factor, feature)| factor * feature).sum();
        (predicted - self.observed) / self.observed
    }
}

/// The coefficients of the first `columns` columns. `None` if there are fewer rows than columns.
pub(super) fn regress(rows: &[Row], columns: usize) -> Option<Vec<f64>> {
    if rows.len() < columns {
        return None;
    }
    let mut weights = vec![1.0; rows.len()];
    let mut coefficients = solve(rows, &weights, columns);
    for _ in 0..STEPS {
        let typical = typical_error(rows, &coefficients);
        for (weight, row) in weights.iter_mut().zip(rows) {
            let far = row.error(&coefficients).abs() / typical;
            *weight = if far <= HUBER { 1.0 } else { HUBER / far };
        }
        coefficients = solve(rows, &weights, columns);
    }
    let typical = typical_error(rows, &coefficients);
    for (weight, row) in weights.iter_mut().zip(rows) {
        *weight = if row.error(&coefficients).abs() <= TRIM * typical { 1.0 } else { 0.0 };
    }
    Some(solve(rows, &weights, columns))
}

/// The spread of the errors as their median tells it, at least a ten-thousandth.
fn typical_error(rows: &[Row], coefficients: &[f64]) -> f64 {
    let mut errors: Vec<f64> = rows.iter().map(|row| row.error(coefficients).abs()).collect();
    errors.sort_by(f64::total_cmp);
    (1.4826 * errors[errors.len() / 2]).max(1e-4)
}

/// Weighted least squares of the relative errors by the normal equations.
fn solve(rows: &[Row], weights: &[f64], columns: usize) -> Vec<f64> {
    let mut matrix = vec![vec![0.0; columns + 1]; columns];
    for (row, weight) in rows.iter().zip(weights) {
        let scaled = row.features.map(|feature| feature / row.observed);
        for (line, left) in matrix.iter_mut().zip(&scaled) {
            for (cell, right) in line[..columns].iter_mut().zip(&scaled) {
                *cell += weight * left * right;
            }
            line[columns] += weight * left;
        }
    }
    for (index, line) in matrix.iter_mut().enumerate() {
        line[index] = line[index] * (1.0 + RIDGE) + f64::MIN_POSITIVE;
    }
    eliminate(&mut matrix)
}

/// Gauss's elimination of a symmetric, positive matrix, whose diagonal needs no search for pivots.
fn eliminate(matrix: &mut [Vec<f64>]) -> Vec<f64> {
    let columns = matrix.len();
    for pivot in 0..columns {
        let (done, below) = matrix.split_at_mut(pivot + 1);
        let pivot_line = &done[pivot];
        for line in below {
            let factor = line[pivot] / pivot_line[pivot];
            for (cell, above) in line.iter_mut().zip(pivot_line).skip(pivot) {
                *cell -= factor * above;
            }
        }
    }
    let mut solution = vec![0.0; columns];
    for index in (0..columns).rev() {
        let known: f64 = (index + 1..columns).map(|other| matrix[index][other] * solution[other]).sum();
        solution[index] = (matrix[index][columns] - known) / matrix[index][index];
    }
    solution
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS_MAX, Row, regress};

    fn row(features: &[f64], observed: f64) -> Row {
        let mut row = Row { features: [0.0; COLUMNS_MAX], observed };
        row.features[..features.len()].copy_from_slice(features);
        row
    }

    #[test]
    fn a_line_is_found_though_every_fifth_sample_is_ten_times_too_slow() {
        let rows: Vec<Row> = (1..60)
            .map(|x| {
                let (at, slow) = (f64::from(x), if x % 5 == 0 { 10.0 } else { 1.0 });
                row(&[1.0, at], (7.0 + 3.0 * at) * slow)
            })
            .collect();
        let found = regress(&rows, 2).expect("enough rows");
        assert!((found[0] - 7.0).abs() < 0.01 && (found[1] - 3.0).abs() < 0.01, "{found:?}");
    }

    #[test]
    fn columns_that_are_the_same_share_their_effect() {
        let rows: Vec<Row> =
            (1..10).map(|x| row(&[f64::from(x), f64::from(x)], 4.0 * f64::from(x))).collect();
        let found = regress(&rows, 2).expect("enough rows");
        assert!((found[0] + found[1] - 4.0).abs() < 1e-3, "{found:?}");
    }

    #[test]
    fn too_few_samples_are_no_fit() {
        assert!(regress(&[row(&[1.0, 2.0], 3.0)], 2).is_none());
    }
}
