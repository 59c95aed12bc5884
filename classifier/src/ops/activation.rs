use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::composed;
use super::values::{read, tensor, values};
use crate::kernels::{gate, gelu, gelu_new, normal, relu, vectorised};
use crate::model::Activation;

/// The activation of every element.
pub(crate) fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed::activate(x, activation);
    }
    x.contiguous()?.apply_op1(Activate(activation))
}

struct Activate(Activation);

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = values(x, layout)?.to_vec();
        match self.0 {
            Activation::Gelu => gelu(&mut y),
            Activation::GeluNew => gelu_new(&mut y),
            Activation::Relu => relu(&mut y),
        }
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, y_gradient: &Tensor) -> Result<Option<Tensor>> {
        let y_gradient = y_gradient.contiguous()?;
        let mut gradient = read(&y_gradient)?.to_vec();
        let values = read(x)?;
        match self.0 {
            Activation::Gelu => gelu_backward(&values, &mut gradient),
            Activation::GeluNew => gelu_new_backward(&values, &mut gradient),
            Activation::Relu => relu_backward(&values, &mut gradient),
        }
        Ok(Some(tensor(gradient, x.shape())?))
    }
}

vectorised! {
    fn gelu_backward(values: &[f32], gradient: &mut [f32]) {
        for (gradient, &x) in gradient.iter_mut().zip(values) {
            let (distribution, density) = normal(x);
            *gradient *= distribution + x * density;
        }
    }
}

vectorised! {
    fn gelu_new_backward(values: &[f32], gradient: &mut [f32]) {
        for (gradient, &x) in gradient.iter_mut().zip(values) {
            let (gate, slope) = gate(x);
            *gradient *= gate + x * gate * (1.0 - gate) * slope;
        }
    }
}

vectorised! {
    fn relu_backward(values: &[f32], gradient: &mut [f32]) {
        for (gradient, &x) in gradient.iter_mut().zip(values) {
            *gradient = if x > 0.0 { *gradient } else { 0.0 };
        }
    }
}
