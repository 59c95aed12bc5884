//! What requests and answers look like: text-embeddings-inference's, and the OpenAPI document that
//! is made of these types.

use std::collections::BTreeMap;

use classifier::{Classes, Truncation};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::MAX_TEXTS;
use crate::model::Facts;
use crate::predict::MAX_REQUESTS;

/// Texts to label.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub inputs: Inputs,
    /// Whether a text that is longer than the model reads is cut; else it is an error. [default:
    /// false]
    pub truncate: Option<bool>,
    /// Where it is cut.
    #[serde(default)]
    pub truncation_direction: Direction,
    /// Whether to answer with what the probabilities are the softmax of: a network's logits, a
    /// linear model's sums of weights.
    #[serde(default)]
    pub raw_scores: bool,
}

/// One text, or a batch of lists of one text each. A list of two texts is one pair, which these
/// models do not take.
#[derive(Deserialize, ToSchema)]
#[serde(untagged, expecting = r#"expected a text, or a batch of lists of one text each, as in [["a"], ["b"]]"#)]
pub(super) enum Inputs {
    /// One text.
    Text(String),
    /// A pair of texts, which is refused, or one text.
    Pair(Vec<String>),
    /// A batch.
    Batch(Vec<Vec<String>>),
}

/// Where a text that is too long is cut.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
pub(super) enum Direction {
    /// Its end is read.
    #[serde(alias = "left")]
    Left,
    /// Its beginning is read.
    #[default]
    #[serde(alias = "right")]
    Right,
}

/// Why inputs are not taken.
pub(super) enum Wrong {
    /// They do not have the form.
    Form(String),
    /// A text has nothing in it.
    Empty,
    /// There are so many texts.
    TooMany(usize),
}

impl Request {
    pub fn truncation(&self) -> Truncation {
        match (self.truncate, self.truncation_direction) {
            (Some(true), Direction::Left) => Truncation::Left,
            (Some(true), Direction::Right) => Truncation::Right,
            _ => Truncation::Refused,
        }
    }
}

impl Inputs {
    /// The texts, and whether they are a batch.
    pub fn texts(self) -> Result<(Vec<String>, bool), Wrong> {
        let (lists, is_batch) = match self {
            Self::Text(text) => (vec![vec![text]], false),
            Self::Pair(texts) => (vec![texts], false),
            Self::Batch(lists) => (lists, true),
        };
        let count = lists.iter().map(Vec::len).sum();
        if count > MAX_TEXTS {
            return Err(Wrong::TooMany(count));
        }
        if lists.is_empty() || lists.iter().any(Vec::is_empty) {
            return Err(Wrong::Form("a list of inputs must not be empty".to_owned()));
        }
        if lists.iter().any(|list| list.len() > 1) {
            let advice = r#"["a", "b"] is a pair of texts, and this model takes no pairs: a batch is [["a"], ["b"]]"#;
            return Err(Wrong::Form(advice.to_owned()));
        }
        let texts: Vec<String> = lists.into_iter().flatten().collect();
        if texts.iter().any(String::is_empty) { Err(Wrong::Empty) } else { Ok((texts, is_batch)) }
    }
}

/// A class and its score.
#[derive(Serialize, ToSchema)]
pub(super) struct Scored {
    pub score: f32,
    pub label: String,
}

/// All classes, the likeliest first: of one text, or of each text of a batch.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Scores {
    One(Vec<Scored>),
    Several(Vec<Vec<Scored>>),
}

impl Scores {
    pub fn of(classes: &Classes, scores: &[Vec<f32>], is_batch: bool) -> Self {
        let mut texts: Vec<_> = scores.iter().map(|scores| sorted(classes, scores)).collect();
        if is_batch { Self::Several(texts) } else { Self::One(texts.pop().unwrap_or_default()) }
    }
}

fn sorted(classes: &Classes, scores: &[f32]) -> Vec<Scored> {
    let scored = scores.iter().zip(classes.names());
    let mut scored: Vec<_> = scored.map(|(&score, label)| Scored { score, label: label.clone() }).collect();
    scored.sort_by(|one, other| other.score.total_cmp(&one.score));
    scored
}

/// An error.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorResponse {
    /// For people.
    pub error: String,
    pub error_type: ErrorType,
}

/// What kind of error, for programs.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ErrorType {
    Unhealthy,
    Backend,
    Overloaded,
    Validation,
    Empty,
}

/// The model that serves, and the limits of requests.
#[derive(Serialize, ToSchema)]
pub(super) struct Info {
    /// The registered version, as in `version 3`.
    model_id: String,
    /// Always null: a version is registered once.
    model_sha: Option<String>,
    /// What the model computes with: float32, bfloat16 or int8.
    model_dtype: &'static str,
    model_type: ModelType,
    /// Requests that wait or are being answered: one more is answered with 429.
    max_concurrent_requests: usize,
    /// Tokens of a text that the model reads, special ones included.
    max_input_length: usize,
    /// Tokens of one forward pass over requests, about.
    max_batch_tokens: usize,
    max_batch_requests: Option<usize>,
    /// Texts of one request.
    max_client_batch_size: usize,
    /// Always false: `truncate` of a request says it.
    auto_truncate: bool,
    tokenization_workers: usize,
    /// labelstream's.
    version: &'static str,
    sha: Option<&'static str>,
    docker_label: Option<&'static str>,
}

/// What the model does.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ModelType {
    Classifier(ClassNames),
}

/// The classes in the order of the model.
#[derive(Serialize, ToSchema)]
struct ClassNames {
    id2label: BTreeMap<usize, String>,
    label2id: BTreeMap<String, usize>,
}

impl Info {
    pub fn new(facts: &Facts, max_batch_tokens: usize) -> Self {
        let names = || facts.classes.names().iter().cloned().enumerate();
        Self {
            model_id: format!("version {}", facts.version.0),
            model_sha: None,
            model_dtype: match facts.precision {
                "f32" => "float32",
                "bf16" => "bfloat16",
                other => other,
            },
            model_type: ModelType::Classifier(ClassNames {
                id2label: names().collect(),
                label2id: names().map(|(id, name)| (name, id)).collect(),
            }),
            max_concurrent_requests: MAX_REQUESTS,
            max_input_length: facts.max_length,
            max_batch_tokens,
            max_batch_requests: None,
            max_client_batch_size: MAX_TEXTS,
            auto_truncate: false,
            tokenization_workers: std::thread::available_parallelism().map_or(1, usize::from),
            version: env!("CARGO_PKG_VERSION"),
            sha: None,
            docker_label: None,
        }
    }
}

/// The OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(title = "labelstream consumer", description = "Labels texts, as text-embeddings-inference does."),
    paths(super::predict, super::info, super::docs, super::openapi, live, ready, metrics)
)]
pub(super) struct Document;

/// Whether the consumer should be left to itself: a thread that hangs does not come back.
#[utoipa::path(get, path = "/health/live", responses(
    (status = 200, description = "It goes on", body = String),
    (status = 503, description = "A thread hangs: start the consumer again", body = String),
))]
#[expect(dead_code, reason = "every service has this route: see service::http")]
fn live() {}

/// Whether everything works that the stream needs.
#[utoipa::path(get, path = "/health/ready", responses(
    (status = 200, description = "All of it works", body = BTreeMap<String, String>),
    (status = 503, description = "What does not work, by part", body = BTreeMap<String, String>),
))]
#[expect(dead_code, reason = "every service has this route: see service::http")]
fn ready() {}

/// Metrics for Prometheus.
#[utoipa::path(get, path = "/metrics", responses(
    (status = 200, description = "In the text format of OpenMetrics", body = String, content_type = "application/openmetrics-text"),
))]
#[expect(dead_code, reason = "every service has this route: see service::http")]
fn metrics() {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(inputs: serde_json::Value) -> Result<(Vec<String>, bool), String> {
        let request: Request =
            serde_json::from_value(json!({ "inputs": inputs })).map_err(|error| error.to_string())?;
        request.inputs.texts().map_err(|wrong| match wrong {
            Wrong::Form(error) => error,
            Wrong::Empty => "empty".to_owned(),
            Wrong::TooMany(count) => format!("{count} texts"),
        })
    }

    #[test]
    fn inputs_are_read_as_text_embeddings_inference_reads_them() {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(texts(json!("a")), Ok((owned(&["a"]), false)));
        assert_eq!(texts(json!(["a"])), Ok((owned(&["a"]), false)));
        assert_eq!(texts(json!([["a"]])), Ok((owned(&["a"]), true)));
        assert_eq!(texts(json!([["a"], ["b"]])), Ok((owned(&["a", "b"]), true)));
        assert_eq!(texts(json!(" ")), Ok((owned(&[" "]), false)));
        for pair in [json!(["a", "b"]), json!([["a", "b"]]), json!([["a"], ["b", "c"]]), json!(["a", "b", "c"])] {
            let error = texts(pair.clone()).unwrap_err();
            assert!(error.contains(r#"a batch is [["a"], ["b"]]"#), "{pair}: {error}");
        }
        for empty in [json!([]), json!([[]]), json!([["a"], []])] {
            assert_eq!(texts(empty), Err("a list of inputs must not be empty".to_owned()));
        }
        for form in [json!(5), json!(["a", ["b"]]), json!([["a"], "b"]), json!({"text": "a"}), json!(null)] {
            let error = texts(form.clone()).unwrap_err();
            assert!(error.contains("expected a text, or a batch"), "{form}: {error}");
        }
        assert_eq!(texts(json!("")), Err("empty".to_owned()));
        assert_eq!(texts(json!([["a"], [""]])), Err("empty".to_owned()));
        assert_eq!(texts(json!(vec![["a"]; 65])), Err("65 texts".to_owned()));
        assert!(texts(json!(vec![["a"]; 64])).is_ok());
    }

    #[test]
    fn options_are_those_of_text_embeddings_inference_and_no_others() {
        let read = |options: serde_json::Value| {
            let mut request = json!({ "inputs": "a" });
            request.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
            serde_json::from_value::<Request>(request).map(|request| (request.truncation(), request.raw_scores))
        };
        for (options, expected) in [
            (json!({}), (Truncation::Refused, false)),
            (json!({"truncate": null}), (Truncation::Refused, false)),
            (json!({"truncate": false, "truncation_direction": "Left"}), (Truncation::Refused, false)),
            (json!({"truncate": true, "raw_scores": true}), (Truncation::Right, true)),
            (json!({"truncate": true, "truncation_direction": "Left"}), (Truncation::Left, false)),
            (json!({"truncate": true, "truncation_direction": "left"}), (Truncation::Left, false)),
            (json!({"truncate": true, "truncation_direction": "right"}), (Truncation::Right, false)),
        ] {
            assert_eq!(read(options.clone()).unwrap(), expected, "{options}");
        }
        for wrong in [json!({"truncat": true}), json!({"parameters": {}}), json!({"truncation_direction": "up"})] {
            let error = read(wrong.clone()).unwrap_err().to_string();
            let name = wrong.as_object().unwrap().keys().next().unwrap();
            assert!(error.contains(name) || error.contains("up"), "{error}");
        }
    }
}
