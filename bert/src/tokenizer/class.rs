//! The kinds of tokenizers that transformers makes of a directory (release 5.24).

use serde_json::Value;

/// The special tokens, in the order in which a learned vocabulary begins: padding is id 0.
pub(super) const SPECIAL: [(&str, &str); 5] = [
    ("pad_token", "[PAD]"),
    ("unk_token", "[UNK]"),
    ("cls_token", "[CLS]"),
    ("sep_token", "[SEP]"),
    ("mask_token", "[MASK]"),
];

/// transformers' classes that are its `BertTokenizer`, some under an older name.
const BERT_CLASSES: [&str; 7] = [
    "BertTokenizer",
    "ConvBertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "LxmertTokenizer",
    "MobileBertTokenizer",
    "SqueezeBertTokenizer",
];

/// What transformers makes of a directory's tokenizer. All but the last are made anew of the
/// vocabulary and the settings, whatever else `tokenizer.json` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// WordPiece.
    Bert,
    /// BPE over bytes.
    Roberta,
    /// SentencePiece's unigram model.
    XlmRoberta,
    /// The same, with other special tokens.
    Camembert,
    /// The same, behind another normalizer.
    Albert,
    /// What `tokenizer.json` says.
    AsItStands,
}

/// The special tokens of RoBERTa and of those that follow it.
const ROBERTA: [(&str, &str); 7] = [
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];
const ALBERT: [(&str, &str); 7] = [
    ("bos_token", "[CLS]"),
    ("eos_token", "[SEP]"),
    ("unk_token", "<unk>"),
    ("sep_token", "[SEP]"),
    ("pad_token", "<pad>"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];

impl Class {
    /// transformers' name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bert => "BertTokenizer",
            Self::Roberta => "RobertaTokenizer",
            Self::XlmRoberta => "XLMRobertaTokenizer",
            Self::Camembert => "CamembertTokenizer",
            Self::Albert => "AlbertTokenizer",
            Self::AsItStands => "PreTrainedTokenizerFast",
        }
    }

    /// The special tokens where nothing is said of them.
    pub fn special(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Bert => &SPECIAL,
            Self::Roberta | Self::XlmRoberta | Self::Camembert => &ROBERTA,
            Self::Albert => &ALBERT,
            Self::AsItStands => &[],
        }
    }

    /// That of a name, which may be an older one.
    ///
    /// # Errors
    /// A class that is not known here.
    pub fn of(class: &Value) -> Result<Self, String> {
        let name = class.as_str().unwrap_or_default();
        match name.strip_suffix("Fast").unwrap_or(name) {
            name if BERT_CLASSES.contains(&name) => Ok(Self::Bert),
            "RobertaTokenizer" => Ok(Self::Roberta),
            "XLMRobertaTokenizer" => Ok(Self::XlmRoberta),
            "CamembertTokenizer" => Ok(Self::Camembert),
            "AlbertTokenizer" => Ok(Self::Albert),
            "PreTrainedTokenizer" | "TokenizersBackend" => Ok(Self::AsItStands),
            // Made anew too, there, to the same as their files say.
            "DebertaV2Tokenizer" | "GemmaTokenizer" | "Qwen2Tokenizer" => Ok(Self::AsItStands),
            _ => Err(format!(
                "tokenizer_class is {class}: only those of BERT, RoBERTa, XLM-RoBERTa, CamemBERT, ALBERT and \
                 PreTrainedTokenizerFast, also under their other names, are supported"
            )),
        }
    }

    /// That of a kind of model, where the files name none.
    pub fn of_model(model_type: Option<&str>) -> Self {
        match model_type {
            Some("roberta") => Self::Roberta,
            Some("xlm-roberta") => Self::XlmRoberta,
            Some("camembert") => Self::Camembert,
            Some("albert") => Self::Albert,
            Some("modernbert" | "deberta-v2" | "qwen3") => Self::AsItStands,
            _ => Self::Bert,
        }
    }
}
