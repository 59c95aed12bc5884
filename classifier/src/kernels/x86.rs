//! Machines with AVX-512 and AVX2.
//!
//! Intrinsics, because the compiler does not keep loops over so many sums in registers, and gathers numbers from several rows where
//! it should take a row at a time.
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

impl Machine<16, 8> for Avx512 {
    fn tile<const P: usize>(self, left: Left, right: [&[[f32; 16]]; P], edge: Edge<8>, sums: [&mut [[f32; 16]]; P]) {
        // SAFETY: `self` is proof of the instructions.
        unsafe {
            match left.row {
                1 => tile::avx512_tile::<P, true>(left, right, edge, sums),
                _ => tile::avx512_tile::<P, false>(left, right, edge, sums),
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
        unsafe { integers::avx512_tile(left, right, start) }
    }

    fn rescale(self, sums: &[[i32; 16]; 8], scales: Scales<16, 8>, edge: Edge<8>, out: &mut [[f32; 16]]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn compiled(sums: &[[i32; 16]; 8], scales: Scales<16, 8>, edge: Edge<8>, out: &mut [[f32; 16]]) {
            rescale::<true, 16, 8>(sums, scales, edge, out);
        }
        // SAFETY: `self` is proof of the instructions.
        unsafe { compiled(sums, scales, edge, out) }
    }

    fn normalise(self, panel: &mut [[f32; 16]], affine: (&[f32], &[f32]), epsilon: f32) {
        // SAFETY: `self` is proof of the instructions.
        unsafe { tokens::avx512_normalise(panel, affine, epsilon) }
    }

    fn merge(self, from: &[[f32; 16]], factors: &[f32; 16], lanes: Range<usize>, to: &mut [[f32; 16]]) {
        // SAFETY: `self` is proof of the instructions.
        unsafe { tokens::avx512_merge(from, factors, lanes, to) }
    }
}

impl Machine<16, 8> for Vnni {
    fn tile<const P: usize>(self, left: Left, right: [&[[f32; 16]]; P], edge: Edge<8>, sums: [&mut [[f32; 16]]; P]) {
        // SAFETY: `self` is proof of the instructions, which AVX-512 is part of.
        unsafe {
            match left.row {
                1 => tile::avx512_tile::<P, true>(left, right, edge, sums),
                _ => tile::avx512_tile::<P, false>(left, right, edge, sums),
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
        unsafe { integers::vnni_tile(left, right, start) }
    }

    fn rescale(self, sums: &[[i32; 16]; 8], scales: Scales<16, 8>, edge: Edge<8>, out: &mut [[f32; 16]]) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn compiled(sums: &[[i32; 16]; 8], scales: Scales<16, 8>, edge: Edge<8>, out: &mut [[f32; 16]]) {
            rescale::<true, 16, 8>(sums, scales, edge, out);
        }
        // SAFETY: `self` is proof of the instructions.
        unsafe { compiled(sums, scales, edge, out) }
    }

    fn normalise(self, panel: &mut [[f32; 16]], affine: (&[f32], &[f32]), epsilon: f32) {
        // SAFETY: `self` is proof of the instructions.
        unsafe { tokens::avx512_normalise(panel, affine, epsilon) }
    }

    fn merge(self, from: &[[f32; 16]], factors: &[f32; 16], lanes: Range<usize>, to: &mut [[f32; 16]]) {
        // SAFETY: `self` is proof of the instructions.
        unsafe { tokens::avx512_merge(from, factors, lanes, to) }
    }
}

impl Machine<8, 4> for Avx2 {
    fn tile<const P: usize>(self, left: Left, right: [&[[f32; 8]]; P], edge: Edge<4>, sums: [&mut [[f32; 8]]; P]) {
        // SAFETY: `self` is proof of the instructions.
        unsafe {
            match left.row {
                1 => tile::avx2_tile::<P, true>(left, right, edge, sums),
                _ => tile::avx2_tile::<P, false>(left, right, edge, sums),
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
        unsafe { integers::avx2_tile(left, right, start) }
    }

    fn rescale(self, sums: &[[i32; 8]; 4], scales: Scales<8, 4>, edge: Edge<4>, out: &mut [[f32; 8]]) {
        #[target_feature(enable = "avx2,fma")]
        fn compiled(sums: &[[i32; 8]; 4], scales: Scales<8, 4>, edge: Edge<4>, out: &mut [[f32; 8]]) {
            rescale::<true, 8, 4>(sums, scales, edge, out);
        }
        // SAFETY: `self` is proof of the instructions.
        unsafe { compiled(sums, scales, edge, out) }
    }

    fn normalise(self, panel: &mut [[f32; 8]], affine: (&[f32], &[f32]), epsilon: f32) {
        // SAFETY: `self` is proof of the instructions.
        unsafe { tokens::avx2_normalise(panel, affine, epsilon) }
    }

    fn merge(self, from: &[[f32; 8]], factors: &[f32; 8], lanes: Range<usize>, to: &mut [[f32; 8]]) {
        // SAFETY: `self` is proof of the instructions.
        unsafe { tokens::avx2_merge(from, factors, lanes, to) }
    }
}
