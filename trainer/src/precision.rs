//! What matrices are multiplied in.

use std::fmt;
use std::str::FromStr;

use classifier::Device;
use serde::Serialize;

/// What matrices are multiplied in. Weights, their moments and gradients, LayerNorm, softmax and the loss are f32 with each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProductPrecision {
    /// bf16 on a GPU, f32 on the CPU.
    #[default]
    Auto,
    /// f32.
    F32,
    /// bf16, which a GPU multiplies many times faster. A CPU does not train in it.
    Bf16,
}

impl ProductPrecision {
    /// Whether it means bf16 on this device.
    pub fn is_bf16(self, device: &Device) -> bool {
        match self {
            Self::Auto => !device.is_cpu(),
            Self::F32 => false,
            Self::Bf16 => true,
        }
    }
}

/// A name that is no precision's.
#[derive(Debug)]
pub struct UnknownProductPrecision(String);

impl std::error::Error for UnknownProductPrecision {}

impl fmt::Display for UnknownProductPrecision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "no precision is called {:?}; there are auto, f32 and bf16", self.0)
    }
}

impl FromStr for ProductPrecision {
    type Err = UnknownProductPrecision;

    fn from_str(text: &str) -> Result<Self, UnknownProductPrecision> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(UnknownProductPrecision(text.to_owned())),
        }
    }
}

impl fmt::Display for ProductPrecision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_is_read_as_it_is_written_and_bf16_is_for_gpus_alone_unless_told() {
        for precision in [ProductPrecision::Auto, ProductPrecision::F32, ProductPrecision::Bf16] {
            assert_eq!(precision.to_string().parse::<ProductPrecision>().unwrap(), precision);
        }
        assert!("f16".parse::<ProductPrecision>().unwrap_err().to_string().contains("auto, f32 and bf16"));
        let on_cpu = [ProductPrecision::Auto, ProductPrecision::F32, ProductPrecision::Bf16]
            .map(|one| one.is_bf16(&Device::Cpu));
        assert_eq!(on_cpu, [false, false, true]);
    }
}
