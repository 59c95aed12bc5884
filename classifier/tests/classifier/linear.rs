//! The linear kind: what it answers, what it is on disk, and what of a damaged one is said.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use candle_core::Device;
use classifier::checkpoint::{Base, Checkpoint, Manifest};
use classifier::linear::{LinearModel, LinearWeights, NgramRange, Ngrams};
use classifier::{CheckpointError, Classes, Classifier, ModelKind, Precision, Prediction, Truncation};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;

use super::edit;

const KNOWN: &str = "送餐快 味道好吃 送餐慢 very good food";

/// A model of three classes over the n-grams of [`KNOWN`], with numbers that count up in the order
/// of their first occurrence.
fn model() -> LinearModel {
    let range = NgramRange(1, 2);
    let mut order: HashMap<u64, usize> = HashMap::new();
    Ngrams::new(range, 100).each(KNOWN, |_, hash| {
        let next = order.len();
        order.entry(hash).or_insert(next);
    });
    let by_hash: BTreeMap<u64, usize> = order.into_iter().collect();
    let weight = |index: usize, class: usize| ((7 * index + 3 * class) % 11) as f32 / 2.0 - 2.5;
    let weights = LinearWeights {
        features: by_hash.keys().copied().collect(),
        idf: by_hash.values().map(|index| 1.0 + *index as f32 / 10.0).collect(),
        weight: by_hash.values().flat_map(|index| (0..3).map(|class| weight(*index, class))).collect(),
        bias: vec![0.1, 0.0, -0.2],
    };
    LinearModel::new(Classes::new(["bad", "good", "mixed"]), range, weights).unwrap()
}

fn saved() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    model().save(&directory.path().join("model"), serde_json::Map::new()).unwrap();
    directory
}

/// ```python
/// import re, numpy as np
/// from scipy.special import softmax
/// from sklearn.feature_extraction.text import TfidfVectorizer
/// def ngrams(text):
///     units = ["<"] + re.findall(r"[a-z]+|\S", text) + [">"]
///     return [" ".join(units[i:i + n]) for i in range(len(units)) for n in (1, 2) if i + n <= len(units)]
/// known = list(dict.fromkeys(ngrams("送餐快 味道好吃 送餐慢 very good food")))
/// tfidf = TfidfVectorizer(analyzer=ngrams, sublinear_tf=True, vocabulary=known)
/// tfidf.idf_ = 1 + np.arange(len(known)) / 10
/// weight = ((7 * np.arange(len(known))[:, None] + 3 * np.arange(3)) % 11) / 2 - 2.5
/// values = tfidf.transform(["送餐快", "味道好好好吃,送餐慢", "very very good", "不认识", ""])
/// print(len(known), softmax(values @ weight + [.1, 0, -.2], axis=1).round(6).tolist())
/// ```
#[test]
fn probabilities_are_those_of_scikit_learns_features() {
    let classifier = Classifier::linear(model());
    let predictions =
        classifier.classify(&["送餐快", "味道好好好吃,送餐慢", "VERY very　ｇｏｏｄ", "不认识", ""]).unwrap();
    for (prediction, expected) in predictions.iter().zip(EXPECTED) {
        for (score, expected) in prediction.scores.iter().zip(expected) {
            assert!((score - expected).abs() < 2e-6, "{predictions:?}");
        }
    }
}

const EXPECTED: [[f32; 3]; 5] = [
    [0.900364, 0.029972, 0.069665],
    [0.661875, 0.074248, 0.263877],
    [0.232538, 0.039656, 0.727806],
    [0.846144, 0.024697, 0.129159],
    [0.846144, 0.024697, 0.129159],
];

#[test]
fn a_model_opens_as_it_was_saved_and_is_written_once() {
    let directory = saved();
    let path = directory.path().join("model");
    assert_eq!(LinearModel::open(&path).unwrap(), model());
    Manifest::verify(&path).unwrap();
    let classifier = Classifier::open(&path, &Device::Cpu).unwrap();
    assert_eq!((classifier.kind(), classifier.kind().to_string().as_str()), (ModelKind::Linear, "labelstream-linear"));
    assert_eq!(classifier.classes().names(), ["bad", "good", "mixed"]);
    classifier.canary().unwrap();
    let again = model().save(&path, serde_json::Map::new()).unwrap_err();
    assert!(matches!(again, CheckpointError::Exists { .. }), "{again}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "something was left beside the model");
}

#[test]
fn answers_come_in_order_whatever_their_number() {
    let classifier = Classifier::linear(model());
    let texts: Vec<String> =
        (0..1_000).map(|index| KNOWN.chars().cycle().skip(index % 17).take(index % 23).collect()).collect();
    let together = classifier.classify(&texts).unwrap();
    for (text, prediction) in texts.iter().zip(&together) {
        assert_eq!(&classifier.classify(&[text]).unwrap()[0], prediction, "{text}");
    }
    assert!(classifier.classify::<&str>(&[]).unwrap().is_empty());
}

#[test]
fn tokens_are_units_and_texts_are_truncated_to_them() {
    let classifier = Classifier::linear(model());
    assert_eq!(classifier.count_tokens(&["很好, very good", "", "好"]).unwrap(), [5, 0, 1]);
    let short = classifier.clone().with_max_length(2);
    assert_eq!((short.max_length(), short.count_tokens(&["很好, very good"]).unwrap()), (2, vec![2]));
    assert_eq!(short.classify(&["送餐快慢"]).unwrap(), classifier.classify(&["送餐"]).unwrap());
    assert_ne!(short.classify(&["送餐快慢"]).unwrap(), classifier.classify(&["送餐快慢"]).unwrap());
    assert_eq!(classifier.clone().with_max_length(usize::MAX).max_length(), classifier.max_length());
    let error = classifier.classify_tokens(&[[1_u32, 2]]).unwrap_err().to_string();
    assert!(error.contains("linear model"), "{error}");
}

#[test]
fn where_a_bert_is_needed_a_linear_model_is_refused_with_advice() {
    let directory = saved();
    let path = directory.path().join("model");
    let errors = [
        Checkpoint::open(&path).unwrap_err().to_string(),
        Base::open(&path, &Classes::new(["bad", "good"]), None, 1).unwrap_err().to_string(),
    ];
    for error in errors {
        for word in ["config.json", "labelstream-linear", "BERT directory", "new-bert"] {
            assert!(error.contains(word), "{error:?} does not say {word:?}");
        }
    }
}

/// Opens a damaged model and checks that the error says all of these words in one line.
fn refused(directory: &Path, words: &[&str]) {
    let error = Classifier::open(directory, &Device::Cpu).expect_err("a damaged model was opened").to_string();
    for word in words {
        assert!(error.contains(word), "{error:?} does not say {word:?}");
    }
    assert!(error.lines().count() == 1, "{error}");
}

/// A tensor of a file: its type, its shape, its bytes.
type Stored = (Dtype, Vec<usize>, Vec<u8>);

/// Changes the tensors of a model and checks what is then said of it.
fn damaged(change: impl FnOnce(&mut BTreeMap<String, Stored>), words: &[&str]) {
    let directory = saved();
    let path = directory.path().join("model");
    let file = path.join("model.safetensors");
    let bytes = fs::read(&file).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let copy = |(name, view): (String, TensorView)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
    let mut tensors: BTreeMap<String, Stored> = stored.tensors().into_iter().map(copy).collect();
    change(&mut tensors);
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, &file).unwrap();
    refused(&path, &[&["model.safetensors"], words].concat());
}

#[test]
fn a_missing_tensor_is_named() {
    for name in ["features", "idf", "weight", "bias"] {
        damaged(|tensors| drop(tensors.remove(name).unwrap()), &[name, "missing"]);
    }
}

#[test]
fn a_tensor_of_the_wrong_shape_or_type_is_named() {
    for name in ["features", "idf", "weight", "bias"] {
        damaged(|tensors| tensors.get_mut(name).unwrap().1.insert(0, 1), &[name, "shape"]);
        let halved = |(_, shape, bytes): &mut Stored| {
            shape[0] -= 1;
            let size = bytes.len() / (shape[0] + 1) * shape[0];
            bytes.truncate(size);
        };
        // A feature less than the others know is first noticed at the first of them.
        let noticed = if name == "features" { "idf" } else { name };
        damaged(|tensors| halved(tensors.get_mut(name).unwrap()), &[noticed, "shape"]);
    }
    damaged(|tensors| tensors.get_mut("weight").unwrap().1.reverse(), &["weight", "[3, "]);
    for (name, other) in [("features", Dtype::I64), ("idf", Dtype::I32), ("weight", Dtype::U32), ("bias", Dtype::I32)] {
        damaged(|tensors| tensors.get_mut(name).unwrap().0 = other, &[name, "type"]);
    }
}

#[test]
fn a_number_that_is_not_finite_is_named() {
    for name in ["idf", "weight", "bias"] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            damaged(
                |tensors| tensors.get_mut(name).unwrap().2[4..8].copy_from_slice(&bad.to_le_bytes()),
                &[name, "not finite"],
            );
        }
    }
}

#[test]
fn features_out_of_order_are_noticed() {
    damaged(|tensors| tensors.get_mut("features").unwrap().2[..16].rotate_left(8), &["features", "0 and 1", "order"]);
    damaged(|tensors| tensors.get_mut("features").unwrap().2.copy_within(8..16, 16), &["features", "1 and 2", "order"]);
}

#[test]
fn a_file_that_ends_early_is_named() {
    let directory = saved();
    let path = directory.path().join("model");
    let file = path.join("model.safetensors");
    let bytes = fs::read(&file).unwrap();
    for length in (0..bytes.len()).step_by(7) {
        fs::write(&file, &bytes[..length]).unwrap();
        refused(&path, &["model.safetensors"]);
    }
    fs::remove_file(&file).unwrap();
    refused(&path, &["model.safetensors"]);
}

#[test]
fn a_configuration_that_says_something_else_is_named() {
    let cases = [
        ("ngram_range", json!([0, 2]), "ngram_range"),
        ("ngram_range", json!([2, 1]), "ngram_range"),
        ("ngram_range", json!([1, 9]), "ngram_range"),
        ("ngram_range", json!([1]), "config.json"),
        ("id2label", json!({"0": "bad"}), "two classes"),
        ("id2label", json!({"0": "bad", "2": "good"}), "without a hole"),
        ("id2label", json!(null), "config.json"),
        ("model_type", json!("labelstream-quadratic"), "labelstream-quadratic"),
    ];
    for (field, value, word) in cases {
        let directory = saved();
        let path = directory.path().join("model");
        edit(&path, "config.json", |config| config[field] = value);
        refused(&path, &["config.json", word]);
    }
    let directory = saved();
    let path = directory.path().join("model");
    edit(&path, "config.json", |config| config["id2label"] = json!({"0": "bad", "1": "good"}));
    refused(&path, &["model.safetensors", "weight", "shape"]);
    fs::write(path.join("config.json"), "{").unwrap();
    refused(&path, &["config.json"]);
}

#[test]
fn a_linear_model_has_one_precision() {
    let directory = saved();
    let path = directory.path().join("model");
    let open = |precision| Classifier::open_with(&path, &Device::Cpu, precision);
    for asked in [None, Some(Precision::F32), Some(Precision::Int8)] {
        assert_eq!(open(asked).unwrap().precision(), Precision::F32);
    }
}

#[test]
fn a_long_text_of_a_linear_model_is_refused_or_its_beginning_or_its_end_is_read() {
    let classifier = Classifier::linear(model()).with_max_length(2);
    let read = |text: &str, truncation| classifier.logits(&[(text, truncation)]).unwrap().remove(0);
    assert_eq!(read("送餐快慢", Truncation::Right), read("送餐", Truncation::Refused));
    assert_eq!(read("送餐快慢", Truncation::Left), read("快慢", Truncation::Refused));
    assert_ne!(read("送餐快慢", Truncation::Left), read("送餐快慢", Truncation::Right));
    assert_eq!(read("送餐快慢", Truncation::Refused).unwrap_err().to_string(), "4");
    assert_eq!(read("", Truncation::Left), read("", Truncation::Refused));
    let scores = classifier.classify(&["快慢"]).unwrap().remove(0);
    assert_eq!(Prediction::from_logits(&read("快慢", Truncation::Right).unwrap()), scores);
}
