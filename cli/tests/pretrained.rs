//! `train --encoder`: few labels, texts without labels, a pretrained encoder.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

struct Place(tempfile::TempDir);

impl Place {
    /// Sixty labels, forty validation texts, texts without labels, an encoder that knows nothing.
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let rows = |range: std::ops::Range<usize>| {
            range.fold("label,text\n".to_owned(), |mut csv, index| {
                let (label, mark) = if index.is_multiple_of(2) { ("good", "好") } else { ("bad", "差") };
                writeln!(csv, "{label},{mark}送餐很快{index}").unwrap();
                csv
            })
        };
        fs::create_dir(place.path("data")).unwrap();
        fs::write(place.path("data/train_data.csv"), rows(0..60)).unwrap();
        fs::write(place.path("data/valid_data.csv"), rows(60..100)).unwrap();
        fs::write(place.path("unlabeled.csv"), rows(100..300)).unwrap();
        harness::save_tiny_model(place.0.path().join("encoder").as_path(), &["a", "b", "c"], 1);
        place
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn train(&self, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_labelstream"));
        let out = if more.contains(&"--out") { Vec::new() } else { vec!["--out".to_owned(), self.path("out")] };
        command.args(["train", "--data", &self.path("data"), "--json"]).args(out).args(more);
        command.env_clear().env("XDG_CACHE_HOME", self.path("cache")).output().unwrap()
    }
}

#[test]
fn an_encoder_and_texts_without_labels_make_a_student_and_its_vectors_are_kept() {
    let place = Place::new();
    let (encoder, unlabeled) = (place.path("encoder"), place.path("unlabeled.csv"));
    let output = place.train(&["--encoder", &encoder, "--unlabeled", &unlabeled]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["kind"], &summary["student"]["accuracy"]), (&"labelstream-linear".into(), &1.0.into()));
    let reason = summary["reason"].as_str().unwrap();
    assert!(reason.starts_with("the student is not worse: of 100 texts that neither learned from"), "{reason}");
    assert!(reason.contains("the encoder was not fine-tuned: 60 training texts are too few"), "{reason}");
    assert!(summary["microseconds_per_text"]["student"].as_f64() > Some(0.0), "{summary}");
    let tuned =
        place.train(&["--encoder", &encoder, "--unlabeled", &unlabeled, "--tune", "--out", &place.path("tuned")]);
    assert!(tuned.status.success(), "{}", String::from_utf8_lossy(&tuned.stderr));
    let tuned: Value = serde_json::from_slice(&tuned.stdout).unwrap();
    let reason = tuned["reason"].as_str().unwrap();
    assert!(reason.starts_with("the student of the tuned encoder is not worse: of 40 texts"), "{reason}");
    let kept = fs::read_dir(place.path("cache/labelstream/embeddings")).unwrap().count();
    assert_eq!(kept, 1);
}

#[test]
fn a_teacher_teaches_a_student_and_what_it_cannot_teach_is_refused() {
    let place = Place::new();
    let (teacher, unlabeled) = (place.path("teacher"), place.path("unlabeled.csv"));
    assert!(place.train(&["--base", "new-linear", "--out", &teacher]).status.success());
    let lessons = ["--teacher", &teacher, "--unlabeled", &unlabeled];
    for base in ["new-bert", "new-linear"] {
        let out = place.path(base);
        let more = ["--base", base, "--out", &out, "--epochs", "1"];
        let output = place.train(&[&lessons[..], &more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        let expected = if base == "new-bert" { 260 } else { 60 };
        assert_eq!(summary["examples"], expected, "{summary}");
    }
    // What it was taught by is on record.
    let manifest: Value = serde_json::from_slice(&fs::read(place.path("new-bert/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["settings"]["distillation"]["temperature"], 2.0, "{manifest}");
    for (flags, word) in [
        (&["--teacher", &teacher][..], "name it by --base new-bert"),
        (&["--teacher", &place.path("nowhere"), "--base", "new-bert"], "nowhere"),
        (&["--teacher", &teacher, "--base", "new-bert", "--temperature", "0"], "temperature must be above 0"),
        (&["--temperature", "3", "--base", "new-bert"], "--teacher"),
        (&["--teacher", &teacher, "--encoder", &place.path("encoder")], "cannot be used with"),
    ] {
        let output = place.train(&[flags, &["--out", &place.path("refused")]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(word), "{flags:?}: {said}");
    }
}

#[test]
fn what_an_encoder_cannot_help_is_refused() {
    let place = Place::new();
    let encoder = place.path("encoder");
    fs::write(place.path("other.jsonl"), "{\"content\": \"好\"}\n").unwrap();
    for (flags, word) in [
        (&["--encoder", &encoder, "--base", "new-linear"][..], "--encoder goes with --base new"),
        (&["--unlabeled", &place.path("unlabeled.csv")], "--encoder"),
        (&["--encoder", &encoder, "--unlabeled", &place.path("other.jsonl")], "there is no text in it"),
        (&["--encoder", &place.path("nowhere")], "nowhere"),
    ] {
        let output = place.train(flags);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(word), "{flags:?}: {said}");
    }
    assert!(!place.0.path().join("out").exists());
}
