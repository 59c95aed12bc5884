//! BERT and its relatives: what each calls its fields and its tensors, and where its network
//! differs from BERT's. As transformers 5.24 has them.

use serde_json::{Value, json};

use crate::activation::Activation;

/// A kind of encoder that is BERT's network but for what stands here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Devlin and others, 2018.
    Bert,
    /// Liu and others, 2019: positions count from behind the padding's number.
    Roberta,
    /// Conneau and others, 2019: RoBERTa over a hundred languages.
    XlmRoberta,
    /// Martin and others, 2019: RoBERTa in French.
    Camembert,
    /// Clark and others, 2020: narrow embeddings, projected; another head.
    Electra,
    /// Sun and others, 2020: a vector for the task is added to each token.
    Ernie,
    /// Sanh and others, 2019: no token types; another head.
    DistilBert,
    /// Lan and others, 2019: narrow embeddings, projected; layers that share their weights.
    Albert,
    /// Shoeybi and others, 2019: each part of a layer is normalised before it and not behind.
    MegatronBert,
}

/// What a tensor is called here, and there. Of a name the first that fits is replaced.
type Names = &'static [(&'static str, &'static str)];

impl Family {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Bert,
        Self::Roberta,
        Self::XlmRoberta,
        Self::Camembert,
        Self::Electra,
        Self::Ernie,
        Self::DistilBert,
        Self::Albert,
        Self::MegatronBert,
    ];

    /// `model_type` of `config.json`.
    pub const fn model_type(self) -> &'static str {
        match self {
            Self::Bert => "bert",
            Self::Roberta => "roberta",
            Self::XlmRoberta => "xlm-roberta",
            Self::Camembert => "camembert",
            Self::Electra => "electra",
            Self::Ernie => "ernie",
            Self::DistilBert => "distilbert",
            Self::Albert => "albert",
            Self::MegatronBert => "megatron-bert",
        }
    }

    /// The family of a `model_type`.
    pub fn of(model_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.model_type() == model_type)
    }

    /// transformers' class of a classifier.
    pub(crate) fn architecture(self) -> &'static str {
        match self {
            Self::Bert => "BertForSequenceClassification",
            Self::Roberta => "RobertaForSequenceClassification",
            Self::XlmRoberta => "XLMRobertaForSequenceClassification",
            Self::Camembert => "CamembertForSequenceClassification",
            Self::Electra => "ElectraForSequenceClassification",
            Self::Ernie => "ErnieForSequenceClassification",
            Self::DistilBert => "DistilBertForSequenceClassification",
            Self::Albert => "AlbertForSequenceClassification",
            Self::MegatronBert => "MegatronBertForSequenceClassification",
        }
    }

    /// What the family's `config.json` calls a field otherwise than BERT's.
    pub(crate) fn field_names(self) -> Names {
        match self {
            Self::DistilBert => &[
                ("hidden_size", "dim"),
                ("num_hidden_layers", "n_layers"),
                ("num_attention_heads", "n_heads"),
                ("intermediate_size", "hidden_dim"),
                ("hidden_act", "activation"),
                ("hidden_dropout_prob", "dropout"),
                ("attention_probs_dropout_prob", "attention_dropout"),
                ("classifier_dropout", "seq_classif_dropout"),
            ],
            Self::Albert => &[("classifier_dropout", "classifier_dropout_prob")],
            _ => &[],
        }
    }

    /// What a silent field of `config.json` means, where that is not what it means to a BERT.
    pub(crate) fn defaults(self) -> Vec<(&'static str, Value)> {
        match self {
            Self::Electra => vec![("embedding_size", json!(128))],
            Self::DistilBert => vec![("classifier_dropout", json!(0.2))],
            Self::Albert => vec![
                ("embedding_size", json!(128)),
                ("hidden_act", json!("gelu_new")),
                ("hidden_dropout_prob", json!(0.0)),
                ("attention_probs_dropout_prob", json!(0.0)),
                ("classifier_dropout", json!(0.1)),
            ],
            _ => Vec::new(),
        }
    }

    /// Whether positions count from behind the padding's number, and skip the padding.
    pub(crate) fn counts_from_padding(self) -> bool {
        matches!(self, Self::Roberta | Self::XlmRoberta | Self::Camembert)
    }

    /// Whether tokens have types.
    pub(crate) fn has_token_types(self) -> bool {
        self != Self::DistilBert
    }

    /// Whether embeddings may be narrower than what the layers work on.
    pub(crate) fn has_embedding_size(self) -> bool {
        matches!(self, Self::Electra | Self::Albert)
    }

    /// Whether each part of a layer is normalised before it, and the last one's result at the end;
    /// BERT normalises behind each part, and the embeddings.
    pub(crate) fn norms_first(self) -> bool {
        self == Self::MegatronBert
    }

    /// What bends the vector that is classified.
    pub(crate) fn head_activation(self) -> Activation {
        match self {
            Self::Electra => Activation::Gelu,
            Self::DistilBert => Activation::Relu,
            _ => Activation::Tanh,
        }
    }

    /// Whether training drops some of what goes into the head's dense layer, too.
    pub(crate) fn head_drops_input(self) -> bool {
        matches!(self, Self::Roberta | Self::XlmRoberta | Self::Camembert | Self::Electra)
    }

    /// What stands before the names of the encoder's tensors.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Bert | Self::MegatronBert => "bert.",
            Self::Roberta | Self::XlmRoberta | Self::Camembert => "roberta.",
            Self::Electra => "electra.",
            Self::Ernie => "ernie.",
            Self::DistilBert => "distilbert.",
            Self::Albert => "albert.",
        }
    }

    /// The name of a parameter in the family's files: `bert.` and what follows it is BERT's name,
    /// which all parameters have in memory.
    ///
    /// Of an ALBERT so many layers make a group.
    pub(crate) fn stored_name(self, name: &str, layers_a_group: usize) -> String {
        if let Some((_, head)) = self.head_names().iter().find(|(ours, _)| in_layer(name, ours)) {
            return format!("{head}{}", part_of(name));
        }
        let Some(inner) = name.strip_prefix("bert.") else { return name.to_owned() };
        let layer = inner.strip_prefix("encoder.layer.").and_then(|rest| rest.split_once('.'));
        let layer = layer.and_then(|(number, part)| Some((number.parse::<usize>().ok()?, part)));
        let renamed = match layer {
            Some((number, part)) => {
                format!("{}{}", self.layer(number, layers_a_group), renamed(part, self.layer_names()))
            }
            None => renamed(inner, self.other_names()),
        };
        format!("{}{renamed}", self.prefix())
    }

    /// The head's layers, by their whole names.
    fn head_names(self) -> Names {
        match self {
            Self::Roberta | Self::XlmRoberta | Self::Camembert | Self::Electra => {
                &[("bert.pooler.dense", "classifier.dense"), ("classifier", "classifier.out_proj")]
            }
            Self::DistilBert => &[("bert.pooler.dense", "pre_classifier")],
            _ => &[],
        }
    }

    /// What stands before the parts of a layer.
    fn layer(self, number: usize, layers_a_group: usize) -> String {
        match self {
            Self::DistilBert => format!("transformer.layer.{number}."),
            Self::Albert => {
                let (group, layer) = (number / layers_a_group, number % layers_a_group);
                format!("encoder.albert_layer_groups.{group}.albert_layers.{layer}.")
            }
            _ => format!("encoder.layer.{number}."),
        }
    }

    fn layer_names(self) -> Names {
        match self {
            Self::DistilBert => &[
                ("attention.self.query", "attention.q_lin"),
                ("attention.self.key", "attention.k_lin"),
                ("attention.self.value", "attention.v_lin"),
                ("attention.output.dense", "attention.out_lin"),
                ("attention.output.LayerNorm", "sa_layer_norm"),
                ("intermediate.dense", "ffn.lin1"),
                ("output.dense", "ffn.lin2"),
                ("output.LayerNorm", "output_layer_norm"),
            ],
            Self::Albert => &[
                ("attention.self.query", "attention.query"),
                ("attention.self.key", "attention.key"),
                ("attention.self.value", "attention.value"),
                ("attention.output.dense", "attention.dense"),
                ("attention.output.LayerNorm", "attention.LayerNorm"),
                ("intermediate.dense", "ffn"),
                ("output.dense", "ffn_output"),
                ("output.LayerNorm", "full_layer_layer_norm"),
            ],
            Self::MegatronBert => &[("attention.output.LayerNorm", "attention.ln"), ("output.LayerNorm", "ln")],
            _ => &[],
        }
    }

    /// What belongs to the encoder and to no layer.
    fn other_names(self) -> Names {
        match self {
            Self::Electra => &[("embeddings.projection", "embeddings_project")],
            Self::Albert => {
                &[("embeddings.projection", "encoder.embedding_hidden_mapping_in"), ("pooler.dense", "pooler")]
            }
            Self::MegatronBert => &[("encoder.LayerNorm", "encoder.ln")],
            _ => &[],
        }
    }
}

fn renamed(name: &str, names: Names) -> String {
    match names.iter().find(|(ours, _)| in_layer(name, ours)) {
        Some((_, theirs)) => format!("{theirs}{}", part_of(name)),
        None => name.to_owned(),
    }
}

/// Whether a name is that of a weight or a bias of this layer.
fn in_layer(name: &str, layer: &str) -> bool {
    name.strip_prefix(layer).is_some_and(|part| part == ".weight" || part == ".bias")
}

/// `.weight` or `.bias`.
fn part_of(name: &str) -> &str {
    &name[name.rfind('.').unwrap_or(name.len())..]
}
