//! AdamW.

use std::sync::Mutex;

use anyhow::{Result, bail, ensure};
use bert::Parameters;
use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Tensor, Var};
use kernels::{AdamFactors, adamw};

use crate::adam_factors::{BETA_1, BETA_2, EPSILON, Factors};
use crate::backprop::tensors::slice_mut;
use crate::gradient::Gradients;
use crate::parallel;
use crate::step_kernels::StepKernels;

/// Adam with decoupled weight decay (Loshchilov and Hutter, 2019) as `torch.optim.AdamW` computes
/// it; matrices alone decay.
pub(crate) struct AdamW {
    weight_decay: f64,
    steps: i32,
    states: Vec<State>,
}

/// The running moments of one parameter's gradient.
struct State {
    variable: Var,
    /// The share of the learning rate that this parameter has.
    rate: f64,
    moments: Moments,
}

/// On the CPU one pass over slices does everything, on a GPU one kernel; where it has none candle's
/// operations are composed.
enum Moments {
    Slices { first: Vec<f32>, second: Vec<f32> },
    Tensors { first: Tensor, second: Tensor },
}

impl AdamW {
    /// Over the variables among the parameters; `rate` gives each its share of the learning rate.
    pub(crate) fn new(parameters: &Parameters, weight_decay: f64, rate: impl Fn(&str) -> f64) -> Result<Self> {
        let states = parameters.variables().map(|(name, parameter)| State::new(parameter, rate(name)));
        Ok(Self { weight_decay, steps: 0, states: states.collect::<Result<_>>()? })
    }

    /// Moves every variable; gradients are multiplied with `scale` first, for clipping.
    pub(crate) fn step(&mut self, gradients: &Gradients, learning_rate: f64, scale: f64, threads: usize) -> Result<()> {
        match gradients {
            Gradients::Cpu { sums, .. } => {
                let of = self.next_factors(learning_rate, scale);
                let pairs: Vec<_> = self.states.iter_mut().zip(sums.values()).collect();
                let size = |(_, gradient): &(&mut State, &Vec<f32>)| gradient.len();
                parallel::map(threads, pairs, size, |(state, gradient)| {
                    let factors = of(state);
                    state.step_slice(gradient, factors)
                })?;
            }
            Gradients::Device { sums, kernels } => self.step_tensors(sums, kernels, learning_rate, scale)?,
        }
        Ok(())
    }

    /// The same where the gradients are tensors.
    fn step_tensors(&mut self, sums: &[Tensor], kernels: &StepKernels, learning_rate: f64, scale: f64) -> Result<()> {
        let of = self.next_factors(learning_rate, scale);
        for (state, gradient) in self.states.iter_mut().zip(sums) {
            let factors = of(state);
            state.step_tensor(gradient, factors, kernels)?;
        }
        Ok(())
    }

    /// Begins a step: what it multiplies with, by parameter.
    fn next_factors(&mut self, learning_rate: f64, scale: f64) -> impl Fn(&State) -> Factors + Sync + use<> {
        self.steps += 1;
        let (steps, weight_decay) = (self.steps, self.weight_decay);
        move |state| {
            let (rate, is_matrix) = (learning_rate * state.rate, state.variable.rank() >= 2);
            Factors {
                gradient: scale,
                decay: 1.0 - if is_matrix { rate * weight_decay } else { 0.0 },
                rate: rate / (1.0 - BETA_1.powi(steps)),
                second: 1.0 / (1.0 - BETA_2.powi(steps)).sqrt(),
            }
        }
    }

    /// First and second moment of each variable, in the order of their names.
    pub(crate) fn moments(&self) -> Result<Vec<[Tensor; 2]>> {
        self.states.iter().map(|state| state.moments.tensors(state.variable.as_tensor())).collect()
    }

    /// Goes on after so many steps that left these moments.
    pub(crate) fn restore(&mut self, steps: usize, moments: Vec<[Tensor; 2]>) -> Result<()> {
        self.steps = i32::try_from(steps)?;
        for (state, [first, second]) in self.states.iter_mut().zip(moments) {
            state.moments = Moments::new(&first, &second, state.variable.device())?;
        }
        Ok(())
    }
}

impl Moments {
    fn new(first: &Tensor, second: &Tensor, device: &Device) -> Result<Self> {
        let values = |moment: &Tensor| moment.flatten_all()?.to_vec1::<f32>();
        Ok(if device.is_cpu() {
            Self::Slices { first: values(first)?, second: values(second)? }
        } else {
            // Copies: a step writes to each where it lies.
            let own = |moment: &Tensor| moment.to_device(device)?.force_contiguous();
            Self::Tensors { first: own(first)?, second: own(second)? }
        })
    }

    fn tensors(&self, like: &Tensor) -> Result<[Tensor; 2]> {
        Ok(match self {
            Self::Slices { first, second } => {
                let tensor = |values: &[f32]| Tensor::from_slice(values, like.shape(), &Device::Cpu);
                [tensor(first)?, tensor(second)?]
            }
            Self::Tensors { first, second } => [first.clone(), second.clone()],
        })
    }
}

impl State {
    fn new(parameter: &Tensor, rate: f64) -> Result<Self> {
        let zeros = parameter.zeros_like()?.detach();
        let moments = Moments::new(&zeros, &zeros, parameter.device())?;
        Ok(Self { variable: Var::from_tensor(parameter)?, rate, moments })
    }

    fn step_slice(&mut self, gradient: &[f32], factors: Factors) -> Result<()> {
        let Moments::Slices { first, second } = &mut self.moments else { bail!("moments of another device: a bug") };
        let moments = Mutex::new((first.as_mut_slice(), second.as_mut_slice()));
        Ok(self.variable.inplace_op1(&Step { gradient, moments, factors })?)
    }

    fn step_tensor(&mut self, gradient: &Tensor, factors: Factors, kernels: &StepKernels) -> Result<()> {
        let Moments::Tensors { first, second } = &mut self.moments else { bail!("moments of another device: a bug") };
        if kernels.step(self.variable.as_tensor(), gradient, [first, second], factors)? {
            return Ok(());
        }
        let gradient = (gradient.detach() * factors.gradient)?;
        *first = ((&*first * BETA_1)? + (&gradient * (1.0 - BETA_1))?)?;
        *second = ((&*second * BETA_2)? + (gradient.sqr()? * (1.0 - BETA_2))?)?;
        let root = ((second.sqrt()? * factors.second)? + EPSILON)?;
        let moved = ((self.variable.as_detached_tensor() * factors.decay)? - ((&*first / root)? * factors.rate)?)?;
        Ok(self.variable.set(&moved)?)
    }
}

/// Compares three steps by the kernels that would move parameters with the CPU's, where there are
/// kernels: wrong ones would only show as a poor model.
///
/// # Errors
/// They differ; failures of the device.
pub(crate) fn check(gradients: &Gradients, device: &Device) -> Result<()> {
    let Gradients::Device { kernels, .. } = gradients else { return Ok(()) };
    if kernels.are_none() {
        return Ok(());
    }
    let own = three_steps(device, |optimizer, sum| optimizer.step_tensors(&[sum], kernels, 0.1, 0.5))?;
    let expected = three_steps(&Device::Cpu, |optimizer, sum| {
        let of = optimizer.next_factors(0.1, 0.5);
        let [state] = optimizer.states.as_mut_slice() else { bail!("one parameter of which there is another: a bug") };
        let factors = of(state);
        state.step_slice(&sum.flatten_all()?.to_vec1::<f32>()?, factors)
    })?;
    let mut pairs = own.iter().zip(&expected);
    let is_same = pairs.all(|(own, expected)| (own - expected).abs() <= 1e-4 * (1.0 + expected.abs()));
    ensure!(
        is_same,
        "on this GPU our kernels move parameters elsewhere than the CPU does: --precision f32 trains without them; please report it"
    );
    Ok(())
}

/// Where some made-up parameters are after three steps.
fn three_steps(device: &Device, mut step: impl FnMut(&mut AdamW, Tensor) -> Result<()>) -> Result<Vec<f32>> {
    let numbers = |factor: f32| (0..320).map(|at| factor * ((at * 37 % 64) as f32 / 32.0 - 0.9)).collect::<Vec<_>>();
    let tensor = |factor: f32| Tensor::from_vec(numbers(factor), (10, 32), device);
    let parameters = Parameters::new([("weight".to_owned(), tensor(1.0)?)].into()).trainable()?;
    let mut optimizer = AdamW::new(&parameters, 0.1, |_| 1.0)?;
    for factor in [0.5, -2.0, 1.0] {
        step(&mut optimizer, tensor(factor)?)?;
    }
    Ok(parameters.get("weight")?.flatten_all()?.to_vec1()?)
}

/// One step of one parameter in one pass. The mutex only lends the moments through candle's
/// `&self`; nobody else asks for it.
struct Step<'a> {
    gradient: &'a [f32],
    moments: Mutex<(&'a mut [f32], &'a mut [f32])>,
    factors: Factors,
}

impl InplaceOp1 for Step<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, parameter: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let mut moments = self.moments.lock().expect("nobody else holds the moments: anything else is a bug");
        let (first, second) = &mut *moments;
        let factors = AdamFactors {
            gradient: self.factors.gradient as f32,
            decay: self.factors.decay as f32,
            kept: [BETA_1 as f32, BETA_2 as f32],
            rate: self.factors.rate as f32,
            correction: self.factors.second as f32,
            epsilon: EPSILON as f32,
        };
        adamw(slice_mut(parameter, layout)?, self.gradient, first, second, factors);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn parameters() -> Parameters {
        let tensors = [
            ("bias", Tensor::new(&[0.5f32, -1.0], &Device::Cpu).unwrap()),
            ("weight", Tensor::new(&[[0.5f32, -1.0], [2.0, 0.0]], &Device::Cpu).unwrap()),
        ];
        let tensors: BTreeMap<String, Tensor> =
            tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        Parameters::new(tensors).trainable().unwrap()
    }

    fn values(parameters: &Parameters, name: &str) -> Vec<f32> {
        parameters.get(name).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn gradients(factor: f32) -> Gradients {
        let bias = Tensor::new(&[-factor, 1e-3 * factor], &Device::Cpu).unwrap();
        let weight = Tensor::new(&[[0.1 * factor, -0.2 * factor], [0.0, 3.0 * factor]], &Device::Cpu).unwrap();
        Gradients::on_cpu(&[bias, weight])
    }

    fn on_device(gradients: &Gradients, parameters: &Parameters) -> Gradients {
        let values = gradients.to_values().unwrap();
        let zeros = parameters.variables().map(|(_, tensor)| tensor.zeros_like().unwrap().detach()).collect();
        let mut gradients = Gradients::Device { sums: zeros, kernels: StepKernels::default() };
        gradients.set_values(&values).unwrap();
        gradients
    }

    fn assert_close(values: &[f32], expected: &[f32]) {
        assert!(values.iter().zip(expected).all(|(value, expected)| (value - expected).abs() < 1e-4), "{values:?}");
    }

    /// ```python
    /// import torch
    /// w = torch.nn.Parameter(torch.tensor([[0.5, -1.0], [2.0, 0.0]])); b = torch.nn.Parameter(torch.tensor([0.5, -1.0]))
    /// o = torch.optim.AdamW([{"params": [w], "weight_decay": 0.1}, {"params": [b], "weight_decay": 0.0}], lr=0.1)
    /// for k in range(3):
    ///     w.grad = torch.tensor([[0.1, -0.2], [0.0, 3.0]]) * (k + 1); b.grad = torch.tensor([-1.0, 1e-3]) * (k + 1); o.step()
    /// print(w, b)
    /// ```
    #[test]
    fn three_steps_are_those_of_torch() {
        let parameters = parameters();
        let mut optimizer = AdamW::new(&parameters, 0.1, |_| 1.0).unwrap();
        for factor in [1.0, 2.0, 3.0] {
            optimizer.step(&gradients(factor), 0.1, 1.0, 2).unwrap();
        }
        assert_close(&values(&parameters, "weight"), &[0.1958, -0.6809, 1.9406, -0.2894]);
        assert_close(&values(&parameters, "bias"), &[0.7923, -1.2923]);
    }

    #[test]
    fn the_composed_step_for_other_devices_is_the_fused_one() {
        let (fused, composed) = (parameters(), parameters());
        let mut fused_optimizer = AdamW::new(&fused, 0.1, |_| 1.0).unwrap();
        let mut composed_optimizer = AdamW::new(&composed, 0.1, |_| 1.0).unwrap();
        for state in &mut composed_optimizer.states {
            let zeros = state.variable.zeros_like().unwrap();
            state.moments = Moments::Tensors { first: zeros.clone(), second: zeros };
        }
        for factor in [1.0, -2.0, 0.5] {
            fused_optimizer.step(&gradients(factor), 0.1, 0.7, 1).unwrap();
            composed_optimizer.step(&on_device(&gradients(factor), &composed), 0.1, 0.7, 1).unwrap();
        }
        for name in ["bias", "weight"] {
            assert_close(&values(&fused, name), &values(&composed, name));
        }
    }

    #[test]
    fn a_parameter_with_half_the_rate_moves_as_all_do_at_half_the_learning_rate() {
        let (half, slow) = (parameters(), parameters());
        let mut all_slow = AdamW::new(&slow, 0.1, |_| 1.0).unwrap();
        let mut one_slow = AdamW::new(&half, 0.1, |name| if name == "weight" { 0.5 } else { 1.0 }).unwrap();
        for factor in [1.0, -2.0] {
            all_slow.step(&gradients(factor), 0.05, 1.0, 1).unwrap();
            one_slow.step(&gradients(factor), 0.1, 1.0, 1).unwrap();
        }
        assert_eq!(values(&half, "weight"), values(&slow, "weight"));
        assert_ne!(values(&half, "bias"), values(&slow, "bias"));
    }

    #[test]
    fn moments_that_were_kept_go_on_as_if_nothing_had_happened() {
        let (whole, parts) = (parameters(), parameters());
        let mut uninterrupted = AdamW::new(&whole, 0.1, |_| 1.0).unwrap();
        let mut first = AdamW::new(&parts, 0.1, |_| 1.0).unwrap();
        let mut second = AdamW::new(&parts, 0.1, |_| 1.0).unwrap();
        uninterrupted.step(&gradients(1.0), 0.1, 1.0, 1).unwrap();
        first.step(&gradients(1.0), 0.1, 1.0, 1).unwrap();
        second.restore(1, first.moments().unwrap()).unwrap();
        uninterrupted.step(&gradients(2.0), 0.1, 1.0, 1).unwrap();
        second.step(&gradients(2.0), 0.1, 1.0, 1).unwrap();
        assert_eq!(values(&whole, "weight"), values(&parts, "weight"));
    }

    #[test]
    fn only_matrices_decay() {
        let parameters = parameters();
        let mut optimizer = AdamW::new(&parameters, 0.5, |_| 1.0).unwrap();
        optimizer.step(&gradients(0.0), 0.1, 1.0, 1).unwrap();
        assert_close(&values(&parameters, "weight"), &[0.475, -0.95, 1.9, 0.0]);
        assert_close(&values(&parameters, "bias"), &[0.5, -1.0]);
    }
}
