//! What candle-transformers computes, for the checkpoints and figures of `tests/composed.py`.

use std::fs;
use std::path::{Path, PathBuf};

use classifier::{Classifier, Device, ModelKind};
use serde_json::Value;

use super::fixtures::assert_close;

const NAMES: [&str; 5] = ["modernbert", "modernbert_mean", "deberta_v3", "deberta_v2", "qwen3"];

/// What the project promises.
const TOLERANCE: f32 = 1e-4;

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/composed").join(name)
}

fn expected(name: &str) -> (Vec<String>, Vec<Vec<u32>>, Vec<Vec<f32>>) {
    let all: Value = serde_json::from_slice(&fs::read(directory(name).join("expected.json")).unwrap()).unwrap();
    let part = |name: &str| all[name].clone();
    let logits: Vec<Vec<f32>> = serde_json::from_value(part("logits")).unwrap();
    let softmax = |logits: &Vec<f32>| {
        let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = logits.iter().map(|logit| (logit - greatest).exp()).collect();
        powers.iter().map(|power| power / powers.iter().sum::<f32>()).collect()
    };
    let scores = logits.iter().map(softmax).collect();
    (serde_json::from_value(part("texts")).unwrap(), serde_json::from_value(part("ids")).unwrap(), scores)
}

#[test]
fn token_ids_and_scores_are_those_of_transformers_together_and_alone() {
    for name in NAMES {
        let (texts, ids, scores) = expected(name);
        let classifier = Classifier::open(&directory(name), &Device::Cpu).unwrap().with_max_length(64);
        let found = classifier.encoder().unwrap().encode(&texts).unwrap();
        for ((text, found), expected) in texts.iter().zip(&found).zip(&ids) {
            assert_eq!(found, expected, "{name}: {text:?}");
        }
        let of = |predictions: Vec<classifier::Prediction>| -> Vec<Vec<f32>> {
            predictions.into_iter().map(|prediction| prediction.scores).collect()
        };
        assert_close(name, &of(classifier.classify(&texts).unwrap()), &scores, TOLERANCE);
        for (text, scores) in texts.iter().zip(&scores) {
            let alone = of(classifier.classify(&[text]).unwrap());
            assert_close(name, &alone, std::slice::from_ref(scores), TOLERANCE);
        }
        classifier.canary().unwrap();
        assert!(matches!(classifier.kind(), ModelKind::Composed(_)), "{:?}", classifier.kind());
        assert_eq!(classifier.engine(), "candle-transformers");
    }
}

#[test]
fn vectors_are_those_of_transformers() {
    for (name, is_mean) in [("modernbert", false), ("deberta_v3", true), ("qwen3", false)] {
        let all: Value = serde_json::from_slice(&fs::read(directory(name).join("expected.json")).unwrap()).unwrap();
        let vectors: Vec<Vec<f32>> = serde_json::from_value(all["vectors"].clone()).unwrap();
        let (texts, ..) = expected(name);
        let encoder = Classifier::open_vectors(&directory(name), &Device::Cpu, is_mean).unwrap().unwrap();
        let encoder = encoder.with_max_length(64);
        let asked: Vec<_> = texts.iter().map(|text| (text.as_str(), classifier::Truncation::Right)).collect();
        let found: Vec<Vec<f32>> = encoder.logits(&asked).unwrap().into_iter().map(Result::unwrap).collect();
        assert_close(name, &found, &vectors, 2e-4);
    }
    let bert = super::fixtures::fixture("gelu");
    assert!(Classifier::open_vectors(&bert, &Device::Cpu, false).unwrap().is_none());
}

#[test]
fn what_would_be_ignored_or_is_missing_is_refused() {
    let home = tempfile::tempdir().unwrap();
    for (name, field, value, said) in [
        ("modernbert", "mlp_bias", Value::from(true), "mlp_bias is true"),
        ("modernbert", "hidden_activation", "relu".into(), "hidden_activation is \"relu\""),
        ("deberta_v3", "relative_attention", false.into(), "relative_attention is not true"),
        ("qwen3", "use_sliding_window", true.into(), "use_sliding_window is true"),
        ("qwen3", "vocab_size", 7.into(), "shape"),
        ("modernbert", "num_hidden_layers", 6.into(), "model.layers.5.attn_norm.weight: missing"),
        ("modernbert", "problem_type", "multi_label_classification".into(), "problem_type"),
        ("qwen3", "id2label", serde_json::json!({"0": "one"}), "fewer than two classes"),
    ] {
        let changed = home.path().join(format!("{name}-{field}"));
        fs::create_dir(&changed).unwrap();
        for file in fs::read_dir(directory(name)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), changed.join(file.file_name())).unwrap();
        }
        let config = changed.join("config.json");
        let mut json: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
        json[field] = value;
        fs::write(&config, json.to_string()).unwrap();
        let error = Classifier::open(&changed, &Device::Cpu).unwrap_err().to_string();
        assert!(error.contains(said), "{name}, {field}: {error}");
    }
}
