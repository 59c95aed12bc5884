//! What is above the encoder, forward and backward: one vector a text, and its logits.

use anyhow::Result;
use bert::{Activation, Mask, ModelConfig, Parameters, Pooling, Site};
use candle_core::Tensor;

use super::activation::{activate, activate_backward};
use super::dropout::drop_out;
use super::gradients::Gradients;
use super::linear::{Lesson, Linear, learn};
use super::norm::{Norm, NormGradients, Normal, PLAIN};
use super::pass::Pass;
use super::pooling::Texts;
use super::tensors::read;

#[derive(Debug)]
pub(super) struct Head {
    /// Behind the last layer, where the layers normalise first.
    norm: Option<Norm>,
    pooler: Pooler,
    classifier: Linear,
    /// To dropout.
    layer: usize,
    width: usize,
    dropout: f64,
}

#[derive(Debug)]
enum Pooler {
    /// A dense layer over `[CLS]`, whose rows alone the last layer gives, and what bends it.
    Cls {
        dense: Linear,
        activation: Activation,
        /// Dropout before the dense layer.
        dropout: f64,
    },
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
    normal: Normal,
    /// What is pooled: the rows of the last layer, normalised or with some dropped; empty where
    /// they are as they were.
    rows: Vec<f32>,
    /// What the dense layer gives, before it is bent.
    dense: Vec<f32>,
    pooled: Vec<f32>,
    /// The same after dropout.
    classified: Vec<f32>,
    pub logits: Vec<f32>,
    pub logits_gradient: Vec<f32>,
    pooled_gradient: Vec<f32>,
    query_gradient: Vec<f32>,
    norm_gradients: NormGradients,
}

impl Head {
    pub fn new(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        const QUERY: &str = "pooling.query.weight";
        let norm = config.norms_first().then(|| Norm::new("bert.encoder.LayerNorm", config, parameters));
        Ok(Self {
            norm: norm.transpose()?,
            pooler: match config.pooling {
                Pooling::Cls => Pooler::Cls {
                    dense: Linear::new("bert.pooler.dense", parameters)?,
                    activation: config.head_activation,
                    dropout: config.head_input_dropout(),
                },
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
        let HeadTrace { normal, rows, dense: flat, pooled, classified, logits, .. } = trace;
        rows.clear();
        if let Some(norm) = &self.norm {
            norm.forward_alone(normal, hidden, rows)?;
        }
        if let Some(mask) = self.input_mask(pass) {
            if rows.is_empty() {
                rows.extend_from_slice(hidden);
            }
            drop_out(rows, 0, &mask);
        }
        let rows: &[f32] = if rows.is_empty() { hidden } else { rows };
        pooled.resize(pass.batch.texts() * self.width, 0.0);
        let texts = self.texts(pass, rows);
        match &self.pooler {
            Pooler::Cls { dense, activation, .. } => {
                dense.forward(rows, flat)?;
                activate(*activation, flat, pooled);
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
        let HeadTrace {
            normal,
            rows,
            dense: flat,
            logits_gradient,
            pooled_gradient,
            query_gradient,
            norm_gradients,
            ..
        } = trace;
        let rows: &[f32] = if rows.is_empty() { hidden } else { rows };
        self.classifier.backward(logits_gradient, pooled_gradient, false)?;
        self.drop(pass, pooled_gradient);
        gradient.resize(hidden.len(), 0.0);
        let texts = self.texts(pass, rows);
        match &self.pooler {
            Pooler::Cls { dense, activation, .. } => {
                activate_backward(*activation, flat, pooled_gradient);
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
        if let Some(mask) = self.input_mask(pass) {
            drop_out(gradient, 0, &mask);
        }
        match &self.norm {
            Some(norm) => norm.backward(normal, PLAIN, gradient, norm_gradients),
            None => Ok(()),
        }
    }

    /// The gradients of the parameters, from what the last layer gave each shard, and the shard's
    /// trace.
    pub fn learn(&self, shards: &[(&[f32], &HeadTrace)], gradients: &mut Gradients) -> Result<()> {
        let classifier = shards.iter().map(|(_, trace)| (&*trace.logits_gradient, &*trace.classified));
        let mut lessons = vec![Lesson { linear: &self.classifier, shards: classifier.collect() }];
        if let Pooler::Cls { dense, .. } = &self.pooler {
            let dense_shards = shards.iter().map(|(hidden, trace)| {
                (&*trace.pooled_gradient, if trace.rows.is_empty() { *hidden } else { &*trace.rows })
            });
            lessons.push(Lesson { linear: dense, shards: dense_shards.collect() });
        }
        learn(&lessons, gradients, shards.len())?;
        if let Pooler::Attention { slot: Some(slot), .. } = self.pooler {
            shards.iter().for_each(|(_, trace)| gradients.add(slot, &trace.query_gradient));
        }
        if let Some(norm) = &self.norm {
            norm.learn(shards.iter().map(|(_, trace)| &trace.norm_gradients), gradients);
        }
        Ok(())
    }

    /// What is dropped of what goes into the dense layer.
    fn input_mask(&self, pass: Pass) -> Option<Mask> {
        match &self.pooler {
            Pooler::Cls { dropout, .. } => pass.mask(self.layer, Site::AttentionOutput, *dropout),
            _ => None,
        }
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
