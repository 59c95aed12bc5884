//! Rows of a table, forward and backward, on slices.

use super::linear::add_to;

/// Copies rows of `table`, any number of times each, to `found`.
pub(crate) fn lookup(table: &[f32], width: usize, rows: impl Iterator<Item = usize>, found: &mut [f32]) {
    for (row, found) in rows.zip(found.chunks_exact_mut(width)) {
        found.copy_from_slice(&table[row * width..][..width]);
    }
}

/// Adds the gradients of the rows that were found to those of the table's.
pub(crate) fn lookup_backward(gradient: &[f32], width: usize, rows: impl Iterator<Item = usize>, table: &mut [f32]) {
    for (row, gradient) in rows.zip(gradient.chunks_exact(width)) {
        add_to(&mut table[row * width..][..width], gradient);
    }
}
