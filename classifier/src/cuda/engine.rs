//! A model on a GPU, shared by those who ask it.

use std::sync::{Arc, Mutex, PoisonError};

use bert::{ModelConfig, Parameters, TokenBatch};
use candle_core::{CudaDevice, Result};
use gpu::Gpu;

use super::forward::{Bert, kernels, suits};

/// A BERT ready to run on a GPU; clones share it, and take turns.
#[derive(Clone, Debug)]
pub(crate) struct Engine(Arc<Mutex<Bert<Gpu>>>);

impl Engine {
    /// An engine for batches of up to `tokens` tokens; nothing where the kernels cannot do a model
    /// of these sizes, or the GPU has no bf16 (before Ampere).
    ///
    /// # Errors
    /// A parameter that is missing or has another shape than the configuration says; failures of
    /// the device.
    pub fn new(
        config: &ModelConfig,
        parameters: &Parameters,
        device: &CudaDevice,
        tokens: usize,
    ) -> Result<Option<Self>> {
        if !suits(config) || !Gpu::has_bf16(device)? {
            return Ok(None);
        }
        let open = || Bert::new(Gpu::new(device, &kernels(config))?, config, parameters, tokens);
        Ok(Some(Self(Arc::new(Mutex::new(open()?)))))
    }

    /// The logits of so many texts in batches, one row a text, in order. The next batch is taken
    /// while the GPU is at work on one.
    ///
    /// # Errors
    /// A token that the embedding has no row for, a text longer than the model has positions;
    /// failures of the device.
    pub fn forward(&self, texts: usize, batches: impl Iterator<Item = TokenBatch>) -> Result<Vec<Vec<f32>>> {
        // A panic leaves nothing half done that the next call would read.
        let mut bert = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bert.forward(texts, batches)
    }
}
