//! What is above the encoder, forward and backward: one vector a text, and its logits.

use anyhow::Result;
use bert::{ModelConfig, Parameters, Pooling, Site};
use candle_core::Tensor;

use super::dropout::drop_out;
use super::gradients::Gradients;
use super::linear::{Lesson, Linear, learn};
use super::pass::Pass;
use super::pooling::Texts;
use super::tensors::read;

#[derive(Debug)]
pub(super) struct Head {
    pooler: Pooler,
    classifier: Linear,
    /// To dropout.
    layer: usize,
    width: usize,
    dropout: f64,
}

#[derive(Debug)]
enum Pooler {
    /// A dense layer with tanh over `[CLS]`, whose rows alone the last layer gives.
    Cls(Linear),
    Mean,
    Max,
    Attention {
        query: Tensor,
        slot: Option<usize>,
    },
}

/// What the forward pass leaves for the backward pass, and the gradients of the latter.
#[derive(Debug, Default)]
pub(super) struct HeadTrace {
    pooled: Vec<f32>,
    /// The same after dropout.
    classified: Vec<f32>,
    pub logits: Vec<f32>,
    pub logits_gradient: Vec<f32>,
    pooled_gradient: Vec<f32>,
    query_gradient: Vec<f32>,
}

impl Head {
    pub fn new(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        const QUERY: &str = "pooling.query.weight";
        Ok(Self {
            pooler: match config.pooling {
                Pooling::Cls => Pooler::Cls(Linear::new("bert.pooler.dense", parameters)?),
                Pooling::Mean => Pooler::Mean,
                Pooling::Max => Pooler::Max,
                Pooling::Attention => {
                    Pooler::Attention { query: parameters.get(QUERY)?.clone(), slot: parameters.slot(QUERY) }
                }
            },
            classifier: Linear::new("classifier", parameters)?,
            layer: config.num_hidden_layers + 1,
            width: config.hidden_size,
            dropout: config.classifier_dropout(),
        })
    }

    /// From what the last layer gives to the logits, which the trace then has.
    pub fn forward(&self, pass: Pass, hidden: &[f32], trace: &mut HeadTrace) -> Result<()> {
        let HeadTrace { pooled, classified, logits, .. } = trace;
        pooled.resize(pass.batch.texts() * self.width, 0.0);
        let texts = self.texts(pass, hidden);
        match &self.pooler {
            Pooler::Cls(dense) => {
                dense.forward(hidden, pooled)?;
                pooled.iter_mut().for_each(|value| *value = value.tanh());
            }
            Pooler::Mean => texts.mean(pooled),
            Pooler::Max => texts.max(pooled),
            Pooler::Attention { query, .. } => texts.attend(&read(query)?, pooled),
        }
        classified.clone_from(pooled);
        self.drop(pass, classified);
        self.classifier.forward(classified, logits)
    }

    /// From the gradient of the logits, which the trace has, to that of what the last layer gave.
    pub fn backward(&self, pass: Pass, hidden: &[f32], trace: &mut HeadTrace, gradient: &mut Vec<f32>) -> Result<()> {
        let HeadTrace { pooled, logits_gradient, pooled_gradient, query_gradient, .. } = trace;
        self.classifier.backward(logits_gradient, pooled_gradient, false)?;
        self.drop(pass, pooled_gradient);
        gradient.resize(hidden.len(), 0.0);
        let texts = self.texts(pass, hidden);
        match &self.pooler {
            Pooler::Cls(dense) => {
                for (gradient, value) in pooled_gradient.iter_mut().zip(&*pooled) {
                    *gradient *= 1.0 - value * value;
                }
                dense.backward(pooled_gradient, gradient, false)?;
            }
            Pooler::Mean => texts.mean_backward(pooled_gradient, gradient),
            Pooler::Max => texts.max_backward(pooled_gradient, gradient),
            Pooler::Attention { query, .. } => {
                query_gradient.clear();
                query_gradient.resize(self.width, 0.0);
                texts.attend_backward(&read(query)?, pooled_gradient, gradient, query_gradient);
            }
        }
        Ok(())
    }

    /// The gradients of the parameters, from what the last layer gave each shard, and the shard's
    /// trace.
    pub fn learn(&self, shards: &[(&[f32], &HeadTrace)], gradients: &mut Gradients) -> Result<()> {
        let classifier = shards.iter().map(|(_, trace)| (&*trace.logits_gradient, &*trace.classified));
        let mut lessons = vec![Lesson { linear: &self.classifier, shards: classifier.collect() }];
        if let Pooler::Cls(dense) = &self.pooler {
            let dense_shards = shards.iter().map(|(hidden, trace)| (&*trace.pooled_gradient, *hidden));
            lessons.push(Lesson { linear: dense, shards: dense_shards.collect() });
        }
        learn(&lessons, gradients, shards.len())?;
        if let Pooler::Attention { slot: Some(slot), .. } = self.pooler {
            shards.iter().for_each(|(_, trace)| gradients.add(slot, &trace.query_gradient));
        }
        Ok(())
    }

    fn texts<'a>(&self, pass: Pass<'a>, hidden: &'a [f32]) -> Texts<'a> {
        Texts { rows: hidden, starts: pass.batch.starts(), width: self.width }
    }

    fn drop(&self, pass: Pass, values: &mut [f32]) {
        if let Some(mask) = pass.mask(self.layer, Site::Output, self.dropout) {
            drop_out(values, 0, &mask);
        }
    }
}
