//! Linear layers in 8 bits: weights with a scale a row, numbers of a token with a scale a token.
//!
//! Both lie between -127 and 127, and what they stand for is symmetric about 0. The sums are exact
//! in 32 bits, so they are the same on every machine; everything else is f32.

use super::lanes::{Edge, Machine, Scales};
use super::panels::{Aligned, Panels};
use super::weights::{Outcome, Span, pack};
use crate::vectorised;

/// `epilogue(weight · x + bias)` with rounded weights and numbers.
#[derive(Debug)]
pub struct IntegerWeights<const H: usize> {
    /// Tile by tile, in each column by column, four inputs a word.
    values: Vec<[u32; H]>,
    scales: Vec<[f32; H]>,
    bias: Vec<[f32; H]>,
    inputs: usize,
}

/// The greatest magnitude. With -128 left out, signs can change, and two products fit 16 bits.
const GREATEST: f32 = 127.0;

/// Inputs whose bytes make a word.
const BYTES: usize = 4;

/// Panels that are rounded and multiplied at once: they stay in the second-level cache.
const PANELS: usize = 12;

impl<const H: usize> IntegerWeights<H> {
    /// Rounds and packs `weight` (outputs, inputs), as PyTorch stores it, and `bias` (outputs), for
    /// a kind of machine.
    pub fn new<M: Machine<L, H>, const L: usize>(weight: &[f32], bias: &[f32]) -> Self {
        let (outputs, inputs) = (bias.len(), weight.len() / bias.len());
        let greatest = |row: &[f32]| row.iter().fold(0.0_f32, |greatest, weight| greatest.max(weight.abs()));
        let scales: Vec<f32> = weight.chunks_exact(inputs).map(|row| greatest(row) / GREATEST).collect();
        let byte = |row: usize, depth: usize| {
            let inside = row < outputs && depth < inputs && scales[row] > 0.0;
            let rounded = if inside { (weight[row * inputs + depth] / scales[row]).round() as i32 } else { 0 };
            (rounded + M::OFFSET) as u8
        };
        let tiles = || (0..outputs).step_by(H);
        let column = |first: usize, depth: usize| {
            std::array::from_fn(|row| {
                u32::from_le_bytes(std::array::from_fn(|offset| byte(first + row, depth + offset)))
            })
        };
        Self {
            values: tiles().flat_map(|tile| (0..inputs).step_by(BYTES).map(move |depth| column(tile, depth))).collect(),
            scales: tiles().map(|first| pack(first, outputs, |row| scales[row])).collect(),
            bias: tiles().map(|first| pack(first, outputs, |row| bias[row])).collect(),
            inputs,
        }
    }

    /// Rows that come out: the outputs, filled up with zeros to whole tiles.
    pub fn rows(&self) -> usize {
        self.bias.len() * H
    }

    /// Multiplies some panels of `x`, whose first rows are the inputs, into panels of `out`.
    pub fn multiply<M: Machine<L, H>, const L: usize>(
        &self,
        machine: M,
        x: &Panels<L>,
        span: Span,
        outcome: Outcome,
        rounded: &mut Rounded<L>,
        out: &mut Panels<L>,
    ) {
        for span in span.cut(PANELS) {
            rounded.fill(x, self.inputs, span, M::OFFSET);
            let depth = self.inputs.div_ceil(BYTES);
            for tile in span.share.of(self.bias.len()) {
                let left = &self.values[tile * depth..][..depth];
                let edge = Edge { bias: &self.bias[tile], add: outcome.add, epilogue: outcome.epilogue };
                let job = Job { left, scales: &self.scales[tile], edge, row: tile * H };
                for part in (Span { from: 0, ..span }).cut(M::WIDTH) {
                    match part.panels {
                        1 => job.tile::<M, L, 1>(machine, rounded, part, out),
                        2 => job.tile::<M, L, 2>(machine, rounded, part, out),
                        _ => job.tile::<M, L, 3>(machine, rounded, part, out),
                    }
                }
            }
        }
    }
}

/// One row of tiles.
struct Job<'a, const H: usize> {
    left: &'a [[u32; H]],
    scales: &'a [f32; H],
    edge: Edge<'a, H>,
    row: usize,
}

impl<const H: usize> Job<'_, H> {
    #[inline(always)]
    fn tile<M: Machine<L, H>, const L: usize, const P: usize>(
        &self,
        machine: M,
        x: &Rounded<L>,
        span: Span,
        out: &mut Panels<L>,
    ) {
        let right = std::array::from_fn(|panel| x.panel(span.from + panel));
        let start = std::array::from_fn(|panel| &x.starts[span.from + panel]);
        let sums = machine.integer_tile::<P>(self.left, right, start);
        for (panel, (sums, out)) in sums.iter().zip(out.panels_mut::<P>(span.to, self.row)).enumerate() {
            let scales = Scales { rows: self.scales, tokens: &x.scales[span.from + panel] };
            machine.rescale(sums, scales, self.edge, out);
        }
    }
}

/// Panels of rounded numbers, kept from one product to the next for their memory.
#[derive(Debug, Default)]
pub struct Rounded<const L: usize> {
    /// Four numbers of a token a word.
    values: Aligned<u32>,
    /// What 1 stands for in each token.
    scales: Vec<[f32; L]>,
    /// What takes back the offset that the weights have.
    starts: Vec<[i32; L]>,
    depth: usize,
}

impl<const L: usize> Rounded<L> {
    fn fill(&mut self, x: &Panels<L>, inputs: usize, span: Span, offset: i32) {
        self.depth = inputs.div_ceil(BYTES);
        self.values.resize(self.depth * span.panels * L);
        self.scales.resize(span.panels, [0.0; L]);
        self.starts.resize(span.panels, [0; L]);
        let places = self.values.as_chunks_mut().0.chunks_exact_mut(self.depth);
        for (panel, (place, (scales, starts))) in places.zip(self.scales.iter_mut().zip(&mut self.starts)).enumerate() {
            round::<L>(&x.panel(span.from + panel)[..inputs], place, scales, starts);
            starts.iter_mut().for_each(|start| *start *= -offset);
        }
    }

    fn panel(&self, panel: usize) -> &[[u32; L]] {
        &self.values.as_chunks().0[panel * self.depth..][..self.depth]
    }
}

vectorised! {
    /// Rounds a panel to bytes, the scales such that each token's greatest number becomes ±127; and
    /// the sum of each token's bytes.
    ///
    /// A token with a number that is not finite gets a scale that is NaN.
    fn round<const L: usize>(panel: &[[f32; L]], words: &mut [[u32; L]], scales: &mut [f32; L], sums: &mut [i32; L]) {
        // Adding 1.5 · 2^23 leaves the nearest integer in the low bits of the sum.
        const ROUND: f32 = 12_582_912.0;
        let (mut greatest, mut poison) = ([0.0_f32; L], [0.0_f32; L]);
        for row in panel {
            for lane in 0..L {
                greatest[lane] = greatest[lane].max(row[lane].abs());
                poison[lane] += row[lane] * 0.0;
            }
        }
        let mut factors = [0.0_f32; L];
        for lane in 0..L {
            scales[lane] = greatest[lane] / GREATEST + poison[lane];
            factors[lane] = if scales[lane] > 0.0 { GREATEST / greatest[lane] } else { 0.0 };
        }
        let mut totals = [0.0_f32; L];
        for (rows, words) in panel.chunks(BYTES).zip(words) {
            *words = [0; L];
            for (byte, row) in rows.iter().enumerate() {
                for lane in 0..L {
                    let shifted = row[lane] * factors[lane] + ROUND;
                    totals[lane] += shifted - ROUND;
                    words[lane] |= (shifted.to_bits() & 0xff) << (8 * byte);
                }
            }
        }
        for lane in 0..L {
            // At most 127 an input: exact in f32 for more inputs than any model has.
            sums[lane] = totals[lane] as i32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::Portable;
    use crate::machines;
    use crate::tests::numbers;

    /// Tiles of the greatest numbers of either sign, and of all others, against sums of products in
    /// 64 bits.
    fn exact<M: Machine<L, H>, const L: usize, const H: usize>(machine: M) {
        fn either(index: usize) -> i64 {
            if index.is_multiple_of(2) { 127 } else { -127 }
        }
        fn any(index: usize) -> i64 {
            (index * 7_919 % 255) as i64 - 127
        }
        type Bytes = fn(usize) -> i64;
        let fillings: [(&str, Bytes, Bytes); 5] = [
            ("greatest", |_| 127, |_| 127),
            ("greatest and least", |_| -127, |_| 127),
            ("least", |_| -127, |_| -127),
            ("either", |index| either(index / 2), |index| either(index / 3)),
            ("any", any, |index| any(index + 31)),
        ];
        for (name, weight, number) in fillings {
            for depth in [1, 7, 768] {
                let word = |byte: Bytes, first: usize, offset: i64| {
                    u32::from_le_bytes(std::array::from_fn(|byte_number| (byte(first + byte_number) + offset) as u8))
                };
                let weights: Vec<[u32; H]> = (0..depth)
                    .map(|k| std::array::from_fn(|h| word(weight, (h * depth + k) * 4, i64::from(M::OFFSET))))
                    .collect();
                let tokens: [Vec<[u32; L]>; 2] = std::array::from_fn(|panel| {
                    let token = |k, lane| word(number, (((panel * L) + lane) * depth + k) * 4, 0);
                    (0..depth).map(|k| std::array::from_fn(|lane| token(k, lane))).collect()
                });
                let sum = |of: &dyn Fn(usize) -> i64| (0..4 * depth).map(of).sum::<i64>();
                let start: [[i32; L]; 2] = std::array::from_fn(|panel| {
                    std::array::from_fn(|lane| {
                        (5 - i64::from(M::OFFSET) * sum(&|k| number((panel * L + lane) * depth * 4 + k))) as i32
                    })
                });
                let found = machine.integer_tile(&weights, tokens.each_ref().map(|t| &t[..]), start.each_ref());
                let expected = std::array::from_fn(|panel| {
                    std::array::from_fn(|h: usize| {
                        let token = |lane| (panel * L + lane) * depth * 4;
                        std::array::from_fn(|lane| 5 + sum(&|k| weight(h * depth * 4 + k) * number(token(lane) + k)))
                    })
                });
                let found: [[[i64; L]; H]; 2] = found.map(|panel| panel.map(|row| row.map(i64::from)));
                assert_eq!(found, expected, "{name}, depth {depth}");
            }
        }
    }

    #[test]
    fn integer_sums_are_exact_on_every_kind_of_machine_even_of_extremes() {
        exact(Portable);
        machines!(exact);
    }

    fn close<M: Machine<L, H>, const L: usize, const H: usize>(machine: M) {
        for (outputs, inputs, panels) in [(1, 1, 1), (13, 30, 3), (33, 600, 14)] {
            let (mut weight, bias) = (numbers(outputs * inputs, 1), numbers(outputs, 2));
            weight[..inputs].fill(0.0);
            let weights = IntegerWeights::<H>::new::<M, L>(&weight, &bias);
            let (mut x, mut out, mut rounded) = (Panels::<L>::default(), Panels::<L>::default(), Rounded::default());
            x.reshape(inputs, panels * L);
            out.reshape(weights.rows(), panels * L);
            (0..panels).for_each(|panel| {
                x.panel_mut(panel).as_flattened_mut().copy_from_slice(&numbers(inputs * L, panel + 3));
            });
            weights.multiply(machine, &x, Span::all(panels), Outcome::default(), &mut rounded, &mut out);
            for token in 0..panels * L {
                let x: Vec<f32> = x.token(token).collect();
                for (row, found) in out.token(token).take(outputs).enumerate() {
                    let products = weight[row * inputs..].iter().zip(&x).map(|(weight, x)| weight * x);
                    let expected = bias[row] + products.sum::<f32>();
                    // Each factor is off by up to half a step of 1/127 of its greatest; errors add
                    // up as a random walk.
                    let tolerance = 0.5 / 127.0 * (inputs as f32).sqrt();
                    assert!((found - expected).abs() <= tolerance, "{outputs} {inputs}: {found}, expected {expected}");
                }
            }
        }
    }

    #[test]
    fn rounded_products_are_close_on_every_kind_of_machine() {
        close(Portable);
        machines!(close);
    }

    #[test]
    fn a_token_is_rounded_by_its_own_greatest_number_and_a_nan_is_not_hidden() {
        let panel = [[127.0, 0.0, 1.0, -2.0], [-64.0, 0.0, f32::NAN, 2.0], [0.6, 0.0, 3.0, 0.5]];
        let (mut words, mut scales, mut sums) = ([[0; 4]; 1], [0.0; 4], [0; 4]);
        round(&panel, &mut words, &mut scales, &mut sums);
        assert_eq!(words[0][0].to_le_bytes().map(u8::cast_signed), [127, -64, 1, 0]);
        assert_eq!((words[0][1], scales[1], sums[1]), (0, 0.0, 0));
        assert_eq!(words[0][3].to_le_bytes().map(u8::cast_signed), [-127, 127, 32, 0]);
        assert_eq!((scales[0], sums[0], sums[3]), (1.0, 64, 32));
        assert!(scales[2].is_nan());
    }
}
