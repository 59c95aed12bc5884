//! The matrix product, on one thread: blocks that fit the caches, packed into panels that the
//! machine's tile runs along.
//!
//! After Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008). It is
//! here, and not the `gemm` crate, because on the small matrices of BERT it is twice as fast with
//! AVX-512 and 1.3 times with AVX2.

mod pack;

use std::cell::RefCell;
use std::ops::Range;

use self::pack::{ask_for, ask_for_share, pack};
use super::lanes::Portable;
use super::machine::{self, Work};
use super::tiles::Tiles;

/// A view of a matrix in a slice, with its rows or its columns contiguous.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after the other.
    #[inline]
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// Rows that start every `row_stride` values.
    #[inline]
    pub fn strided(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    /// The same values with rows and columns exchanged.
    #[inline]
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// Where a product goes: a matrix whose rows start every `row_stride` values.
pub struct Output<'a> {
    /// From the first number of the first row on.
    pub values: &'a mut [f32],
    /// From one row to the next.
    pub row_stride: usize,
    /// Whether the product is added to what is there, or replaces it.
    pub add: bool,
}

/// `factor · left · right`.
pub fn multiply(factor: f32, left: Matrix, right: Matrix, output: Output) {
    assert_eq!(left.columns, right.rows, "the inner sizes of a product differ: a bug");
    assert!(left.columns > 0, "a product over nothing: a bug");
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(machine) = machine::Avx512::detect() {
            return machine.run(Product { tiles: machine, factor, left, right, output });
        }
        if let Some(machine) = machine::Avx2::detect() {
            return machine.run(Product { tiles: machine, factor, left, right, output });
        }
    }
    Product { tiles: Portable, factor, left, right, output }.run();
}

/// A product in tiles of HEIGHT rows and WIDTH columns, packed by blocks of BLOCK numbers a side.
struct Product<'a, T, const HEIGHT: usize, const WIDTH: usize, const BLOCK: usize> {
    tiles: T,
    factor: f32,
    left: Matrix<'a>,
    right: Matrix<'a>,
    output: Output<'a>,
}

/// Inner size of a product up to which its result is added to the output as one number, and not as
/// several one by one.
pub const ADDED_AT_ONCE: usize = DEPTH;

/// Inner size of a block: a panel of the left matrix stays in the first-level cache.
const DEPTH: usize = 512;

/// Columns of a block: its panels of the right matrix stay in the second-level cache, while those
/// of the left one pass by.
const COLUMNS: usize = 128;

/// Rows of a block: what is packed of the left matrix at once.
const ROWS: usize = 1_536;

thread_local! {
    /// The memory for packed blocks of the left and of the right matrix.
    static PACKED: RefCell<(Vec<f32>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

impl<T, const HEIGHT: usize, const WIDTH: usize, const BLOCK: usize> Work for Product<'_, T, HEIGHT, WIDTH, BLOCK>
where
    T: Tiles<HEIGHT, WIDTH, BLOCK>,
{
    #[inline(always)]
    fn run(self) {
        let Self { tiles, factor, left, right, output } = self;
        let (mut left_memory, mut right_memory) = PACKED.take();
        let mut sums = [[0.0; WIDTH]; HEIGHT];
        for depths in blocks(left.columns, DEPTH) {
            let add = output.add || depths.start > 0;
            for rows in blocks(left.rows, ROWS) {
                let left_panels = pack(tiles, left.transposed(), [&depths, &rows], &mut left_memory);
                for columns in blocks(right.columns, COLUMNS) {
                    let right_panels = pack(tiles, right, [&depths, &columns], &mut right_memory);
                    let next = columns.end..right.columns.min(columns.end + COLUMNS);
                    let panels = left_panels.len() / depths.len();
                    for (number, (left_panel, row)) in
                        left_panels.chunks_exact(depths.len()).zip(rows.clone().step_by(HEIGHT)).enumerate()
                    {
                        ask_for_share(right, [&depths, &next], [number, panels]);
                        let right_panels = right_panels.chunks_exact(depths.len());
                        for (right_panel, column) in right_panels.zip(columns.clone().step_by(WIDTH)) {
                            let width = WIDTH.min(columns.end - column);
                            let rows = row..rows.end.min(row + HEIGHT);
                            for row in rows.clone() {
                                ask_for(&output.values[row * output.row_stride + column..][..width]);
                            }
                            tiles.tile(left_panel, right_panel, &mut sums);
                            for (sums, row) in sums.iter().zip(rows) {
                                let place = &mut output.values[row * output.row_stride + column..][..width];
                                store(factor, sums, place, add);
                            }
                        }
                    }
                }
            }
        }
        PACKED.set((left_memory, right_memory));
    }
}

/// `0..size` in pieces of at most `block`.
fn blocks(size: usize, block: usize) -> impl Iterator<Item = Range<usize>> {
    (0..size).step_by(block).map(move |start| start..size.min(start + block))
}

/// A row of a tile to its place; whole rows without a loop over their width, which is known.
#[inline(always)]
fn store<const WIDTH: usize>(factor: f32, sums: &[f32; WIDTH], place: &mut [f32], add: bool) {
    match <&mut [f32; WIDTH]>::try_from(&mut *place) {
        Ok(place) if add => *place = std::array::from_fn(|i| place[i] + factor * sums[i]),
        Ok(place) => *place = std::array::from_fn(|i| factor * sums[i]),
        Err(_) => {
            for (value, sum) in place.iter_mut().zip(sums) {
                *value = factor * sum + if add { *value } else { 0.0 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, key: usize) -> Vec<f32> {
        (0..count).map(|index| ((index * 7_919 + key) % 1_009) as f32 / 1_009.0 - 0.5).collect()
    }

    /// Row by column, in f64.
    fn reference(left: Matrix, right: Matrix) -> Vec<f32> {
        let at = |matrix: Matrix, row, column| {
            f64::from(matrix.values[row * matrix.row_stride + column * matrix.column_stride])
        };
        let cell = |row, column| {
            (0..left.columns).map(|depth| at(left, row, depth) * at(right, depth, column)).sum::<f64>() as f32
        };
        (0..left.rows)
            .flat_map(|row| (0..right.columns).map(move |column| (row, column)))
            .map(|(row, column)| cell(row, column))
            .collect()
    }

    fn check(multiply: impl Fn(f32, Matrix, Matrix, Output)) {
        for (rows, depth, columns) in
            [(1, 1, 1), (12, 3, 32), (13, 64, 33), (27, 27, 64), (250, 300, 70), (5, 600, 1_100), (1_600, 20, 33)]
        {
            let (left, right) = (numbers(rows * depth, 1), numbers(depth * columns, 2));
            let lefts = [Matrix::new(&left, rows, depth), Matrix::new(&left, depth, rows).transposed()];
            let rights = [Matrix::new(&right, depth, columns), Matrix::new(&right, columns, depth).transposed()];
            for left in lefts {
                for right in rights {
                    for add in [false, true] {
                        // Room between the rows, which must stay as it is.
                        let row_stride = columns + 3;
                        let mut values = vec![1.0; rows * row_stride];
                        multiply(0.5, left, right, Output { values: &mut values, row_stride, add });
                        for (found, expected) in values.chunks(row_stride).zip(reference(left, right).chunks(columns)) {
                            for (found, expected) in found.iter().zip(expected) {
                                let expected = 0.5 * expected + f32::from(u8::from(add));
                                assert!(
                                    (found - expected).abs() < 1e-4,
                                    "{rows} {depth} {columns}: {found}, expected {expected}"
                                );
                            }
                            assert_eq!(found[columns..], [1.0; 3]);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn products_are_right_for_every_layout_and_size() {
        check(multiply);
    }

    #[test]
    fn products_are_right_on_every_kind_of_machine() {
        check(|factor, left, right, output| Product { tiles: Portable, factor, left, right, output }.run());
        #[cfg(target_arch = "x86_64")]
        if let Some(machine) = machine::Avx2::detect() {
            check(|factor, left, right, output| {
                machine.run(Product { tiles: machine, factor, left, right, output });
            });
        }
    }
}
