//! BERT for sequence classification in candle's plain operations: what every other implementation
//! is tested against, and what trains on a GPU. Slow on a CPU, where others serve and train.
//!
//! Linear layers see the packed tokens of a batch, end to end; attention and pooling see them
//! padded and masked.

mod operations;
mod padding;
#[cfg(test)]
mod tests;

use candle_core::{DType, Device, Result, Tensor};

use self::operations::{activate, attention, attention_pool, dropout, layer_norm, linear, lookup, max_pool, mean_pool};
use self::padding::Padded;
use crate::{Activation, Dropout, Mask, ModelConfig, Parameters, Pooling, Site, TokenBatch};

/// BERT with a pooler and a classification head; with the pooler over `[CLS]`, transformers'
/// `BertForSequenceClassification`.
#[derive(Clone, Debug)]
pub struct Reference {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    pooler: Pooler,
    classifier: Linear,
    classifier_dropout: f64,
    /// What matrices are multiplied in.
    products: DType,
}

impl Reference {
    /// A model over these parameters, which it shares: where they are variables, gradients flow to
    /// them.
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
            classifier_dropout: config.classifier_dropout(),
            products: DType::F32,
        })
    }

    /// The same with matrices multiplied in bf16, as torch's autocast has it: the parameters and
    /// their gradients stay f32, and so do LayerNorm, softmax and what the layers add to. For a
    /// GPU: candle's CPU has no such product.
    pub fn in_bf16(self) -> Self {
        Self { products: DType::BF16, ..self }
    }

    /// The logits, one row a text. Without `dropout` the model is deterministic, as it serves.
    ///
    /// # Errors
    /// A token that the embedding has no row for, a text longer than the model has positions;
    /// failures of the device.
    pub fn forward(&self, batch: &TokenBatch, masks: Option<&Dropout>) -> Result<Tensor> {
        let padded = Padded::new(batch, self.classifier.weight.device())?;
        let mut hidden = self.embeddings.forward(batch, masks)?;
        for layer in &self.layers {
            hidden = layer.forward(&hidden, (batch, &padded), masks, self.products)?;
        }
        let pooled = self.pooler.forward(&hidden, batch, &padded)?;
        let mask = masks.and_then(|masks| masks.site(self.layers.len() + 1, Site::Output, self.classifier_dropout));
        self.classifier.forward(&dropout(pooled, mask)?)
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

    fn forward(&self, hidden: &Tensor, batch: &TokenBatch, padded: &Padded) -> Result<Tensor> {
        match self {
            Self::Cls(dense) => {
                let first_tokens = lookup(hidden, batch.ranges().map(|range| range.start as u32))?;
                dense.forward(&first_tokens)?.tanh()
            }
            Self::Mean => mean_pool(hidden, padded),
            Self::Max => max_pool(hidden, padded),
            Self::Attention { query } => attention_pool(hidden, query, padded),
        }
    }
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

    fn forward(&self, batch: &TokenBatch, masks: Option<&Dropout>) -> Result<Tensor> {
        batch.check(self.words.dim(0)?, self.positions.dim(0)?)?;
        let words = lookup(&self.words, batch.ids().iter().copied())?;
        let positions = lookup(&self.positions, batch.ranges().flat_map(|range| 0..range.len() as u32))?;
        let sum = (words + positions)?.broadcast_add(&self.types.get(0)?)?;
        dropout(self.norm.forward(&sum)?, masks.and_then(|masks| masks.site(0, Site::Output, self.dropout)))
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

    fn forward(
        &self,
        hidden: &Tensor,
        texts: (&TokenBatch, &Padded),
        masks: Option<&Dropout>,
        products: DType,
    ) -> Result<Tensor> {
        let mask = |site, probability| masks.and_then(|masks| masks.site(self.number, site, probability));
        let rounded = hidden.to_dtype(products)?;
        let (query, key, value) =
            (self.query.forward(&rounded)?, self.key.forward(&rounded)?, self.value.forward(&rounded)?);
        let context =
            attention([&query, &key, &value], texts, self.heads, mask(Site::Attention, self.attention_dropout))?;
        let attended = self.attention_output.forward(&context)?;
        let mask_attended = mask(Site::AttentionOutput, self.hidden_dropout);
        let attended = self.attention_norm.add(&attended, hidden, mask_attended)?;
        let inner = activate(&self.intermediate.forward(&attended.to_dtype(products)?)?, self.activation)?;
        self.output_norm.add(&self.output.forward(&inner)?, &attended, mask(Site::Output, self.hidden_dropout))
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
        linear(x, &self.weight.to_dtype(x.dtype())?, &self.bias.to_dtype(x.dtype())?)
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

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        layer_norm(x, &self.weight, &self.bias, self.epsilon)
    }

    /// LayerNorm of the sum, with dropout on the branch; f32, whatever the branch is in.
    fn add(&self, branch: &Tensor, residual: &Tensor, mask: Option<Mask>) -> Result<Tensor> {
        self.forward(&(dropout(branch.to_dtype(DType::F32)?, mask)? + residual)?)
    }
}
