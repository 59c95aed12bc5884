//! Tiles of bytes.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256i, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_abs_epi8, _mm256_add_epi32, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_sign_epi8, _mm512_abs_epi8, _mm512_add_epi32,
    _mm512_dpbusd_epi32, _mm512_madd_epi16, _mm512_maddubs_epi16, _mm512_mask_sub_epi8, _mm512_movepi8_mask,
    _mm512_set1_epi16, _mm512_set1_epi32, _mm512_setzero_si512,
};
use std::mem::transmute;

/// As with tiles of numbers, in columns.
const AHEAD: usize = 128;

/// Defines a tile of bytes that multiplies as `$multiply` says: 4 weights of a row, 4 numbers of
/// each token, and the sums so far.
macro_rules! integer_tile {
    ($name:ident, $features:literal, $lanes:literal, $height:literal, $vector:ty, $fill:ident, $multiply:ident) => {
        #[target_feature(enable = $features)]
        pub fn $name<const P: usize>(
            left: &[[u32; $height]],
            right: [&[[u32; $lanes]]; P],
            start: [&[i32; $lanes]; P],
        ) -> [[[i32; $lanes]; $height]; P] {
            assert!(right.iter().all(|panel| panel.len() == left.len()), "the inner sizes of a product differ: a bug");
            let mut total = [[$fill(0); P]; $height];
            for h in 0..$height {
                for p in 0..P {
                    // SAFETY: a vector is so many numbers.
                    total[h][p] = unsafe { transmute::<[i32; $lanes], $vector>(*start[p]) };
                }
            }
            for k in 0..left.len() {
                let mut line = [$fill(0); P];
                for p in 0..P {
                    // SAFETY: a vector is so many words.
                    line[p] = unsafe { transmute::<[u32; $lanes], $vector>(right[p][k]) };
                }
                _mm_prefetch::<_MM_HINT_T0>(left.as_ptr().wrapping_add(k + AHEAD).cast());
                for h in 0..$height {
                    let left = $fill(left[k][h].cast_signed());
                    for p in 0..P {
                        total[h][p] = $multiply(left, line[p], total[h][p]);
                    }
                }
            }
            let mut sums = [[[0; $lanes]; $height]; P];
            for h in 0..$height {
                for p in 0..P {
                    // SAFETY: a vector is so many numbers.
                    sums[p][h] = unsafe { transmute::<$vector, [i32; $lanes]>(total[h][p]) };
                }
            }
            sums
        }
    };
}

integer_tile!(
    vnni_tile,
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma",
    16,
    8,
    __m512i,
    _mm512_set1_epi32,
    vnni_multiply
);

integer_tile!(
    avx512_tile,
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    16,
    8,
    __m512i,
    _mm512_set1_epi32,
    avx512_multiply
);

integer_tile!(avx2_tile, "avx2,fma", 8, 4, __m256i, _mm256_set1_epi32, avx2_multiply);

/// The weights are the operand without sign, hence the offset.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
#[inline]
fn vnni_multiply(weights: __m512i, tokens: __m512i, sums: __m512i) -> __m512i {
    _mm512_dpbusd_epi32(sums, weights, tokens)
}

/// Magnitudes times weights that took over the signs: two products are at most 2 · 127 · 127, which
/// 16 bits hold.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
#[inline]
fn avx512_multiply(weights: __m512i, tokens: __m512i, sums: __m512i) -> __m512i {
    let signed = _mm512_mask_sub_epi8(weights, _mm512_movepi8_mask(tokens), _mm512_setzero_si512(), weights);
    let pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(tokens), signed);
    _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
}

/// As with AVX-512.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn avx2_multiply(weights: __m256i, tokens: __m256i, sums: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(tokens), _mm256_sign_epi8(weights, tokens));
    _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}
