//! Broken files through every command that reads one: each is refused with its line, and nothing is
//! written.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::LazyLock;

use serde_json::Value;

/// A linear model of two classes, and the files that it learned from.
static MODEL: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let row = |number: usize| format!("{},{}{number}\n", ["差评", "好评"][number % 2], ["难吃", "好吃"][number % 2]);
    let table: String = (0..60).map(row).collect();
    fs::write(directory.path().join("reviews.csv"), format!("label,text\n{table}")).unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    assert_eq!(run(&["prepare", &path("reviews.csv"), "--out", &path("data")]).0, Some(0));
    assert_eq!(run(&["train", "--data", &path("data"), "--out", &path("model")]).0, Some(0));
    directory
});

/// The exit code, standard output and standard error.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output =
        harness::command(env!("CARGO_BIN_EXE_labelstream")).args(arguments).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_broken_file_is_refused_by_every_command_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let model = MODEL.path().join("model").display().to_string();
    let utf_16: Vec<u8> = "label,text\n好评,a\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let broken: [(&str, &[u8], &str); 10] = [
        ("csv", "label,text\n好评,好\n差评,\"坏\n好评,香\n".as_bytes(), "line 3: a quote opens here"),
        ("csv", "label,text\n好评,\"好\"吃\n".as_bytes(), "line 2: words after the quote"),
        ("csv", "label,text\n好评,好,香\n".as_bytes(), "line 2: 3 fields"),
        (
            "csv",
            "label,text\n好评,好\n差评,\"坏\n好评,香\n差评,慢\"\n".as_bytes(),
            "line 3: a quoted text begins here and ends on line 5",
        ),
        ("csv", b"label,text\n1,\xb2\xee\n", "line 2: not UTF-8; give the file's encoding"),
        ("csv", &utf_16, "give --encoding utf-16le"),
        ("csv", b"sep=;\nlabel;text\n", "line 1: the columns are separated by \";\""),
        ("csv", b"PK\x03\x04\x14\0", "an Excel workbook"),
        ("jsonl", b"[{\"label\":\"1\",\"text\":\"a\"}]", "line 1: not a JSON object, but an array"),
        (
            "jsonl",
            b"{\"label\":\"1\",\"text\":\"a\",\"text\":\"b\"}\n",
            "line 1: not JSON: the field \"text\" stands twice",
        ),
    ];
    for (number, (extension, bytes, expected)) in broken.into_iter().enumerate() {
        let file = path(&format!("broken-{number}.{extension}"));
        fs::write(&file, bytes).unwrap();
        let data = path(&format!("data-{number}"));
        fs::create_dir(&data).unwrap();
        for name in ["train_data.csv", "valid_data.csv"] {
            fs::write(Path::new(&data).join(name), bytes).unwrap();
        }
        let out = path("out");
        // Nobody listens there: a broken file is found before anybody is asked.
        let brokers = ["--brokers", "127.0.0.1:1", "--patience", "1"];
        let database = ["--database-url", "postgres://nobody@127.0.0.1:1/nothing"];
        let commands = [
            vec!["prepare", &file, "--out", &out],
            vec!["evaluate", "--checkpoint", &model, "--data", &file],
            vec!["classify", "--checkpoint", &model, &file],
            [&["publish", &file][..], &brokers].concat(),
            [&["labels", "import", &file][..], &database].concat(),
            vec!["train", "--data", &data, "--out", &out],
        ];
        let is_table = extension == "csv";
        for command in commands.iter().take(if is_table { 6 } else { 5 }) {
            let (code, printed, error) = run(command);
            assert_eq!((code, printed.as_str()), (Some(1), ""), "{command:?}: {error}");
            assert!(error.starts_with("error: ") && error.contains(expected), "{command:?}: {error}");
            assert!(!Path::new(&out).exists(), "{command:?} has written something");
        }
    }
}

#[test]
fn classes_may_have_commas_in_their_names_and_are_read_in_one_way() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("reviews.csv"), "label,text\n0,难吃\n1,好吃\n0,太慢\n1,很香\n").unwrap();
    let prepare = |out: &str, flags: &[&str]| {
        run(&[&["prepare", &path("reviews.csv"), "--out", &path(out), "--valid", "0", "--test", "0"][..], flags]
            .concat())
    };
    assert_eq!(prepare("named", &["--classes", "\"差,不好\",好"]).0, Some(0));
    let named = fs::read_to_string(path("named/train_data.csv")).unwrap();
    assert!(named.contains("\"差,不好\",难吃") && named.contains("好,好吃"), "{named}");
    assert_eq!(prepare("twice", &["--classes", "差", "--classes", "好"]).0, Some(0));
    let (code, _, error) = prepare("both", &["--classes", "1,2"]);
    assert!(code == Some(1) && error.contains("the name of one class and the number of another"), "{error}");

    fs::write(path("reviews.csv"), "label,text\n0,难吃\n1,好吃\n1.0,太慢\n").unwrap();
    let (code, _, error) = prepare("alike", &[]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("reviews.csv: the labels \"1\" on line 3 and \"1.0\" on line 4 differ"), "{error}");
}

#[test]
fn a_collapse_a_class_of_one_text_and_contradictions_are_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let model = MODEL.path().join("model").display().to_string();
    fs::write(path("x.csv"), "label,text\n好评,好吃\n差评,好吃！\n差评,好吃哦\n好评,好吃啊\n").unwrap();
    let (code, figures, error) = run(&["evaluate", "--checkpoint", &model, "--data", &path("x.csv"), "--json"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("warning: 2 of 4 texts (50.0 %) contradict another one"), "{error}");
    assert!(error.contains("warning: the model has collapsed: it answers \"好评\" to all 4 texts"), "{error}");
    assert_eq!(serde_json::from_str::<Value>(&figures).unwrap()["warnings"].as_array().unwrap().len(), 2);

    let (code, report, error) = run(&["prepare", &path("x.csv"), "--out", &path("data"), "--json"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("contradict another one") && error.contains("label \"差评\" has one text"), "{error}");
    assert!(serde_json::from_str::<Value>(&report).unwrap()["warnings"].is_array(), "{report}");

    fs::create_dir(path("own")).unwrap();
    fs::write(path("own/train_data.csv"), "label,text\n好评,好吃\n差评,好吃！\n差评,难吃\n中评,一般\n").unwrap();
    fs::write(path("own/valid_data.csv"), "label,text\n好评,好吃呀\n差评,好吃呢\n").unwrap();
    let (code, summary, error) = run(&["train", "--data", &path("own"), "--out", &path("out"), "--json"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("class \"中评\" has one training text") && error.contains("2 of 6 texts"), "{error}");
    assert!(error.contains("is measured on one text"), "{error}");
    assert!(serde_json::from_str::<Value>(&summary).unwrap()["warnings"].as_array().unwrap().len() >= 3, "{summary}");
}

#[test]
fn an_open_quote_prepares_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("open-quote.csv"), "label,text\n0,a\n1,\"b\n0,c\n1,d\n").unwrap();
    let (code, _, error) = run(&["prepare", &path("open-quote.csv"), "--out", &path("out")]);
    assert_eq!(code, Some(1));
    assert!(error.contains("open-quote.csv: line 3: a quote opens here"), "{error}");
    assert!(!Path::new(&path("out")).exists(), "something was written");
}
