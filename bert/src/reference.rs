//! BERT and its relatives for sequence classification in candle's plain operations: what every other
//! implementation is tested against, and what trains on a GPU. Slow on a CPU, where others serve and train.
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
    /// Behind the last layer, where the layers normalise first.
    norm: Option<Norm>,
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
        let layers = config.layers().into_iter().zip(1..);
        let layers = layers.map(|(weights, number)| Layer::new(number, weights, config, parameters));
        let norm = config.norms_first().then(|| Norm::new("bert.encoder.LayerNorm", config, parameters));
        Ok(Self {
            embeddings: Embeddings::new(config, parameters)?,
            layers: layers.collect::<Result<_>>()?,
            norm: norm.transpose()?,
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
        if let Some(norm) = &self.norm {
            hidden = norm.forward(&hidden)?;
        }
        let mask = |site, probability| masks.and_then(|masks| masks.site(self.layers.len() + 1, site, probability));
        let pooled = self.pooler.forward(&hidden, batch, &padded, mask)?;
        self.classifier.forward(&dropout(pooled, mask(Site::Output, self.classifier_dropout))?)
    }

    /// Where the parameters are.
    pub fn device(&self) -> &Device {
        self.classifier.weight.device()
    }
}

/// The vectors of all tokens to one a text.
#[derive(Clone, Debug)]
enum Pooler {
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
    },
}

impl Pooler {
    fn new(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        Ok(match config.pooling {
            Pooling::Cls => Self::Cls {
                dense: Linear::new("bert.pooler.dense", parameters)?,
                activation: config.head_activation,
                dropout: config.head_input_dropout(),
            },
            Pooling::Mean => Self::Mean,
            Pooling::Max => Self::Max,
            Pooling::Attention => Self::Attention { query: parameters.get("pooling.query.weight")?.clone() },
        })
    }

    fn forward(
        &self,
        hidden: &Tensor,
        batch: &TokenBatch,
        padded: &Padded,
        mask: impl Fn(Site, f64) -> Option<Mask>,
    ) -> Result<Tensor> {
        match self {
            Self::Cls { dense, activation, dropout: probability } => {
                let first_tokens = lookup(hidden, batch.ranges().map(|range| range.start as u32))?;
                let first_tokens = dropout(first_tokens, mask(Site::AttentionOutput, *probability))?;
                activate(&dense.forward(&first_tokens)?, *activation)
            }
            Self::Mean => mean_pool(hidden, padded),
            Self::Max => max_pool(hidden, padded),
            Self::Attention { query } => attention_pool(hidden, query, padded),
        }
    }
}

#[derive(Clone, Debug)]
struct Embeddings {
    config: ModelConfig,
    words: Tensor,
    positions: Tensor,
    /// Tables of which every token gets row 0.
    constant: Vec<Tensor>,
    /// Where the layers normalise behind each part.
    norm: Option<Norm>,
    projection: Option<Linear>,
}

impl Embeddings {
    fn new(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        let table = |name: &str| parameters.get(&format!("bert.embeddings.{name}_embeddings.weight")).cloned();
        let norm = (!config.norms_first()).then(|| Norm::new("bert.embeddings.LayerNorm", config, parameters));
        let projection = config.projects_embeddings().then(|| Linear::new("bert.embeddings.projection", parameters));
        Ok(Self {
            config: config.clone(),
            words: table("word")?,
            positions: table("position")?,
            constant: config.constant_embeddings().map(table).collect::<Result<_>>()?,
            norm: norm.transpose()?,
            projection: projection.transpose()?,
        })
    }

    fn forward(&self, batch: &TokenBatch, masks: Option<&Dropout>) -> Result<Tensor> {
        let positions = self.config.positions_of(batch)?.into_iter().map(|position| position as u32);
        let words = lookup(&self.words, batch.ids().iter().copied())?;
        let mut sum = (words + lookup(&self.positions, positions)?)?;
        for table in &self.constant {
            sum = sum.broadcast_add(&table.get(0)?)?;
        }
        let normal = match &self.norm {
            Some(norm) => norm.forward(&sum)?,
            None => sum,
        };
        let probability = self.config.hidden_dropout_prob;
        let dropped = dropout(normal, masks.and_then(|masks| masks.site(0, Site::Output, probability)))?;
        match &self.projection {
            Some(projection) => projection.forward(&dropped),
            None => Ok(dropped),
        }
    }
}

#[derive(Clone, Debug)]
struct Layer {
    /// Counted from 1: the embeddings are layer 0 to dropout.
    number: usize,
    heads: usize,
    /// Whether each part is normalised before it, and not behind.
    norms_first: bool,
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
    /// The layer that has this `number`, over the weights that stand under another.
    fn new(number: usize, weights: usize, config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        let name = |part: &str| format!("bert.encoder.layer.{weights}.{part}");
        let linear = |part: &str| Linear::new(&name(part), parameters);
        let norm = |part: &str| Norm::new(&name(part), config, parameters);
        Ok(Self {
            number,
            heads: config.num_attention_heads,
            norms_first: config.norms_first(),
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
        let part = |norm: &Norm, x: &Tensor, work: &dyn Fn(&Tensor) -> Result<Tensor>, mask: Option<Mask>| {
            if self.norms_first {
                return dropped(&work(&norm.forward(x)?.to_dtype(products)?)?, mask)? + x;
            }
            norm.forward(&(dropped(&work(&x.to_dtype(products)?)?, mask)? + x)?)
        };
        let attend = |x: &Tensor| {
            let (query, key, value) = (self.query.forward(x)?, self.key.forward(x)?, self.value.forward(x)?);
            let mask = mask(Site::Attention, self.attention_dropout);
            self.attention_output.forward(&attention([&query, &key, &value], texts, self.heads, mask)?)
        };
        let feed = |x: &Tensor| self.output.forward(&activate(&self.intermediate.forward(x)?, self.activation)?);
        let attended = part(&self.attention_norm, hidden, &attend, mask(Site::AttentionOutput, self.hidden_dropout))?;
        part(&self.output_norm, &attended, &feed, mask(Site::Output, self.hidden_dropout))
    }
}

/// A branch with dropout, on its way to what it is added to: f32, whatever it is in.
fn dropped(branch: &Tensor, mask: Option<Mask>) -> Result<Tensor> {
    dropout(branch.to_dtype(DType::F32)?, mask)
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
}
