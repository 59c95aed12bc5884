//! Text in, labels out.
//!
//! A [`Classifier`] opens a HuggingFace BERT directory, or one of the [`linear`] kind, and labels
//! texts on all cores. Behind it stand the implementations that serve: `engine`, a BERT on the CPU,
//! in f32 or int8; `cuda`, a BERT on a GPU, in bf16 (in f32 the crate `bert`'s reference does it);
//! and [`linear`], a linear model over n-grams. What a BERT is, on disk and by definition, stands
//! in the crate `bert`; what trains one, in `trainer`.
//!
//! Nothing here knows of Kafka, SQL, time or the environment.

mod classifier;
mod composed;
#[cfg(any(test, feature = "cuda"))]
mod cuda;
mod device;
mod engine;
mod kind;
mod network;
mod pace;
mod precision;
mod prediction;
mod text_encoder;

pub mod linear;

pub use bert::{CheckpointError, Classes, Family, ModelConfig, Pooling, Tokenizer, checkpoint, initialise, tokenizer};
pub use candle_core::Device;
pub use classifier::Classifier;
pub use composed::ComposedFamily;
pub use device::{DeviceChoice, UnknownDevice};
pub use kernels::{Instructions, UnknownInstructions, peak_operations};
pub use kind::ModelKind;
pub use precision::{Precision, UnknownPrecision};
pub use prediction::Prediction;
pub use text_encoder::{TextEncoder, TooLong, Truncation};
