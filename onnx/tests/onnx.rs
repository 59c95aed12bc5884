//! What is exported, by ONNX Runtime where a Python has it; what another exporter writes, imported.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bert::checkpoint::{Base, Checkpoint};
use bert::{Classes, Pooling};
use candle_core::Device;
use classifier::Classifier;
use classifier::linear::{LinearModel, LinearWeights, NgramRange, Ngrams};
use onnx::{Weights, export, import};
use serde_json::{Map, Value, json};

/// What the project promises of scores.
const TOLERANCE: f64 = 1e-5;

fn fixtures() -> Vec<PathBuf> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bert/tests/fixtures");
    let mut found: Vec<PathBuf> = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert!(found.len() > 15, "{found:?}");
    found
}

fn texts() -> Vec<String> {
    let all = [
        "很好，下次还来！",
        "不好。",
        "",
        "Very good: 5 stars (really)",
        "é à ü 好😀😀",
        "好 好 好 吃",
        "<pad> a <mask>",
    ];
    let mut texts = all.map(str::to_owned).to_vec();
    texts.push("送得很快，但是面已经没有味道了，".repeat(9));
    texts
}

/// A Python with onnxruntime and onnx, if the environment names one.
fn python(what: &str) -> Option<String> {
    let python = std::env::var("LABELSTREAM_ONNXRUNTIME").ok();
    if python.is_none() {
        assert!(std::env::var_os("LABELSTREAM_REQUIRE_ONNXRUNTIME").is_none(), "LABELSTREAM_ONNXRUNTIME is not set");
        // Past the test runner, which hides what a passing test prints.
        let (mut out, advice) =
            (std::io::stderr(), "set LABELSTREAM_ONNXRUNTIME to a Python with onnx and onnxruntime");
        writeln!(out, "\nNOT RUN: {what}: {advice}").unwrap();
    }
    python
}

fn run(python: &str, script: &str, arguments: &[&Path]) {
    let output = Command::new(python).arg("-c").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// For each case what goes in, and the scores that are to come out.
const COMPARE: &str = r#"
import json, sys, numpy, onnx, onnxruntime
for case in json.load(open(sys.argv[1])):
    onnx.checker.check_model(case["onnx"], full_check=True)
    options = onnxruntime.SessionOptions()
    # Else it rounds what is multiplied by rounded weights, too.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    session = onnxruntime.InferenceSession(case["onnx"], options, providers=["CPUExecutionProvider"])
    meta = session.get_modelmeta()
    assert meta.producer_name == "labelstream" and json.loads(meta.custom_metadata_map["classes"]) == case["classes"], case["onnx"]
    kinds = {"tensor(int64)": numpy.int64, "tensor(float)": numpy.float32}
    def scores(inputs):
        given = {i.name: numpy.array(inputs[i.name], dtype=kinds[i.type]) for i in session.get_inputs()}
        logits = session.run(["logits"], given)[0].astype(numpy.float64)
        powers = numpy.exp(logits - logits.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)
    expected = numpy.array(case["scores"])
    together = scores(case["inputs"])
    worst = abs(together - expected).max()
    for row in range(len(expected)):  # alone, without padding
        length = case["lengths"][row]
        alone = scores({name: [values[row][:length]] for name, values in case["inputs"].items()})
        worst = max(worst, abs(alone[0] - expected[row]).max())
    print(case["onnx"], worst)
    assert worst < case["tolerance"], (case["onnx"], worst)
"#;

/// Rows of one length, filled up with `padding`, and how long each was.
fn padded<T: Copy>(rows: &[Vec<T>], padding: T) -> (Vec<Vec<T>>, Vec<usize>) {
    let longest = rows.iter().map(Vec::len).max().unwrap();
    let lengths = rows.iter().map(Vec::len).collect();
    let fill = |row: &Vec<T>| row.iter().copied().chain(std::iter::repeat(padding)).take(longest).collect();
    (rows.iter().map(fill).collect(), lengths)
}

fn of_network(directory: &Path, out: &Path, weights: Weights) -> Value {
    let exported = export(directory, out, weights, &texts()).unwrap();
    let classifier = Classifier::open(directory, &Device::Cpu).unwrap();
    let ids = classifier.encoder().unwrap().encode(&texts()).unwrap();
    let scores: Vec<Vec<f32>> = classifier.classify_tokens(&ids).unwrap().into_iter().map(|one| one.scores).collect();
    let mask: Vec<Vec<u32>> = ids.iter().map(|ids| vec![1; ids.len()]).collect();
    let padding = Checkpoint::open(directory).unwrap().config.padding.unwrap_or(0);
    let ((ids, lengths), (mask, _)) = (padded(&ids, padding), padded(&mask, 0));
    // ONNX Runtime computes with the rounded weights, we with those that were not.
    let tolerance = exported.agreement.map_or(TOLERANCE, |(_, greatest)| f64::from(greatest) + TOLERANCE);
    json!({
        "onnx": out, "classes": exported.classes, "scores": scores, "lengths": lengths, "tolerance": tolerance,
        "inputs": {"input_ids": ids, "attention_mask": mask},
    })
}

#[test]
fn onnx_runtime_gives_our_scores_of_every_family_and_pooling_and_of_rounded_weights() {
    let home = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    let mut add = |directory: &Path, name: &str, weights| {
        let out = home.path().join(name);
        cases.push(of_network(directory, &out.join("model.onnx"), weights));
        assert!(out.join("config.json").exists() && fs::read_dir(&out).unwrap().count() >= 3, "no tokenizer beside it");
    };
    for directory in fixtures() {
        let name = directory.file_name().unwrap().to_str().unwrap();
        add(&directory, name, Weights::F32);
        add(&directory, &format!("{name}-int8"), Weights::Int8);
    }
    for (number, pooling) in [Pooling::Mean, Pooling::Max, Pooling::Attention].into_iter().enumerate() {
        for family in ["gelu", "megatron_bert"] {
            let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bert/tests/fixtures").join(family);
            let base = Base::open(&fixture, &Classes::new(["bad", "good"]), Some(pooling), 1).unwrap();
            let directory = home.path().join(format!("{family}-{number}-checkpoint"));
            base.checkpoint.save(&directory, Map::new()).unwrap();
            add(&directory, &format!("{family}-{number}"), Weights::F32);
        }
    }
    let Some(python) = python("exported networks in ONNX Runtime") else { return };
    let file = home.path().join("cases.json");
    fs::write(&file, json!(cases).to_string()).unwrap();
    run(&python, COMPARE, &[&file]);
}

fn linear_model() -> LinearModel {
    let range = NgramRange(1, 2);
    let mut ngrams = Ngrams::new(range, 1_000);
    // Not those of the last text.
    let mut features: Vec<u64> = texts()[..6].iter().flat_map(|text| ngrams.read(text).to_vec()).collect();
    features.sort_unstable();
    features.dedup();
    let number = |seed: usize| (seed * 7_919 % 1_000) as f32 / 250.0 - 2.0;
    let weights = LinearWeights {
        idf: (0..features.len()).map(|feature| 1.0 + number(feature).abs()).collect(),
        weight: (0..3 * features.len()).map(|place| number(place + 17)).collect(),
        bias: vec![0.1, -0.2, 0.3],
        features,
    };
    LinearModel::new(Classes::new(["bad", "good", "mixed"]), range, weights).unwrap()
}

#[test]
fn onnx_runtime_gives_our_scores_of_a_linear_model() {
    let home = tempfile::tempdir().unwrap();
    let (directory, out) = (home.path().join("linear"), home.path().join("out/model.onnx"));
    let model = linear_model();
    model.save(&directory, Map::new()).unwrap();
    let exported = export(&directory, &out, Weights::F32, &[]).unwrap();
    assert_eq!((exported.kind.as_str(), exported.beside), ("labelstream-linear", vec!["features.json".to_owned()]));
    assert!(export(&directory, &home.path().join("other.onnx"), Weights::Int8, &[]).is_err());
    // As a program elsewhere would, by the file that lies beside.
    let beside: Value = serde_json::from_slice(&fs::read(out.with_file_name("features.json")).unwrap()).unwrap();
    let places: BTreeMap<u64, usize> = beside["features"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(place, hash)| (u64::from_str_radix(hash.as_str().unwrap(), 16).unwrap(), place))
        .collect();
    let mut ngrams = Ngrams::new(model.range(), 1_000);
    let (mut features, mut counts) = (Vec::new(), Vec::new());
    for text in texts() {
        let known = ngrams.read(&text).chunk_by(u64::eq).filter_map(|run| Some((*places.get(&run[0])?, run.len())));
        let (row, counted): (Vec<usize>, Vec<usize>) = known.unzip();
        features.push(row);
        counts.push(counted);
    }
    let scores: Vec<Vec<f32>> =
        model.classify(&texts(), 1_000).unwrap().into_iter().map(|prediction| prediction.scores).collect();
    let Some(python) = python("an exported linear model in ONNX Runtime") else { return };
    let ((features, lengths), (counts, _)) = (padded(&features, 0), padded(&counts, 0));
    let case = json!([{
        "onnx": out, "classes": ["bad", "good", "mixed"], "scores": scores, "lengths": lengths, "tolerance": TOLERANCE,
        "inputs": {"features": features, "counts": counts},
    }]);
    let file = home.path().join("cases.json");
    fs::write(&file, case.to_string()).unwrap();
    run(&python, COMPARE, &[&file]);
}

/// As torch's exporter names things: layers' weights have no name, and the nodes have.
const EXPORTED_ELSEWHERE: &str = r#"
import sys, onnx
from onnx import numpy_helper, helper
model = onnx.load(sys.argv[1])
arrays = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
keep, nodes = [], []
for number, (name, array) in enumerate(arrays.items()):
    if name.endswith(".weight") and (".layer." in name or name.split(".")[0] in ("classifier", "pooler") or "pooler" in name) and "LayerNorm" not in name:
        renamed = f"onnx::MatMul_{number}"
        keep.append(numpy_helper.from_array(array, renamed))
        node = "/" + name.removesuffix(".weight").replace(".", "/").replace("layer/", "layer.") + "/MatMul"
        nodes.append(helper.make_node("MatMul", ["x", renamed], [f"y{number}"], name=node))
    elif name == "embeddings.word_embeddings.weight":
        keep.append(numpy_helper.from_array(array, "bert." + name))
    elif name == "embeddings.places.weight":
        keep.append(numpy_helper.from_array(array, "bert.embeddings.position_embeddings.weight"))
        keep.append(numpy_helper.from_array(array[:2] * 0, "bert.embeddings.token_type_embeddings.weight"))
    else:
        keep.append(numpy_helper.from_array(array, name))
graph = helper.make_graph(nodes, "g", [], [], initializer=keep)
onnx.save(helper.make_model(graph), sys.argv[2])
"#;

#[test]
fn the_weights_that_torchs_exporter_names_become_a_checkpoint() {
    let home = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bert/tests/fixtures/gelu");
    let ours = home.path().join("ours/model.onnx");
    export(&fixture, &ours, Weights::F32, &[]).unwrap();
    let nowhere = import(&fixture.join("config.json"), &fixture.join("config.json"), &fixture, &home.path().join("x"));
    assert!(format!("{:#}", nowhere.unwrap_err()).contains("is no ONNX file"));
    let Some(python) = python("an ONNX file of torch's exporter") else { return };
    let theirs = home.path().join("theirs.onnx");
    run(&python, EXPORTED_ELSEWHERE, &[&ours, &theirs]);
    let out = home.path().join("imported");
    let imported = import(&theirs, &fixture.join("config.json"), &fixture, &out).unwrap();
    assert!(imported.has_head && imported.missing.is_empty() && imported.kind == "bert", "{imported:?}");
    let scores = |directory: &Path| {
        let classifier = Classifier::open(directory, &Device::Cpu).unwrap();
        classifier.classify(&texts()).unwrap().into_iter().map(|one| one.scores).collect::<Vec<_>>()
    };
    for (found, expected) in scores(&out).iter().flatten().zip(scores(&fixture).iter().flatten()) {
        assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
    }
    assert!(import(&theirs, &fixture.join("config.json"), &fixture, &out).is_err(), "it exists");
}

#[test]
fn what_is_there_is_not_written_over_and_what_is_not_ours_is_not_exported() {
    let home = tempfile::tempdir().unwrap();
    let composed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../classifier/tests/composed/qwen3");
    let error = export(&composed, &home.path().join("qwen.onnx"), Weights::F32, &[]).unwrap_err().to_string();
    assert!(error.contains("a model of type qwen3 is not exported here"), "{error}");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bert/tests/fixtures/gelu");
    let out = home.path().join("model.onnx");
    export(&fixture, &out, Weights::F32, &[]).unwrap();
    let again = export(&fixture, &out, Weights::F32, &[]).unwrap_err().to_string();
    assert!(again.contains("model.onnx: exists already"), "{again}");
    let beside = export(&fixture, &home.path().join("other.onnx"), Weights::F32, &[]).unwrap_err().to_string();
    assert!(beside.contains("config.json: exists already"), "{beside}");
    assert!(!home.path().join("other.onnx").exists());
}
