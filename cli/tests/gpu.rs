//! The programs with the feature `cuda` on a GPU that is a stand-in: through candle's device and the
//! calls of the driver, NVRTC, cuBLAS and cublasLt, with kernels that run on the CPU.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use harness::{DeviceReport, StandIn};
use serde_json::Value;

/// How far a score in bf16 may be from one in f32: the fixtures' weights are larger than those of
/// models that have learned.
const BF16: f64 = 2e-2;

/// A place for files, and the programs.
struct Bench {
    directory: tempfile::TempDir,
    stand_in: StandIn,
}

impl Bench {
    fn new() -> Option<Self> {
        Some(Self { stand_in: StandIn::find()?, directory: tempfile::tempdir().unwrap() })
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn labelstream(&self, arguments: &[&str]) -> Command {
        let mut command = self.stand_in.command("labelstream", &self.directory.path().join("report.json"));
        command.args(arguments).env_remove("RUST_BACKTRACE");
        command
    }

    /// What a command says that succeeds, after which nothing may be left on the device.
    fn succeed(&self, arguments: &[&str]) -> (String, DeviceReport) {
        let output = self.labelstream(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        let report = DeviceReport::read(&self.directory.path().join("report.json"));
        for what in ["complaints", "contexts", "left/memories", "left/pinned", "left/events", "left/modules"] {
            assert_eq!(report.number(&format!("/{what}")), 0, "{arguments:?}: {what}");
        }
        (String::from_utf8(output.stdout).unwrap(), report)
    }

    /// What a command says that fails.
    fn fail(&self, arguments: &[&str], variable: &str, value: &str) -> String {
        let output = self.labelstream(arguments).env(variable, value).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{variable}={value}: {}", stderr(&output));
        stderr(&output)
    }

    /// A file of so many texts, of different lengths.
    fn texts(&self, count: usize) -> String {
        let path = self.path(&format!("{count}.txt"));
        let text = |number: usize| {
            format!(
                "{}{number}\n",
                "很快好吃太慢了不来".chars().cycle().skip(number % 7).take(1 + number * 5 % 43).collect::<String>()
            )
        };
        fs::write(&path, (0..count).map(text).collect::<String>()).unwrap();
        path
    }

    /// Training data of two classes.
    fn data(&self) -> String {
        let row =
            |number: usize| format!("{},{}{number}\n", ["差评", "好评"][number % 2], ["太慢了", "很好吃"][number % 2]);
        let table = self.path("reviews.csv");
        fs::write(&table, format!("label,text\n{}", (0..120).map(row).collect::<String>())).unwrap();
        let data = self.path("data");
        self.succeed(&["prepare", &table, "--out", &data]);
        data
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A checkpoint of two layers of 32, of `bert/tests/families.py`.
fn fixture(name: &str) -> String {
    let home = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../bert/tests/fixtures").join(name);
    home.display().to_string()
}

fn answers(lines: &str) -> Vec<(String, f64)> {
    let answer = |line: &str| {
        let answer: Value = serde_json::from_str(line).unwrap();
        (answer["label"].as_str().unwrap().to_owned(), answer["score"].as_f64().unwrap())
    };
    lines.lines().map(answer).collect()
}

fn assert_same_answers(there: &str, here: &str) {
    let (there, here) = (answers(there), answers(here));
    assert_eq!(there.len(), here.len());
    for ((label, score), (expected, expected_score)) in there.iter().zip(&here) {
        let is_tie = (expected_score - 0.5).abs() < BF16;
        assert!(label == expected || is_tie, "{label} {score}, expected {expected} {expected_score}");
        assert!((score - expected_score).abs() < BF16, "{score}, expected {expected_score}");
    }
}

#[test]
fn texts_get_the_labels_that_the_cpu_gives_and_the_memory_of_few_texts_is_enough_for_many() {
    let Some(bench) = Bench::new() else { return };
    let (few, many) = (bench.texts(40), bench.texts(400));
    for name in ["gelu", "relu_cased", "roberta", "ernie"] {
        let checkpoint = fixture(name);
        let classify =
            |device, texts| bench.succeed(&["classify", "--checkpoint", &checkpoint, "--device", device, texts]);
        let (there, report) = classify("cuda", &many);
        assert!(report.number("/calls/cuLaunchKernel") > 0, "{name} ran elsewhere");
        assert_same_answers(&there, &classify("cpu", &many).0);
        // All but the logits.
        let more = report.number("/peak_bytes") - classify("cuda", &few).1.number("/peak_bytes");
        assert!(more <= 360 * 10 * 4, "{name}: {more} bytes more");
    }
}

#[test]
fn words_on_their_way_to_the_device_are_not_written_over_by_those_of_later_batches() {
    let Some(bench) = Bench::new() else { return };
    // Four batches of one call, for which there are two places to send from.
    let text = |number: usize| {
        (0..60).map(|at| ['快', '好', '吃', '慢', '来'][(number * 7 + at * at) % 5]).collect::<String>()
    };
    let texts = bench.path("long.txt");
    fs::write(&texts, (0..1_000).map(|number| format!("{number}{}\n", text(number))).collect::<String>()).unwrap();
    let classify = |device| bench.succeed(&["classify", "--checkpoint", &fixture("gelu"), "--device", device, &texts]);
    let (there, report) = classify("cuda");
    assert_eq!(report.number("/calls/cuMemHostAlloc"), 2, "both places are used");
    assert_same_answers(&there, &classify("cpu").0);
}

#[test]
fn every_pooling_is_served_as_on_the_cpu() {
    let Some(bench) = Bench::new() else { return };
    let (data, texts) = (bench.data(), bench.texts(60));
    for pooling in ["mean", "max", "attention"] {
        let model = bench.path(pooling);
        let base = fixture("gelu");
        let flags = ["--data", &data, "--base", &base, "--pooling", pooling, "--epochs", "1", "--device", "cpu"];
        bench.succeed(&[&["train", "--out", &model], &flags[..]].concat());
        let classify = |device| bench.succeed(&["classify", "--checkpoint", &model, "--device", device, &texts]).0;
        assert_same_answers(&classify("cuda"), &classify("cpu"));
    }
}

#[test]
fn a_training_gives_the_same_bits_twice_and_learns_what_the_cpu_learns() {
    let Some(bench) = Bench::new() else { return };
    let data = bench.data();
    let texts = format!("{data}/train_data.csv");
    let train = |name: &str, device: &str| {
        let (out, base) = (bench.path(name), fixture("gelu"));
        let flags = ["--data", &data, "--base", &base, "--epochs", "4", "--learning-rate", "3e-3", "--threads", "1"];
        let (_, report) = bench.succeed(&[&["train", "--out", &out, "--device", device], &flags[..]].concat());
        let (said, _) =
            bench.succeed(&["evaluate", "--checkpoint", &out, "--data", &texts, "--device", "cpu", "--json"]);
        let loss = serde_json::from_str::<Value>(&said).unwrap()["loss"].as_f64().unwrap();
        (fs::read(PathBuf::from(&out).join("model.safetensors")).unwrap(), loss, report)
    };
    let (first, loss, report) = train("first", "cuda");
    let (second, ..) = train("second", "cuda");
    assert!(first == second, "two runs with the same seed gave different weights");
    let (_, expected, _) = train("third", "cpu");
    assert!(loss < 0.6 && (loss - expected).abs() < 0.02, "a loss of {loss}, expected {expected}");
    assert!(report.number("/calls/cublasGemmEx") > 0, "the products ran elsewhere");
}

#[test]
fn a_training_goes_on_after_its_gpu_has_failed_and_ends_with_the_same_bits() {
    let Some(bench) = Bench::new() else { return };
    let (data, base, state) = (bench.data(), fixture("gelu"), bench.path("state"));
    let train = |out: &str, more: &[&str], fault: &str| {
        let (out, always) = (bench.path(out), ["--data", &data, "--base", &base, "--epochs", "3", "--device", "cuda"]);
        let arguments = [&["train", "--out", &out], &always[..], more].concat();
        let output = bench.labelstream(&arguments).env("STAND_IN_FAULT", fault).output().unwrap();
        (output, PathBuf::from(out).join("model.safetensors"))
    };
    let (_, expected) = train("whole", &[], "");
    let kept = ["--state", &state, "--save-steps", "2"];
    let (failed, found) = train("parts", &kept, "cuLaunchKernel:1000:700");
    assert!(stderr(&failed).contains("the GPU has failed: ") && !found.exists(), "{}", stderr(&failed));
    let (resumed, _) = train("parts", &kept, "");
    let said = String::from_utf8_lossy(&resumed.stdout).into_owned() + &stderr(&resumed);
    assert!(said.contains("goes on after step"), "{said}");
    assert!(fs::read(found).unwrap() == fs::read(expected).unwrap(), "other weights than without a failure");
}

#[test]
fn two_gpus_train_one_model() {
    let Some(bench) = Bench::new() else { return };
    let (data, base, out) = (bench.data(), fixture("gelu"), bench.path("out"));
    let train = ["train", "--data", &data, "--base", &base, "--out", &out, "--epochs", "2", "--data-parallel", "2"];
    let output = bench.labelstream(&train).env("STAND_IN_DEVICES", "2").output().unwrap();
    assert!(output.status.success() && !stderr(&output).contains("stand-in"), "{}", stderr(&output));
    bench.succeed(&["classify", "--checkpoint", &out, "--device", "cuda", "--text", "很好吃"]);
}

#[test]
fn whatever_call_fails_the_command_says_so_and_no_wrong_label_is_written() {
    let Some(bench) = Bench::new() else { return };
    let (checkpoint, texts) = (fixture("gelu"), bench.texts(12));
    let classify = ["classify", "--checkpoint", &checkpoint, "--device", "cuda", &texts];
    let (expected, report) = bench.succeed(&classify);
    let mut named = 0;
    for (function, calls) in report.calls() {
        // Out of memory, an internal error of NVRTC and cuBLAS, an illegal address.
        let code = match function {
            _ if function.contains("Alloc") => 2,
            _ if function.starts_with("nvrtc") => 11,
            _ if function.starts_with("cublas") => 13,
            _ => 700,
        };
        let mut places = vec![1, calls.div_ceil(2), calls];
        places.dedup();
        for call in places {
            let fault = format!("{function}:{call}:{code}");
            let output = bench.labelstream(&classify).env("STAND_IN_FAULT", &fault).output().unwrap();
            let (said, written) = (stderr(&output), String::from_utf8_lossy(&output.stdout).into_owned());
            match output.status.code() {
                // What frees has nobody to tell.
                Some(0) => assert_eq!(written, expected, "{fault}"),
                Some(1) => {
                    assert!(written.is_empty() || written == expected, "{fault} {said}");
                    let is_named =
                        said.contains("the GPU has failed: ") || said.contains("the GPU has no memory left: ");
                    // cudarc panics where it frees, and where cublasLt is set up.
                    assert!(is_named || said.contains("panicked"), "{fault}: {said}");
                    named += usize::from(is_named);
                }
                other => panic!("{fault}: {other:?} {said}"),
            }
        }
    }
    assert!(named > 50, "{named} faults were named");
}

#[test]
fn a_gpu_that_is_not_there_or_full_or_too_old_is_named_with_what_to_do() {
    let Some(bench) = Bench::new() else { return };
    let (checkpoint, texts) = (fixture("gelu"), bench.texts(12));
    let on = |device| ["classify", "--checkpoint", &checkpoint, "--device", device, &texts];
    for (device, variable, value, expected) in [
        ("cuda", "STAND_IN_DEVICES", "0", "there is no such GPU: `nvidia-smi` lists"),
        ("cuda:3", "STAND_IN_DEVICES", "2", "there is no such GPU: `nvidia-smi` lists"),
        ("cuda", "STAND_IN_MEMORY", "1000000", "the GPU has no memory left: end what else runs on it"),
        ("cuda", "STAND_IN_FAULT", "cuInit:1:803", "the GPU's driver is older than this program: update it"),
        ("cuda", "STAND_IN_FAULT", "cuModuleLoadData:1:222", "the GPU's driver is older than this program: update it"),
        ("cuda", "STAND_IN_FAULT", "cuLaunchKernel:3:214", "the GPU has failed: "),
    ] {
        let said = bench.fail(&on(device), variable, value);
        assert!(said.contains(expected) && said.trim_end().lines().count() == 1, "{value}: {said}");
    }
    // Without a GPU the CPU is taken, where that was not ruled out.
    let output = bench.labelstream(&on("auto")).env("STAND_IN_DEVICES", "0").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_same_answers(&String::from_utf8(output.stdout).unwrap(), &bench.succeed(&on("cpu")).0);
}

#[test]
fn a_training_whose_gpu_fails_amid_a_step_says_so_and_writes_nothing() {
    let Some(bench) = Bench::new() else { return };
    let (data, base, out) = (bench.data(), fixture("gelu"), bench.path("out"));
    let train = ["train", "--data", &data, "--base", &base, "--out", &out, "--epochs", "1", "--device", "cuda"];
    for (fault, expected) in [
        ("cuLaunchKernel:300:700", "the GPU has failed: "),
        ("cublasGemmEx:40:13", "the GPU has failed: "),
        ("cuMemAllocAsync:100:2", "the GPU has no memory left: "),
        ("cuMemcpyDtoHAsync_v2:60:999", "the GPU has failed: "),
    ] {
        let said = bench.fail(&train, "STAND_IN_FAULT", fault);
        assert!(said.contains(expected), "{fault}: {said}");
        assert!(!PathBuf::from(&out).exists(), "{fault}");
    }
}
