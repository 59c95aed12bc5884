use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::{Activation, Dropout, ModelConfig, Parameters, Pooling, TokenBatch};
use crate::ops::{self, Mask, Texts, graph};

/// BERT with a pooler and a classification head; with the pooler over `[CLS]`, transformers' `BertForSequenceClassification`.
#[derive(Clone, Debug)]
pub struct BertClassifier {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    pooler: Pooler,
    classifier: Linear,
    classifier_dropout: f64,
    /// What matrices are multiplied in.
    products: DType,
}

impl BertClassifier {
    /// A model over these parameters, which it shares: where they are variables, gradients flow to them.
    ///
    /// # Errors
    /// A parameter that is missing or has another shape than the configuration says.
    pub fn new(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        parameters.check(config)?;
        let layers = (0..config.num_hidden_layers).map(|number| Layer::new(number, config, parameters));
        Ok(Self {
            embeddings: Embeddings::new(config, parameters)?,
            layers: layers.collect::<Result<_>>()?,
            pooler: Pooler::new(config, parameters)?,
            classifier: Linear::new("classifier", parameters)?,
            classifier_dropout: config.classifier_dropout.unwrap_or(config.hidden_dropout_prob),
            products: DType::F32,
        })
    }

    /// The same with matrices multiplied in bf16, as torch's autocast has it: the parameters and their gradients stay f32, and
    /// so do LayerNorm, softmax and what the layers add to. Composed of candle's operations on any device.
    pub fn in_bf16(self) -> Self {
        Self { products: DType::BF16, ..self }
    }

    /// The logits, one row a text. Without `dropout` the model is deterministic, as it serves.
    ///
    /// On the CPU everything runs on the calling thread: callers that want all cores split the batch.
    ///
    /// # Errors
    /// A token that the embedding has no row for, a text longer than the model has positions; failures of the device.
    pub fn forward(&self, batch: &TokenBatch, dropout: Option<&Dropout>) -> Result<Tensor> {
        let texts = self.texts(batch)?;
        let mut hidden = self.embeddings.forward(batch, &texts, dropout)?;
        for layer in &self.layers {
            hidden = layer.forward(&hidden, &texts, dropout, self.products)?;
        }
        if let Pooler::Cls(_) = self.pooler {
            let first_tokens: Arc<[u32]> = batch.ranges().map(|range| range.start as u32).collect();
            hidden = graph::lookup(&hidden, &first_tokens)?;
        }
        self.classify(&hidden, batch, dropout)
    }

    /// The logits, from what the [encoder](super::Encoder::forward) gives: the vectors of the first tokens where the pooling
    /// asks for no other, else those of all tokens.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn classify(&self, hidden: &Tensor, batch: &TokenBatch, dropout: Option<&Dropout>) -> Result<Tensor> {
        let pooled = self.pooler.forward(hidden, &self.texts(batch)?)?;
        let mask =
            dropout.and_then(|dropout| dropout.site(self.layers.len() + 1, Site::Output, self.classifier_dropout));
        self.classifier.forward(&graph::dropout(&pooled, mask)?)
    }

    fn texts(&self, batch: &TokenBatch) -> Result<Texts> {
        let is_fused = self.device().is_cpu() && self.products == DType::F32;
        if is_fused { Ok(Texts::new(batch.starts())) } else { Texts::padded(batch.starts(), self.device()) }
    }

    /// Where the parameters are.
    pub fn device(&self) -> &Device {
        self.classifier.weight.device()
    }
}

/// The vectors of all tokens to one a text.
#[derive(Clone, Debug)]
enum Pooler {
    Cls(Linear),
    Mean,
    Max,
    Attention { query: Tensor },
}

impl Pooler {
    fn new(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        Ok(match config.pooling {
            Pooling::Cls => Self::Cls(Linear::new("bert.pooler.dense", parameters)?),
            Pooling::Mean => Self::Mean,
            Pooling::Max => Self::Max,
            Pooling::Attention => Self::Attention { query: parameters.get("pooling.query.weight")?.clone() },
        })
    }

    fn forward(&self, hidden: &Tensor, texts: &Texts) -> Result<Tensor> {
        match self {
            Self::Cls(dense) => dense.forward(hidden)?.tanh(),
            Self::Mean => ops::mean_pool(hidden, texts),
            Self::Max => ops::max_pool(hidden, texts),
            Self::Attention { query } => ops::attention_pool(hidden, query, texts),
        }
    }
}

/// The places of one layer where dropout happens.
#[derive(Clone, Copy)]
pub(super) enum Site {
    Attention,
    AttentionOutput,
    Output,
}

#[derive(Clone, Debug)]
struct Embeddings {
    words: Tensor,
    positions: Tensor,
    types: Tensor,
    norm: Norm,
    dropout: f64,
}

impl Embeddings {
    fn new(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        let table = |name: &str| parameters.get(&format!("bert.embeddings.{name}.weight")).cloned();
        Ok(Self {
            words: table("word_embeddings")?,
            positions: table("position_embeddings")?,
            types: table("token_type_embeddings")?,
            norm: Norm::new("bert.embeddings.LayerNorm", config, parameters)?,
            dropout: config.hidden_dropout_prob,
        })
    }

    fn forward(&self, batch: &TokenBatch, texts: &Texts, dropout: Option<&Dropout>) -> Result<Tensor> {
        let words = graph::lookup(&self.words, batch.ids())?;
        let places = graph::lookup_positions(&self.positions, &self.types, texts)?;
        let normal = self.norm.forward(&words, &places, None)?;
        graph::dropout(&normal, dropout.and_then(|dropout| dropout.site(0, Site::Output, self.dropout)))
    }
}

#[derive(Clone, Debug)]
struct Layer {
    /// Counted from 1: the embeddings are layer 0 to dropout.
    number: usize,
    heads: usize,
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    intermediate: Linear,
    activation: Activation,
    output: Linear,
    output_norm: Norm,
    attention_dropout: f64,
    hidden_dropout: f64,
}

impl Layer {
    fn new(index: usize, config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        let name = |part: &str| format!("bert.encoder.layer.{index}.{part}");
        let linear = |part: &str| Linear::new(&name(part), parameters);
        let norm = |part: &str| Norm::new(&name(part), config, parameters);
        Ok(Self {
            number: index + 1,
            heads: config.num_attention_heads,
            query: linear("attention.self.query")?,
            key: linear("attention.self.key")?,
            value: linear("attention.self.value")?,
            attention_output: linear("attention.output.dense")?,
            attention_norm: norm("attention.output.LayerNorm")?,
            intermediate: linear("intermediate.dense")?,
            activation: config.hidden_act,
            output: linear("output.dense")?,
            output_norm: norm("output.LayerNorm")?,
            attention_dropout: config.attention_probs_dropout_prob,
            hidden_dropout: config.hidden_dropout_prob,
        })
    }

    fn forward(&self, hidden: &Tensor, texts: &Texts, dropout: Option<&Dropout>, products: DType) -> Result<Tensor> {
        let mask = |site, probability| dropout.and_then(|dropout| dropout.site(self.number, site, probability));
        let rounded = hidden.to_dtype(products)?;
        let (query, key, value) =
            (self.query.forward(&rounded)?, self.key.forward(&rounded)?, self.value.forward(&rounded)?);
        let context =
            graph::attention(&query, &key, &value, texts, self.heads, mask(Site::Attention, self.attention_dropout))?;
        let attended = self.attention_output.forward(&context)?;
        let attended =
            self.attention_norm.forward(&attended, hidden, mask(Site::AttentionOutput, self.hidden_dropout))?;
        let inner = self.intermediate.forward(&attended.to_dtype(products)?)?;
        let inner = graph::activate(&inner, self.activation)?;
        let outer = self.output.forward(&inner)?;
        self.output_norm.forward(&outer, &attended, mask(Site::Output, self.hidden_dropout))
    }
}

#[derive(Clone, Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn new(name: &str, parameters: &Parameters) -> Result<Self> {
        Ok(Self {
            weight: parameters.get(&format!("{name}.weight"))?.clone(),
            bias: parameters.get(&format!("{name}.bias"))?.clone(),
        })
    }

    /// In the precision of `x`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        graph::linear(x, &self.weight.to_dtype(x.dtype())?, &self.bias.to_dtype(x.dtype())?)
    }
}

#[derive(Clone, Debug)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl Norm {
    fn new(name: &str, config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        let Linear { weight, bias } = Linear::new(name, parameters)?;
        Ok(Self { weight, bias, epsilon: config.layer_norm_eps })
    }

    /// LayerNorm of the sum, with dropout on the branch.
    fn forward(&self, branch: &Tensor, residual: &Tensor, mask: Option<Mask>) -> Result<Tensor> {
        let affine = Tensor::stack(&[&self.weight, &self.bias], 0)?;
        graph::add_norm(branch, residual, &affine, self.epsilon, mask)
    }
}
