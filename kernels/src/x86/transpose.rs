//! Square blocks with rows and columns exchanged, in registers: the compiler would gather the
//! numbers one by one.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256, __m256i, __m512, __m512i, _mm256_blendv_ps, _mm256_permutevar8x32_ps, _mm256_setzero_ps,
    _mm512_permutex2var_ps, _mm512_setzero_ps,
};
use std::mem::transmute;

/// Defines the exchange of rows and columns in halves of halves: blocks of so many numbers a side
/// are `$swap`ped across the diagonal of those twice as large.
macro_rules! transpose {
    ($name:ident, $features:literal, $lanes:literal, $vector:ty, $zero:ident, $swap:ident, [$($step:literal),*]) => {
        #[target_feature(enable = $features)]
        pub fn $name(block: &mut [[f32; $lanes]; $lanes]) {
            let mut rows = [$zero(); $lanes];
            for row in 0..$lanes {
                // SAFETY: a vector is so many numbers.
                rows[row] = unsafe { transmute::<[f32; $lanes], $vector>(block[row]) };
            }
            $(
                for row in 0..$lanes {
                    if row & $step == 0 {
                        (rows[row], rows[row + $step]) = $swap::<$step>(rows[row], rows[row + $step]);
                    }
                }
            )*
            for row in 0..$lanes {
                // SAFETY: as above.
                block[row] = unsafe { transmute::<$vector, [f32; $lanes]>(rows[row]) };
            }
        }
    };
}

transpose!(avx512_transpose, "avx512f", 16, __m512, _mm512_setzero_ps, avx512_swap, [8, 4, 2, 1]);
transpose!(avx2_transpose, "avx2", 8, __m256, _mm256_setzero_ps, avx2_swap, [4, 2, 1]);

/// The first row with the second one's numbers in every other run of STEP, and the second with the
/// first one's in the others.
#[target_feature(enable = "avx512f")]
#[inline]
fn avx512_swap<const STEP: usize>(first: __m512, second: __m512) -> (__m512, __m512) {
    const SECOND: usize = 16;
    // SAFETY: a vector is so many numbers.
    let vector = |lanes: [i32; 16]| unsafe { transmute::<[i32; 16], __m512i>(lanes) };
    let even = |j: usize| if j & STEP == 0 { j } else { SECOND + j - STEP };
    let odd = |j: usize| if j & STEP == 0 { j + STEP } else { SECOND + j };
    (
        _mm512_permutex2var_ps(first, vector(std::array::from_fn(|j| even(j) as i32)), second),
        _mm512_permutex2var_ps(first, vector(std::array::from_fn(|j| odd(j) as i32)), second),
    )
}

/// As with AVX-512.
#[target_feature(enable = "avx2")]
#[inline]
fn avx2_swap<const STEP: usize>(first: __m256, second: __m256) -> (__m256, __m256) {
    // SAFETY: a vector is so many numbers.
    let vector = |lanes: [i32; 8]| unsafe { transmute::<[i32; 8], __m256i>(lanes) };
    let exchanged = vector(std::array::from_fn(|j| (j ^ STEP) as i32));
    // SAFETY: as above.
    let odd =
        unsafe { transmute::<__m256i, __m256>(vector(std::array::from_fn(|j| if j & STEP == 0 { 0 } else { -1 }))) };
    (
        _mm256_blendv_ps(first, _mm256_permutevar8x32_ps(second, exchanged), odd),
        _mm256_blendv_ps(_mm256_permutevar8x32_ps(first, exchanged), second, odd),
    )
}
