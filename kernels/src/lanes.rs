//! The layout and the tiles of the inference engine: tokens lie in the lanes of the vector
//! registers.
//!
//! A panel holds as many tokens as a vector has lanes, and row `r` of it is a vector of their
//! `r`-th numbers. A product `weights · panel` reads and writes such vectors, so its result is at
//! once the right side of the next product: nothing is packed but the weights, once. Whatever is
//! done to each token (LayerNorm, softmax, quantising) is the same arithmetic in all lanes, without
//! a sum across them.

use std::ops::Range;

use super::activation::Epilogue;
use super::numbers::fused;

/// A kind of machine with L lanes and tiles of H rows.
pub trait Machine<const L: usize, const H: usize>: Copy + std::fmt::Debug + Send + Sync + 'static {
    /// Panels that a tile is best given at once, at most 3: as many as leave registers for more
    /// than its sums.
    const WIDTH: usize;

    /// The product of H rows with P panels, at most 3:
    /// `sums = epilogue(bias + left · right [+ sums])`.
    ///
    /// The depth is that of the panels on the right; all must be the same.
    fn tile<const P: usize>(self, left: Left, right: [&[[f32; L]]; P], edge: Edge<H>, sums: [&mut [[f32; L]]; P]);

    /// What [`integer_tile`](Self::integer_tile) wants to be added to the weights' bytes.
    const OFFSET: i32;

    /// `start + left · right`, exactly, for weights between -127 and 127, plus the offset, and
    /// numbers between -127 and 127. A word holds the bytes of four steps of the depth, the first
    /// one lowest.
    fn integer_tile<const P: usize>(
        self,
        left: &[[u32; H]],
        right: [&[[u32; L]]; P],
        start: [&[i32; L]; P],
    ) -> [[[i32; L]; H]; P];

    /// `out = epilogue(bias + sums · scales [+ out])` for one panel of an
    /// [`integer_tile`](Self::integer_tile).
    fn rescale(self, sums: &[[i32; L]; H], scales: Scales<L, H>, edge: Edge<H>, out: &mut [[f32; L]]);

    /// LayerNorm of each token, in place; `affine` is the weight of each row, and the bias.
    fn normalise(self, panel: &mut [[f32; L]], affine: (&[f32], &[f32]), epsilon: f32);

    /// Copies the numbers of some lanes, each times its lane's factor, and leaves those of the
    /// others.
    fn merge(self, from: &[[f32; L]], factors: &[f32; L], lanes: Range<usize>, to: &mut [[f32; L]]);
}

/// What the integers of a product stand for: one each is as much as the product of its row's and
/// its token's scale.
#[derive(Clone, Copy)]
pub struct Scales<'a, const L: usize, const H: usize> {
    pub rows: &'a [f32; H],
    pub tokens: &'a [f32; L],
}

/// The left side of a tile: H rows in a slice.
#[derive(Clone, Copy)]
pub struct Left<'a> {
    /// From the first number of the first row on.
    pub values: &'a [f32],
    /// From one number of a row to the next.
    pub step: usize,
    /// From one row to the next.
    pub row: usize,
}

/// What a tile starts and ends with.
#[derive(Clone, Copy)]
pub struct Edge<'a, const H: usize> {
    /// What is added to each row.
    pub bias: &'a [f32; H],
    /// Whether the sums are added to what is there, or replace it.
    pub add: bool,
    /// What is done to the sums in the end.
    pub epilogue: Option<Epilogue>,
}

impl<const H: usize> Edge<'_, H> {
    /// A product alone.
    pub const PLAIN: Self = Self { bias: &[0.0; H], add: false, epilogue: None };
}

/// The depth of a tile, and proof that everything it touches is there.
pub(super) fn depth<const L: usize, const H: usize, const P: usize>(
    left: Left,
    right: &[&[[f32; L]]; P],
    sums: &[&mut [[f32; L]]; P],
) -> usize {
    let depth = right[0].len();
    assert!(depth > 0 && right.iter().all(|panel| panel.len() == depth), "panels of different depths: a bug");
    assert!(sums.iter().all(|panel| panel.len() >= H), "no room for a tile: a bug");
    let last =
        (depth - 1).checked_mul(left.step).zip((H - 1).checked_mul(left.row)).and_then(|(a, b)| a.checked_add(b));
    assert!(last.is_some_and(|last| last < left.values.len()), "too few numbers on the left: a bug");
    depth
}

/// The machine that every machine is, and the reference for the others.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Machine<8, 4> for Portable {
    const WIDTH: usize = 3;

    fn tile<const P: usize>(self, left: Left, right: [&[[f32; 8]]; P], edge: Edge<4>, sums: [&mut [[f32; 8]]; P]) {
        let depth = depth::<8, 4, P>(left, &right, &sums);
        for (right, sums) in right.into_iter().zip(sums) {
            let mut total = edge.bias.map(|bias| [bias; 8]);
            if edge.add {
                for (total, sums) in total.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
                    *total += sums;
                }
            }
            for k in 0..depth {
                for (h, total) in total.iter_mut().enumerate() {
                    let left = left.values[k * left.step + h * left.row];
                    for (total, right) in total.iter_mut().zip(&right[k]) {
                        *total += left * right;
                    }
                }
            }
            sums[..4].copy_from_slice(&total);
            if let Some(epilogue) = edge.epilogue {
                epilogue.apply::<false>(sums[..4].as_flattened_mut());
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
        let mut sums = start.map(|start| [*start; 4]);
        for (sums, right) in sums.iter_mut().zip(right) {
            assert_eq!(left.len(), right.len(), "the inner sizes of a product differ: a bug");
            for (left, right) in left.iter().zip(right) {
                for (sums, left) in sums.iter_mut().zip(left) {
                    for (sum, right) in sums.iter_mut().zip(right) {
                        let pairs = left.to_le_bytes().into_iter().zip(right.to_le_bytes());
                        *sum +=
                            pairs.map(|(a, b)| i32::from(a.cast_signed()) * i32::from(b.cast_signed())).sum::<i32>();
                    }
                }
            }
        }
        sums
    }

    fn rescale(self, sums: &[[i32; 8]; 4], scales: Scales<8, 4>, edge: Edge<4>, out: &mut [[f32; 8]]) {
        rescale::<false, 8, 4>(sums, scales, edge, out);
    }

    fn normalise(self, panel: &mut [[f32; 8]], (weight, bias): (&[f32], &[f32]), epsilon: f32) {
        for lane in 0..8 {
            let count = panel.len() as f32;
            let mean = panel.iter().map(|row| row[lane]).sum::<f32>() / count;
            let square = panel.iter().map(|row| (row[lane] - mean).powi(2)).sum::<f32>() / count;
            let scale = 1.0 / (square + epsilon).sqrt();
            for (row, (weight, bias)) in panel.iter_mut().zip(weight.iter().zip(bias)) {
                row[lane] = (row[lane] - mean) * scale * weight + bias;
            }
        }
    }

    fn merge(self, from: &[[f32; 8]], factors: &[f32; 8], lanes: Range<usize>, to: &mut [[f32; 8]]) {
        for (from, to) in from.iter().zip(to) {
            for lane in lanes.clone() {
                to[lane] = from[lane] * factors[lane];
            }
        }
    }
}

/// See [`Machine::rescale`].
#[inline(always)]
pub(super) fn rescale<const FUSED: bool, const L: usize, const H: usize>(
    sums: &[[i32; L]; H],
    scales: Scales<L, H>,
    edge: Edge<H>,
    out: &mut [[f32; L]],
) {
    let out = &mut out[..H];
    for h in 0..H {
        for lane in 0..L {
            let before = if edge.add { out[h][lane] + edge.bias[h] } else { edge.bias[h] };
            out[h][lane] = fused::<FUSED>(sums[h][lane] as f32, scales.tokens[lane] * scales.rows[h], before);
        }
    }
    if let Some(epilogue) = edge.epilogue {
        epilogue.apply::<FUSED>(out.as_flattened_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines;
    use crate::tests::numbers;

    fn check<M: Machine<L, H>, const L: usize, const H: usize>(machine: M) {
        for width in [1, 6, 37] {
            let mut panel: Vec<[f32; L]> = numbers(width * L, 1).as_chunks().0.to_vec();
            let before = panel.clone();
            let (weight, bias) = (numbers(width, 2), numbers(width, 3));
            machine.normalise(&mut panel, (&weight, &bias), 1e-3);
            for lane in 0..L {
                let values: Vec<f64> = before.iter().map(|row| f64::from(row[lane])).collect();
                let mean = values.iter().sum::<f64>() / width as f64;
                let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / width as f64;
                for (row, value) in values.iter().enumerate() {
                    let normal = ((value - mean) / (variance + 1e-3).sqrt()) as f32;
                    let (found, expected) = (panel[row][lane], normal * weight[row] + bias[row]);
                    assert!((found - expected).abs() < 1e-5, "{width}: {found}, expected {expected}");
                }
            }
        }
    }

    fn check_merge<M: Machine<L, H>, const L: usize, const H: usize>(machine: M) {
        let from = vec![[f32::NAN; L], std::array::from_fn(|lane| lane as f32)];
        for lanes in [0..L, 0..1, 2..L - 1, L - 1..L, 3..3] {
            let (mut to, factors) = (vec![[7.0; L]; 2], std::array::from_fn(|lane| 10.0 * lane as f32));
            machine.merge(&from, &factors, lanes.clone(), &mut to);
            for (lane, (broken, number)) in to[0].iter().zip(&to[1]).enumerate() {
                let inside = lanes.contains(&lane);
                assert_eq!(broken.is_nan(), inside);
                assert_eq!(*number, if inside { 10.0 * (lane * lane) as f32 } else { 7.0 });
            }
        }
    }

    #[test]
    fn only_the_lanes_that_are_named_are_copied_on_every_kind_of_machine() {
        check_merge(Portable);
        machines!(check_merge);
    }

    #[test]
    fn the_layer_norm_of_each_lane_is_that_of_its_numbers_on_every_kind_of_machine() {
        check(Portable);
        machines!(check);
    }
}
