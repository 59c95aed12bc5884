//! Rows of matrices: those that a matrix has of a batch's tokens, and those of a table, forward and
//! backward.

use kernels::vectorised;

/// The tokens of a packed batch that a matrix has rows for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rows<'a> {
    /// All of them.
    Tokens,
    /// The first of each text, where the texts start (cumulative, with the end of the last).
    First(&'a [usize]),
}

impl Rows<'_> {
    /// The token that a row is of.
    #[inline(always)]
    pub fn token(self, row: usize) -> usize {
        match self {
            Self::Tokens => row,
            Self::First(starts) => starts[row],
        }
    }
}

/// Copies rows of `table`, any number of times each, to `found`.
pub(super) fn lookup(table: &[f32], width: usize, rows: impl Iterator<Item = usize>, found: &mut [f32]) {
    for (row, found) in rows.zip(found.chunks_exact_mut(width)) {
        found.copy_from_slice(&table[row * width..][..width]);
    }
}

/// Adds the gradients of the rows that were found to those of the table's.
pub(super) fn lookup_backward(gradient: &[f32], width: usize, rows: impl Iterator<Item = usize>, table: &mut [f32]) {
    for (row, gradient) in rows.zip(gradient.chunks_exact(width)) {
        add_to(&mut table[row * width..][..width], gradient);
    }
}

vectorised! {
    /// Adds values one by one.
    pub(super) fn add_to(sums: &mut [f32], values: &[f32]) {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
    }
}
