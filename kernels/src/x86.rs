//! Machines with AVX-512 and AVX2.
//!
//! Intrinsics, because the compiler does not keep loops over so many sums in registers, and gathers
//! numbers from several rows where it should take a row at a time.
#![allow(unsafe_code)]

mod integers;
mod panel_tile;
mod spin;
mod tile;
mod tokens;
mod transpose;

use std::ops::Range;

use super::lanes::{Edge, Left, Machine, Scales, rescale};
use super::machine::{Avx2, Avx512, Vnni};

/// Implements a machine by the functions that are compiled for it, of which it is the proof that
/// they may be called.
macro_rules! machine {
    (
        $machine:ty, $features:literal, $lanes:literal, $height:literal, width: $width:literal, offset: $offset:literal,
        $tile:ident, $integer_tile:ident, $normalise:ident, $merge:ident
    ) => {
        impl Machine<$lanes, $height> for $machine {
            const WIDTH: usize = $width;

            fn tile<const P: usize>(
                self,
                left: Left,
                right: [&[[f32; $lanes]]; P],
                edge: Edge<$height>,
                sums: [&mut [[f32; $lanes]]; P],
            ) {
                // SAFETY: `self` is proof of the instructions.
                unsafe {
                    match left.row {
                        1 => tile::$tile::<P, true>(left, right, edge, sums),
                        _ => tile::$tile::<P, false>(left, right, edge, sums),
                    }
                }
            }

            const OFFSET: i32 = $offset;

            fn integer_tile<const P: usize>(
                self,
                left: &[[u32; $height]],
                right: [&[[u32; $lanes]]; P],
                start: [&[i32; $lanes]; P],
            ) -> [[[i32; $lanes]; $height]; P] {
                // SAFETY: as above.
                unsafe { integers::$integer_tile(left, right, start) }
            }

            fn rescale(
                self,
                sums: &[[i32; $lanes]; $height],
                scales: Scales<$lanes, $height>,
                edge: Edge<$height>,
                out: &mut [[f32; $lanes]],
            ) {
                #[target_feature(enable = $features)]
                fn compiled(
                    sums: &[[i32; $lanes]; $height],
                    scales: Scales<$lanes, $height>,
                    edge: Edge<$height>,
                    out: &mut [[f32; $lanes]],
                ) {
                    rescale::<true, $lanes, $height>(sums, scales, edge, out);
                }
                // SAFETY: as above.
                unsafe { compiled(sums, scales, edge, out) }
            }

            fn normalise(self, panel: &mut [[f32; $lanes]], affine: (&[f32], &[f32]), epsilon: f32) {
                // SAFETY: as above.
                unsafe { tokens::$normalise(panel, affine, epsilon) }
            }

            fn merge(
                self,
                from: &[[f32; $lanes]],
                factors: &[f32; $lanes],
                lanes: Range<usize>,
                to: &mut [[f32; $lanes]],
            ) {
                // SAFETY: as above.
                unsafe { tokens::$merge(from, factors, lanes, to) }
            }
        }
    };
}

machine!(
    Avx512,
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    16,
    8,
    width: 3,
    offset: 0,
    avx512_tile,
    avx512_tile,
    avx512_normalise,
    avx512_merge
);
machine!(
    Vnni,
    "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma",
    16,
    8,
    width: 3,
    offset: 128,
    avx512_tile,
    vnni_tile,
    avx512_normalise,
    avx512_merge
);
machine!(Avx2, "avx2,fma", 8, 4, width: 2, offset: 0, avx2_tile, avx2_tile, avx2_normalise, avx2_merge);
