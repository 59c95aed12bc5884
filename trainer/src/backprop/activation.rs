//! The activation functions, forward and backward.

use bert::Activation;
use kernels::{gate, gelu, gelu_new, normal, relu, vectorised};

/// The activation of every element.
pub(super) fn activate(activation: Activation, x: &[f32], y: &mut [f32]) {
    y.copy_from_slice(x);
    match activation {
        Activation::Gelu => gelu(y),
        Activation::GeluNew => gelu_new(y),
        Activation::Relu => relu(y),
        Activation::Tanh => y.iter_mut().for_each(|y| *y = y.tanh()),
    }
}

/// Turns the gradient of the results into that of the elements `x`.
pub(super) fn activate_backward(activation: Activation, x: &[f32], gradient: &mut [f32]) {
    match activation {
        Activation::Gelu => gelu_backward(x, gradient),
        Activation::GeluNew => gelu_new_backward(x, gradient),
        Activation::Relu => relu_backward(x, gradient),
        Activation::Tanh => {
            for (gradient, x) in gradient.iter_mut().zip(x) {
                let y = x.tanh();
                *gradient *= 1.0 - y * y;
            }
        }
    }
}

vectorised! {
    fn gelu_backward(xs: &[f32], gradient: &mut [f32]) {
        for (gradient, &x) in gradient.iter_mut().zip(xs) {
            let (distribution, density) = normal(x);
            *gradient *= distribution + x * density;
        }
    }
}

vectorised! {
    fn gelu_new_backward(xs: &[f32], gradient: &mut [f32]) {
        for (gradient, &x) in gradient.iter_mut().zip(xs) {
            let (gate, slope) = gate(x);
            *gradient *= gate + x * gate * (1.0 - gate) * slope;
        }
    }
}

vectorised! {
    fn relu_backward(xs: &[f32], gradient: &mut [f32]) {
        for (gradient, &x) in gradient.iter_mut().zip(xs) {
            *gradient = if x > 0.0 { *gradient } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn activations_and_their_slopes_are_those_of_candle() {
        let xs: Vec<f32> = (-800..=800).map(|step| step as f32 / 100.0 + 0.001).collect();
        for activation in [Activation::Gelu, Activation::GeluNew, Activation::Relu, Activation::Tanh] {
            let x = Var::from_slice(&xs, xs.len(), &Device::Cpu).unwrap();
            let y = match activation {
                Activation::Gelu => x.gelu_erf(),
                Activation::GeluNew => x.gelu(),
                Activation::Relu => x.relu(),
                Activation::Tanh => x.tanh(),
            };
            let y = y.unwrap();
            let expected = y.backward().unwrap().get(&x).unwrap().to_vec1::<f32>().unwrap();
            let (mut found, mut slopes) = (vec![0.0; xs.len()], vec![1.0; xs.len()]);
            activate(activation, &xs, &mut found);
            activate_backward(activation, &xs, &mut slopes);
            for (found, expected) in [(&found, &y.to_vec1::<f32>().unwrap()), (&slopes, &expected)] {
                for ((x, found), expected) in xs.iter().zip(found).zip(expected) {
                    assert!((found - expected).abs() < 1e-5, "{activation:?} at {x}: {found}, expected {expected}");
                }
            }
        }
    }
}
