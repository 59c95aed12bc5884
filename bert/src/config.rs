//! The shape of a BERT classifier, and the text of its `config.json`.

mod fields;

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Classes;
use fields::{KnownFields, check_kind};

/// The shape of a BERT classifier, as HuggingFace's `config.json` tells it.
///
/// Fields that the model does not need are kept as they are, so that saving a fine-tuned checkpoint
/// does not lose them.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// Rows of the word embedding.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Encoder layers.
    pub num_hidden_layers: usize,
    /// Attention heads a layer; divides the width.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Activation of the feed-forward block.
    pub hidden_act: Activation,
    /// Longest text, in tokens.
    pub max_position_embeddings: usize,
    /// Rows of the token type embedding; only row 0 is used.
    pub type_vocab_size: usize,
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
    /// Class names in the order of the logits.
    pub classes: Classes,
    /// All fields as they stood in the file, to be saved again; those above overrule them.
    pub fields: Map<String, Value>,
}

/// The activation functions that HuggingFace BERT checkpoints name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x · Φ(x)` with the error function.
    #[serde(alias = "gelu_python")]
    Gelu,
    /// The tanh approximation of [`Gelu`](Self::Gelu).
    #[serde(alias = "gelu_pytorch_tanh", alias = "gelu_fast", alias = "gelu_accurate")]
    GeluNew,
    /// `max(x, 0)`.
    Relu,
}

/// `model_type` of the other kind of classifier, the linear one of the crate `classifier`.
pub const LINEAR_MODEL: &str = "labelstream-linear";

/// `model_type` of a BERT with another pooling than transformers' own.
const POOLED_TYPE: &str = "labelstream-bert";

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
        check_kind(&fields)?;
        let known = KnownFields::deserialize(&Value::Object(fields.clone()))?;
        let classes = known.classes()?;
        let config = Self {
            vocab_size: known.vocab_size,
            hidden_size: known.hidden_size,
            num_hidden_layers: known.num_hidden_layers,
            num_attention_heads: known.num_attention_heads,
            intermediate_size: known.intermediate_size,
            hidden_act: known.hidden_act,
            max_position_embeddings: known.max_position_embeddings,
            type_vocab_size: known.type_vocab_size,
            layer_norm_eps: known.layer_norm_eps,
            initializer_range: known.initializer_range,
            hidden_dropout_prob: known.hidden_dropout_prob,
            attention_probs_dropout_prob: known.attention_probs_dropout_prob,
            classifier_dropout: known.classifier_dropout,
            pooling: known.labelstream_pooling,
            classes,
            fields,
        };
        config.check(&known)?;
        Ok(config)
    }

    /// The model that is trained where there is no pretrained one: 4 layers of 256, small enough
    /// for a CPU.
    pub fn small(vocab_size: usize, classes: Classes) -> Self {
        Self {
            vocab_size,
            hidden_size: 256,
            num_hidden_layers: 4,
            num_attention_heads: 4,
            intermediate_size: 1024,
            hidden_act: Activation::Gelu,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            initializer_range: 0.02,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            classifier_dropout: None,
            pooling: Pooling::Cls,
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

    /// The text of a `config.json` that transformers reads as the same model.
    pub fn to_json(&self) -> String {
        let mut fields = self.fields.clone();
        let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        if self.pooling == Pooling::Cls {
            set("architectures", vec!["BertForSequenceClassification"].into());
            set("model_type", "bert".into());
        } else {
            // transformers would open it as its own BERT, with a pooler of random weights.
            set("architectures", Vec::<String>::new().into());
            set("model_type", POOLED_TYPE.into());
        }
        set("labelstream_pooling", serde_json::json!(self.pooling));
        set("vocab_size", self.vocab_size.into());
        set("hidden_size", self.hidden_size.into());
        set("num_hidden_layers", self.num_hidden_layers.into());
        set("num_attention_heads", self.num_attention_heads.into());
        set("intermediate_size", self.intermediate_size.into());
        set("hidden_act", serde_json::json!(self.hidden_act));
        set("max_position_embeddings", self.max_position_embeddings.into());
        set("type_vocab_size", self.type_vocab_size.into());
        set("layer_norm_eps", self.layer_norm_eps.into());
        set("initializer_range", self.initializer_range.into());
        set("hidden_dropout_prob", self.hidden_dropout_prob.into());
        set("attention_probs_dropout_prob", self.attention_probs_dropout_prob.into());
        set("classifier_dropout", self.classifier_dropout.into());
        let names = self.classes.names().iter();
        set(
            "id2label",
            names
                .clone()
                .enumerate()
                .map(|(id, name)| (id.to_string(), name.as_str().into()))
                .collect::<Map<_, _>>()
                .into(),
        );
        set("label2id", names.enumerate().map(|(id, name)| (name.clone(), id.into())).collect::<Map<_, _>>().into());
        // Parameters are saved as f32, whatever they were read as; newer transformers say `dtype`,
        // older ones `torch_dtype`.
        let dtype = if fields.contains_key("torch_dtype") { "torch_dtype" } else { "dtype" };
        fields.insert(dtype.to_owned(), "float32".into());
        fields.remove("num_labels");
        if self.pooling == Pooling::Cls {
            fields.remove("labelstream_pooling");
        }
        let mut json =
            serde_json::to_string_pretty(&fields).expect("a map of JSON values has a text: anything else is a bug");
        json.push('\n');
        json
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
            ("type_vocab_size", self.type_vocab_size),
        ] {
            if size == 0 {
                return unsupported(field, "0".to_owned(), "must be at least 1");
            }
        }
        if self.num_hidden_layers > MOST_LAYERS {
            return unsupported("num_hidden_layers", self.num_hidden_layers.to_string(), "more than any BERT has");
        }
        if self.max_position_embeddings < 2 {
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
