//! A `config.json` as it is written: transformers reads the same model from it.

use serde_json::{Map, Value};

use super::{ModelConfig, POOLED_PREFIX, Pooling, Sharing};
use crate::Family;

impl ModelConfig {
    /// The text of a `config.json` that transformers reads as the same model.
    pub fn to_json(&self) -> String {
        let mut fields = self.fields.clone();
        let mut set = |name: &str, value: Value| {
            let theirs = self.family.field_names().iter().find(|(ours, _)| *ours == name);
            fields.insert(theirs.map_or(name, |(_, theirs)| theirs).to_owned(), value)
        };
        let model_type = self.family.model_type();
        if self.pooling == Pooling::Cls {
            set("architectures", vec![self.family.architecture()].into());
            set("model_type", model_type.into());
        } else {
            // transformers would open it as its own model, with a head of random weights.
            set("architectures", Vec::<String>::new().into());
            set("model_type", format!("{POOLED_PREFIX}{model_type}").into());
        }
        set("labelstream_pooling", serde_json::json!(self.pooling));
        set("vocab_size", self.vocab_size.into());
        set("hidden_size", self.hidden_size.into());
        if let Some(width) = self.embedding_size {
            set("embedding_size", width.into());
        }
        set("num_hidden_layers", (self.num_hidden_layers / self.sharing.map_or(1, |sharing| sharing.inner)).into());
        if let Some(Sharing { groups, inner }) = self.sharing {
            set("num_hidden_groups", groups.into());
            set("inner_group_num", inner.into());
        }
        set("num_attention_heads", self.num_attention_heads.into());
        set("intermediate_size", self.intermediate_size.into());
        set("hidden_act", serde_json::json!(self.hidden_act));
        set("max_position_embeddings", self.max_position_embeddings.into());
        if let Some(padding) = self.padding {
            set("pad_token_id", padding.into());
        }
        if self.family.has_token_types() {
            set("type_vocab_size", self.type_vocab_size.into());
        }
        if self.family == Family::Ernie {
            set("use_task_id", (self.task_type_vocab_size > 0).into());
        }
        if self.task_type_vocab_size > 0 {
            set("task_type_vocab_size", self.task_type_vocab_size.into());
        }
        if self.family != Family::DistilBert {
            set("layer_norm_eps", self.layer_norm_eps.into());
        }
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
}
