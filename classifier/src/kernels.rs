//! The arithmetic of the CPU, on slices and on one thread: what training's operations and the inference engine share.
//!
//! This is the only place of the crate with `unsafe` in it.

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
pub(crate) mod tests;
mod tiles;
mod weights;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use activation::{Finish, gate, gelu, gelu_new, normal, relu};
pub(crate) use columns::{mix_tokens, multiply_tokens, powers_of_tokens};
pub use instructions::{Instructions, UnknownInstructions};
pub(crate) use integers::{IntegerWeights, Rounded};
pub(crate) use lanes::{Edge, Left, Machine, Portable};
pub(crate) use machine::vectorised;
#[cfg(target_arch = "x86_64")]
pub(crate) use machine::{Avx2, Avx512, Vnni};
pub(crate) use numbers::{exp, sum_of};
pub use optimizer::{AdamFactors, adamw, sum_of_squares};
pub(crate) use panels::Panels;
pub(crate) use peak::spin;
pub(crate) use product::{ADDED_AT_ONCE, Matrix, Output, multiply};
pub(crate) use rows::{moments, softmax};
pub(crate) use weights::{Outcome, Share, Span, Weights};
