//! What bends a vector.

use serde::{Deserialize, Serialize};

/// The activation functions that HuggingFace BERT checkpoints name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x · Φ(x)` with the error function.
    #[serde(alias = "gelu_python")]
    Gelu,
    /// The tanh approximation of [`Gelu`](Self::Gelu).
    #[serde(alias = "gelu_pytorch_tanh", alias = "gelu_fast", alias = "gelu_accurate")]
    GeluNew,
    /// `max(x, 0)`.
    Relu,
    /// The hyperbolic tangent: of the head alone.
    #[serde(skip)]
    Tanh,
}
