//! Parts of matrices in the order in which tiles read them, and in the caches by then.

use std::ops::Range;

use super::Matrix;
use crate::machine::prefetch;
use crate::tiles::Tiles;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Cuts some rows and columns into panels of PANEL columns, each row of a panel contiguous; the
/// last panel is filled up with zeros.
#[inline(always)]
pub(super) fn pack<'a, T, const HEIGHT: usize, const WIDTH: usize, const BLOCK: usize, const PANEL: usize>(
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
        // Row by row, since the numbers of a row lie together; into so many panels at once, since
        // each is a page of memory away.
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

/// The first `size` values that start a cache line: a vector that lies in two lines is loaded at
/// half the speed.
fn aligned(memory: &mut Vec<f32>, size: usize) -> &mut [f32] {
    let room = size + LINE / size_of::<f32>();
    if memory.len() < room {
        memory.resize(room, 0.0);
    }
    let start = memory.as_ptr().align_offset(LINE);
    &mut memory[start..][..size]
}

/// Asks for one of several shares of a block's cache lines, ahead of its packing: memory is slow,
/// and the tiles that are computed meanwhile do not need it.
#[inline(always)]
pub(super) fn ask_for_share(matrix: Matrix, [rows, columns]: [&Range<usize>; 2], [share, shares]: [usize; 2]) {
    let (lines, stride, line) = if matrix.column_stride == 1 {
        (rows, matrix.row_stride, columns)
    } else {
        (columns, matrix.column_stride, rows)
    };
    let number = |share: usize| lines.start + lines.len() * share / shares;
    for start in number(share)..number(share + 1) {
        ask_for(&matrix.values[start * stride..][line.clone()]);
    }
}

/// Asks for the cache lines of these numbers.
#[inline(always)]
pub(super) fn ask_for(numbers: &[f32]) {
    numbers.iter().step_by(LINE / size_of::<f32>()).for_each(prefetch);
}
