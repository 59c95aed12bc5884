//! Checkpoints that we write.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::Device;
use classifier::checkpoint::{Base, Checkpoint, CheckpointError, Manifest};
use classifier::{Classes, Classifier, ModelConfig, Pooling, Tokenizer, initialise};
use serde_json::{Map, Value, json};

use super::fixtures::{Expected, fixture, fixtures};

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A small model with a vocabulary learned from a few texts, as training from nothing makes it.
fn new_checkpoint() -> Checkpoint {
    let tokenizer = Tokenizer::from_characters(&["味道不错，很好吃！", "不好 OK 123", "Très bon 😀😀"], 500);
    let labels = Classes::new(["差评", "好评", "一般"]);
    let config = ModelConfig {
        hidden_size: 16,
        num_attention_heads: 2,
        intermediate_size: 20,
        initializer_range: 0.3,
        ..ModelConfig::small(tokenizer.vocab_size(), labels)
    };
    Checkpoint { parameters: initialise(&config, 1).unwrap(), config, tokenizer }
}

#[test]
fn a_saved_checkpoint_gives_the_same_predictions() {
    let home = tempfile::tempdir().unwrap();
    for name in fixtures() {
        let texts = Expected::of(&name).texts;
        let saved = home.path().join(&name);
        Checkpoint::open(&fixture(&name)).unwrap().save(&saved, Map::new()).unwrap();
        let [before, after] =
            [fixture(&name), saved].map(|directory| Classifier::open(&directory, &Device::Cpu).unwrap());
        assert_eq!(before.classify(&texts).unwrap(), after.classify(&texts).unwrap(), "{name}");
        assert_eq!(before.classes(), after.classes(), "{name}");
    }
}

#[test]
fn a_vocabulary_file_alone_opens_to_the_same_tokenizer_as_the_whole_directory() {
    let home = tempfile::tempdir().unwrap();
    let texts = ["味道不错", "Très bon, OK 123 😀", "[SEP] 没有见过 unseen"];
    let saved = home.path().join("new");
    new_checkpoint().save(&saved, Map::new()).unwrap();
    let whole = Tokenizer::open(&saved).unwrap().encode_batch(&texts, 64).unwrap();
    fs::remove_file(saved.join("tokenizer.json")).unwrap();
    assert_eq!(Tokenizer::open(&saved).unwrap().encode_batch(&texts, 64).unwrap(), whole);
    // These have an entry twice, and so a number without an entry: no line can say that.
    for name in fixtures() {
        let saved = home.path().join(&name);
        Checkpoint::open(&fixture(&name)).unwrap().save(&saved, Map::new()).unwrap();
        assert!(!saved.join("vocab.txt").exists(), "{name}");
    }
}

#[test]
fn saving_keeps_the_fields_of_the_configuration_that_the_model_does_not_need() {
    let directory = super::copy("old_names");
    super::edit(directory.path(), "config.json", |config| config["our_own"] = json!({"kept": [1, 2]}));
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    let saved: Value = serde_json::from_str(&checkpoint.config.to_json()).unwrap();
    assert_eq!(saved["our_own"], json!({"kept": [1, 2]}));
    assert_eq!(saved["id2label"], json!({"0": "LABEL_0", "1": "LABEL_1"}));
    assert_eq!(saved["label2id"], json!({"LABEL_0": 0, "LABEL_1": 1}));
    assert_eq!(saved["model_type"], "bert");
}

#[test]
fn a_checkpoint_is_written_once_and_leaves_nothing_beside_it() {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("deep/model");
    let checkpoint = new_checkpoint();
    let extra = Map::from_iter([("round".to_owned(), json!(7))]);
    let manifest = checkpoint.save(&target, extra).unwrap();
    assert_eq!(names(target.parent().unwrap()), ["model"]);
    assert_eq!(
        names(&target),
        ["config.json", "manifest.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]
    );
    assert_eq!(manifest.extra["round"], 7);
    assert_eq!(Manifest::verify(&target).unwrap(), manifest);

    let error = checkpoint.save(&target, Map::new()).unwrap_err();
    assert!(matches!(&error, CheckpointError::Exists { directory } if *directory == target), "{error}");
    assert_eq!(names(target.parent().unwrap()), ["model"]);
}

#[test]
fn the_manifest_notices_every_change() {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("model");
    new_checkpoint().save(&target, Map::new()).unwrap();
    let identity = Manifest::sha256(&target).unwrap();
    assert_eq!(identity.len(), 64);
    let refused = |file: &str, word: &str| {
        let error = Manifest::verify(&target).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(word), "{error}");
    };
    for file in ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"] {
        let path = target.join(file);
        let bytes = fs::read(&path).unwrap();
        let mut changed = bytes.clone();
        changed[bytes.len() / 2] ^= 1;
        fs::write(&path, &changed).unwrap();
        refused(file, "SHA-256");
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        refused(file, "bytes");
        fs::remove_file(&path).unwrap();
        refused(file, "No such file");
        fs::write(&path, &bytes).unwrap();
        Manifest::verify(&target).unwrap();
    }
    super::edit(&target, "manifest.json", |manifest| manifest["files"][0]["name"] = json!("../model/config.json"));
    refused("manifest.json", "not the name of a file");
    fs::write(target.join("manifest.json"), "{").unwrap();
    refused("manifest.json", "EOF");
    fs::remove_file(target.join("manifest.json")).unwrap();
    refused("manifest.json", "No such file");
    let written = Manifest::write(&target, Map::new()).unwrap();
    assert_eq!(Manifest::verify(&target).unwrap(), written);
    assert_eq!(Manifest::sha256(&target).unwrap(), identity);
}

#[test]
fn an_encoder_gets_a_new_head_from_the_seed_and_the_caller_is_told() {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("classifier");
    let checkpoint = new_checkpoint();
    checkpoint.save(&source, Map::new()).unwrap();
    let head = ["classifier.bias", "classifier.weight"];
    let open = |labels: &[&str], seed| Base::open(&source, &Classes::new(labels.iter().copied()), None, seed).unwrap();
    let weight = |base: &Base| base.checkpoint.parameters.get("classifier.weight").unwrap().to_vec2::<f32>().unwrap();

    // The same classes: the head and its order stay.
    let same = open(&["好评", "一般", "差评"], 1);
    assert_eq!(
        (same.initialised.len(), same.checkpoint.config.classes.names()),
        (0, checkpoint.config.classes.names())
    );
    // Other classes: a new head, the same for the same seed.
    let other = open(&["a", "b"], 1);
    assert_eq!(other.initialised, head);
    assert_eq!(other.checkpoint.config.classes.names(), ["a", "b"]);
    assert_eq!(weight(&other), weight(&open(&["a", "b"], 1)));
    assert_ne!(weight(&other), weight(&open(&["a", "b"], 2)));
    // No names and the same number: the head stays and gets names.
    let named = Base::open(&fixture("old_names"), &Classes::new(["bad", "good"]), None, 1).unwrap();
    assert_eq!((named.initialised.len(), named.checkpoint.config.classes.name(1)), (0, "good"));

    // An encoder alone, without pooler: both are new, everything else is as it was.
    let kept = checkpoint
        .parameters
        .iter()
        .filter(|(name, _)| !name.starts_with("classifier.") && !name.starts_with("bert.pooler."));
    let encoder = kept.map(|(name, tensor)| (name.trim_start_matches("bert.").to_owned(), tensor.clone())).collect();
    candle_core::safetensors::save(&encoder, source.join("model.safetensors")).unwrap();
    let error = Classifier::open(&source, &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("model.safetensors") && error.contains("classifier.weight"), "{error}");
    let base = open(&["差评", "好评", "一般"], 1);
    assert_eq!(
        base.initialised,
        ["bert.pooler.dense.bias", "bert.pooler.dense.weight", "classifier.bias", "classifier.weight"]
    );
    let name = "bert.encoder.layer.3.output.dense.weight";
    let values = |checkpoint: &Checkpoint| checkpoint.parameters.get(name).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(values(&base.checkpoint), values(&checkpoint));
}

#[test]
fn a_pooling_stands_in_the_configuration_and_changing_it_takes_a_new_head() {
    let home = tempfile::tempdir().unwrap();
    let labels = new_checkpoint().config.classes;
    for pooling in [Pooling::Mean, Pooling::Max, Pooling::Attention] {
        let mut checkpoint = new_checkpoint();
        checkpoint.config.pooling = pooling;
        checkpoint.parameters = initialise(&checkpoint.config, 1).unwrap();
        let directory = home.path().join(format!("{pooling:?}"));
        checkpoint.save(&directory, Map::new()).unwrap();
        let config: Value = serde_json::from_slice(&fs::read(directory.join("config.json")).unwrap()).unwrap();
        // Not `bert`: transformers would give it a pooler of random weights.
        assert_eq!(config["model_type"], "labelstream-bert");

        let texts = ["味道不错", "不好"];
        let in_memory =
            Classifier::new(&checkpoint.config, &checkpoint.parameters, checkpoint.tokenizer.clone(), None).unwrap();
        let opened = Classifier::open(&directory, &Device::Cpu).unwrap();
        assert_eq!(opened.classify(&texts).unwrap(), in_memory.classify(&texts).unwrap());
        let mut first_token = checkpoint.config.clone();
        first_token.pooling = Pooling::Cls;
        let first_token =
            Classifier::new(&first_token, &initialise(&first_token, 1).unwrap(), checkpoint.tokenizer.clone(), None)
                .unwrap();
        assert_ne!(opened.classify(&texts).unwrap(), first_token.classify(&texts).unwrap());

        let open = |pooling| Base::open(&directory, &labels, pooling, 2).unwrap();
        assert_eq!(open(None).initialised.len(), 0);
        assert_eq!(open(Some(pooling)).checkpoint.config.pooling, pooling);
        let changed = open(Some(Pooling::Cls));
        assert_eq!(changed.initialised.len(), 4);
        let again = home.path().join(format!("{pooling:?}-cls"));
        changed.checkpoint.save(&again, Map::new()).unwrap();
        let config: Value = serde_json::from_slice(&fs::read(again.join("config.json")).unwrap()).unwrap();
        assert_eq!((&config["model_type"], config.get("labelstream_pooling")), (&json!("bert"), None));
    }
}

/// transformers itself opens what we save, if `LABELSTREAM_PYTHON` names a Python that has it.
///
/// By hand for a pretrained encoder: `LABELSTREAM_ENCODER=DIR` adds a directory that is opened as a
/// base, saved and compared.
#[test]
fn transformers_opens_saved_checkpoints_to_the_same_logits() {
    let Ok(python) = std::env::var("LABELSTREAM_PYTHON") else {
        // Past the test runner, which hides what a passing test prints.
        let advice = "set LABELSTREAM_PYTHON to a Python with torch and transformers";
        return writeln!(std::io::stderr(), "\nNOT RUN: saved checkpoints in transformers: {advice}").unwrap();
    };
    let home = tempfile::tempdir().unwrap();
    let mut checkpoints: Vec<Checkpoint> =
        fixtures().iter().map(|name| Checkpoint::open(&fixture(name)).unwrap()).collect();
    checkpoints.push(new_checkpoint());
    if let Ok(encoder) = std::env::var("LABELSTREAM_ENCODER") {
        checkpoints.push(
            Base::open(Path::new(&encoder), &Classes::new(["negative", "positive"]), None, 1).unwrap().checkpoint,
        );
    }
    let texts =
        [Expected::of("gelu").texts, vec!["A gripping film, and a moving one.".into(), "好吃😀😀 Très OK 321".into()]]
            .concat();
    let mut directories: Vec<PathBuf> = Vec::new();
    for (number, checkpoint) in checkpoints.iter().enumerate() {
        let directory = home.path().join(number.to_string());
        checkpoint.save(&directory, Map::new()).unwrap();
        let classifier = Classifier::open(&directory, &Device::Cpu).unwrap();
        let scores: Vec<Vec<f32>> = classifier.classify(&texts).unwrap().into_iter().map(|one| one.scores).collect();
        let expected = json!({"texts": texts, "scores": scores, "labels": classifier.classes().names(), "length": classifier.max_length()});
        // Beside the directory, which is as a user has it.
        fs::write(directory.with_extension("json"), expected.to_string()).unwrap();
        directories.push(directory);
    }
    const SCRIPT: &str = r#"
import json, sys, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
for directory in sys.argv[1:]:
    expected = json.load(open(directory + ".json"))
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model, report = AutoModelForSequenceClassification.from_pretrained(directory, output_loading_info=True)
    assert not any(report.values()), report
    assert [model.config.id2label[i] for i in range(model.config.num_labels)] == expected["labels"], model.config
    assert model.config.label2id == {name: i for i, name in enumerate(expected["labels"])}
    worst = 0
    for text, scores in zip(expected["texts"], expected["scores"]):
        inputs = tokenizer(text, truncation=True, max_length=expected["length"], return_tensors="pt")
        with torch.no_grad():
            found = model.eval()(**inputs).logits.softmax(-1)[0]
        worst = max(worst, (found - torch.tensor(scores)).abs().max().item())
    assert worst < 1e-4, (directory, worst)
    print(directory, model.config.hidden_size, "worst difference", worst)
"#;
    let output =
        Command::new(python).args(["-c", SCRIPT]).args(&directories).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), directories.len());
    eprintln!("{}", String::from_utf8_lossy(&output.stdout));
}
