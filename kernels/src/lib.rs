//! The CPU's arithmetic: loops over slices and panels on one thread, compiled for AVX-512, AVX2 and
//! any machine.
//!
//! Two layouts share it. Serving keeps the tokens of a batch in the lanes of the vector registers
//! ([`Panels`]), with weights that are packed once ([`Weights`], [`IntegerWeights`]); it is generic
//! over the [`Machine`]. Training keeps matrices in rows ([`multiply`]), and writes its own loops
//! with [`vectorised!`].
//!
//! Nothing here knows of models. This crate, and what `vectorised!` expands to, has all `unsafe` of
//! the CPU.

mod activation;
mod columns;
mod instructions;
mod integers;
mod lanes;
mod machine;
mod numbers;
mod optimizer;
mod panels;
mod peak;
mod product;
mod rows;
#[cfg(test)]
mod tests;
mod tiles;
mod weights;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use activation::{Epilogue, gate, gelu, gelu_new, normal, relu};
pub use columns::{mix_tokens, multiply_tokens, powers_of_tokens};
pub use instructions::{Instructions, UnknownInstructions};
pub use integers::{IntegerWeights, Rounded};
pub use lanes::{Edge, Left, Machine, Portable, Scales};
#[cfg(target_arch = "x86_64")]
pub use machine::{Avx2, Avx512, Vnni};
pub use numbers::{exp, sum_of};
pub use optimizer::{AdamFactors, adamw, sum_of_squares};
pub use panels::Panels;
pub use peak::peak_operations;
pub use product::{ADDED_AT_ONCE, Matrix, Output, multiply};
pub use rows::{moments, softmax};
pub use weights::{Outcome, Share, Span, Weights};
