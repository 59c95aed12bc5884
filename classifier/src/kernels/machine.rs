//! What needs `unsafe`, and nothing else: code for the vector instructions that this machine turns out to have.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

/// Proof that this machine has AVX-512.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    /// What the machine says; it is asked once.
    pub fn detect() -> Option<Self> {
        let has_it = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && Avx2::detect().is_some();
        has_it.then_some(Self(()))
    }

    /// The product of a panel of 12 rows, stored column by column, and one of 32 columns: 24 of the 32 registers hold sums.
    pub fn tile(self, left: &[[f32; 12]], right: &[[f32; 32]], sums: &mut [[f32; 32]; 12]) {
        // SAFETY: `self` is proof of the instructions.
        unsafe { avx512_tile(left, right, sums) }
    }
}

/// Proof that this machine has AVX2 and fused multiply-add.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// What the machine says; it is asked once.
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }

    /// The product of a panel of 6 rows, stored column by column, and one of 16 columns: 12 of the 16 registers hold sums.
    pub fn tile(self, left: &[[f32; 6]], right: &[[f32; 16]], sums: &mut [[f32; 16]; 6]) {
        // SAFETY: `self` is proof of the instructions.
        unsafe { avx2_tile(left, right, sums) }
    }
}

/// Defines a tile of two vectors a row. Intrinsics, because the compiler does not keep loops over this many sums in registers.
#[cfg(target_arch = "x86_64")]
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

#[cfg(target_arch = "x86_64")]
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

#[cfg(target_arch = "x86_64")]
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

/// Defines a function over slices that is compiled for AVX-512, for AVX2 and for the baseline; each call takes the best that
/// this machine has. What it calls must be `#[inline(always)]` to be compiled along.
macro_rules! vectorised {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code)]
        $visibility fn $name($($argument: $type),*) {
            #[inline(always)]
            fn portable($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($argument: $type),*) {
                    portable($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) {
                    portable($($argument),*)
                }
                if $crate::kernels::Avx512::detect().is_some() {
                    // SAFETY: the machine has just said that it has these instructions.
                    return unsafe { avx512($($argument),*) };
                }
                if $crate::kernels::Avx2::detect().is_some() {
                    // SAFETY: as above.
                    return unsafe { avx2($($argument),*) };
                }
            }
            portable($($argument),*)
        }
    };
}
pub(crate) use vectorised;
