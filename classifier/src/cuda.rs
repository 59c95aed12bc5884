//! BERT on a GPU, for serving: packed texts, bf16, matrix products by cublasLt and everything else
//! by kernels of our own.
//!
//! Weights, and what goes from one kernel to the next, are bf16; sums, softmax, LayerNorm and the
//! logits are f32. Texts lie end to end without padding; where only `[CLS]` is read of the last
//! layer, only `[CLS]` is computed there after the keys and values.
//!
//! The forward pass ([`forward`]) is written over a [`Chip`](gpu::Chip): a GPU, or in tests the
//! CPU that runs the same kernels compiled by a C++ compiler.

mod forward;
mod weights;

#[cfg(feature = "cuda")]
mod engine;

#[cfg(test)]
mod tests;

#[cfg(feature = "cuda")]
pub(crate) use engine::Engine;
