//! The BERT, or relative of it, that learns on the CPU: forward and backward by hand, over slices, in memory that is
//! used again at each step.
//!
//! A batch is dealt to shards. Each goes forward on a thread of its own and leaves a [`Trace`]. On
//! the way back each layer is two parallel steps: every shard's gradients of what the layer's
//! operations gave, then the gradients of its parameters, of which each thread computes some rows
//! for all shards. So there is one gradient of each parameter, however many threads.

mod activation;
mod attention;
mod dropout;
mod embeddings;
mod gradients;
mod head;
mod layer;
mod linear;
mod norm;
mod pass;
mod pooling;
mod rows;
pub(crate) mod tensors;
#[cfg(test)]
mod tests;

use anyhow::Result;
use bert::{Dropout, ModelConfig, Parameters, Pooling, TokenBatch};
use candle_core::{Device, Tensor};

use self::embeddings::{Embeddings, EmbeddingsTrace};
pub(crate) use self::gradients::Gradients;
use self::head::{Head, HeadTrace};
use self::layer::{Layer, LayerGradients, LayerTrace, Shard};
use self::pass::Pass;
use self::rows::Rows;
use self::tensors::read;
use crate::parallel;

/// A BERT over parameters on the CPU that it shares.
#[derive(Debug)]
pub(crate) struct Network {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    head: Head,
    pooling: Pooling,
}

/// What a shard's way through the network leaves for its way back. Its memory is used again by the
/// next.
#[derive(Debug)]
pub(crate) struct Trace {
    batch: TokenBatch,
    dropout: Option<Dropout>,
    embeddings: EmbeddingsTrace,
    layers: Vec<LayerTrace>,
    /// What went into each layer, and what came out of the last: the vectors of the first token of
    /// each text where the pooling asks for no other, else of all tokens.
    hidden: Vec<Vec<f32>>,
    head: HeadTrace,
    /// The gradient of what came out of the layer that the way back has come to.
    gradient: Vec<f32>,
    layer_gradients: LayerGradients,
}

impl Network {
    /// Over these parameters.
    ///
    /// # Errors
    /// A parameter that is missing or has another shape than the configuration says.
    pub(crate) fn new(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        parameters.check(config)?;
        let layers = config.layers().into_iter().zip(1..);
        let layers = layers.map(|(weights, number)| Layer::new(number, weights, config, parameters));
        Ok(Self {
            embeddings: Embeddings::new(config, parameters)?,
            layers: layers.collect::<Result<_>>()?,
            head: Head::new(config, parameters)?,
            pooling: config.pooling,
        })
    }

    /// The logits, one row a text.
    ///
    /// Runs on the calling thread.
    ///
    /// # Errors
    /// A token that the embedding has no row for, a text longer than the model has positions.
    pub(crate) fn forward(&self, batch: &TokenBatch, dropout: Option<&Dropout>, trace: &mut Trace) -> Result<Tensor> {
        trace.batch = batch.clone();
        trace.dropout = dropout.copied();
        trace.layers.resize_with(self.layers.len(), LayerTrace::default);
        trace.hidden.resize_with(self.layers.len() + 1, Vec::new);
        let pass = Pass { batch, dropout, rows: Rows::Tokens };
        self.embeddings.forward(pass, &mut trace.embeddings, &mut trace.hidden[0])?;
        for (index, (layer, layer_trace)) in self.layers.iter().zip(&mut trace.layers).enumerate() {
            let (below, above) = trace.hidden.split_at_mut(index + 1);
            let pass = Pass { rows: self.rows_after(index, batch), ..pass };
            layer.forward(pass, &below[index], layer_trace, &mut above[0])?;
        }
        self.head.forward(pass, &trace.hidden[self.layers.len()], &mut trace.head)?;
        let logits = &trace.head.logits;
        Ok(Tensor::from_slice(logits, (batch.texts(), logits.len() / batch.texts()), &Device::Cpu)?)
    }

    /// The gradients of the parameters, of all shards together; each has been
    /// [forward](Self::forward) and [knows](Trace::set_gradient) the gradient of its logits.
    ///
    /// Runs on a thread a shard. The shards are summed in their order.
    ///
    /// # Errors
    /// Only what candle may say of reading a tensor.
    pub(crate) fn backward(&self, traces: &mut [Trace], gradients: &mut Gradients) -> Result<()> {
        let last = self.layers.len();
        each(traces, |Trace { batch, dropout, hidden, head, gradient, .. }| {
            let pass = Pass { batch, dropout: dropout.as_ref(), rows: Rows::Tokens };
            self.head.backward(pass, &hidden[last], head, gradient)
        })?;
        let shards = traces.iter().map(|Trace { hidden, head, .. }| (&*hidden[last], head));
        self.head.learn(&shards.collect::<Vec<_>>(), gradients)?;

        let learns_below = |index: usize| self.embeddings.learns() || self.layers[..index].iter().any(Layer::learns);
        for (index, layer) in self.layers.iter().enumerate().rev() {
            if !learns_below(index + 1) {
                return Ok(());
            }
            each(traces, |Trace { batch, dropout, layers, gradient, layer_gradients, .. }| {
                let pass = Pass { batch, dropout: dropout.as_ref(), rows: self.rows_after(index, batch) };
                layer.backward(pass, &layers[index], gradient, layer_gradients, learns_below(index))
            })?;
            let shards = traces.iter().map(|Trace { hidden, layers, layer_gradients, .. }| Shard {
                x: &hidden[index],
                trace: &layers[index],
                gradients: layer_gradients,
            });
            layer.learn(&shards.collect::<Vec<_>>(), gradients)?;
        }
        if self.embeddings.learns() {
            each(traces, |Trace { batch, dropout, embeddings, gradient, .. }| {
                let pass = Pass { batch, dropout: dropout.as_ref(), rows: Rows::Tokens };
                self.embeddings.backward(pass, embeddings, gradient)
            })?;
            let shards = traces.iter().map(|Trace { batch, embeddings, gradient, .. }| {
                (Pass { batch, dropout: None, rows: Rows::Tokens }, embeddings, &**gradient)
            });
            self.embeddings.learn(&shards.collect::<Vec<_>>(), gradients)?;
        }
        Ok(())
    }

    /// The tokens whose vectors come out of a layer: the last need not compute what nobody asks
    /// for.
    fn rows_after<'a>(&self, index: usize, batch: &'a TokenBatch) -> Rows<'a> {
        if index + 1 == self.layers.len() && self.pooling == Pooling::Cls {
            Rows::First(batch.starts())
        } else {
            Rows::Tokens
        }
    }
}

/// Each shard's work on a thread of its own.
fn each(traces: &mut [Trace], work: impl Fn(&mut Trace) -> Result<()> + Sync) -> Result<()> {
    parallel::map(traces.len(), traces.iter_mut().collect(), |_| 1, work).map(|_| ())
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            batch: TokenBatch::new::<&[u32]>(&[]),
            dropout: None,
            embeddings: EmbeddingsTrace::default(),
            layers: Vec::new(),
            hidden: Vec::new(),
            head: HeadTrace::default(),
            gradient: Vec::new(),
            layer_gradients: LayerGradients::default(),
        }
    }
}

impl Trace {
    /// Takes the gradient of what [`Network::forward`] gave.
    ///
    /// # Errors
    /// A gradient that is not f32 on the CPU.
    pub(crate) fn set_gradient(&mut self, logits: &Tensor) -> Result<()> {
        self.head.logits_gradient.clear();
        self.head.logits_gradient.extend_from_slice(&read(&logits.contiguous()?)?);
        Ok(())
    }
}
