//! The encoder as it learns on the CPU: forward and backward by hand, over slices, on memory that is used again at each step.
//!
//! A batch is dealt to shards. Each goes forward on a thread of its own and leaves a [`Trace`]. On the way back each layer is
//! two parallel steps: every shard's gradients of what the layer's operations gave, then the gradients of its parameters, of
//! which each thread computes some rows for all shards. So there is one gradient of each parameter, however many threads.

mod embeddings;
mod gradients;
mod layer;
mod linear;
mod norm;

use candle_core::{Device, Result, Tensor};

use self::embeddings::{Embeddings, EmbeddingsTrace};
pub use self::gradients::Gradients;
use self::layer::{Layer, LayerGradients, LayerTrace, Shard};
use super::{Dropout, ModelConfig, Parameters, Pooling, TokenBatch};
use crate::ops::{Rows, read};
use crate::parallel;

/// All of BERT below its pooling, over parameters on the CPU that it shares.
#[derive(Debug)]
pub struct Encoder {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    pooling: Pooling,
    hidden_size: usize,
}

/// What a shard's way through the encoder leaves for its way back. Its memory is used again by the next.
#[derive(Debug)]
pub struct Trace {
    batch: TokenBatch,
    dropout: Option<Dropout>,
    embeddings: EmbeddingsTrace,
    layers: Vec<LayerTrace>,
    /// What went into each layer, and what came out of the last.
    hidden: Vec<Vec<f32>>,
    /// The gradient of what came out of the layer that the way back has come to.
    gradient: Vec<f32>,
    layer_gradients: LayerGradients,
}

/// How the tokens of a shard pass a layer.
#[derive(Clone, Copy)]
struct Pass<'a> {
    batch: &'a TokenBatch,
    dropout: Option<&'a Dropout>,
    /// The tokens whose vectors come out of it.
    rows: Rows<'a>,
}

impl Encoder {
    /// Over these parameters, whose names and shapes [`BertClassifier::new`](super::BertClassifier::new) checks.
    ///
    /// # Errors
    /// A parameter that is missing.
    pub fn new(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        let layers = (0..config.num_hidden_layers).map(|index| Layer::new(index, config, parameters));
        Ok(Self {
            embeddings: Embeddings::new(config, parameters)?,
            layers: layers.collect::<Result<_>>()?,
            pooling: config.pooling,
            hidden_size: config.hidden_size,
        })
    }

    /// The last layer's vectors: of the first token of each text where the pooling asks for no other, else of all tokens.
    ///
    /// Runs on the calling thread.
    ///
    /// # Errors
    /// A token that the embedding has no row for, a text longer than the model has positions.
    pub fn forward(&self, batch: &TokenBatch, dropout: Option<&Dropout>, trace: &mut Trace) -> Result<Tensor> {
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
        let last = &trace.hidden[self.layers.len()];
        Tensor::from_slice(last, (last.len() / self.hidden_size, self.hidden_size), &Device::Cpu)
    }

    /// The gradients of the parameters, of all shards together; each has been [forward](Self::forward) and
    /// [knows](Trace::set_gradient) the gradient of what came out.
    ///
    /// Runs on a thread a shard. The shards are summed in their order.
    ///
    /// # Errors
    /// Only what candle may say of reading a tensor.
    pub fn backward(&self, traces: &mut [Trace], gradients: &mut Gradients) -> Result<()> {
        let learns_below = |index: usize| self.embeddings.learns() || self.layers[..index].iter().any(Layer::learns);
        for (index, layer) in self.layers.iter().enumerate().rev() {
            if !learns_below(index + 1) {
                return Ok(());
            }
            parallel::each(traces.iter_mut(), |trace| {
                let Trace { batch, dropout, layers, gradient, layer_gradients, .. } = trace;
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
        self.embeddings.backward(traces, gradients)
    }

    /// The tokens whose vectors come out of a layer: the last need not compute what nobody asks for.
    fn rows_after<'a>(&self, index: usize, batch: &'a TokenBatch) -> Rows<'a> {
        if index + 1 == self.layers.len() && self.pooling == Pooling::Cls {
            Rows::First(batch.starts())
        } else {
            Rows::Tokens
        }
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            batch: TokenBatch::new::<&[u32]>(&[]),
            dropout: None,
            embeddings: EmbeddingsTrace::default(),
            layers: Vec::new(),
            hidden: Vec::new(),
            gradient: Vec::new(),
            layer_gradients: LayerGradients::default(),
        }
    }
}

impl Trace {
    /// Takes the gradient of what [`Encoder::forward`] gave.
    ///
    /// # Errors
    /// A gradient that is not f32 on the CPU.
    pub fn set_gradient(&mut self, gradient: &Tensor) -> Result<()> {
        self.gradient.clear();
        self.gradient.extend_from_slice(&read(&gradient.contiguous()?)?);
        Ok(())
    }
}
