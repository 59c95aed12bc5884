//! What is read of a `config.json`, and what makes it another model than the ones served here.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{ConfigError, LINEAR_MODEL, MOST_CLASSES, MOST_LAYERS, POOLED_PREFIX, Pooling, Sharing};
use crate::activation::Activation;
use crate::{Classes, Family};

/// What kind of model it is: before any other field, which another kind would not have.
pub(super) fn family(fields: &Map<String, Value>) -> Result<Family, ConfigError> {
    let refused = |field, value: &Value, expected| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Err(ConfigError::Unsupported { field, value, expected })
    };
    let model_type = fields.get("model_type").unwrap_or(&Value::Null);
    let family = match model_type.as_str() {
        Some(LINEAR_MODEL) => {
            let expected = "a linear model has no layers to go on from; give a BERT directory, or `new-bert`";
            return refused("model_type", model_type, expected);
        }
        Some(name) => Family::of(name.strip_prefix(POOLED_PREFIX).unwrap_or(name)),
        None => None,
    };
    let Some(family) = family else {
        let expected = if model_type.is_null() {
            "where it is bert or one of its relatives, write which"
        } else if model_type.as_str().is_some_and(|name| ["modernbert", "deberta-v2", "qwen3"].contains(&name)) {
            "it is served once it is fine-tuned elsewhere, and not trained here"
        } else {
            "there are bert, roberta, xlm-roberta, camembert, electra, ernie, distilbert, albert and megatron-bert"
        };
        return refused("model_type", model_type, expected);
    };
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
    Ok(family)
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
    pub pad_token_id: Option<u32>,
    #[serde(default = "default_type_vocab_size")]
    pub type_vocab_size: usize,
    pub embedding_size: Option<usize>,
    #[serde(default)]
    use_task_id: bool,
    task_type_vocab_size: Option<usize>,
    num_hidden_groups: Option<usize>,
    inner_group_num: Option<usize>,
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
}

/// What a `config.json` says of the classes, whatever kind of model it is.
#[derive(Deserialize)]
pub(super) struct ClassFields {
    num_labels: Option<usize>,
    id2label: Option<Map<String, Value>>,
}

impl KnownFields {
    /// By the family's own names and defaults.
    pub fn read(fields: &Map<String, Value>, family: Family) -> Result<Self, ConfigError> {
        let mut fields = fields.clone();
        for (ours, theirs) in family.field_names() {
            if let Some(value) = fields.remove(*theirs) {
                fields.insert((*ours).to_owned(), value);
            }
        }
        for (name, value) in family.defaults() {
            fields.entry(name).or_insert(value);
        }
        if family == Family::DistilBert {
            // transformers' model has this one whatever the file says.
            fields.insert("layer_norm_eps".to_owned(), default_layer_norm_eps().into());
        }
        Ok(Self::deserialize(&Value::Object(fields))?)
    }

    /// Rows of the task embedding.
    pub fn task_types(&self, family: Family) -> usize {
        let is_used = family == Family::Ernie && self.use_task_id;
        if is_used { self.task_type_vocab_size.unwrap_or(3) } else { 0 }
    }

    /// How layers share their weights, of an ALBERT.
    pub fn sharing(&self, family: Family) -> Result<Option<Sharing>, ConfigError> {
        if family != Family::Albert {
            return Ok(None);
        }
        let (groups, inner) = (self.num_hidden_groups.unwrap_or(1), self.inner_group_num.unwrap_or(1));
        for (field, number, most) in
            [("num_hidden_groups", groups, self.num_hidden_layers), ("inner_group_num", inner, MOST_LAYERS)]
        {
            if !(1..=most.max(1)).contains(&number) {
                let expected = "there must be one at least, and no more than there are layers";
                return Err(ConfigError::Unsupported { field, value: number.to_string(), expected });
            }
        }
        Ok(Some(Sharing { groups, inner }))
    }
}

impl ClassFields {
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
