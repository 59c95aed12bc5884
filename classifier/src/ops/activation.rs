//! The activation functions, forward and backward, on slices.

use crate::kernels::{gate, gelu, gelu_new, normal, relu, vectorised};
use crate::model::Activation;

/// The activation of every element.
pub(crate) fn activate(activation: Activation, x: &[f32], y: &mut [f32]) {
    y.copy_from_slice(x);
    match activation {
        Activation::Gelu => gelu(y),
        Activation::GeluNew => gelu_new(y),
        Activation::Relu => relu(y),
    }
}

/// Turns the gradient of the results into that of the elements `x`.
pub(crate) fn activate_backward(activation: Activation, x: &[f32], gradient: &mut [f32]) {
    match activation {
        Activation::Gelu => gelu_backward(x, gradient),
        Activation::GeluNew => gelu_new_backward(x, gradient),
        Activation::Relu => relu_backward(x, gradient),
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
