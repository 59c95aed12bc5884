//! The same token ids and logits as transformers, for the checkpoints and figures of
//! `tests/fixtures.py`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use bert::checkpoint::Checkpoint;
use bert::{Reference, TokenBatch, Tokenizer};
use candle_core::{Device, IndexOp, Tensor};
use serde_json::Value;

use super::fixtures::{Expected, assert_close, fixture, fixtures};

/// What the project promises.
const TOLERANCE: f32 = 1e-4;

fn logits(checkpoint: &Checkpoint, texts: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let model = Reference::new(&checkpoint.config, &checkpoint.parameters).unwrap();
    model.forward(&TokenBatch::new(texts), None).unwrap().to_vec2().unwrap()
}

#[test]
fn token_ids_are_those_of_transformers() {
    for name in fixtures() {
        let expected = Expected::of(&name);
        let ids = Tokenizer::open(&fixture(&name)).unwrap().encode_batch(&expected.texts, 64).unwrap();
        for ((text, found), expected) in expected.texts.iter().zip(&ids).zip(&expected.ids) {
            assert_eq!(found, expected, "{name}: {text:?}");
        }
    }
}

/// A directory of one fixture's files, but with what `change` makes of them.
fn changed(name: &str, change: impl FnOnce(&Path)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(fixture(name)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    change(copy.path());
    copy
}

#[test]
fn robertas_older_files_make_the_same_tokenizer_and_sentencepiece_s_are_refused_with_the_remedy() {
    let older = changed("roberta", |directory| {
        let json: Value = serde_json::from_slice(&fs::read(directory.join("tokenizer.json")).unwrap()).unwrap();
        fs::remove_file(directory.join("tokenizer.json")).unwrap();
        fs::write(directory.join("vocab.json"), json["model"]["vocab"].to_string()).unwrap();
        let merge = |pair: &Value| match pair {
            Value::String(pair) => pair.clone(),
            pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        };
        let merges: Vec<String> = json["model"]["merges"].as_array().unwrap().iter().map(merge).collect();
        fs::write(directory.join("merges.txt"), format!("#version: 0.2\n{}\n", merges.join("\n"))).unwrap();
    });
    let expected = Expected::of("roberta");
    let ids = Tokenizer::open(older.path()).unwrap().encode_batch(&expected.texts, 64).unwrap();
    assert_eq!(ids, expected.ids);
    for (name, foreign) in [("xlm_roberta", "sentencepiece.bpe.model"), ("albert", "spiece.model")] {
        let slow = changed(name, |directory| {
            fs::rename(directory.join("tokenizer.json"), directory.join(foreign)).unwrap();
        });
        let error = Tokenizer::open(slow.path()).unwrap_err().to_string();
        assert!(error.contains(foreign) && error.contains("python -c"), "{error}");
    }
}

#[test]
fn logits_are_those_of_transformers_in_a_batch_of_all_lengths_and_alone() {
    for name in fixtures() {
        let expected = Expected::of(&name);
        let checkpoint = Checkpoint::open(&fixture(&name)).unwrap();
        assert_close(&name, &logits(&checkpoint, &expected.ids), &expected.logits, TOLERANCE);
        for (ids, expected) in expected.ids.iter().zip(expected.logits) {
            assert_close(&name, &logits(&checkpoint, std::slice::from_ref(ids)), &[expected], TOLERANCE);
        }
    }
}

/// The encoder of candle-transformers, padded and masked, under our pooler and head.
#[test]
fn logits_are_those_of_candle_transformers() {
    use candle_transformers::models::bert::{BertModel, Config};

    for name in ["gelu", "relu_cased", "half"] {
        let checkpoint = Checkpoint::open(&fixture(name)).unwrap();
        let expected = Expected::of(name);
        let config: Config = serde_json::from_str(&checkpoint.config.to_json()).unwrap();
        let tensors: HashMap<String, Tensor> =
            checkpoint.parameters.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
        let variables = candle_nn::VarBuilder::from_tensors(tensors, candle_core::DType::F32, &Device::Cpu);
        let encoder = BertModel::load(variables.pp("bert"), &config).unwrap();

        let longest = expected.ids.iter().map(Vec::len).max().unwrap();
        let padded = |pad: fn(&mut Vec<u32>, usize)| {
            let rows: Vec<Vec<u32>> = expected
                .ids
                .iter()
                .cloned()
                .map(|mut ids| {
                    pad(&mut ids, longest);
                    ids
                })
                .collect();
            Tensor::new(rows, &Device::Cpu).unwrap()
        };
        let ids = padded(|ids, longest| ids.resize(longest, 0));
        let mask = padded(|ids, longest| {
            ids.fill(1);
            ids.resize(longest, 0);
        });
        let hidden = encoder.forward(&ids, &ids.zeros_like().unwrap(), Some(&mask)).unwrap();
        let dense = |x: &Tensor, name: &str| {
            let parameter = |part: &str| checkpoint.parameters.get(&format!("{name}.{part}")).unwrap();
            x.matmul(&parameter("weight").t().unwrap()).unwrap().broadcast_add(parameter("bias")).unwrap()
        };
        let pooled = dense(&hidden.i((.., 0)).unwrap().contiguous().unwrap(), "bert.pooler.dense").tanh().unwrap();
        let reference: Vec<Vec<f32>> = dense(&pooled, "classifier").to_vec2().unwrap();
        assert_close(name, &logits(&checkpoint, &expected.ids), &reference, TOLERANCE);
    }
}
