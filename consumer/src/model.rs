//! What the inference thread needs of a model.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use classifier::{CheckpointError, Classes, Classifier, Device, Precision, Prediction, TooLong, Truncation};
use store::Version;

use crate::batch::estimate_tokens;

/// Something that labels texts. The consumer serves a [`Classifier`]; benchmarks serve a
/// [`Constant`].
pub trait Model: Send {
    /// The class names, in the order of the scores.
    fn classes(&self) -> &Classes;

    /// The number of tokens a text is truncated to.
    fn max_length(&self) -> usize;

    /// The registered version, written beside every prediction.
    fn version(&self) -> Version;

    /// What it computes with, written beside every prediction: `f32`, `bf16` or `int8`.
    fn precision(&self) -> &'static str {
        "f32"
    }

    /// One prediction a text, in order. May fail or panic: the inference thread bisects what it
    /// cannot label.
    ///
    /// # Errors
    /// Whatever kept the model from an answer.
    fn classify(&mut self, texts: &[&str]) -> Result<Vec<Prediction>>;

    /// Answers people who wait, in order: the probabilities of each text, or with `raw` what they
    /// are the softmax of, which of a model that has nothing of the kind is their logarithm.
    ///
    /// # Errors
    /// As [`classify`](Self::classify).
    fn answer(&mut self, texts: &[(&str, Truncation)], raw: bool) -> Result<Vec<Scores>> {
        let most = self.max_length();
        let checked = texts.iter().map(|(text, truncation)| {
            let tokens = estimate_tokens(text, usize::MAX);
            let refused = *truncation == Truncation::Refused && tokens > most;
            if refused { Err(TooLong { tokens, and_more: false }) } else { Ok(*text) }
        });
        let checked: Vec<_> = checked.collect();
        let read: Vec<&str> = checked.iter().flatten().copied().collect();
        let predictions = if read.is_empty() { Vec::new() } else { self.classify(&read)? };
        ensure!(predictions.len() == read.len(), "{} predictions for {} texts", predictions.len(), read.len());
        let scores = |Prediction { scores }| if raw { scores.into_iter().map(f32::ln).collect() } else { scores };
        let mut scores = predictions.into_iter().map(scores);
        Ok(checked.into_iter().map(|text| text.map(|_| scores.next().unwrap_or_default())).collect())
    }

    /// What makes token ids of texts ahead of the forward pass, on another thread; `None`: the
    /// model takes texts only.
    fn encoder(&self) -> Option<Encoder> {
        None
    }

    /// As [`classify`](Self::classify) for token ids that this model's encoder made.
    ///
    /// # Errors
    /// The same; a model without an encoder.
    fn classify_tokens(&mut self, _ids: &[Vec<u32>]) -> Result<Vec<Prediction>> {
        bail!("this model takes texts, not token ids")
    }

    /// The same version on the CPU, for when the device has died; `None`: it runs there already.
    fn on_cpu(&self) -> Option<Result<Box<dyn Model>>> {
        None
    }

    /// A forward pass over a fixed text: does the model work at all?
    ///
    /// # Errors
    /// Whatever kept the model from an answer.
    fn canary(&mut self) -> Result<()> {
        self.classify(&["很快，好吃"]).map(drop)
    }
}

/// What the model says of a text, unless it is too long and not to be truncated.
pub type Scores = Result<Vec<f32>, TooLong>;

/// What serves, for those who ask.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub version: Version,
    pub classes: Classes,
    pub max_length: usize,
    pub precision: &'static str,
}

impl Facts {
    pub fn of(model: &dyn Model) -> Self {
        Self {
            version: model.version(),
            classes: model.classes().clone(),
            max_length: model.max_length(),
            precision: model.precision(),
        }
    }
}

/// Makes the token ids that one model takes.
pub type Encoder = Arc<dyn Fn(&[&str]) -> Result<Vec<Vec<u32>>> + Send + Sync>;

/// Where the consumer takes its model from.
pub enum ModelSource {
    /// The champion of the registry; waits while there is none.
    Registry,
    /// A model that the caller makes, on the thread that will own it.
    Fixed(Box<dyn FnOnce() -> Result<Box<dyn Model>> + Send>),
}

impl ModelSource {
    /// The model that `make` makes.
    pub fn fixed<M: Model + 'static>(make: impl FnOnce() -> Result<M> + Send + 'static) -> Self {
        Self::Fixed(Box::new(|| Ok(Box::new(make()?))))
    }
}

/// A registered checkpoint in memory.
pub(crate) struct Champion {
    classifier: Classifier,
    version: Version,
    /// Where it was opened, if it does not run on the CPU.
    away: Option<PathBuf>,
}

impl Champion {
    /// Opens a checkpoint directory as the version that it is registered as.
    pub fn open(
        directory: &Path,
        version: Version,
        device: &Device,
        precision: Option<Precision>,
    ) -> Result<Self, CheckpointError> {
        let classifier = Classifier::open_with(directory, device, precision)?;
        Ok(Self { classifier, version, away: (!device.is_cpu()).then(|| directory.to_owned()) })
    }
}

impl Model for Champion {
    fn classes(&self) -> &Classes {
        self.classifier.classes()
    }

    fn max_length(&self) -> usize {
        self.classifier.max_length()
    }

    fn version(&self) -> Version {
        self.version
    }

    fn precision(&self) -> &'static str {
        self.classifier.precision().name()
    }

    fn classify(&mut self, texts: &[&str]) -> Result<Vec<Prediction>> {
        Ok(self.classifier.classify(texts)?)
    }

    fn answer(&mut self, texts: &[(&str, Truncation)], raw: bool) -> Result<Vec<Scores>> {
        let scores = |logits: Vec<f32>| if raw { logits } else { Prediction::from_logits(&logits).scores };
        Ok(self.classifier.logits(texts)?.into_iter().map(|logits| logits.map(scores)).collect())
    }

    fn encoder(&self) -> Option<Encoder> {
        let encoder = self.classifier.encoder()?;
        Some(Arc::new(move |texts: &[&str]| Ok(encoder.encode(texts)?)))
    }

    fn classify_tokens(&mut self, ids: &[Vec<u32>]) -> Result<Vec<Prediction>> {
        Ok(self.classifier.classify_tokens(ids)?)
    }

    fn on_cpu(&self) -> Option<Result<Box<dyn Model>>> {
        let directory = self.away.as_ref()?;
        let opened = Self::open(directory, self.version, &Device::Cpu, None);
        Some(opened.map(|model| Box::new(model) as Box<dyn Model>).map_err(Into::into))
    }

    fn canary(&mut self) -> Result<()> {
        Ok(self.classifier.canary()?)
    }
}

/// A model that says the same of every text, for measuring everything around the model.
pub struct Constant {
    classes: Classes,
    version: Version,
}

impl Constant {
    /// A model over the classes `negative` and `positive` that finds every text positive with
    /// probability 0.75.
    pub fn new(version: Version) -> Self {
        let classes = Classes::new(["negative", "positive"]);
        Self { classes, version }
    }
}

impl Model for Constant {
    fn classes(&self) -> &Classes {
        &self.classes
    }

    fn max_length(&self) -> usize {
        512
    }

    fn version(&self) -> Version {
        self.version
    }

    fn classify(&mut self, texts: &[&str]) -> Result<Vec<Prediction>> {
        let scores = vec![0.25, 0.75];
        Ok(vec![Prediction { scores }; texts.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_of_any_kind_goes_on_on_the_cpu_when_its_device_has_died() {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for fixture in ["bert/tests/fixtures/electra", "classifier/tests/composed/modernbert"] {
            let directory = home.join(fixture);
            let mut there = Champion::open(&directory, Version(7), &Device::Cpu, None).unwrap();
            assert!(there.on_cpu().is_none(), "{fixture}: it runs there already");
            // As if it ran elsewhere: no test machine has a device that dies.
            there.away = Some(directory);
            let mut here = there.on_cpu().unwrap().unwrap();
            here.canary().unwrap();
            let texts = ["很快，好吃", "a slow and cold meal"];
            assert_eq!(here.classify(&texts).unwrap(), there.classify(&texts).unwrap(), "{fixture}");
            assert_eq!((here.version(), here.precision()), (Version(7), "f32"));
        }
    }
}
