//! Directories that people have, and what transformers says of each: the same ids and
//! probabilities, or a refusal. `variants.py` makes them.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use bert::checkpoint::Checkpoint;
use bert::{Reference, TokenBatch};
use serde::Deserialize;
use serde_json::{Map, Value};
use tempfile::TempDir;

/// What the project promises.
const TOLERANCE: f32 = 1e-4;

/// Longest text of the scripts that ask transformers.
const LONGEST: usize = 512;

/// A directory as it differs from the one called `base`.
#[derive(Deserialize)]
struct Variant {
    files: Map<String, Value>,
    gone: Vec<String>,
    expected: Value,
}

/// Each variant's name, its directory, and what transformers says of it.
fn variants() -> Vec<(String, TempDir, Value)> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let variants: Map<String, Value> =
        serde_json::from_str(&fs::read_to_string(home.join("variants.json")).unwrap()).unwrap();
    let lay = |name: &str, directory: &Path| {
        let variant = Variant::deserialize(&variants[name]).unwrap();
        for (file, text) in &variant.files {
            fs::write(directory.join(file), text.as_str().unwrap()).unwrap();
        }
        for file in fs::read_dir(home.join("variants").join(name)).into_iter().flatten() {
            let file = file.unwrap();
            fs::copy(file.path(), directory.join(file.file_name())).unwrap();
        }
        variant
    };
    let laid = variants.keys().map(|name| {
        let directory = tempfile::tempdir().unwrap();
        lay("base", directory.path());
        let Variant { gone, expected, .. } = lay(name, directory.path());
        gone.iter().for_each(|file| fs::remove_file(directory.path().join(file)).unwrap());
        (name.clone(), directory, expected)
    });
    let laid: Vec<_> = laid.collect();
    assert!(laid.len() > 150, "{}", laid.len());
    laid
}

#[test]
fn a_directory_means_what_it_means_to_transformers_or_is_refused() {
    let wrong =
        variants().into_iter().flat_map(|(name, directory, expected)| tried(&name, directory.path(), &expected));
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// With transformers itself, if `LABELSTREAM_PYTHON` names a Python that has it.
#[test]
fn what_is_saved_means_to_transformers_what_the_directory_meant() {
    let Ok(python) = std::env::var("LABELSTREAM_PYTHON") else {
        let advice = "set LABELSTREAM_PYTHON to a Python with torch and transformers";
        return writeln!(std::io::stderr(), "\nNOT RUN: saved variants in transformers: {advice}").unwrap();
    };
    let home = tempfile::tempdir().unwrap();
    for (name, directory, expected) in variants() {
        if expected.is_array() {
            Checkpoint::open(directory.path()).unwrap().save(&home.path().join(&name), Map::new()).unwrap();
            fs::write(home.path().join(name).with_extension("expected"), expected.to_string()).unwrap();
        }
    }
    const SCRIPT: &str = r#"
import json, sys, torch
from pathlib import Path
from transformers import AutoModelForSequenceClassification, AutoTokenizer
wrong = []
for directory in sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir()):
    tokenizer, model = AutoTokenizer.from_pretrained(directory), AutoModelForSequenceClassification.from_pretrained(directory).eval()
    for row in json.loads(directory.with_suffix(".expected").read_text()):
        inputs = tokenizer(row["text"], truncation=True, max_length=min(64, tokenizer.model_max_length), return_tensors="pt")
        with torch.no_grad():
            found = model(**inputs).logits.softmax(-1)[0]
        if inputs["input_ids"][0].tolist() != row["ids"] or (found - torch.tensor(row["probabilities"])).abs().max() > 1e-4:
            wrong.append((directory.name, row["text"][:20], inputs["input_ids"][0].tolist()[:20], row["ids"][:20]))
assert not wrong, wrong
"#;
    let output =
        Command::new(python).args(["-c", SCRIPT]).arg(home.path()).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// By hand: `LABELSTREAM_CASES` names a folder of directories, with `expected.json` beside them.
#[test]
fn directories_from_elsewhere_mean_what_they_mean_to_transformers() {
    let Ok(cases) = std::env::var("LABELSTREAM_CASES") else {
        let advice = "set LABELSTREAM_CASES to a folder that tests/variants.py has made";
        return writeln!(std::io::stderr(), "\nNOT RUN: directories from elsewhere: {advice}").unwrap();
    };
    let cases = Path::new(&cases);
    let expected: Map<String, Value> =
        serde_json::from_str(&fs::read_to_string(cases.join("expected.json")).unwrap()).unwrap();
    let wrong: Vec<String> =
        expected.iter().flat_map(|(name, expected)| tried(name, &cases.join(name), expected)).collect();
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What is wrong with a directory as it came, and with what becomes of it when it is saved.
fn tried(name: &str, directory: &Path, expected: &Value) -> Vec<String> {
    let checkpoint = match (Checkpoint::open(directory), expected) {
        (Err(_), Value::String(_)) => return Vec::new(),
        (Ok(_), Value::String(_)) => return vec![format!("{name}: is not refused")],
        (Err(problem), _) => return vec![format!("{name}: is refused: {problem}")],
        (Ok(checkpoint), _) => checkpoint,
    };
    let home = tempfile::tempdir().unwrap();
    let saved = home.path().join("saved");
    checkpoint.save(&saved, Map::new()).unwrap();
    let again = Checkpoint::open(&saved).map_err(|problem| problem.to_string());
    [("as it came", compared(&checkpoint, expected)), ("saved", again.and_then(|again| compared(&again, expected)))]
        .into_iter()
        .filter_map(|(when, compared)| compared.err().map(|problem| format!("{name}, {when}: {problem}")))
        .collect()
}

fn compared(checkpoint: &Checkpoint, expected: &Value) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Row {
        text: String,
        ids: Vec<u32>,
        probabilities: Vec<f32>,
    }
    let model = Reference::new(&checkpoint.config, &checkpoint.parameters).unwrap();
    let limit = checkpoint.tokenizer.max_length().unwrap_or(LONGEST).min(LONGEST);
    let longest = limit.min(checkpoint.config.max_position_embeddings);
    for Row { text, ids: expected, probabilities } in Vec::<Row>::deserialize(expected).unwrap() {
        let ids = checkpoint.tokenizer.encode_batch(&[&text], longest).unwrap();
        if ids[0] != expected {
            let start = |ids: &[u32]| format!("{} ids {:?}", ids.len(), &ids[..ids.len().min(24)]);
            return Err(format!("{text:.40}: {}, transformers has {}", start(&ids[0]), start(&expected)));
        }
        let logits: Vec<f32> = model.forward(&TokenBatch::new(&ids), None).unwrap().to_vec2().unwrap().remove(0);
        let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
        for (logit, expected) in logits.iter().zip(&probabilities) {
            let found = logit.exp() / sum;
            if (found - expected).abs() > TOLERANCE {
                return Err(format!("{text:.40}: probability {found}, transformers has {expected}"));
            }
        }
    }
    Ok(())
}
