//! What a BERT is, or one of its relatives: a checkpoint directory, its configuration, parameters, classes and tokenizer,
//! and a [`Reference`] that says what it computes.
//!
//! The reference is made of candle's plain operations and shares no arithmetic with the
//! implementations that are tested against it: those that serve (crate `classifier`) and the one
//! that trains on the CPU (crate `trainer`). Training on a GPU runs through it.

mod activation;
mod classes;
mod config;
mod dropout;
mod error;
mod family;
mod parameters;
mod reference;
mod token_batch;

pub mod checkpoint;
pub mod parallel;
pub mod tokenizer;

pub use activation::Activation;
pub use classes::Classes;
pub use config::{ConfigError, LINEAR_MODEL, ModelConfig, Pooling, Sharing, UnknownPooling};
pub use dropout::{Dropout, Mask, Site};
pub use error::CheckpointError;
pub use family::Family;
pub use parameters::{Parameters, initialise};
pub use reference::Reference;
pub use token_batch::TokenBatch;
pub use tokenizer::Tokenizer;
