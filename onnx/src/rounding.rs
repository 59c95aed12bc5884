//! Weights in 8 bits.

use anyhow::Result;
use bert::Parameters;
use candle_core::{Device, Tensor};

/// How the layers' weights stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// As they are.
    F32,
    /// In 8 bits with a scale for each output, and DequantizeLinear before each product: a quarter
    /// of the size. ONNX Runtime then rounds what is multiplied by them too, unless its session
    /// option `session.qdq_matmulnbits_accuracy_level` is 1.
    Int8,
}

/// A matrix (outputs, inputs) in whole numbers, and what each output's are multiplied by.
pub(crate) struct Rounded {
    pub values: Vec<i8>,
    pub scales: Vec<f32>,
}

impl Rounded {
    /// The nearest: of each output, the greatest weight becomes 127.
    pub fn of(weight: &Tensor) -> Result<Self> {
        let (mut values, mut scales) = (Vec::with_capacity(weight.elem_count()), Vec::new());
        for row in weight.to_vec2::<f32>()? {
            let greatest = row.iter().fold(0.0, |greatest: f32, value| greatest.max(value.abs()));
            let scale = if greatest > 0.0 { greatest / 127.0 } else { 1.0 };
            values.extend(row.iter().map(|value| (value / scale).round() as i8));
            scales.push(scale);
        }
        Ok(Self { values, scales })
    }

    fn restored(&self) -> Vec<f32> {
        let inputs = self.values.len() / self.scales.len().max(1);
        let rows = self.values.chunks_exact(inputs.max(1)).zip(&self.scales);
        rows.flat_map(|(row, scale)| row.iter().map(move |value| f32::from(*value) * scale)).collect()
    }
}

/// Whether a parameter is a matrix of the layers, which is where nearly all weights are that are
/// multiplied.
pub(crate) fn is_rounded(name: &str) -> bool {
    name.starts_with("bert.encoder.layer.") && name.ends_with(".weight") && !name.ends_with("LayerNorm.weight")
}

/// The same parameters as they are once they have been rounded.
pub(crate) fn rounded(parameters: &Parameters) -> Result<Parameters> {
    let tensors = parameters.iter().map(|(name, tensor)| {
        let tensor = match is_rounded(name) {
            true => Tensor::from_vec(Rounded::of(tensor)?.restored(), tensor.dims(), &Device::Cpu)?,
            false => tensor.clone(),
        };
        Ok((name.to_owned(), tensor))
    });
    Ok(Parameters::new(tensors.collect::<Result<_>>()?))
}
