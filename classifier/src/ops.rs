//! The operations that BERT is made of, each differentiable.
//!
//! On the CPU each is one fused, single-threaded candle operation with its own backward pass; on other devices the same
//! function is composed of candle's differentiable operations ([`composed`]), which is also the reference the tests compare
//! the fused ones with.

mod activation;
mod attention;
mod composed;
mod dropout;
mod linear;
mod lookup;
mod norm;
mod pool;
#[cfg(test)]
mod tests;
mod texts;
mod values;

pub(crate) use activation::activate;
pub(crate) use attention::attention;
pub(crate) use dropout::{Mask, dropout};
pub(crate) use linear::linear;
pub(crate) use lookup::{lookup, lookup_positions};
pub(crate) use norm::add_norm;
pub(crate) use pool::{attention_pool, max_pool, mean_pool};
pub(crate) use texts::Texts;
