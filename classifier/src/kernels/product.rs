//! The matrix product, on one thread: blocks that fit the caches, packed into panels that the machine's tile runs along.
//!
//! After Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008). It is here, and not the `gemm`
//! crate, because on the small matrices of BERT it is twice as fast with AVX-512 and 1.3 times with AVX2.

use std::cell::RefCell;
use std::ops::Range;

use super::lanes::Portable;
use super::machine::{self, Work, prefetch};

/// A view of a matrix in a slice, with its rows or its columns contiguous.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after the other.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// Rows that start every `row_stride` values.
    pub fn strided(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    /// The same values with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Asks for one of several shares of a block's cache lines, ahead of its packing: memory is slow, and the tiles that are
    /// computed meanwhile do not need it.
    #[inline(always)]
    fn ask_for(self, [rows, columns]: [&Range<usize>; 2], [share, shares]: [usize; 2]) {
        let (lines, stride, line) = if self.column_stride == 1 {
            (rows, self.row_stride, columns)
        } else {
            (columns, self.column_stride, rows)
        };
        let number = |share: usize| lines.start + lines.len() * share / shares;
        for start in number(share)..number(share + 1) {
            let values = &self.values[start * stride..][line.clone()];
            values.iter().step_by(LINE / size_of::<f32>()).for_each(prefetch);
        }
    }
}

/// Where a product goes: a matrix whose rows start every `row_stride` values.
pub(crate) struct Output<'a> {
    pub values: &'a mut [f32],
    pub row_stride: usize,
    /// Whether the product is added to what is there, or replaces it.
    pub add: bool,
}

/// `factor · left · right`.
pub(crate) fn multiply(factor: f32, left: Matrix, right: Matrix, output: Output) {
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

/// What a kind of machine does of a product: tiles of HEIGHT rows and WIDTH columns, and blocks of BLOCK by BLOCK numbers.
trait Tiles<const HEIGHT: usize, const WIDTH: usize, const BLOCK: usize>: Copy {
    /// The product of two panels of the same depth: of rows, stored column by column, and of columns.
    fn tile(self, left: &[[f32; HEIGHT]], right: &[[f32; WIDTH]], sums: &mut [[f32; WIDTH]; HEIGHT]);

    /// Exchanges rows and columns.
    fn transpose(self, block: &mut [[f32; BLOCK]; BLOCK]);
}

#[cfg(target_arch = "x86_64")]
impl Tiles<12, 32, 16> for machine::Avx512 {
    #[inline(always)]
    fn tile(self, left: &[[f32; 12]], right: &[[f32; 32]], sums: &mut [[f32; 32]; 12]) {
        self.panel_tile(left, right, sums);
    }

    #[inline(always)]
    fn transpose(self, block: &mut [[f32; 16]; 16]) {
        self.transpose(block);
    }
}

#[cfg(target_arch = "x86_64")]
impl Tiles<6, 16, 8> for machine::Avx2 {
    #[inline(always)]
    fn tile(self, left: &[[f32; 6]], right: &[[f32; 16]], sums: &mut [[f32; 16]; 6]) {
        self.panel_tile(left, right, sums);
    }

    #[inline(always)]
    fn transpose(self, block: &mut [[f32; 8]; 8]) {
        self.transpose(block);
    }
}

/// Small enough for the compiler to keep in the registers of any machine.
impl Tiles<4, 8, 4> for Portable {
    #[inline(always)]
    fn tile(self, left: &[[f32; 4]], right: &[[f32; 8]], sums: &mut [[f32; 8]; 4]) {
        let mut total = [[0.0_f32; 8]; 4];
        for (left, right) in left.iter().zip(right) {
            for (total, left) in total.iter_mut().zip(left) {
                for (total, right) in total.iter_mut().zip(right) {
                    *total += left * right;
                }
            }
        }
        *sums = total;
    }

    #[inline(always)]
    fn transpose(self, block: &mut [[f32; 4]; 4]) {
        let rows = *block;
        *block = std::array::from_fn(|row| std::array::from_fn(|column| rows[column][row]));
    }
}

/// A product in tiles.
struct Product<'a, T> {
    tiles: T,
    factor: f32,
    left: Matrix<'a>,
    right: Matrix<'a>,
    output: Output<'a>,
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Inner size of a product up to which its result is added to the output as one number, and not as several one by one.
pub(crate) const ADDED_AT_ONCE: usize = DEPTH;

/// Inner size of a block: a panel of the left matrix stays in the first-level cache.
const DEPTH: usize = 512;

/// Columns of a block: its panels of the right matrix stay in the second-level cache, while those of the left one pass by.
const COLUMNS: usize = 128;

/// Rows of a block: what is packed of the left matrix at once.
const ROWS: usize = 1_536;

thread_local! {
    /// The memory for packed blocks of the left and of the right matrix.
    static PACKED: RefCell<(Vec<f32>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// Work of any kind of machine, whose sizes its tiles determine.
macro_rules! work {
    ($machine:ty) => {
        impl Work for Product<'_, $machine> {
            #[inline(always)]
            fn run(self) {
                self.compute();
            }
        }
    };
}
work!(Portable);
#[cfg(target_arch = "x86_64")]
work!(machine::Avx512);
#[cfg(target_arch = "x86_64")]
work!(machine::Avx2);

impl<T> Product<'_, T> {
    #[inline(always)]
    fn compute<const HEIGHT: usize, const WIDTH: usize, const BLOCK: usize>(self)
    where
        T: Tiles<HEIGHT, WIDTH, BLOCK>,
    {
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
                        right.ask_for([&depths, &next], [number, panels]);
                        let right_panels = right_panels.chunks_exact(depths.len());
                        for (right_panel, column) in right_panels.zip(columns.clone().step_by(WIDTH)) {
                            let width = WIDTH.min(columns.end - column);
                            let rows = row..rows.end.min(row + HEIGHT);
                            for row in rows.clone() {
                                let place = &output.values[row * output.row_stride + column..][..width];
                                place.iter().step_by(LINE / size_of::<f32>()).for_each(prefetch);
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

/// Cuts some rows and columns into panels of PANEL columns, each row of a panel contiguous; the last panel is filled up with
/// zeros.
#[inline(always)]
fn pack<'a, T, const HEIGHT: usize, const WIDTH: usize, const BLOCK: usize, const PANEL: usize>(
    tiles: T,
    matrix: Matrix,
    [rows, columns]: [&Range<usize>; 2],
    memory: &'a mut Vec<f32>,
) -> &'a [[f32; PANEL]]
where
    T: Tiles<HEIGHT, WIDTH, BLOCK>,
{
    let panels = aligned(memory, rows.len() * columns.len().div_ceil(PANEL) * PANEL).as_chunks_mut::<PANEL>().0;
    if matrix.column_stride == 1 {
        // Row by row, since the numbers of a row lie together; into so many panels at once, since each is a page of memory away.
        const TOGETHER: usize = 16;
        for (panels, first) in panels.chunks_mut(TOGETHER * rows.len()).zip(columns.clone().step_by(TOGETHER * PANEL)) {
            let columns = first..columns.end.min(first + TOGETHER * PANEL);
            for (number, row) in rows.clone().enumerate() {
                let (whole, rest) = matrix.values[row * matrix.row_stride..][columns.clone()].as_chunks::<PANEL>();
                let mut lines = panels[number..].iter_mut().step_by(rows.len());
                for (values, line) in whole.iter().zip(lines.by_ref()) {
                    *line = *values;
                }
                if let Some(line) = lines.next() {
                    *line = [0.0; PANEL];
                    line[..rest.len()].copy_from_slice(rest);
                }
            }
        }
        return panels;
    }
    for (panel, first) in panels.chunks_exact_mut(rows.len()).zip(columns.clone().step_by(PANEL)) {
        for side in 0..PANEL.div_ceil(BLOCK) {
            let first = first + side * BLOCK;
            for (lines, row) in panel.chunks_mut(BLOCK).zip(rows.clone().step_by(BLOCK)) {
                let mut block = [[0.0; BLOCK]; BLOCK];
                for (line, column) in block.iter_mut().zip(first..columns.end.min(first + PANEL)) {
                    fill(line, &matrix.values[column * matrix.column_stride + row..][..lines.len()]);
                }
                tiles.transpose(&mut block);
                for (line, block) in lines.iter_mut().zip(&block) {
                    match block.first_chunk() {
                        // A panel that is narrower than a block.
                        Some(narrow) => *line = *narrow,
                        None => line.as_chunks_mut().0[side] = *block,
                    }
                }
            }
        }
    }
    panels
}

/// Copies so many values; what is left of the line stays as it is.
#[inline(always)]
fn fill<const SIZE: usize>(line: &mut [f32; SIZE], values: &[f32]) {
    match values.first_chunk() {
        Some(whole) => *line = *whole,
        None => line[..values.len()].copy_from_slice(values),
    }
}

/// The first `size` values that start a cache line: a vector that lies in two lines is loaded at half the speed.
fn aligned(memory: &mut Vec<f32>, size: usize) -> &mut [f32] {
    let room = size + LINE / size_of::<f32>();
    if memory.len() < room {
        memory.resize(room, 0.0);
    }
    let start = memory.as_ptr().align_offset(LINE);
    &mut memory[start..][..size]
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
