//! A training of nothing but labels, or of labels, a pretrained encoder and texts without labels: a
//! linear model, with the encoder's help a student too, and a network where there is enough to
//! learn from. Which of them goes on, texts decide that none was fitted on.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use classifier::checkpoint::Manifest;
use classifier::{Classifier, Family, ModelKind};
use serde::Serialize;

use crate::base::Base;
use crate::choice::{Choice, Proof, choose};
use crate::dataset::Dataset;
use crate::evaluate::{Measured, measure};
use crate::fit::fit;
use crate::linear::{self, LinearSettings};
use crate::metrics::Evaluation;
use crate::pretrained::{ENOUGH_TO_TUNE, Pretrained, Quick};
use crate::progress::Watch;
use crate::settings::Settings;

/// How many texts there must be before a network is tried.
pub(crate) struct Enough {
    /// Training texts; a network from random weights that has fewer is behind a linear model by
    /// points.
    to_learn: usize,
    /// Validation texts; of fewer only a giant lead would be evidence.
    to_compare: usize,
}

/// With twice as many to learn from, and minutes, a network still is no better
/// (`bench/results/2026-11-22-budgets.md`).
pub(crate) const ENOUGH: Enough = Enough { to_learn: 5_000, to_compare: 200 };

/// What a start without pretrained weights came to.
#[derive(Debug, Clone, Serialize)]
pub struct FromScratchSummary {
    /// The checkpoint that was written.
    pub checkpoint: PathBuf,
    /// Its SHA-256: that of its manifest.
    pub manifest_sha256: String,
    /// What it is: `bert` or `labelstream-linear`.
    pub kind: String,
    /// Why it is that.
    pub reason: String,
    /// How well it does on the validation texts; absent where there are none.
    pub evaluation: Option<Evaluation>,
    /// How well the linear model does on them.
    pub linear: Option<Evaluation>,
    /// How well the student of a pretrained encoder does on them; absent where there was no
    /// encoder.
    pub student: Option<Evaluation>,
    /// How well the network does on them; absent where none was trained.
    pub network: Option<Evaluation>,
    /// Microseconds that each of them takes for one of these texts, on this machine now.
    pub microseconds_per_text: BTreeMap<&'static str, f64>,
    /// How long all of it took.
    pub seconds: f64,
}

/// Fits a linear model and perhaps a student, trains a network if it is worth trying, and writes
/// the one that goes on to `out`.
pub(crate) fn train_from_scratch(
    settings: &Settings,
    dataset: &Dataset,
    pretrained: Option<&Pretrained>,
    enough: &Enough,
    out: &Path,
    progress: &mut Watch,
) -> Result<FromScratchSummary> {
    settings.check()?;
    ensure!(!out.exists(), "{}: exists already; give another --out, or remove it", out.display());
    let started = Instant::now();
    let linear_settings = LinearSettings { threads: settings.options.threads };
    let quick = Quick::learn(&linear_settings, dataset, pretrained)?;
    let linear = measure(&quick.linear.classifier(), &dataset.valid)?;
    let student =
        quick.student.as_ref().map(|(student, _)| measure(&student.classifier(), &dataset.valid)).transpose()?;
    let is_student = quick.student.as_ref().is_some_and(|(_, choice)| choice.takes_over);
    let (name, best) = match &student {
        Some(student) if is_student => ("student", student),
        _ => ("linear model", &linear),
    };
    let quick_reason = quick.student.as_ref().map(|(_, choice)| format!("{}; ", choice.reason)).unwrap_or_default();
    let (network, mut choice) = match not_worth_trying(dataset, pretrained, enough) {
        Some(reason) => (None, Choice { takes_over: false, reason }),
        None => {
            let (base, proof) = network_base(pretrained);
            let network = Network::train(settings, dataset, &base, out, progress)?;
            let choice = network.against((name, best), proof);
            (Some(network), choice)
        }
    };
    choice.reason.insert_str(0, &quick_reason);
    match &network {
        Some(network) if choice.takes_over => network.become_checkpoint(out)?,
        _ => linear::save(&quick.best().model, best.evaluation.as_ref(), out)?,
    }
    let measured = [
        ("linear", Some(&linear)),
        ("student", student.as_ref()),
        ("network", network.as_ref().map(|network| &network.measured)),
    ];
    let microseconds =
        |(name, measured): (&'static str, Option<&Measured>)| Some((name, measured?.microseconds_per_text?));
    let network = network.as_ref().and_then(|network| network.measured.evaluation.clone());
    Ok(FromScratchSummary {
        checkpoint: out.to_owned(),
        manifest_sha256: Manifest::sha256(out)?,
        kind: if choice.takes_over { ModelKind::Bert(Family::Bert) } else { ModelKind::Linear }.to_string(),
        reason: choice.reason,
        evaluation: if choice.takes_over { network.clone() } else { best.evaluation.clone() },
        microseconds_per_text: measured.into_iter().filter_map(microseconds).collect(),
        linear: linear.evaluation,
        student: student.and_then(|student| student.evaluation),
        network,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// What a network starts from, and what it has to show.
pub(crate) fn network_base(pretrained: Option<&Pretrained>) -> (Base, Proof) {
    match pretrained {
        Some(pretrained) => (Base::Checkpoint(pretrained.encoder.clone()), Proof::NotWorse),
        None => (Base::NewBert, Proof::Better),
    }
}

/// Why no network is worth trying, if so.
pub(crate) fn not_worth_trying(dataset: &Dataset, pretrained: Option<&Pretrained>, enough: &Enough) -> Option<String> {
    let (train, valid) = (dataset.train.len(), dataset.valid.len());
    let Some(pretrained) = pretrained else { return too_few_texts(dataset, enough) };
    if let Some(kind) = pretrained.is_frozen() {
        Some(format!("the encoder was not fine-tuned: one of kind {kind} is not trained here"))
    } else if train < ENOUGH_TO_TUNE {
        Some(format!("the encoder was not fine-tuned: {train} training texts are too few, {ENOUGH_TO_TUNE} are enough"))
    } else if valid < enough.to_compare {
        let enough = enough.to_compare;
        Some(format!(
            "the encoder was not fine-tuned: {valid} validation texts are too few to compare by, {enough} are enough"
        ))
    } else {
        None
    }
}

/// Why a network from random weights is not worth trying, if it is not.
fn too_few_texts(dataset: &Dataset, enough: &Enough) -> Option<String> {
    let Enough { to_learn, to_compare } = enough;
    let (train, valid) = (dataset.train.len(), dataset.valid.len());
    if train < *to_learn {
        Some(format!(
            "no network was trained: {train} training texts are too few for one from random weights, which is behind a linear \
             model below {to_learn}; `new-bert` trains one all the same"
        ))
    } else if valid < *to_compare {
        Some(format!(
            "no network was trained: {valid} validation texts could not show that it is better than the linear model; \
             {to_compare} could"
        ))
    } else {
        None
    }
}

/// A network beside `out`, and how it does on the validation texts.
struct Network {
    directory: PathBuf,
    measured: Measured,
}

impl Network {
    /// Trains it. One that an earlier run with the same state has finished there is taken as it is.
    fn train(settings: &Settings, dataset: &Dataset, base: &Base, out: &Path, progress: &mut Watch) -> Result<Self> {
        let mut directory = OsString::from(out);
        directory.push(if *base == Base::NewBert { ".bert" } else { ".tuned" });
        let directory = PathBuf::from(directory);
        let is_finished = settings.options.state.is_some() && Manifest::verify(&directory).is_ok();
        if !is_finished {
            fit(settings, dataset, base, &directory, progress)?;
        }
        let classifier = Classifier::open(&directory, &settings.options.device.open()?)?;
        Ok(Self { directory, measured: measure(&classifier, &dataset.valid)? })
    }

    fn against(&self, (name, other): (&str, &Measured), proof: Proof) -> Choice {
        let mut choice = choose(("network", name), &self.measured.right, &other.right, proof);
        if !choice.takes_over {
            choice.reason = format!("{}; it stays in {}", choice.reason, self.directory.display());
        }
        choice
    }

    fn become_checkpoint(&self, out: &Path) -> Result<()> {
        fs::rename(&self.directory, out)
            .with_context(|| format!("{}: cannot become {}", self.directory.display(), out.display()))
    }
}

#[cfg(test)]
mod tests {
    use classifier::{Device, DeviceChoice};

    use super::*;
    use crate::dataset::Example;
    use crate::hyperparameters::Hyperparameters;
    use crate::run_options::RunOptions;
    use crate::train::{Trained, train};

    /// Texts of which one character tells the class.
    fn examples(range: std::ops::Range<usize>) -> Vec<Example> {
        let example = |index: usize| {
            let filler: String =
                "送餐很快味道一般".chars().cycle().skip(index * 5 % 8).take(2 + index * 3 % 11).collect();
            Example { text: format!("{}{filler}", ["好", "差"][index % 2]), label: index % 2 }
        };
        range.map(example).collect()
    }

    fn dataset() -> Dataset {
        let classes = ["good", "bad"].map(str::to_owned).to_vec();
        Dataset { classes, train: examples(0..256), valid: examples(256..300), lessons: None }
    }

    fn settings() -> Settings {
        let usual = Hyperparameters::for_base(&Base::New);
        Settings {
            hyperparameters: Hyperparameters { epochs: 4, learning_rate: 1e-3, token_masking: 0.0, ..usual },
            options: RunOptions { threads: 2, save_limit: 0, device: DeviceChoice::Cpu, ..RunOptions::default() },
        }
    }

    #[test]
    fn with_few_labels_the_linear_model_is_taken_and_the_reason_said() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        let watch: &mut Watch = &mut |_| panic!("a network was trained");
        let trained = train(&settings(), &dataset(), &Base::New, None, &out, watch).unwrap();
        let Trained::FromScratch(summary) = &trained else { panic!("{trained:?}") };
        assert_eq!((summary.kind.as_str(), summary.network.is_none()), ("labelstream-linear", true));
        assert!(summary.reason.contains("256 training texts") && summary.reason.contains("5000"), "{}", summary.reason);
        assert_eq!(trained.evaluation().unwrap().accuracy, 1.0);
        assert_eq!(Manifest::sha256(trained.checkpoint()).unwrap(), trained.manifest_sha256());

        let unproven = Dataset { valid: examples(0..10), ..dataset() };
        let enough = Enough { to_learn: 100, to_compare: 20 };
        let summary =
            train_from_scratch(&settings(), &unproven, None, &enough, &directory.path().join("other"), watch).unwrap();
        assert!(summary.reason.contains("10 validation texts"), "{}", summary.reason);
    }

    #[test]
    fn a_network_that_is_no_better_than_the_linear_model_does_not_take_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        let enough = Enough { to_learn: 100, to_compare: 20 };
        let summary = train_from_scratch(&settings(), &dataset(), None, &enough, &out, &mut |_| Ok(())).unwrap();
        assert_eq!(summary.network.as_ref().unwrap().accuracy, 1.0, "{}", summary.reason);
        assert_eq!(summary.kind, "labelstream-linear");
        assert!(
            summary.reason.contains("not clearly better") && summary.reason.contains("out.bert"),
            "{}",
            summary.reason
        );
        let kind = |name: &str| Classifier::open(&directory.path().join(name), &Device::Cpu).unwrap().kind();
        assert_eq!((kind("out"), kind("out.bert")), (ModelKind::Linear, ModelKind::Bert(Family::Bert)));

        // Against a linear model that has everything wrong, the same network is clearly better.
        let mut wrong = dataset();
        wrong.train.iter_mut().for_each(|example| example.label = 1 - example.label);
        let wrong = linear::learn(&LinearSettings::default(), &wrong).unwrap().classifier();
        let directory = directory.path().join("out.bert");
        let measured = measure(&Classifier::open(&directory, &Device::Cpu).unwrap(), &dataset().valid).unwrap();
        let network = Network { directory, measured };
        let wrong = measure(&wrong, &dataset().valid).unwrap();
        let choice = network.against(("linear model", &wrong), Proof::Better);
        assert!(choice.takes_over && choice.reason.starts_with("the network is clearly better"), "{}", choice.reason);
    }

    #[test]
    fn a_network_that_a_killed_run_has_finished_is_not_trained_again() {
        let directory = tempfile::tempdir().unwrap();
        let finished = directory.path().join("out.bert");
        let mut settings = settings();
        settings.hyperparameters.epochs = 1;
        fit(&settings, &dataset(), &Base::NewBert, &finished, &mut |_| Ok(())).unwrap();
        settings.options.state = Some(directory.path().join("state"));
        let enough = Enough { to_learn: 100, to_compare: 20 };
        let watch: &mut Watch = &mut |_| panic!("it was trained again");
        let summary =
            train_from_scratch(&settings, &dataset(), None, &enough, &directory.path().join("out"), watch).unwrap();
        assert!(summary.network.is_some());
    }
}
