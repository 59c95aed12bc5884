//! prepare, train, evaluate and classify as a person runs them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

/// A checkpoint that all tests share: two classes that one character decides.
static TRAINED: LazyLock<Trained> = LazyLock::new(Trained::new);

struct Trained {
    directory: tempfile::TempDir,
    training: Output,
}

impl Trained {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("reviews.csv"), reviews()).unwrap();
        let trained =
            Self { training: Output { status: Default::default(), stdout: vec![], stderr: vec![] }, directory };
        succeed(labelstream(&["prepare", &trained.path("reviews.csv"), "--out", &trained.path("data")]));
        let (data, out) = (trained.path("data"), trained.path("out"));
        let training = succeed(labelstream(&[
            "train",
            "--data",
            &data,
            "--out",
            &out,
            "--base",
            "new-bert",
            "--classes",
            "差评,好评",
            "--epochs",
            "5",
            "--learning-rate",
            "1e-3",
            "--token-masking",
            "0",
            "--save-limit",
            "0",
            "--json",
        ]));
        Self { training, ..trained }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }
}

fn reviews() -> String {
    let mut csv = "\u{feff}label,review\n".to_owned();
    for index in 0..400 {
        let (label, mark) = if index % 2 == 0 { (1, "好") } else { (0, "差") };
        let filler: String = "送餐很快味道一般".chars().cycle().skip(index % 8).take(1 + index % 9).collect();
        writeln!(csv, "{label},{mark}{filler}{index}").unwrap();
    }
    csv + "1,\n,没有标签\n1,矛盾\n0,矛盾\n"
}

fn labelstream(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_labelstream"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn succeed(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The line on standard error of a command that fails.
fn fail(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{command:?}: {}", String::from_utf8_lossy(&output.stdout));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: ") && error.lines().count() == 1, "not one clear line: {error}");
    error
}

/// Classifies what stands on standard input.
fn classify(flags: &[&str], input: &str) -> Output {
    let checkpoint = TRAINED.path("out");
    let mut command = labelstream(&["classify", "--checkpoint", &checkpoint]);
    let mut child =
        command.args(flags).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn json_lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn prepare_reports_what_it_dropped() {
    let out = TRAINED.path("again");
    let output = succeed(labelstream(&["prepare", &TRAINED.path("reviews.csv"), "--out", &out, "--json"]));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let counts =
        ["rows", "without_text", "without_label", "contradictions", "kept"].map(|name| report[name].as_u64().unwrap());
    assert_eq!(counts, [404, 1, 1, 2, 400]);
    assert_eq!(report["splits"]["test"], 40);

    let again = fail(labelstream(&["prepare", &TRAINED.path("reviews.csv"), "--out", &out]));
    assert!(again.contains("not empty") && again.contains("--overwrite"), "{again}");
    succeed(labelstream(&["prepare", &TRAINED.path("reviews.csv"), "--out", &out, "--overwrite"]));
}

#[test]
fn prepare_can_name_the_classes() {
    let out = TRAINED.path("named");
    succeed(labelstream(&["prepare", &TRAINED.path("reviews.csv"), "--out", &out, "--classes", "bad,good"]));
    let test = fs::read_to_string(Path::new(&out).join("test_data.csv")).unwrap();
    assert!(test.starts_with("label,text\n"), "{test}");
    assert!(test.lines().skip(1).all(|line| line.starts_with("bad,差") || line.starts_with("good,好")), "{test}");
}

#[test]
fn train_prints_the_head_and_a_summary() {
    let head = String::from_utf8(TRAINED.training.stderr.clone()).unwrap();
    for line in [
        "***** Running training *****",
        "  Num examples = 320",
        "  Num Epochs = 5",
        "  Instantaneous batch size = 32",
        "  Total train batch size (with accumulation) = 32",
        "  Gradient Accumulation steps = 1",
        "  Total optimization steps = 50",
        "  Number of trainable parameters = ",
    ] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
    let summary: Value = serde_json::from_slice(&TRAINED.training.stdout).unwrap();
    assert_eq!(summary["optimization_steps"], 50);
    assert_eq!(summary["evaluation"]["accuracy"], 1.0);
    assert_eq!(summary["labels"], serde_json::json!(["差评", "好评"]));
}

/// One short run with these flags, its checkpoint in `name`.
fn short_run(name: &str, flags: &[&str]) -> Command {
    let (data, out) = (TRAINED.path("data"), TRAINED.path(name));
    let mut arguments = vec!["train", "--data", &data, "--out", &out, "--base", "new-bert", "--json"];
    arguments.extend(flags);
    for (flag, value) in [("--epochs", "2"), ("--max-length", "16"), ("--save-limit", "0"), ("--threads", "2")] {
        if !flags.contains(&flag) {
            arguments.extend([flag, value]);
        }
    }
    labelstream(&arguments)
}

fn weights(name: &str) -> Vec<u8> {
    fs::read(TRAINED.path(&format!("{name}/model.safetensors"))).unwrap()
}

#[test]
fn two_processes_train_the_model_of_one() {
    succeed(short_run("alone", &[]));
    succeed(short_run("together", &["--data-parallel", "2"]));
    assert!(weights("alone") == weights("together"), "the two have other weights than the one");

    // As torchrun starts them: each knows its place from the environment.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let place = |name, rank: &str| {
        let mut command = short_run(name, &["--threads", "1"]);
        command.env("RANK", rank).env("WORLD_SIZE", "2").env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", &free);
        command
    };
    let mut second = place("nowhere-else", "1").stdout(Stdio::piped()).spawn().unwrap();
    succeed(place("by-torchrun", "0"));
    assert!(second.wait().unwrap().success());
    assert!(weights("alone") == weights("by-torchrun"));
    assert!(!Path::new(&TRAINED.path("nowhere-else")).exists(), "the second process has written a checkpoint");
}

#[test]
fn a_training_that_is_killed_goes_on_to_the_same_checkpoint() {
    let manifest =
        |output: &Output| serde_json::from_slice::<Value>(&output.stdout).unwrap()["manifest_sha256"].clone();
    let flags = ["--average", "0.9", "--eval-steps", "3"];
    let whole = succeed(short_run("whole", &flags));
    let state = TRAINED.path("state");
    let flags = [&flags[..], &["--state", &state, "--save-steps", "2"]].concat();
    let step = || {
        let text = fs::read(Path::new(&state).join("state.json")).ok()?;
        serde_json::from_slice::<Value>(&text).unwrap()["step"].as_u64()
    };
    for until in [4, 10] {
        let mut child = short_run("parts", &flags).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while step().is_none_or(|step| step < until) {
            assert!(child.try_wait().unwrap().is_none(), "the training ended before it could be killed");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let resumed = succeed(short_run("parts", &flags));
    let shown = String::from_utf8_lossy(&resumed.stderr);
    assert!(shown.contains("goes on after step 1"), "{shown}");
    assert_eq!(manifest(&resumed), manifest(&whole));

    fs::write(Path::new(&state).join("state.json"), "{").unwrap();
    let error = fail(short_run("other", &flags));
    assert!(error.contains("state.json"), "{error}");
}

#[test]
fn training_leaves_a_page_and_events_that_tensorboard_reads() {
    let (page, events) = (TRAINED.path("run.html"), TRAINED.path("events"));
    let flags =
        ["--report", &page, "--tensorboard", &events, "--class-weights", "balanced", "--label-smoothing", "0.1"];
    succeed(short_run("watched", &[&flags[..], &["--best-by", "mcc", "--patience", "5"]].concat()));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg ") && page.contains("validation loss") && page.contains("confusion"), "{page}");

    let Ok(python) = std::env::var("LABELSTREAM_PYTHON") else {
        return stack::not_run("set LABELSTREAM_PYTHON to a Python with tensorboard to read the events with it");
    };
    const SCRIPT: &str = r#"
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]).Reload()
print(json.dumps({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}))
"#;
    let output = succeed({
        let mut command = Command::new(python);
        command.args(["-c", SCRIPT, &events]);
        command
    });
    let scalars: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(scalars["train/loss"].as_array().unwrap().len(), 20);
    assert_eq!(scalars["valid/accuracy"][1][0], 20);
    for tag in ["train/learning_rate", "valid/mcc", "valid/auc", "valid/macro-f1", "valid/loss", "valid/f1/1"] {
        assert!(scalars[tag].is_array(), "{tag} is not in {scalars}");
    }
}

#[test]
fn another_pooling_is_trained_and_measured_like_any_model() {
    succeed(short_run("attention", &["--pooling", "attention", "--learning-rate", "1e-3", "--epochs", "5"]));
    let test = TRAINED.path("data/test_data.csv");
    let table = succeed(labelstream(&["evaluate", "--checkpoint", &TRAINED.path("attention"), "--data", &test]));
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("accuracy 1.0000") && table.contains("auc 1.0000") && table.contains("mcc 1.0000"),
        "{table}"
    );
}

#[test]
fn evaluate_measures_numbered_labels_with_a_model_of_names() {
    let test = TRAINED.path("data/test_data.csv");
    let table = succeed(labelstream(&["evaluate", "--checkpoint", &TRAINED.path("out"), "--data", &test]));
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("accuracy 1.0000") && table.contains("好评"), "{table}");
}

#[test]
fn classify_answers_every_line_in_order() {
    let lines = json_lines(&classify(&["--scores"], "好吃\n\n差味道\n"));
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[0]["text"], &lines[0]["label"]), (&"好吃".into(), &"好评".into()));
    assert_eq!((&lines[1]["error"], &lines[2]["label"]), (&"no text".into(), &"差评".into()));
    let scores = ["差评", "好评"].map(|name| lines[0]["scores"][name].as_f64().unwrap());
    assert!((scores[0] + scores[1] - 1.0).abs() < 1e-5 && scores[1] == lines[0]["score"].as_f64().unwrap());
}

#[test]
fn classify_knows_json_lines_and_keeps_their_fields() {
    let lines = json_lines(&classify(&[], "{\"id\": 7, \"text\": \"好送餐\"}\n{\"id\": 8, \"text\": \"差送餐\"}\n"));
    let answers: Vec<_> =
        lines.iter().map(|line| (line["id"].as_u64().unwrap(), line["label"].as_str().unwrap())).collect();
    assert_eq!(answers, [(7, "好评"), (8, "差评")]);

    let broken = classify(&["--json-lines"], "{\"text\": \"好\"}\n{\"txt\": \"好\"}\n");
    let error = String::from_utf8(broken.stderr).unwrap();
    assert_eq!(broken.status.code(), Some(1));
    assert!(error.contains("standard input: line 2: no column text or review; there are: txt"), "{error}");
}

#[test]
fn classify_takes_texts_as_arguments() {
    let output =
        succeed(labelstream(&["classify", "--checkpoint", &TRAINED.path("out"), "--text", "好", "--text", "差"]));
    let labels: Vec<String> =
        json_lines(&output).iter().map(|line| line["label"].as_str().unwrap().to_owned()).collect();
    assert_eq!(labels, ["好评", "差评"]);
}

#[test]
fn classify_ends_quietly_when_its_reader_has_gone() {
    let texts: PathBuf = TRAINED.directory.path().join("many.txt");
    fs::write(&texts, "好味道\n".repeat(20_000)).unwrap();
    let mut child = labelstream(&["classify", "--checkpoint", &TRAINED.path("out"), texts.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(output.status.success());
}

#[test]
fn what_is_wrong_with_the_input_is_one_clear_line() {
    let path = |name: &str, bytes: &[u8]| {
        let path = TRAINED.path(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let checkpoint = TRAINED.path("out");
    let cases: [(&[u8], &str); 5] = [
        (b"label,text\n1,a\n1,b,c\n", "line 3"),
        (b"label,text\n1,\xb2\xee\n", "not UTF-8"),
        (b"label,comment\n1,a\n", "text or review"),
        (b"label,text\n7,a\n", "no class"),
        (b"", "header"),
    ];
    for (index, (bytes, message)) in cases.into_iter().enumerate() {
        let data = path(&format!("wrong-{index}.csv"), bytes);
        let error = fail(labelstream(&["evaluate", "--checkpoint", &checkpoint, "--data", &data]));
        assert!(error.contains(message) && error.contains(&format!("wrong-{index}.csv")), "{error}");
    }
    let error = fail(labelstream(&["train", "--data", &TRAINED.path("data"), "--out", &checkpoint]));
    assert!(error.contains("exists already"), "{error}");
    let error = fail(labelstream(&["classify", "--checkpoint", &TRAINED.path("nowhere"), "--text", "x"]));
    assert!(error.contains("nowhere"), "{error}");
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in
        [&["train"][..], &["evaluate", "--data"], &["train", "--data", "x", "--out", "y", "--device", "gpu"]]
    {
        assert_eq!(labelstream(arguments).output().unwrap().status.code(), Some(2), "{arguments:?}");
    }
}

/// The project's own reviews through `prepare`, `train` as it is by default, `evaluate` and
/// `classify`.
#[test]
fn without_a_base_a_linear_model_learns_the_reviews_of_the_demo() {
    let reviews = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/reviews.csv");
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (data, out) = (path("data"), path("out"));
    succeed(labelstream(&["prepare", reviews, "--out", &data]));
    let training = succeed(labelstream(&["train", "--data", &data, "--out", &out, "--json"]));
    let summary: Value = serde_json::from_slice(&training.stdout).unwrap();
    assert_eq!(summary["kind"], "labelstream-linear", "{summary}");
    assert!(summary["reason"].as_str().unwrap().contains("no network was trained"), "{summary}");

    let test = path("data/test_data.csv");
    let figures = succeed(labelstream(&["evaluate", "--checkpoint", &out, "--data", &test, "--json"]));
    let figures: Value = serde_json::from_slice(&figures.stdout).unwrap();
    assert!(figures["accuracy"].as_f64().unwrap() > 0.95, "{figures}");
    let answers = ["好吃，送得很快，下次还来", "太难吃了，等了两个小时，退款"];
    let answers = succeed(labelstream(&["classify", "--checkpoint", &out, "--text", answers[0], "--text", answers[1]]));
    let labels: Vec<Value> = json_lines(&answers).iter().map(|line| line["label"].clone()).collect();
    assert_eq!(labels, ["好评", "差评"]);

    let error = fail(labelstream(&["train", "--data", &data, "--base", &out, "--out", &path("next")]));
    assert!(error.contains("labelstream-linear") && error.contains("new-bert"), "{error}");
}

#[test]
fn a_table_from_excel_trains_the_model_that_its_utf8_copy_does() {
    let table = reviews().trim_start_matches('\u{feff}').to_owned();
    let utf_16: Vec<u8> = format!("\u{feff}{table}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let file = TRAINED.path("utf-16.csv");
    fs::write(&file, utf_16).unwrap();
    let out = TRAINED.path("from-utf-16");
    succeed(labelstream(&["prepare", &file, "--out", &out]));
    let prepared = |directory: &str| fs::read(Path::new(directory).join("train_data.csv")).unwrap();
    assert!(prepared(&out) == prepared(&TRAINED.path("data")), "another encoding gave other rows");
}

#[test]
fn classify_answers_the_rows_of_a_table_and_keeps_their_columns() {
    let file = TRAINED.path("rows.csv");
    fs::write(&file, "id,review\n7,\"好,\n送餐\"\n8,差送餐\n").unwrap();
    let output = succeed(labelstream(&["classify", "--checkpoint", &TRAINED.path("out"), &file]));
    let answers = json_lines(&output);
    let answers: Vec<_> =
        answers.iter().map(|line| (line["id"].as_str().unwrap(), line["label"].as_str().unwrap())).collect();
    assert_eq!(answers, [("7", "好评"), ("8", "差评")]);
}
