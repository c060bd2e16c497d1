//! Small dense matrices on the stack, with the arithmetic that the controller's design needs.

use std::ops::{Add, Mul, Sub};

/// A matrix with `R` rows and `C` columns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Matrix<const R: usize, const C: usize>(pub(super) [[f64; C]; R]);

impl<const R: usize, const C: usize> Matrix<R, C> {
    pub(super) fn from_fn(mut entry: impl FnMut(usize, usize) -> f64) -> Self {
        Self(std::array::from_fn(|row| std::array::from_fn(|column| entry(row, column))))
    }

    pub(super) fn transposed(&self) -> Matrix<C, R> {
        Matrix::from_fn(|row, column| self.0[column][row])
    }

    pub(super) fn scaled(&self, factor: f64) -> Self {
        Self::from_fn(|row, column| factor * self.0[row][column])
    }

    /// Returns the largest magnitude of all entries.
    pub(super) fn largest(&self) -> f64 {
        self.0.iter().flatten().fold(0.0, |largest, entry| largest.max(entry.abs()))
    }
}

impl<const N: usize> Matrix<N, N> {
    pub(super) fn diagonal(entries: [f64; N]) -> Self {
        Self::from_fn(|row, column| if row == column { entries[row] } else { 0.0 })
    }

    /// Returns e^self by its power series. It is accurate for matrices with a norm up to about 10.
    pub(super) fn exponential(&self) -> Self {
        const TERMS: u32 = 60;
        let mut sum = Self::diagonal([1.0; N]);
        let mut term = sum;
        for n in 1..=TERMS {
            term = (term * *self).scaled(1.0 / f64::from(n));
            sum = sum + term;
        }
        sum
    }
}

impl<const R: usize, const N: usize, const C: usize> Mul<Matrix<N, C>> for Matrix<R, N> {
    type Output = Matrix<R, C>;

    fn mul(self, right: Matrix<N, C>) -> Matrix<R, C> {
        Matrix::from_fn(|row, column| (0..N).map(|i| self.0[row][i] * right.0[i][column]).sum())
    }
}

impl<const R: usize, const C: usize> Add for Matrix<R, C> {
    type Output = Self;

    fn add(self, right: Self) -> Self {
        Self::from_fn(|row, column| self.0[row][column] + right.0[row][column])
    }
}

impl<const R: usize, const C: usize> Sub for Matrix<R, C> {
    type Output = Self;

    fn sub(self, right: Self) -> Self {
        self + right.scaled(-1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_of_a_rotation_is_a_rotation() {
        let quarter = std::f64::consts::FRAC_PI_2;
        let turn = Matrix([[0.0, -quarter], [quarter, 0.0]]).exponential();
        assert!((turn - Matrix([[0.0, -1.0], [1.0, 0.0]])).largest() < 1e-12);
    }

    #[test]
    fn products_have_rows_of_the_left_and_columns_of_the_right() {
        let row = Matrix([[1.0, 2.0, 3.0]]);
        assert_eq!(row * row.transposed(), Matrix([[14.0]]));
        assert_eq!((row.transposed() * row).0[2], [3.0, 6.0, 9.0]);
    }
}
