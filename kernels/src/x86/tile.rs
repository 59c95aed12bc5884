//! Tiles of numbers. With three panels, 24 of the 32 registers of AVX-512 hold sums; with two, 8 of
//! the 16 of AVX2, where the compiler keeps a sum of three panels in memory.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256, __m512, _MM_HINT_T0, _mm_load_ss, _mm_prefetch, _mm256_add_ps, _mm256_broadcastss_ps, _mm256_fmadd_ps,
    _mm256_set1_ps, _mm512_add_ps, _mm512_broadcastss_ps, _mm512_fmadd_ps, _mm512_set1_ps,
};
use std::mem::transmute;

use crate::lanes::{Edge, Left, depth};

/// Weights are read once after the other, and are asked for so many numbers ahead (a page): the
/// machine itself looks no further than the page's end. It is worth a quarter of the time of a lone
/// text, whose weights come from the third-level cache.
const AHEAD: usize = 1_024;

/// Defines a tile of numbers; `CONTIGUOUS` where the numbers of a column lie side by side on the
/// left.
///
/// Vectors are transmuted and not loaded through pointers, since the latter is checked again and
/// again in builds with debug assertions.
macro_rules! tile {
    ($name:ident, $features:literal, $lanes:literal, $height:literal, $vector:ty, $fill:ident, $broadcast:ident, $add:ident, $fused:ident) => {
        #[target_feature(enable = $features)]
        pub fn $name<const P: usize, const CONTIGUOUS: bool>(
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
                    // SAFETY: `depth` has found the number of the last column and row to be inside
                    // the slice.
                    let left = $broadcast(unsafe { _mm_load_ss(column.wrapping_add(rows[h])) });
                    for p in 0..P {
                        total[h][p] = $fused(left, line[p], total[h][p]);
                    }
                }
                if CONTIGUOUS {
                    _mm_prefetch::<_MM_HINT_T0>(column.wrapping_add(AHEAD).cast());
                }
                column = column.wrapping_add(left.step);
            }
            for h in 0..$height {
                for p in 0..P {
                    // SAFETY: a vector is so many numbers.
                    sums[p][h] = unsafe { transmute::<$vector, [f32; $lanes]>(total[h][p]) };
                }
            }
            if let Some(epilogue) = edge.epilogue {
                sums.iter_mut().for_each(|sums| epilogue.apply::<true>(sums[..$height].as_flattened_mut()));
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
