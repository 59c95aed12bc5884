//! BERT on the CPU, for serving: its weights are packed when a model is opened.
//!
//! The tokens of a batch lie in the lanes of the vector registers (see [`lanes`](kernels)), without
//! padding between the texts. Attention goes text by text, and where only `[CLS]` is read of the
//! last layer, only `[CLS]` is computed there after the keys and values.

mod arena;
mod attention;
mod embeddings;
mod layer;
mod linear;
mod norm;
mod packed;
mod pooling;
mod team;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bert::{ModelConfig, Parameters, TokenBatch};
use candle_core::Result;
use kernels::{Machine, Portable};

use crate::precision::Precision;
use packed::{Forward, PackedBert};

/// A BERT ready to run on this machine; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Engine(Arc<dyn Forward>);

impl Engine {
    /// An engine for the best that this machine has.
    ///
    /// # Errors
    /// A parameter that is missing or has another shape than the configuration says.
    pub fn new(config: &ModelConfig, parameters: &Parameters, precision: Precision) -> Result<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            use kernels::{Avx2, Avx512, Vnni};
            if let Some(machine) = Vnni::detect() {
                return Self::on(machine, config, parameters, precision);
            }
            if let Some(machine) = Avx512::detect() {
                return Self::on(machine, config, parameters, precision);
            }
            if let Some(machine) = Avx2::detect() {
                return Self::on(machine, config, parameters, precision);
            }
        }
        Self::on(Portable, config, parameters, precision)
    }

    /// An engine for a kind of machine.
    fn on<M: Machine<L, H>, const L: usize, const H: usize>(
        machine: M,
        config: &ModelConfig,
        parameters: &Parameters,
        precision: Precision,
    ) -> Result<Self> {
        Ok(Self(Arc::new(PackedBert::<M, L, H>::new(machine, config, parameters, precision)?)))
    }

    /// The logits, one row a text, on the calling thread and as many others as make so many
    /// workers. They share every step, so a caller with many texts does better to split the batch.
    ///
    /// # Errors
    /// A token that the embedding has no row for, a text longer than the model has positions.
    pub fn forward(&self, batch: &TokenBatch, workers: usize) -> Result<Vec<Vec<f32>>> {
        self.0.forward(batch, workers)
    }
}
