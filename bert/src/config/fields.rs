//! What is read of a `config.json`, and what makes it another model than the ones served here.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Activation, ConfigError, LINEAR_MODEL, MOST_CLASSES, POOLED_TYPE, Pooling};
use crate::Classes;

/// Before any other field, which another kind of model would not have.
pub(super) fn check_kind(fields: &Map<String, Value>) -> Result<(), ConfigError> {
    let refused = |field, value: &Value, expected| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Err(ConfigError::Unsupported { field, value, expected })
    };
    let model_type = fields.get("model_type").unwrap_or(&Value::Null);
    match model_type.as_str() {
        Some("bert" | POOLED_TYPE) => {}
        Some(LINEAR_MODEL) => {
            let expected = "a linear model has no layers to go on from; give a BERT directory, or `new-bert`";
            return refused("model_type", model_type, expected);
        }
        None if model_type.is_null() => {
            return refused("model_type", model_type, "only bert is supported; where it is one, write that it is");
        }
        _ => return refused("model_type", model_type, "only bert is supported"),
    }
    for (field, expected) in CHANGES_EVERYTHING {
        let is_set = |value: &&Value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::Object(map) => !map.is_empty(),
            Value::Array(list) => !list.is_empty(),
            _ => true,
        };
        if let Some(value) = fields.get(field).filter(is_set) {
            return refused(field, value, expected);
        }
    }
    Ok(())
}

/// Fields with which transformers makes another model of the directory.
const CHANGES_EVERYTHING: [(&str, &str); 6] = [
    ("auto_map", "it names code of its own, which is not run"),
    ("quantization_config", "quantized weights are not read: save the model as it was before (f32, f16 or bf16)"),
    ("pruned_heads", "a model without some of its heads is not supported"),
    ("add_cross_attention", "only encoders are supported"),
    ("is_decoder", "only encoders are supported"),
    ("transformers_weights", "weights are read from model.safetensors or pytorch_model.bin"),
];

/// What the model needs of a `config.json`, with transformers' own defaults where a file may be
/// silent.
#[derive(Deserialize)]
pub(super) struct KnownFields {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    #[serde(default = "default_activation")]
    pub hidden_act: Activation,
    pub max_position_embeddings: usize,
    #[serde(default = "default_type_vocab_size")]
    pub type_vocab_size: usize,
    #[serde(default = "default_layer_norm_eps")]
    pub layer_norm_eps: f64,
    #[serde(default = "default_initializer_range")]
    pub initializer_range: f64,
    #[serde(default = "default_dropout")]
    pub hidden_dropout_prob: f64,
    #[serde(default = "default_dropout")]
    pub attention_probs_dropout_prob: f64,
    pub classifier_dropout: Option<f64>,
    #[serde(default)]
    pub labelstream_pooling: Pooling,
    pub position_embedding_type: Option<String>,
    pub problem_type: Option<String>,
    pub num_labels: Option<usize>,
    pub id2label: Option<Map<String, Value>>,
}

impl KnownFields {
    /// The names of `id2label` by number. transformers writes no `id2label` where it would say
    /// `LABEL_0`, `LABEL_1`.
    pub fn classes(&self) -> Result<Classes, ConfigError> {
        let count = self.id2label.as_ref().map_or(self.num_labels.unwrap_or(2), Map::len);
        let refused = |expected| {
            let value =
                self.id2label.clone().map_or_else(|| count.to_string(), |names| Value::Object(names).to_string());
            let field = if self.id2label.is_some() { "id2label" } else { "num_labels" };
            Err(ConfigError::Unsupported { field, value, expected })
        };
        if count > MOST_CLASSES {
            return refused("more classes than there are names for");
        }
        let Some(id2label) = &self.id2label else { return Ok(Classes::unnamed(count)) };
        if self.num_labels.is_some_and(|number| number != count) {
            return refused("num_labels says another number of classes");
        }
        // As Python's int() reads keys.
        let mut names = vec![None; count];
        for (id, name) in id2label {
            let Some(place) = id.trim().parse::<usize>().ok().and_then(|id| names.get_mut(id)) else {
                return refused("the keys must be \"0\", \"1\", and so on without a hole");
            };
            let name = match name {
                Value::String(name) => name.clone(),
                Value::Number(number) => number.to_string(),
                _ => return refused("the names must be text"),
            };
            if place.replace(name).is_some() {
                return refused("the keys must be \"0\", \"1\", and so on, each once");
            }
        }
        let names: Vec<String> = names.into_iter().flatten().collect();
        if names.is_empty() {
            return refused("the keys must be \"0\", \"1\", and so on without a hole");
        }
        let mut sorted: Vec<&String> = names.iter().collect();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return refused("two classes have one name: nobody could tell which of them is meant");
        }
        Ok(Classes::new(names))
    }
}

fn default_activation() -> Activation {
    Activation::Gelu
}

fn default_type_vocab_size() -> usize {
    2
}

fn default_layer_norm_eps() -> f64 {
    1e-12
}

fn default_initializer_range() -> f64 {
    0.02
}

fn default_dropout() -> f64 {
    0.1
}
