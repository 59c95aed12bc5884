//! What tells one run from another.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::hyperparameters::Hyperparameters;
use crate::start::Start;

/// Two runs with equal fingerprints take the same steps, up to the rounding of sums over another
/// number of threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    /// To say which differ.
    hyperparameters: Value,
    /// SHA-256 of the tokenized texts and their classes.
    texts: String,
    /// SHA-256 of the model before its first step.
    base: String,
}

impl Fingerprint {
    pub(crate) fn new(hyperparameters: &Hyperparameters, start: &Start) -> Result<Self> {
        let mut texts = Sha256::new();
        for samples in [&start.train, &start.valid] {
            texts.update((samples.len() as u64).to_le_bytes());
            for sample in samples {
                texts.update(sample.label.to_le_bytes());
                texts.update((sample.ids.len() as u64).to_le_bytes());
                sample.ids.iter().for_each(|id| texts.update(id.to_le_bytes()));
                let said = sample.taught.iter().flat_map(|taught| &taught.logits);
                said.for_each(|logit| texts.update(logit.to_le_bytes()));
            }
        }
        let mut base = Sha256::new();
        base.update(start.checkpoint.config.to_json());
        for (name, tensor) in start.checkpoint.parameters.iter() {
            base.update(name);
            let bytes: Vec<u8> =
                tensor.flatten_all()?.to_vec1::<f32>()?.iter().flat_map(|value| value.to_le_bytes()).collect();
            base.update(&bytes);
        }
        Ok(Self {
            // Through text, so that numbers are rounded as those that are read again.
            hyperparameters: serde_json::from_str(&serde_json::to_string(hyperparameters)?)?,
            texts: hex::encode(texts.finalize()),
            base: hex::encode(base.finalize()),
        })
    }

    /// The fingerprint as one word.
    pub(crate) fn digest(&self) -> String {
        hex::encode(Sha256::digest(format!("{} {} {}", self.hyperparameters, self.texts, self.base)))
    }

    /// In what another run differs, if it does.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        if self == other {
            return None;
        }
        let empty = serde_json::Map::new();
        let fields = |value: &Value| value.as_object().unwrap_or(&empty).clone();
        let (ours, theirs) = (fields(&self.hyperparameters), fields(&other.hyperparameters));
        let differs = ours.iter().find(|(name, value)| theirs.get(*name) != Some(value));
        Some(match differs {
            Some((name, value)) => {
                let theirs = theirs.get(name).unwrap_or(&Value::Null);
                format!("its {} is {theirs}, not {value}", name.replace('_', "-"))
            }
            None if self.texts != other.texts => "it learns from other texts".to_owned(),
            None => "it starts from another base".to_owned(),
        })
    }
}
