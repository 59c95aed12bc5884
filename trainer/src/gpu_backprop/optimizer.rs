//! What the optimizer does on a GPU.

use candle_core::{Result, Tensor};
use gpu::Argument::{Count, Memory, Number};
use gpu::{Chip, Grid, Kernels, Kind, WARP, threads};

use crate::adam_factors::{BETA_1, BETA_2, EPSILON, Factors};

/// Blocks that square a gradient, at most.
const BLOCKS: usize = 256;

/// Numbers that each of these squares at least.
const NUMBERS: usize = 4096;

/// The steps of AdamW over tensors on a device.
#[derive(Debug)]
pub(crate) struct Optimizer<C: Chip> {
    chip: C,
}

impl<C: Chip> Optimizer<C> {
    pub fn new(chip: C) -> Self {
        Self { chip }
    }

    pub fn kernels() -> Kernels {
        Kernels {
            name: "optimizer",
            parts: vec![gpu::COMMON.into(), include_str!("optimizer.cu").into()],
            names: &["squares", "adamw"],
            // It works on no rows.
            macros: vec![("WIDTH", 8), ("HEAD_SIZE", 8)],
        }
    }

    /// The sum of the squares of each tensor's numbers.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn squares(&self, tensors: &[Tensor]) -> Result<Vec<f64>> {
        let blocks = |tensor: &Tensor| tensor.elem_count().div_ceil(NUMBERS).min(BLOCKS);
        let all = tensors.iter().map(blocks).sum();
        let sums = self.chip.zeros(Kind::Floats, all)?;
        let mut at = 0;
        for tensor in tensors {
            let grid = Grid { blocks: (blocks(tensor), 1), threads: 8 * WARP };
            let numbers = self.chip.share(tensor)?;
            let arguments = [Memory(&numbers), Count(tensor.elem_count()), Memory(&sums), Count(at)];
            self.chip.launch("squares", grid, &arguments)?;
            at += blocks(tensor);
        }
        let sums = self.chip.fetch(&sums, all)?;
        let mut rest = sums.as_slice();
        let mut sum = |tensor: &Tensor| {
            let (own, others) = rest.split_at(blocks(tensor));
            rest = others;
            own.iter().map(|sum| f64::from(*sum)).sum()
        };
        Ok(tensors.iter().map(&mut sum).collect())
    }

    /// Moves a parameter against its gradient, and its two moments with it.
    ///
    /// # Errors
    /// Failures of the device.
    #[cfg(feature = "cuda")]
    pub fn step(&self, parameter: &Tensor, gradient: &Tensor, moments: [&Tensor; 2], factors: Factors) -> Result<()> {
        let [first, second] = moments;
        let tensors = [parameter, gradient, first, second].map(|tensor| self.chip.share(tensor));
        let [parameter_memory, gradient, first, second] = tensors;
        self.launch(&[parameter_memory?, gradient?, first?, second?], parameter.elem_count(), factors)
    }

    /// The same with the memories of parameter, gradient and moments.
    fn launch(&self, memories: &[C::Memory; 4], count: usize, factors: Factors) -> Result<()> {
        let [parameter, gradient, first, second] = memories;
        self.chip.launch(
            "adamw",
            threads(count),
            &[
                Memory(parameter),
                Memory(gradient),
                Memory(first),
                Memory(second),
                Count(count),
                Number(factors.gradient as f32),
                Number(factors.decay as f32),
                Number(BETA_1 as f32),
                Number(BETA_2 as f32),
                Number(factors.rate as f32),
                Number(factors.second as f32),
                Number(EPSILON as f32),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use gpu::{Emulator, Numbers};

    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|index| ((index * 7919 + seed * 104_729) % 4_001) as f32 / 1_000.0 - 2.0).collect()
    }

    #[test]
    fn a_step_is_adams_and_squares_are_summed() {
        let Some(emulator) = Emulator::new(&Optimizer::<Emulator>::kernels()) else { return };
        let optimizer = Optimizer::new(emulator);
        let tensors =
            [(300, 1), (9_000, 2)].map(|(count, seed)| Tensor::new(numbers(count, seed), &Device::Cpu).unwrap());
        for ((count, seed), found) in [(300, 1), (9_000, 2)].into_iter().zip(optimizer.squares(&tensors).unwrap()) {
            let expected: f64 = numbers(count, seed).iter().map(|number| f64::from(*number).powi(2)).sum();
            assert!((found - expected).abs() < 1e-5 * expected, "{found}, expected {expected}");
        }

        let (parameter, gradient, first) = (numbers(300, 3), numbers(300, 4), numbers(300, 5));
        let second: Vec<f32> = numbers(300, 6).iter().map(|number| number.abs()).collect();
        let memory = |numbers: &[f32]| optimizer.chip.upload(Numbers::Floats(numbers.to_vec())).unwrap();
        let memories = [&parameter, &gradient, &first, &second].map(|numbers| memory(numbers));
        let factors = Factors { gradient: 0.5, decay: 0.99, rate: 0.02, second: 1.5 };
        optimizer.launch(&memories, 300, factors).unwrap();
        let found: Vec<Vec<f32>> = memories.iter().map(|memory| optimizer.chip.fetch(memory, 300).unwrap()).collect();
        for at in 0..300 {
            let slope = 0.5 * gradient[at];
            let one = 0.9 * first[at] + 0.1 * slope;
            let two = 0.999 * second[at] + 0.001 * slope * slope;
            let moved = 0.99 * parameter[at] - 0.02 * one / (two.sqrt() * 1.5 + 1e-8);
            for (found, expected) in [(found[0][at], moved), (found[2][at], one), (found[3][at], two)] {
                assert!((found - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{at}: {found}, expected {expected}");
            }
            assert_eq!(found[1][at], gradient[at]);
        }
    }
}
