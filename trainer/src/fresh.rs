//! One door to every kind of training, and what a start without pretrained weights does: a linear model, and a network
//! where there is enough to learn from. Whichever is the better on the validation texts stays; in doubt it is the linear one,
//! which costs a thousandth to run.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use classifier::checkpoint::Manifest;
use classifier::{Classifier, Device, ModelKind};
use serde::Serialize;

use crate::dataset::{Dataset, Example};
use crate::evaluate::evaluate;
use crate::fit::{Summary, Watch, fit};
use crate::gate::Paired;
use crate::linear::{self, LinearSettings, LinearSummary, fit_linear};
use crate::metrics::Evaluation;
use crate::settings::{Base, Settings};

/// How many texts there must be before a network is tried.
struct Enough {
    /// Training texts; a network from random weights that has fewer is behind a linear model by points.
    to_learn: usize,
    /// Validation texts; of fewer only a giant lead would be evidence.
    to_compare: usize,
}

/// With twice as many to learn from, and minutes, a network still is no better (`bench/results/2026-11-22-budgets.md`).
const ENOUGH: Enough = Enough { to_learn: 5_000, to_compare: 200 };

/// How probable a lead like the network's may be by chance alone.
const CHANCE: f64 = 0.05;

/// What a training came to, whichever kind of model it was.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Trained {
    /// A BERT.
    Network(Box<Summary>),
    /// A linear model.
    Linear(LinearSummary),
    /// The better of both.
    Fresh(Box<FreshSummary>),
}

/// What a start without pretrained weights came to.
#[derive(Debug, Clone, Serialize)]
pub struct FreshSummary {
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
    /// How well the network does on them; absent where none was trained.
    pub network: Option<Evaluation>,
    /// How long all of it took.
    pub seconds: f64,
}

impl Trained {
    /// The checkpoint that was written.
    pub fn checkpoint(&self) -> &Path {
        match self {
            Self::Network(summary) => &summary.checkpoint,
            Self::Linear(summary) => &summary.checkpoint,
            Self::Fresh(summary) => &summary.checkpoint,
        }
    }

    /// The SHA-256 of its manifest.
    pub fn manifest_sha256(&self) -> &str {
        match self {
            Self::Network(summary) => &summary.manifest_sha256,
            Self::Linear(summary) => &summary.manifest_sha256,
            Self::Fresh(summary) => &summary.manifest_sha256,
        }
    }

    /// How well it does on the validation texts; absent where there are none.
    pub fn evaluation(&self) -> Option<&Evaluation> {
        match self {
            Self::Network(summary) => summary.evaluation.as_ref(),
            Self::Linear(summary) => summary.evaluation.as_ref(),
            Self::Fresh(summary) => summary.evaluation.as_ref(),
        }
    }
}

/// Trains from any base and writes the checkpoint to `out`.
///
/// # Errors
/// As [`fit`] and [`fit_linear`].
pub fn train(settings: &Settings, dataset: &Dataset, base: &Base, out: &Path, progress: &mut Watch) -> Result<Trained> {
    match base {
        Base::New => Ok(Trained::Fresh(Box::new(fresh(settings, dataset, &ENOUGH, out, progress)?))),
        Base::NewLinear => {
            let settings = LinearSettings { threads: settings.threads };
            Ok(Trained::Linear(fit_linear(&settings, dataset, out)?))
        }
        Base::NewBert | Base::Checkpoint(_) => {
            Ok(Trained::Network(Box::new(fit(settings, dataset, base, out, progress)?)))
        }
    }
}

fn fresh(
    settings: &Settings,
    dataset: &Dataset,
    enough: &Enough,
    out: &Path,
    progress: &mut Watch,
) -> Result<FreshSummary> {
    settings.check()?;
    ensure!(!out.exists(), "{}: exists already; give another --out, or remove it", out.display());
    let started = Instant::now();
    let linear_settings = LinearSettings { threads: settings.threads };
    let model = linear::learn(&linear_settings, dataset)?;
    let linear = Classifier::linear(model.clone());
    let linear_evaluation = (!dataset.valid.is_empty()).then(|| evaluate(&linear, &dataset.valid)).transpose()?;

    let verdict = match too_little(dataset, enough) {
        Some(reason) => Verdict { network: None, is_better: false, reason },
        None => {
            let directory = network(settings, dataset, out, progress)?;
            Verdict::of(directory, &linear, settings, &dataset.valid)?
        }
    };
    let kind = if verdict.is_better { ModelKind::Bert } else { ModelKind::Linear };
    let network_evaluation = verdict.network.as_ref().map(|network| network.evaluation.clone());
    match &verdict.network {
        Some(Network { directory, .. }) if verdict.is_better => {
            fs::rename(directory, out)
                .with_context(|| format!("{}: cannot become {}", directory.display(), out.display()))?;
        }
        _ => linear::save(&model, &linear_settings, linear_evaluation.as_ref(), out)?,
    }
    Ok(FreshSummary {
        checkpoint: out.to_owned(),
        manifest_sha256: Manifest::sha256(out)?,
        kind: kind.to_string(),
        reason: verdict.reason,
        evaluation: if verdict.is_better { network_evaluation.clone() } else { linear_evaluation.clone() },
        linear: linear_evaluation,
        network: network_evaluation,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Why a network is not worth trying.
fn too_little(dataset: &Dataset, enough: &Enough) -> Option<String> {
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

/// Trains the network beside `out`. One that an earlier run with the same state has finished there is taken as it is.
fn network(settings: &Settings, dataset: &Dataset, out: &Path, progress: &mut Watch) -> Result<PathBuf> {
    let mut directory = OsString::from(out);
    directory.push(".bert");
    let directory = PathBuf::from(directory);
    let is_finished = settings.state.is_some() && Manifest::verify(&directory).is_ok();
    if !is_finished {
        fit(settings, dataset, &Base::NewBert, &directory, progress)?;
    }
    Ok(directory)
}

/// Which of both stays, and why.
struct Verdict {
    network: Option<Network>,
    is_better: bool,
    reason: String,
}

struct Network {
    directory: PathBuf,
    evaluation: Evaluation,
}

impl Verdict {
    fn of(directory: PathBuf, linear: &Classifier, settings: &Settings, valid: &[Example]) -> Result<Self> {
        let device: Device = settings.device.open()?;
        let network = Classifier::open(&directory, &device)?;
        let evaluation = evaluate(&network, valid)?;
        let paired = Paired::new(&right(&network, valid)?, &right(linear, valid)?, None);
        let is_better = paired.p_better < CHANCE;
        let lead = format!(
            "of {} validation texts, it alone has {} right and the linear model alone {} (p = {:.3})",
            valid.len(),
            paired.better,
            paired.worse,
            paired.p_better
        );
        let reason = if is_better {
            format!("the network is clearly better: {lead}")
        } else {
            format!("the network is not clearly better: {lead}; it stays in {}", directory.display())
        };
        Ok(Self { network: Some(Network { directory, evaluation }), is_better, reason })
    }
}

/// Which texts a classifier labels right.
fn right(classifier: &Classifier, examples: &[Example]) -> Result<Vec<bool>> {
    let texts: Vec<&str> = examples.iter().map(|example| example.text.as_str()).collect();
    let predictions = classifier.classify(&texts)?;
    Ok(predictions.iter().zip(examples).map(|(prediction, example)| prediction.best().0 == example.label).collect())
}

#[cfg(test)]
mod tests {
    use classifier::DeviceChoice;

    use super::*;

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
        let labels = ["good", "bad"].map(str::to_owned).to_vec();
        Dataset { labels, train: examples(0..256), valid: examples(256..300) }
    }

    fn settings() -> Settings {
        let usual = Settings::for_base(&Base::New);
        Settings {
            epochs: 4,
            learning_rate: 1e-3,
            token_masking: 0.0,
            threads: 2,
            save_limit: 0,
            device: DeviceChoice::Cpu,
            ..usual
        }
    }

    #[test]
    fn with_few_labels_the_linear_model_is_taken_and_the_reason_said() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        let watch: &mut Watch = &mut |_| panic!("a network was trained");
        let trained = train(&settings(), &dataset(), &Base::New, &out, watch).unwrap();
        let Trained::Fresh(summary) = &trained else { panic!("{trained:?}") };
        assert_eq!((summary.kind.as_str(), summary.network.is_none()), ("labelstream-linear", true));
        assert!(summary.reason.contains("256 training texts") && summary.reason.contains("5000"), "{}", summary.reason);
        assert_eq!(trained.evaluation().unwrap().accuracy, 1.0);
        assert_eq!(Manifest::sha256(trained.checkpoint()).unwrap(), trained.manifest_sha256());

        let unproven = Dataset { valid: examples(0..10), ..dataset() };
        let enough = Enough { to_learn: 100, to_compare: 20 };
        let summary = fresh(&settings(), &unproven, &enough, &directory.path().join("other"), watch).unwrap();
        assert!(summary.reason.contains("10 validation texts"), "{}", summary.reason);
    }

    #[test]
    fn a_network_that_is_no_better_than_the_linear_model_does_not_take_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        let enough = Enough { to_learn: 100, to_compare: 20 };
        let summary = fresh(&settings(), &dataset(), &enough, &out, &mut |_| Ok(())).unwrap();
        assert_eq!(summary.network.as_ref().unwrap().accuracy, 1.0, "{}", summary.reason);
        assert_eq!(summary.kind, "labelstream-linear");
        assert!(
            summary.reason.contains("not clearly better") && summary.reason.contains("out.bert"),
            "{}",
            summary.reason
        );
        let kind = |name: &str| Classifier::open(&directory.path().join(name), &Device::Cpu).unwrap().kind();
        assert_eq!((kind("out"), kind("out.bert")), (ModelKind::Linear, ModelKind::Bert));

        // Against a linear model that has everything wrong, the same network is clearly better.
        let mut wrong = dataset();
        wrong.train.iter_mut().for_each(|example| example.label = 1 - example.label);
        let wrong = Classifier::linear(linear::learn(&LinearSettings::default(), &wrong).unwrap());
        let verdict = Verdict::of(directory.path().join("out.bert"), &wrong, &settings(), &dataset().valid).unwrap();
        assert!(verdict.is_better && verdict.reason.contains("clearly better"), "{}", verdict.reason);
    }

    #[test]
    fn a_network_that_a_killed_run_has_finished_is_not_trained_again() {
        let directory = tempfile::tempdir().unwrap();
        let finished = directory.path().join("out.bert");
        let settings = Settings { epochs: 1, ..settings() };
        fit(&settings, &dataset(), &Base::NewBert, &finished, &mut |_| Ok(())).unwrap();
        let settings = Settings { state: Some(directory.path().join("state")), ..settings };
        let enough = Enough { to_learn: 100, to_compare: 20 };
        let watch: &mut Watch = &mut |_| panic!("it was trained again");
        let summary = fresh(&settings, &dataset(), &enough, &directory.path().join("out"), watch).unwrap();
        assert!(summary.network.is_some());
    }
}
