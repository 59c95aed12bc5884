//! Linear layers in f32, their weights packed for the tiles when they are made.

use std::ops::Range;

use super::activation::Epilogue;
use super::lanes::{Edge, Left, Machine};
use super::panels::Panels;

/// `epilogue(weight · x + bias)`.
#[derive(Debug)]
pub struct Weights<const H: usize> {
    /// Block by block of the depth, in each tile by tile, in each column by column.
    values: Vec<[f32; H]>,
    bias: Vec<[f32; H]>,
    inputs: usize,
}

/// One of several parts of about the same size.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Which one, counted from 0.
    pub number: usize,
    /// How many there are.
    pub of: usize,
}

/// Some panels, and where what is made of them goes.
#[derive(Clone, Copy)]
pub struct Span {
    /// The part of the rows that is made.
    pub share: Share,
    /// The first panel that is read.
    pub from: usize,
    /// The first panel that is written.
    pub to: usize,
    /// How many.
    pub panels: usize,
}

/// What becomes of a product.
#[derive(Clone, Copy, Default)]
pub struct Outcome {
    /// Whether it is added to what is there, or replaces it.
    pub add: bool,
    /// What is done to each number of it.
    pub epilogue: Option<Epilogue>,
}

/// Greatest depth of a tile: a block of the weights stays in the first-level cache, and one of the
/// tokens in the second.
const DEPTH: usize = 512;

/// Tiles that one row of weights is used for while it is in the first-level cache.
const TILES: usize = 4;

impl<const H: usize> Weights<H> {
    /// Packs `weight` (outputs, inputs), as PyTorch stores it, and `bias` (outputs).
    pub fn new(weight: &[f32], bias: &[f32]) -> Self {
        let inputs = weight.len() / bias.len();
        let tiles = || (0..bias.len()).step_by(H);
        let mut values = Vec::with_capacity(tiles().len() * inputs);
        for depths in blocks(inputs) {
            for first in tiles() {
                let column = |depth| pack(first, bias.len(), |row| weight[row * inputs + depth]);
                values.extend(depths.clone().map(column));
            }
        }
        Self { values, bias: tiles().map(|first| pack(first, bias.len(), |row| bias[row])).collect(), inputs }
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
        out: &mut Panels<L>,
    ) {
        for span in span.cut(TILES * M::WIDTH) {
            for depths in blocks(self.inputs) {
                let block = &self.values[depths.start * self.bias.len()..][..depths.len() * self.bias.len()];
                for tile in span.share.of(self.bias.len()) {
                    let left = &block[tile * depths.len()..][..depths.len()];
                    let is_first = depths.start == 0;
                    let edge = Edge {
                        bias: if is_first { &self.bias[tile] } else { &[0.0; H] },
                        add: outcome.add || !is_first,
                        epilogue: outcome.epilogue.filter(|_| depths.end == self.inputs),
                    };
                    let left = Left { values: left.as_flattened(), step: H, row: 1 };
                    for span in span.cut(M::WIDTH) {
                        let job = Job { left, edge, depths: &depths, row: tile * H };
                        match span.panels {
                            1 => job.tile::<M, L, 1>(machine, x, span, out),
                            2 => job.tile::<M, L, 2>(machine, x, span, out),
                            _ => job.tile::<M, L, 3>(machine, x, span, out),
                        }
                    }
                }
            }
        }
    }
}

/// One row of tiles.
struct Job<'a, const H: usize> {
    left: Left<'a>,
    edge: Edge<'a, H>,
    depths: &'a Range<usize>,
    row: usize,
}

impl<const H: usize> Job<'_, H> {
    #[inline(always)]
    fn tile<M: Machine<L, H>, const L: usize, const P: usize>(
        &self,
        machine: M,
        x: &Panels<L>,
        span: Span,
        out: &mut Panels<L>,
    ) {
        let right = x.panels::<P>(span.from).map(|panel| &panel[self.depths.clone()]);
        machine.tile(self.left, right, self.edge, out.panels_mut(span.to, self.row));
    }
}

impl Share {
    /// The whole.
    pub const ALL: Self = Self { number: 0, of: 1 };

    /// The part of so many things.
    #[inline]
    pub fn of(self, count: usize) -> Range<usize> {
        count * self.number / self.of..count * (self.number + 1) / self.of
    }
}

impl Span {
    /// All of so many panels, to where they came from.
    #[inline]
    pub fn all(panels: usize) -> Self {
        Self { share: Share::ALL, from: 0, to: 0, panels }
    }

    /// Pieces of at most so many panels.
    #[inline]
    pub fn cut(self, panels: usize) -> impl Iterator<Item = Self> {
        (0..self.panels).step_by(panels).map(move |done| Self {
            share: self.share,
            from: self.from + done,
            to: self.to + done,
            panels: panels.min(self.panels - done),
        })
    }
}

/// The inputs in blocks of about the same size.
#[inline]
fn blocks(inputs: usize) -> impl Iterator<Item = Range<usize>> {
    let block = inputs.div_ceil(inputs.div_ceil(DEPTH));
    (0..inputs).step_by(block).map(move |start| start..inputs.min(start + block))
}

/// H values from the `first` on, zeros past the last.
pub(super) fn pack<T: Default, const H: usize>(first: usize, count: usize, value: impl Fn(usize) -> T) -> [T; H] {
    std::array::from_fn(|row| if first + row < count { value(first + row) } else { T::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::Portable;
    use crate::machines;
    use crate::tests::numbers;

    /// Row by column, in f64.
    fn reference(weight: &[f32], bias: &[f32], x: impl Iterator<Item = f32>) -> Vec<f32> {
        let x: Vec<f32> = x.collect();
        let inputs = weight.len() / bias.len();
        let row = |(weight, bias): (&[f32], &f32)| {
            let products = weight.iter().zip(&x).map(|(weight, x)| f64::from(*weight) * f64::from(*x));
            (f64::from(*bias) + products.sum::<f64>()) as f32
        };
        weight.chunks_exact(inputs).zip(bias).map(row).collect()
    }

    fn check<M: Machine<L, H>, const L: usize, const H: usize>(machine: M) {
        for (outputs, inputs, panels) in [(1, 1, 1), (8, 5, 2), (13, 600, 3), (33, 1_100, 5), (20, 64, 14)] {
            let (weight, bias) = (numbers(outputs * inputs, 1), numbers(outputs, 2));
            let weights = Weights::<H>::new(&weight, &bias);
            for (add, epilogue) in [(false, None), (true, None), (false, Some(Epilogue::Relu))] {
                let (mut x, mut out) = (Panels::<L>::default(), Panels::<L>::default());
                x.reshape(inputs, (panels + 1) * L);
                out.reshape(weights.rows(), (panels + 2) * L);
                for panel in 0..=panels {
                    let values = numbers(inputs * L, panel + 3);
                    x.panel_mut(panel).as_flattened_mut().copy_from_slice(&values);
                }
                (0..panels + 2).for_each(|panel| out.panel_mut(panel).as_flattened_mut().fill(0.25));
                for number in 0..3 {
                    let span = Span { share: Share { number, of: 3 }, from: 1, to: 2, panels };
                    weights.multiply(machine, &x, span, Outcome { add, epilogue }, &mut out);
                }
                for token in 0..panels * L {
                    let expected = reference(&weight, &bias, x.token(L + token));
                    for (row, (found, expected)) in out.token(2 * L + token).zip(expected).enumerate() {
                        let expected = if add { expected + 0.25 } else { expected };
                        let expected = if epilogue.is_some() { expected.max(0.0) } else { expected };
                        assert!(
                            (found - expected).abs() < 1e-4,
                            "{outputs} {inputs} {panels}, {row} of {token}: {found}, expected {expected}"
                        );
                    }
                }
                let untouched = (0..2).flat_map(|panel| out.panel(panel).as_flattened());
                assert!(untouched.into_iter().all(|value| *value == 0.25));
            }
        }
    }

    #[test]
    fn products_are_right_on_every_kind_of_machine() {
        check(Portable);
        machines!(check);
    }
}
