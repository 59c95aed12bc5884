//! BERT for sequence classification as a differentiable function of its parameters: one definition for training
//! (parameters are variables) and for serving (parameters are plain tensors).
//!
//! Everything is packed: a [`TokenBatch`] holds the tokens of all its texts end to end, so there is no padding and no mask.

mod batch;
mod bert;
mod config;
mod dropout;
mod encoder;
mod parameters;

pub use batch::TokenBatch;
pub use bert::BertClassifier;
pub use config::{Activation, ConfigError, ModelConfig, Pooling, UnknownPooling};
pub use dropout::Dropout;
pub use encoder::{Encoder, Gradients, Trace};
pub use parameters::{Parameters, initialise};
pub(crate) use parameters::{initial, shapes};

pub use crate::kernels::{AdamFactors, adamw, sum_of_squares};
