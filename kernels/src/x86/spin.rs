//! Arithmetic without any memory.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256, __m512, _mm256_add_ps, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_add_ps, _mm512_fmadd_ps, _mm512_set1_ps,
};
use std::mem::transmute;

use crate::machine::{Avx2, Avx512};

impl Avx512 {
    /// Multiplies and adds 24 vectors so many times, in registers.
    pub fn spin(self, rounds: usize) -> [f32; 16] {
        // SAFETY: `self` is proof of the instructions.
        unsafe { avx512_spin(rounds) }
    }
}

impl Avx2 {
    /// Multiplies and adds 12 vectors so many times, in registers.
    pub fn spin(self, rounds: usize) -> [f32; 8] {
        // SAFETY: `self` is proof of the instructions.
        unsafe { avx2_spin(rounds) }
    }
}

macro_rules! spin {
    ($name:ident, $features:literal, $lanes:literal, $sums:literal, $vector:ty, $fill:ident, $add:ident, $fused:ident) => {
        #[target_feature(enable = $features)]
        fn $name(rounds: usize) -> [f32; $lanes] {
            let (factor, term) = ($fill(std::hint::black_box(0.999)), $fill(std::hint::black_box(1e-3)));
            let mut sums = [$fill(0.5); $sums];
            for _ in 0..rounds {
                for number in 0..$sums {
                    sums[number] = $fused(sums[number], factor, term);
                }
            }
            let mut total = sums[0];
            for number in 1..$sums {
                total = $add(total, sums[number]);
            }
            // SAFETY: a vector is so many numbers.
            unsafe { transmute::<$vector, [f32; $lanes]>(total) }
        }
    };
}

spin!(avx512_spin, "avx512f", 16, 24, __m512, _mm512_set1_ps, _mm512_add_ps, _mm512_fmadd_ps);
spin!(avx2_spin, "avx2,fma", 8, 12, __m256, _mm256_set1_ps, _mm256_add_ps, _mm256_fmadd_ps);
