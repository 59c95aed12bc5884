//! Checkpoints with something wrong: each is refused with the file and the tensor by name.

use std::collections::HashMap;
use std::error::Error as _;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use classifier::checkpoint::Checkpoint;
use serde_json::json;

use super::{copy, edit};

/// Opens a damaged directory and checks that the error says all of these words.
fn refused(directory: &Path, words: &[&str]) {
    let error = Checkpoint::open(directory).expect_err("a damaged checkpoint was opened");
    // Programs print an error with its sources: what it says itself must not stand there again.
    let source = error.source().map(ToString::to_string);
    let error = error.to_string();
    assert!(source.is_none_or(|source| !error.contains(&source)), "{error}");
    for word in words {
        assert!(error.contains(word), "{error:?} does not say {word:?}");
    }
    assert!(error.lines().count() == 1, "{error}");
}

fn edit_tensors(directory: &Path, change: impl FnOnce(&mut HashMap<String, Tensor>)) {
    let file = directory.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, file).unwrap();
}

#[test]
fn a_missing_tensor_is_named() {
    for name in [
        "bert.encoder.layer.1.output.LayerNorm.bias",
        "bert.pooler.dense.weight",
        "classifier.weight",
        "classifier.bias",
    ] {
        let directory = copy("gelu");
        edit_tensors(directory.path(), |tensors| drop(tensors.remove(name).unwrap()));
        refused(directory.path(), &["model.safetensors", name, "missing"]);
    }
}

#[test]
fn a_tensor_of_the_wrong_shape_is_named_with_both_shapes() {
    let directory = copy("gelu");
    edit_tensors(directory.path(), |tensors| {
        let weight = tensors.get_mut("bert.encoder.layer.0.intermediate.dense.weight").unwrap();
        *weight = weight.t().unwrap().contiguous().unwrap();
    });
    refused(
        directory.path(),
        &["model.safetensors", "bert.encoder.layer.0.intermediate.dense.weight", "[32, 48]", "[48, 32]"],
    );

    let directory = copy("gelu_new_10_classes");
    edit(directory.path(), "config.json", |config| drop(config.as_object_mut().unwrap().remove("id2label")));
    refused(directory.path(), &["pytorch_model.bin", "classifier.bias", "[10]", "[2]"]);
}

#[test]
fn a_number_that_is_not_finite_is_named() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let directory = copy("half");
        let name = "bert.embeddings.position_embeddings.weight";
        edit_tensors(directory.path(), |tensors| {
            let mut values =
                tensors[name].to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            values[1_000] = bad;
            let damaged = Tensor::from_vec(values, tensors[name].dims(), &Device::Cpu).unwrap();
            tensors.insert(name.to_owned(), damaged.to_dtype(DType::F16).unwrap());
        });
        refused(directory.path(), &["model.safetensors", name, "not finite"]);
    }
}

#[test]
fn a_truncated_or_foreign_weight_file_is_named() {
    for (fixture, file) in [("gelu", "model.safetensors"), ("bfloat", "pytorch_model.bin")] {
        let directory = copy(fixture);
        let path = directory.path().join(file);
        let bytes = fs::read(&path).unwrap();
        for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            refused(directory.path(), &[file]);
        }
        fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n").unwrap();
        refused(directory.path(), &[file, "git lfs pull"]);
        fs::remove_file(&path).unwrap();
        refused(directory.path(), &["model.safetensors", "not found", "pytorch_model.bin"]);
    }
}

#[test]
fn a_vocabulary_larger_than_the_embedding_is_refused() {
    let directory = copy("old_names");
    let file = directory.path().join("vocab.txt");
    let longer = fs::read_to_string(&file).unwrap() + "鑫\n";
    let rows = longer.lines().count() - 1;
    fs::write(&file, longer).unwrap();
    refused(directory.path(), &["word_embeddings.weight", &format!("{rows} rows"), &format!("{} entries", rows + 1)]);
}

#[test]
fn a_damaged_or_missing_tokenizer_is_named() {
    let directory = copy("gelu");
    fs::write(directory.path().join("tokenizer.json"), "{\"version\": \"1.0\"").unwrap();
    refused(directory.path(), &["tokenizer.json"]);
    fs::remove_file(directory.path().join("tokenizer.json")).unwrap();
    refused(directory.path(), &["tokenizer.json", "not found", "vocab.txt"]);
    fs::write(directory.path().join("vocab.txt"), "[PAD]\n[CLS]\n[SEP]\na\n").unwrap();
    refused(directory.path(), &["vocab.txt", "[UNK]"]);
    fs::write(directory.path().join("tokenizer_config.json"), "[").unwrap();
    refused(directory.path(), &["tokenizer_config.json"]);
}

#[test]
fn a_configuration_that_is_no_bert_classifier_is_refused_by_field() {
    let cases = [
        ("model_type", json!("gpt2"), "there are bert, roberta"),
        ("position_embedding_type", json!("relative_key"), "only absolute"),
        ("hidden_act", json!("silu"), "gelu"),
        ("num_attention_heads", json!(5), "must divide hidden_size"),
        ("num_attention_heads", json!(0), "must divide hidden_size"),
        ("id2label", json!({"0": "a", "2": "b"}), "without a hole"),
        ("id2label", json!({"0": "a"}), "fewer than two classes"),
        ("id2label", json!({"0": "a", "1": "a"}), "two classes have one name"),
        ("num_hidden_layers", json!(u32::MAX), "more than any BERT has"),
        ("num_labels", json!(u32::MAX), "more classes"),
        ("hidden_size", json!("32"), "expected usize"),
        ("hidden_dropout_prob", json!(1.0), "below 1"),
        ("is_decoder", json!(true), "only encoders"),
        ("problem_type", json!("multi_label_classification"), "one class a text"),
    ];
    for (field, value, word) in cases {
        let directory = copy("gelu");
        edit(directory.path(), "config.json", |config| config[field] = value);
        refused(directory.path(), &["config.json", word]);
    }
    let directory = copy("gelu");
    edit(directory.path(), "config.json", |config| drop(config.as_object_mut().unwrap().remove("vocab_size")));
    refused(directory.path(), &["config.json", "vocab_size"]);
    fs::remove_file(directory.path().join("config.json")).unwrap();
    refused(directory.path(), &["config.json", "No such file"]);
}
