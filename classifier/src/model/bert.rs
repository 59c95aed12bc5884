use candle_core::{Result, Tensor};

use super::{Dropout, ModelConfig, Parameters, TokenBatch};

/// BERT with a pooler over `[CLS]` and a classification head, as transformers' `BertForSequenceClassification`.
#[derive(Clone, Debug)]
pub struct BertClassifier {
    config: ModelConfig,
    parameters: Parameters,
}

impl BertClassifier {
    /// A model over these parameters, which it shares: where they are variables, gradients flow to them.
    ///
    /// # Errors
    /// A parameter that is missing or has another shape than the configuration says.
    pub fn new(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        Ok(Self {
            config: config.clone(),
            parameters: parameters.clone(),
        })
    }

    /// The logits, one row a text. Without `dropout` the model is deterministic, as it serves.
    ///
    /// On the CPU everything runs on the calling thread: callers that want all cores split the batch.
    pub fn forward(&self, batch: &TokenBatch, dropout: Option<&Dropout>) -> Result<Tensor> {
        todo!(
            "{batch:?} {dropout:?} {:?} {:?}",
            self.config,
            self.parameters
        )
    }
}
