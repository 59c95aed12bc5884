//! How exactly a model computes.

use std::fmt;
use std::str::FromStr;

/// How exactly a model computes, as a person writes it: `f32`, `bf16` or `int8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// As it was trained.
    F32,
    /// Weights and vectors rounded to the upper half of an f32, on a GPU; sums, softmax, LayerNorm
    /// and logits as in `f32`.
    Bf16,
    /// Weights and what they are multiplied with rounded to 8 bits, on the CPU; everything else as
    /// in `f32`.
    Int8,
}

/// A name that is no precision's.
#[derive(Debug, thiserror::Error)]
#[error("unknown precision {0:?}: expected f32, bf16 or int8")]
pub struct UnknownPrecision(String);

impl Precision {
    /// As it is written beside predictions.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Self, UnknownPrecision> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "int8" => Ok(Self::Int8),
            _ => Err(UnknownPrecision(name.to_owned())),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_reads_back_as_it_was_written_and_others_are_refused() {
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            assert_eq!(precision.to_string().parse::<Precision>().unwrap(), precision);
        }
        assert!("fp16".parse::<Precision>().unwrap_err().to_string().contains("\"fp16\""));
    }
}
