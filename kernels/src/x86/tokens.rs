//! What is done to each token of a panel.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256, __m512, _mm256_add_ps, _mm256_blendv_ps, _mm256_div_ps, _mm256_fmadd_ps, _mm256_mul_ps, _mm256_set1_ps,
    _mm256_sqrt_ps, _mm256_sub_ps, _mm512_add_ps, _mm512_div_ps, _mm512_fmadd_ps, _mm512_mask_blend_ps, _mm512_mul_ps,
    _mm512_set1_ps, _mm512_sqrt_ps, _mm512_sub_ps,
};
use std::mem::transmute;
use std::ops::Range;

/// Defines LayerNorm over the rows of a panel, in each lane.
macro_rules! normalise {
    ($name:ident, $features:literal, $lanes:literal, $vector:ty, $fill:ident, $add:ident, $subtract:ident, $multiply:ident, $divide:ident, $root:ident, $fused:ident) => {
        #[target_feature(enable = $features)]
        pub fn $name(panel: &mut [[f32; $lanes]], (weight, bias): (&[f32], &[f32]), epsilon: f32) {
            // SAFETY: a vector is so many numbers.
            let load = |row: [f32; $lanes]| unsafe { transmute::<[f32; $lanes], $vector>(row) };
            let share = $fill(1.0 / panel.len() as f32);
            // Four sums, so that no addition waits for the one before.
            let (fours, rest) = panel.as_chunks::<4>();
            let mut sums = [$fill(0.0); 4];
            for rows in fours {
                for number in 0..4 {
                    sums[number] = $add(sums[number], load(rows[number]));
                }
            }
            for row in rest {
                sums[0] = $add(sums[0], load(*row));
            }
            let mean = $multiply($add($add(sums[0], sums[1]), $add(sums[2], sums[3])), share);
            let mut squares = [$fill(0.0); 4];
            for rows in fours {
                for number in 0..4 {
                    let difference = $subtract(load(rows[number]), mean);
                    squares[number] = $fused(difference, difference, squares[number]);
                }
            }
            for row in rest {
                let difference = $subtract(load(*row), mean);
                squares[0] = $fused(difference, difference, squares[0]);
            }
            let square = $add($add(squares[0], squares[1]), $add(squares[2], squares[3]));
            let scale = $divide($fill(1.0), $root($fused(square, share, $fill(epsilon))));
            for (row, (weight, bias)) in panel.iter_mut().zip(weight.iter().zip(bias)) {
                let normal = $multiply($subtract(load(*row), mean), scale);
                // SAFETY: as above.
                *row = unsafe { transmute::<$vector, [f32; $lanes]>($fused(normal, $fill(*weight), $fill(*bias))) };
            }
        }
    };
}

normalise!(
    avx512_normalise,
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    16,
    __m512,
    _mm512_set1_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_mul_ps,
    _mm512_div_ps,
    _mm512_sqrt_ps,
    _mm512_fmadd_ps
);

normalise!(
    avx2_normalise,
    "avx2,fma",
    8,
    __m256,
    _mm256_set1_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps,
    _mm256_div_ps,
    _mm256_sqrt_ps,
    _mm256_fmadd_ps
);

/// Defines the copying of some lanes, each times its factor.
macro_rules! merge {
    ($name:ident, $features:literal, $lanes:literal, $vector:ty, $multiply:ident, $choose:ident) => {
        #[target_feature(enable = $features)]
        pub fn $name(from: &[[f32; $lanes]], factors: &[f32; $lanes], lanes: Range<usize>, to: &mut [[f32; $lanes]]) {
            // SAFETY: a vector is so many numbers.
            let load = |row: [f32; $lanes]| unsafe { transmute::<[f32; $lanes], $vector>(row) };
            let factors = load(*factors);
            for (from, to) in from.iter().zip(to) {
                let chosen = $choose(&lanes, $multiply(load(*from), factors), load(*to));
                // SAFETY: as above.
                *to = unsafe { transmute::<$vector, [f32; $lanes]>(chosen) };
            }
        }
    };
}

merge!(avx512_merge, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma", 16, __m512, _mm512_mul_ps, avx512_choose);
merge!(avx2_merge, "avx2,fma", 8, __m256, _mm256_mul_ps, avx2_choose);

/// Some lanes of one vector and the rest of another.
#[target_feature(enable = "avx512f")]
#[inline]
fn avx512_choose(lanes: &Range<usize>, inside: __m512, outside: __m512) -> __m512 {
    let below = |lane: usize| (1_u32 << lane) - 1;
    _mm512_mask_blend_ps((below(lanes.end) & !below(lanes.start)) as u16, outside, inside)
}

/// As with AVX-512.
#[target_feature(enable = "avx2")]
#[inline]
fn avx2_choose(lanes: &Range<usize>, inside: __m256, outside: __m256) -> __m256 {
    let mask: [u32; 8] = std::array::from_fn(|lane| if lanes.contains(&lane) { u32::MAX } else { 0 });
    // SAFETY: a vector is so many words.
    _mm256_blendv_ps(outside, inside, unsafe { transmute::<[u32; 8], __m256>(mask) })
}
