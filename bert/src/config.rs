//! The shape of a BERT classifier or of one of its relatives, and the text of its `config.json`.

mod fields;
mod written;

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::activation::Activation;
use crate::{Classes, Family, TokenBatch};
use fields::{ClassFields, KnownFields, family};

/// The shape of a BERT classifier, as HuggingFace's `config.json` tells it.
///
/// Fields that the model does not need are kept as they are, so that saving a fine-tuned checkpoint
/// does not lose them.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// BERT, or which of its relatives.
    pub family: Family,
    /// Rows of the word embedding.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Width of a token's embedding, in families that project it; `None`: that of its vector.
    pub embedding_size: Option<usize>,
    /// Encoder layers that a text passes; of an ALBERT times [`Sharing::inner`].
    pub num_hidden_layers: usize,
    /// Which of these layers have the same weights; `None`: each has its own.
    pub sharing: Option<Sharing>,
    /// Attention heads a layer; divides the width.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Activation of the feed-forward block.
    pub hidden_act: Activation,
    /// Rows of the position embedding.
    pub max_position_embeddings: usize,
    /// The token from behind whose number positions count, and which has none; `None`: they count
    /// from 0.
    pub padding: Option<u32>,
    /// Rows of the token type embedding; only row 0 is used, and there may be none.
    pub type_vocab_size: usize,
    /// Rows of the task embedding; only row 0 is used, and there may be none.
    pub task_type_vocab_size: usize,
    /// Added to the variance before its root is taken.
    pub layer_norm_eps: f64,
    /// Standard deviation of new weights.
    pub initializer_range: f64,
    /// Dropout after the embeddings, the attention output and the feed-forward output.
    pub hidden_dropout_prob: f64,
    /// Dropout of the attention probabilities.
    pub attention_probs_dropout_prob: f64,
    /// Dropout before the classification head; `hidden_dropout_prob` where the file says nothing.
    pub classifier_dropout: Option<f64>,
    /// How a text's tokens become one vector.
    pub pooling: Pooling,
    /// What bends the vector of `[CLS]` behind its dense layer.
    pub head_activation: Activation,
    /// Class names in the order of the logits.
    pub classes: Classes,
    /// All fields as they stood in the file, to be saved again; those above overrule them.
    pub fields: Map<String, Value>,
}

/// How the layers of an ALBERT share their weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// Groups of layers, each with weights of its own; a text passes one after the other, each as
    /// often as the next.
    pub groups: usize,
    /// Layers of a group, which it passes in turn.
    pub inner: usize,
}

/// `model_type` of the other kind of classifier, the linear one of the crate `classifier`.
pub const LINEAR_MODEL: &str = "labelstream-linear";

/// Before the `model_type` of a network with another pooling than transformers' own.
const POOLED_PREFIX: &str = "labelstream-";

/// Layers and classes beyond these are a mistake in the file; they bound what opening it takes.
const MOST_LAYERS: usize = 1_000;
const MOST_CLASSES: usize = 100_000;

/// How the vectors of a text's tokens become the one that is classified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// BERT's own: a dense layer with tanh over `[CLS]`. The one that transformers'
    /// `BertForSequenceClassification` has.
    #[default]
    Cls,
    /// The mean of all tokens, as sentence encoders have it.
    Mean,
    /// The greatest value of each number over all tokens.
    Max,
    /// A mean of all tokens that weighs each by its likeness to a learned query.
    Attention,
}

/// A name that is no pooling's.
#[derive(Debug, thiserror::Error)]
#[error("no pooling is called {0:?}; there are cls, mean, max and attention")]
pub struct UnknownPooling(String);

impl FromStr for Pooling {
    type Err = UnknownPooling;

    fn from_str(text: &str) -> Result<Self, UnknownPooling> {
        match text {
            "cls" => Ok(Self::Cls),
            "mean" => Ok(Self::Mean),
            "max" => Ok(Self::Max),
            "attention" => Ok(Self::Attention),
            _ => Err(UnknownPooling(text.to_owned())),
        }
    }
}

/// A `config.json` that is not a BERT classifier this program can run.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or a field is missing or of the wrong type.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A field has a value that is not supported or contradicts another.
    #[error("{field} is {value}: {expected}")]
    Unsupported {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would do.
        expected: &'static str,
    },
}

impl ModelConfig {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// Bad JSON, a missing field, another kind of model, another kind of position embedding.
    pub fn parse(json: &str) -> Result<Self, ConfigError> {
        let fields: Map<String, Value> = serde_json::from_str(json)?;
        let family = family(&fields)?;
        let known = KnownFields::read(&fields, family)?;
        let classes = Self::parse_classes(&fields)?;
        let sharing = known.sharing(family)?;
        let config = Self {
            family,
            vocab_size: known.vocab_size,
            hidden_size: known.hidden_size,
            embedding_size: known.embedding_size.filter(|_| family.has_embedding_size()),
            num_hidden_layers: known.num_hidden_layers * sharing.map_or(1, |sharing| sharing.inner),
            sharing,
            num_attention_heads: known.num_attention_heads,
            intermediate_size: known.intermediate_size,
            hidden_act: known.hidden_act,
            max_position_embeddings: known.max_position_embeddings,
            padding: family.counts_from_padding().then(|| known.pad_token_id.unwrap_or(1)),
            type_vocab_size: if family.has_token_types() { known.type_vocab_size } else { 0 },
            task_type_vocab_size: known.task_types(family),
            layer_norm_eps: known.layer_norm_eps,
            initializer_range: known.initializer_range,
            hidden_dropout_prob: known.hidden_dropout_prob,
            attention_probs_dropout_prob: known.attention_probs_dropout_prob,
            classifier_dropout: known.classifier_dropout,
            pooling: known.labelstream_pooling,
            head_activation: family.head_activation(),
            classes,
            fields,
        };
        config.check(&known)?;
        Ok(config)
    }

    /// The classes of any kind of model, from the fields of its `config.json`.
    pub(crate) fn parse_classes(fields: &Map<String, Value>) -> Result<Classes, ConfigError> {
        ClassFields::deserialize(&Value::Object(fields.clone()))?.classes()
    }

    /// The model that is trained where there is no pretrained one: 4 layers of 256, small enough
    /// for a CPU.
    pub fn small(vocab_size: usize, classes: Classes) -> Self {
        Self {
            family: Family::Bert,
            vocab_size,
            hidden_size: 256,
            embedding_size: None,
            num_hidden_layers: 4,
            sharing: None,
            num_attention_heads: 4,
            intermediate_size: 1024,
            hidden_act: Activation::Gelu,
            max_position_embeddings: 512,
            padding: None,
            type_vocab_size: 2,
            task_type_vocab_size: 0,
            layer_norm_eps: 1e-12,
            initializer_range: 0.02,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            classifier_dropout: None,
            pooling: Pooling::Cls,
            head_activation: Activation::Tanh,
            classes,
            fields: Map::new(),
        }
    }

    /// The same model for other classes.
    pub fn with_classes(self, classes: Classes) -> Self {
        Self { classes, ..self }
    }

    /// Dropout before the classification head.
    pub fn classifier_dropout(&self) -> f64 {
        self.classifier_dropout.unwrap_or(self.hidden_dropout_prob)
    }

    /// Width of one attention head.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// The layers that a text passes, in order, by the number under which their weights stand.
    pub fn layers(&self) -> Vec<usize> {
        let Some(Sharing { groups, inner }) = self.sharing else { return (0..self.num_hidden_layers).collect() };
        let passes = self.num_hidden_layers / inner;
        // As transformers computes it, rounding included.
        let group = |pass: usize| (pass as f64 / (passes as f64 / groups as f64)) as usize;
        (0..passes).flat_map(|pass| (0..inner).map(move |layer| group(pass) * inner + layer)).collect()
    }

    /// How many layers have weights of their own.
    pub fn distinct_layers(&self) -> usize {
        self.sharing.map_or(self.num_hidden_layers, |sharing| sharing.groups * sharing.inner)
    }

    /// Width of a token's embedding.
    pub fn embedding_width(&self) -> usize {
        self.embedding_size.unwrap_or(self.hidden_size)
    }

    /// Whether embeddings are projected to the width of the layers.
    pub fn projects_embeddings(&self) -> bool {
        self.family == Family::Albert || self.embedding_width() != self.hidden_size
    }

    /// Whether each part of a layer is normalised before it, and the last one's result at the end;
    /// BERT normalises behind each part, and the embeddings.
    pub fn norms_first(&self) -> bool {
        self.family.norms_first()
    }

    /// Dropout before the dense layer over `[CLS]`.
    pub fn head_input_dropout(&self) -> f64 {
        if self.family.head_drops_input() { self.classifier_dropout() } else { 0.0 }
    }

    /// The tables of which every token gets row 0: those of token types and of tasks.
    pub fn constant_embeddings(&self) -> impl Iterator<Item = &'static str> {
        let tables = [(self.type_vocab_size, "token_type"), (self.task_type_vocab_size, "task_type")];
        tables.into_iter().filter(|(rows, _)| *rows > 0).map(|(_, name)| name)
    }

    /// Tokens of the longest text.
    pub fn longest_text(&self) -> usize {
        self.max_position_embeddings - self.padding.map_or(0, |padding| padding as usize + 1)
    }

    /// Where each token of a text stands in the position embedding.
    pub fn positions(&self, ids: &[u32]) -> impl Iterator<Item = usize> {
        let padding = self.padding;
        ids.iter().scan(0, move |seen, id| {
            Some(match padding {
                Some(padding) if *id == padding => padding as usize,
                _ => {
                    *seen += 1;
                    *seen + padding.map_or(0, |padding| padding as usize + 1) - 1
                }
            })
        })
    }

    /// The positions of all tokens of a batch, end to end.
    ///
    /// # Errors
    /// A token that the embedding has no row for, a text longer than the model has positions.
    pub fn positions_of(&self, batch: &TokenBatch) -> candle_core::Result<Vec<usize>> {
        batch.check(self.vocab_size, self.longest_text())?;
        Ok(batch.ranges().flat_map(|range| self.positions(&batch.ids()[range])).collect())
    }

    /// What a parameter is called in the files of a checkpoint.
    pub fn stored_name(&self, parameter: &str) -> String {
        self.family.stored_name(parameter, self.sharing.map_or(1, |sharing| sharing.inner))
    }

    fn check(&self, known: &KnownFields) -> Result<(), ConfigError> {
        let unsupported = |field, value: String, expected| Err(ConfigError::Unsupported { field, value, expected });
        if known.position_embedding_type.as_deref().is_some_and(|kind| kind != "absolute") {
            let value = known.position_embedding_type.clone().unwrap_or_default();
            return unsupported("position_embedding_type", value, "only absolute positions are supported");
        }
        if known.problem_type.as_deref().is_some_and(|kind| kind != "single_label_classification") {
            let value = known.problem_type.clone().unwrap_or_default();
            return unsupported("problem_type", value, "only one class a text is supported");
        }
        if self.num_attention_heads == 0 || !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return unsupported("num_attention_heads", self.num_attention_heads.to_string(), "must divide hidden_size");
        }
        for (field, size) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("intermediate_size", self.intermediate_size),
            ("embedding_size", self.embedding_width()),
            ("type_vocab_size", if self.family.has_token_types() { self.type_vocab_size } else { 1 }),
        ] {
            if size == 0 {
                return unsupported(field, "0".to_owned(), "must be at least 1");
            }
        }
        if self.num_hidden_layers > MOST_LAYERS {
            return unsupported("num_hidden_layers", self.num_hidden_layers.to_string(), "more than any BERT has");
        }
        if self.max_position_embeddings < self.padding.map_or(2, |padding| padding as usize + 3) {
            return unsupported(
                "max_position_embeddings",
                self.max_position_embeddings.to_string(),
                "must leave room for [CLS] and [SEP]",
            );
        }
        for (field, probability) in [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout.unwrap_or(0.0)),
        ] {
            if !(0.0..1.0).contains(&probability) {
                return unsupported(field, probability.to_string(), "must be at least 0 and below 1");
            }
        }
        Ok(())
    }
}
