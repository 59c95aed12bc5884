//! The tiles of machines with AVX-512 and AVX2.
//!
//! Intrinsics, because the compiler does not keep loops over this many sums in registers: with three panels, 24 of the 32
//! registers of AVX-512 hold sums, and 12 of the 16 of AVX2.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256, __m256i, __m512, __m512i, _mm_load_ss, _mm256_abs_epi8, _mm256_add_epi32, _mm256_add_ps,
    _mm256_broadcastss_ps, _mm256_fmadd_ps, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_sign_epi8, _mm512_abs_epi8, _mm512_add_epi32, _mm512_add_ps,
    _mm512_broadcastss_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_madd_epi16, _mm512_maddubs_epi16,
    _mm512_mask_sub_epi8, _mm512_movepi8_mask, _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_si512,
};
use std::mem::transmute;

use super::lanes::{Edge, Left, Machine, Scales, depth, rescale};
use super::machine::{Avx2, Avx512, Vnni};

impl Machine<16, 8> for Avx512 {
    fn tile<const P: usize>(self, left: Left, right: [&[[f32; 16]]; P], edge: Edge<8>, sums: [&mut [[f32; 16]]; P]) {
        // SAFETY: `self` is proof of the instructions.
        unsafe {
            match left.row {
                1 => avx512_tile::<P, true>(left, right, edge, sums),
                _ => avx512_tile::<P, false>(left, right, edge, sums),
            }
        }
    }

    const OFFSET: i32 = 0;

    fn integer_tile<const P: usize>(
        self,
        left: &[[u32; 8]],
        right: [&[[u32; 16]]; P],
        start: [&[i32; 16]; P],
    ) -> [[[i32; 16]; 8]; P] {
        // SAFETY: `self` is proof of the instructions.
        unsafe { avx512_integer_tile(left, right, start) }
    }

    fn rescale(self, sums: &[[i32; 16]; 8], scales: Scales<16, 8>, edge: Edge<8>, out: &mut [[f32; 16]]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn compiled(sums: &[[i32; 16]; 8], scales: Scales<16, 8>, edge: Edge<8>, out: &mut [[f32; 16]]) {
            rescale::<true, 16, 8>(sums, scales, edge, out);
        }
        // SAFETY: `self` is proof of the instructions.
        unsafe { compiled(sums, scales, edge, out) }
    }
}

impl Machine<16, 8> for Vnni {
    fn tile<const P: usize>(self, left: Left, right: [&[[f32; 16]]; P], edge: Edge<8>, sums: [&mut [[f32; 16]]; P]) {
        // SAFETY: `self` is proof of the instructions, which AVX-512 is part of.
        unsafe {
            match left.row {
                1 => avx512_tile::<P, true>(left, right, edge, sums),
                _ => avx512_tile::<P, false>(left, right, edge, sums),
            }
        }
    }

    const OFFSET: i32 = 128;

    fn integer_tile<const P: usize>(
        self,
        left: &[[u32; 8]],
        right: [&[[u32; 16]]; P],
        start: [&[i32; 16]; P],
    ) -> [[[i32; 16]; 8]; P] {
        // SAFETY: `self` is proof of the instructions.
        unsafe { vnni_tile(left, right, start) }
    }

    fn rescale(self, sums: &[[i32; 16]; 8], scales: Scales<16, 8>, edge: Edge<8>, out: &mut [[f32; 16]]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn compiled(sums: &[[i32; 16]; 8], scales: Scales<16, 8>, edge: Edge<8>, out: &mut [[f32; 16]]) {
            rescale::<true, 16, 8>(sums, scales, edge, out);
        }
        // SAFETY: `self` is proof of the instructions.
        unsafe { compiled(sums, scales, edge, out) }
    }
}

impl Machine<8, 4> for Avx2 {
    fn tile<const P: usize>(self, left: Left, right: [&[[f32; 8]]; P], edge: Edge<4>, sums: [&mut [[f32; 8]]; P]) {
        // SAFETY: `self` is proof of the instructions.
        unsafe {
            match left.row {
                1 => avx2_tile::<P, true>(left, right, edge, sums),
                _ => avx2_tile::<P, false>(left, right, edge, sums),
            }
        }
    }

    const OFFSET: i32 = 0;

    fn integer_tile<const P: usize>(
        self,
        left: &[[u32; 4]],
        right: [&[[u32; 8]]; P],
        start: [&[i32; 8]; P],
    ) -> [[[i32; 8]; 4]; P] {
        // SAFETY: `self` is proof of the instructions.
        unsafe { avx2_integer_tile(left, right, start) }
    }

    fn rescale(self, sums: &[[i32; 8]; 4], scales: Scales<8, 4>, edge: Edge<4>, out: &mut [[f32; 8]]) {
        #[target_feature(enable = "avx2,fma")]
        fn compiled(sums: &[[i32; 8]; 4], scales: Scales<8, 4>, edge: Edge<4>, out: &mut [[f32; 8]]) {
            rescale::<true, 8, 4>(sums, scales, edge, out);
        }
        // SAFETY: `self` is proof of the instructions.
        unsafe { compiled(sums, scales, edge, out) }
    }
}

/// Defines a tile of numbers; `CONTIGUOUS` where the numbers of a column lie side by side on the left.
///
/// Vectors are transmuted and not loaded through pointers, since the latter is checked again and again in builds with debug
/// assertions.
macro_rules! tile {
    ($name:ident, $features:literal, $lanes:literal, $height:literal, $vector:ty, $fill:ident, $broadcast:ident, $add:ident, $fused:ident) => {
        #[target_feature(enable = $features)]
        fn $name<const P: usize, const CONTIGUOUS: bool>(
            left: Left,
            right: [&[[f32; $lanes]]; P],
            edge: Edge<$height>,
            mut sums: [&mut [[f32; $lanes]]; P],
        ) {
            let depth = depth::<$lanes, $height, P>(left, &right, &sums);
            let mut total = [[$fill(0.0); P]; $height];
            for h in 0..$height {
                for p in 0..P {
                    total[h][p] = $fill(edge.bias[h]);
                    if edge.add {
                        // SAFETY: a vector is so many numbers.
                        total[h][p] = $add(total[h][p], unsafe { transmute::<[f32; $lanes], $vector>(sums[p][h]) });
                    }
                }
            }
            let rows: [usize; $height] = std::array::from_fn(|h| if CONTIGUOUS { h } else { h * left.row });
            let mut column = left.values.as_ptr();
            for k in 0..depth {
                let mut line = [$fill(0.0); P];
                for p in 0..P {
                    // SAFETY: a vector is so many numbers.
                    line[p] = unsafe { transmute::<[f32; $lanes], $vector>(right[p][k]) };
                }
                for h in 0..$height {
                    // SAFETY: `depth` has found the number of the last column and row to be inside the slice.
                    let left = $broadcast(unsafe { _mm_load_ss(column.wrapping_add(rows[h])) });
                    for p in 0..P {
                        total[h][p] = $fused(left, line[p], total[h][p]);
                    }
                }
                column = column.wrapping_add(left.step);
            }
            for h in 0..$height {
                for p in 0..P {
                    // SAFETY: a vector is so many numbers.
                    sums[p][h] = unsafe { transmute::<$vector, [f32; $lanes]>(total[h][p]) };
                }
            }
            if let Some(finish) = edge.finish {
                sums.iter_mut().for_each(|sums| finish.apply::<true>(sums[..$height].as_flattened_mut()));
            }
        }
    };
}

tile!(
    avx512_tile,
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    16,
    8,
    __m512,
    _mm512_set1_ps,
    _mm512_broadcastss_ps,
    _mm512_add_ps,
    _mm512_fmadd_ps
);

tile!(avx2_tile, "avx2,fma", 8, 4, __m256, _mm256_set1_ps, _mm256_broadcastss_ps, _mm256_add_ps, _mm256_fmadd_ps);

/// Defines a tile of bytes that multiplies as `$multiply` says: 4 weights of a row, 4 numbers of each token, and the sums so far.
macro_rules! integer_tile {
    ($name:ident, $features:literal, $lanes:literal, $height:literal, $vector:ty, $fill:ident, $multiply:ident) => {
        #[target_feature(enable = $features)]
        fn $name<const P: usize>(
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
    avx512_integer_tile,
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    16,
    8,
    __m512i,
    _mm512_set1_epi32,
    avx512_multiply
);

integer_tile!(avx2_integer_tile, "avx2,fma", 8, 4, __m256i, _mm256_set1_epi32, avx2_multiply);

/// The weights are the operand without sign, hence the offset.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
#[inline]
fn vnni_multiply(weights: __m512i, tokens: __m512i, sums: __m512i) -> __m512i {
    _mm512_dpbusd_epi32(sums, weights, tokens)
}

/// Magnitudes times weights that took over the signs: two products are at most 2 · 127 · 127, which 16 bits hold.
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
