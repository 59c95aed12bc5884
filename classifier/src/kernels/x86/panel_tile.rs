//! Tiles of the matrix product whose both sides were packed into panels.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

use crate::kernels::machine::{Avx2, Avx512};

impl Avx512 {
    /// The product of a panel of 12 rows, stored column by column, and one of 32 columns: 24 of the 32 registers hold sums.
    pub fn panel_tile(self, left: &[[f32; 12]], right: &[[f32; 32]], sums: &mut [[f32; 32]; 12]) {
        // SAFETY: `self` is proof of the instructions.
        unsafe { avx512_tile(left, right, sums) }
    }
}

impl Avx2 {
    /// The product of a panel of 6 rows, stored column by column, and one of 16 columns: 12 of the 16 registers hold sums.
    pub fn panel_tile(self, left: &[[f32; 6]], right: &[[f32; 16]], sums: &mut [[f32; 16]; 6]) {
        // SAFETY: `self` is proof of the instructions.
        unsafe { avx2_tile(left, right, sums) }
    }
}

/// Defines a tile of two vectors a row. Intrinsics, because the compiler does not keep loops over this many sums in registers.
macro_rules! tile {
    ($name:ident, $features:literal, $height:literal, $lanes:literal, $zero:ident, $load:ident, $store:ident, $fill:ident, $fused:ident) => {
        #[target_feature(enable = $features)]
        fn $name(left: &[[f32; $height]], right: &[[f32; 2 * $lanes]], sums: &mut [[f32; 2 * $lanes]; $height]) {
            let mut total = [[$zero(); 2]; $height];
            for (left, right) in left.iter().zip(right) {
                // SAFETY: both halves lie inside the row, which is two vectors long.
                let (low, high) = unsafe { ($load(right.as_ptr()), $load(right.as_ptr().add($lanes))) };
                for (total, left) in total.iter_mut().zip(left) {
                    let left = $fill(*left);
                    total[0] = $fused(left, low, total[0]);
                    total[1] = $fused(left, high, total[1]);
                }
            }
            for (sums, total) in sums.iter_mut().zip(total) {
                // SAFETY: as above.
                unsafe {
                    $store(sums.as_mut_ptr(), total[0]);
                    $store(sums.as_mut_ptr().add($lanes), total[1]);
                }
            }
        }
    };
}

tile!(
    avx512_tile,
    "avx512f",
    12,
    16,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps
);

tile!(
    avx2_tile,
    "avx2,fma",
    6,
    8,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps
);
