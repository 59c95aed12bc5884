//! What a matrix product is made of on each kind of machine.

use super::lanes::Portable;

/// Tiles of HEIGHT rows and WIDTH columns, and square blocks of BLOCK numbers a side.
pub(super) trait Tiles<const HEIGHT: usize, const WIDTH: usize, const BLOCK: usize>: Copy {
    /// The product of two panels of the same depth: of rows, stored column by column, and of
    /// columns.
    fn tile(self, left: &[[f32; HEIGHT]], right: &[[f32; WIDTH]], sums: &mut [[f32; WIDTH]; HEIGHT]);

    /// Exchanges rows and columns.
    fn transpose(self, block: &mut [[f32; BLOCK]; BLOCK]);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Tiles<H, W, B>, const H: usize, const W: usize, const B: usize>(tiles: T) {
        let mut block: [[f32; B]; B] =
            std::array::from_fn(|row| std::array::from_fn(|column| (100 * row + column) as f32));
        tiles.transpose(&mut block);
        for (row, line) in block.iter().enumerate() {
            for (column, number) in line.iter().enumerate() {
                assert_eq!(*number, (100 * column + row) as f32, "{row} {column}");
            }
        }
    }

    #[test]
    fn rows_become_columns_on_every_kind_of_machine() {
        check(Portable);
        #[cfg(target_arch = "x86_64")]
        {
            use crate::{Avx2, Avx512};
            Avx2::detect().into_iter().for_each(check);
            Avx512::detect().into_iter().for_each(check);
        }
    }
}
