//! What a run tells those who watch it.

use anyhow::Result;
use serde::Serialize;

use crate::metrics::Evaluation;

/// The size of a run, known before its first step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Training texts.
    pub examples: usize,
    /// Validation texts.
    pub valid_examples: usize,
    /// Passes over the training texts.
    pub epochs: usize,
    /// Texts a gradient is computed from at once.
    pub batch_size: usize,
    /// Texts an optimization step learns from.
    pub total_batch_size: usize,
    /// Batches an optimization step sums.
    pub accumulation_steps: usize,
    /// Times the weights move.
    pub optimization_steps: usize,
    /// Numbers that are learned.
    pub trainable_parameters: usize,
    /// Encoder layers of the model.
    pub layers: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Width inside a feed-forward block.
    pub intermediate_size: usize,
    /// Names of the classes, in the order of the model's outputs.
    pub labels: Vec<String>,
    /// Parameters that the base did not have, made from the seed; empty where the whole model is
    /// new.
    pub initialised: Vec<String>,
}

/// What happens in a run, as it happens.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Before the first step.
    Started(&'a Head),
    /// The run goes on where it was killed.
    Resumed {
        /// Steps that were taken before.
        step: usize,
    },
    /// The weights have moved.
    Stepped {
        /// Steps so far.
        step: usize,
        /// Mean cross entropy of the step's texts before it.
        loss: f64,
        /// The rate of the step.
        learning_rate: f64,
        /// Texts of the step.
        examples: usize,
        /// Tokens of these texts.
        tokens: usize,
    },
    /// The validation texts were classified.
    Evaluated {
        /// Steps so far.
        step: usize,
        /// How well.
        evaluation: &'a Evaluation,
        /// Whether no earlier checkpoint of the run was as good.
        best: bool,
    },
}

/// Who watches a run; its error ends the run.
pub type Watch<'a> = dyn FnMut(&Progress<'_>) -> Result<()> + 'a;
