//! Tiles of the matrix product whose both sides were packed into panels.
#![allow(unsafe_code)]

use std::arch::x86_64::{__m256, __m512, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_fmadd_ps, _mm512_set1_ps};
use std::mem::transmute;

use super::transpose::{avx2_transpose, avx512_transpose};
use crate::machine::{Avx2, Avx512};
use crate::tiles::Tiles;

/// 24 of the 32 registers hold sums.
impl Tiles<12, 32, 16> for Avx512 {
    #[inline(always)]
    fn tile(self, left: &[[f32; 12]], right: &[[f32; 32]], sums: &mut [[f32; 32]; 12]) {
        // SAFETY: `self` is proof of the instructions.
        unsafe { avx512_tile(left, right, sums) }
    }

    #[inline(always)]
    fn transpose(self, block: &mut [[f32; 16]; 16]) {
        // SAFETY: `self` is proof of the instructions.
        unsafe { avx512_transpose(block) }
    }
}

/// 12 of the 16 registers hold sums.
impl Tiles<6, 16, 8> for Avx2 {
    #[inline(always)]
    fn tile(self, left: &[[f32; 6]], right: &[[f32; 16]], sums: &mut [[f32; 16]; 6]) {
        // SAFETY: `self` is proof of the instructions.
        unsafe { avx2_tile(left, right, sums) }
    }

    #[inline(always)]
    fn transpose(self, block: &mut [[f32; 8]; 8]) {
        // SAFETY: `self` is proof of the instructions.
        unsafe { avx2_transpose(block) }
    }
}

/// Defines a tile of two vectors a row. Vectors are transmuted for the reason given in
/// [`tile`](super::tile).
macro_rules! tile {
    ($name:ident, $features:literal, $height:literal, $lanes:literal, $vector:ty, $fill:ident, $fused:ident) => {
        #[target_feature(enable = $features)]
        fn $name(left: &[[f32; $height]], right: &[[f32; 2 * $lanes]], sums: &mut [[f32; 2 * $lanes]; $height]) {
            let mut total = [[$fill(0.0); 2]; $height];
            for (left, right) in left.iter().zip(right) {
                // SAFETY: two vectors are so many numbers.
                let line = unsafe { transmute::<[f32; 2 * $lanes], [$vector; 2]>(*right) };
                for h in 0..$height {
                    let left = $fill(left[h]);
                    for half in 0..2 {
                        total[h][half] = $fused(left, line[half], total[h][half]);
                    }
                }
            }
            for h in 0..$height {
                // SAFETY: as above.
                sums[h] = unsafe { transmute::<[$vector; 2], [f32; 2 * $lanes]>(total[h]) };
            }
        }
    };
}

tile!(avx512_tile, "avx512f", 12, 16, __m512, _mm512_set1_ps, _mm512_fmadd_ps);
tile!(avx2_tile, "avx2,fma", 6, 8, __m256, _mm256_set1_ps, _mm256_fmadd_ps);
