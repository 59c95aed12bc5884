//! What a run needs to go on after it was killed, kept in a directory.
//!
//! `state.json` says how far the run is and names the files with the tensors, which are written
//! before it and never changed. It is replaced by one rename, so a run killed at any moment finds
//! the old state or the new one, whole.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bert::Parameters;
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::checkpoints::Kept;
use crate::fingerprint::Fingerprint;
use crate::settings::Settings;
use crate::start::Start;

/// The state of a run in its directory; nothing where the settings name none.
pub(crate) struct SavedState(Option<Directory>);

struct Directory {
    path: PathBuf,
    run: Fingerprint,
}

/// How far a run was when its state was written.
pub(crate) struct Position {
    /// Steps taken.
    pub step: usize,
    /// Loss of the epoch's texts so far.
    pub losses: EpochLoss,
    /// The checkpoints of the run.
    pub kept: Kept,
    /// What the next step depends on.
    pub training: HashMap<String, Tensor>,
    /// The weights of the best checkpoint.
    pub best: Option<Parameters>,
}

/// The loss of an epoch's texts as they were learned from.
#[derive(Clone, Copy, Default)]
pub(crate) struct EpochLoss {
    sum: f64,
    texts: usize,
}

impl EpochLoss {
    /// Takes in the mean loss of a step's texts.
    pub(crate) fn add(&mut self, loss: f64, texts: usize) {
        self.sum += loss * texts as f64;
        self.texts += texts;
    }

    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.texts as f64
    }
}

/// The content of `state.json`. Numbers that are not whole stand with the tensors: JSON would round
/// them.
#[derive(Serialize, Deserialize)]
struct Index {
    step: usize,
    epoch_texts: usize,
    tensors: String,
    best: Option<String>,
    kept: Kept,
    run: Fingerprint,
}

const INDEX: &str = "state.json";
const LOSSES: &str = "epoch loss";

impl SavedState {
    pub(crate) fn new(settings: &Settings, start: &Start) -> Result<Self> {
        let directory = settings.options.state.as_deref().map(|path| {
            fs::create_dir_all(path).with_context(|| format!("{}: cannot be made", path.display()))?;
            anyhow::Ok(Directory { path: path.to_owned(), run: Fingerprint::new(&settings.hyperparameters, start)? })
        });
        Ok(Self(directory.transpose()?))
    }

    /// Whether a run has left its state there.
    pub(crate) fn is_in(directory: &Path) -> bool {
        directory.join(INDEX).exists()
    }

    /// The state that was left there; `None` where there is none.
    ///
    /// # Errors
    /// A state of another run: other hyper-parameters, other texts, another base.
    pub(crate) fn open(&self) -> Result<Option<Position>> {
        self.0.as_ref().map_or(Ok(None), Directory::open)
    }

    /// Replaces the state.
    pub(crate) fn save(&self, position: &Position) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), |directory| directory.save(position))
    }

    /// Removes the state of a run that has ended.
    pub(crate) fn remove(&self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), Directory::remove)
    }
}

impl Directory {
    fn open(&self) -> Result<Option<Position>> {
        if !SavedState::is_in(&self.path) {
            return Ok(None);
        }
        let file = self.path.join(INDEX);
        let failed = || format!("{}: cannot be read", file.display());
        let index: Index = serde_json::from_slice(&fs::read(&file).with_context(failed)?).with_context(failed)?;
        if let Some(difference) = self.run.difference(&index.run) {
            bail!(
                "{} is the state of another run: {difference}; remove it to begin anew, or name another directory",
                self.path.display()
            );
        }
        let mut training = self.read(&index.tensors)?;
        let losses = training.remove(LOSSES).context("the training state has no loss")?.to_scalar()?;
        let best =
            index.best.map(|name| anyhow::Ok(Parameters::new(self.read(&name)?.into_iter().collect()))).transpose()?;
        let losses = EpochLoss { sum: losses, texts: index.epoch_texts };
        Ok(Some(Position { step: index.step, losses, kept: index.kept, training, best }))
    }

    fn save(&self, position: &Position) -> Result<()> {
        let tensors = format!("step-{}.safetensors", position.step);
        let mut all = position.training.clone();
        all.insert(LOSSES.to_owned(), Tensor::new(position.losses.sum, &Device::Cpu)?);
        self.write(&tensors, &all)?;
        let best = position.kept.best_step.map(|step| format!("best-{step}.safetensors"));
        if let (Some(name), Some(parameters)) = (&best, &position.best)
            && !self.path.join(name).exists()
        {
            let tensors = parameters.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone()));
            self.write(name, &tensors.collect())?;
        }
        let kept = position.kept.clone();
        let index = Index {
            step: position.step,
            epoch_texts: position.losses.texts,
            tensors,
            best,
            kept,
            run: self.run.clone(),
        };
        let text = serde_json::to_vec_pretty(&index)?;
        self.replace(INDEX, |file| Ok(fs::write(file, &text)?))?;
        self.remove_all_but(&[Some(INDEX), Some(&index.tensors), index.best.as_deref()])
    }

    fn remove(&self) -> Result<()> {
        let index = self.path.join(INDEX);
        if index.exists() {
            fs::remove_file(&index).with_context(|| format!("{}: cannot be removed", index.display()))?;
        }
        self.remove_all_but(&[])
    }

    fn read(&self, name: &str) -> Result<HashMap<String, Tensor>> {
        let file = self.path.join(name);
        candle_core::safetensors::load(&file, &Device::Cpu)
            .with_context(|| format!("{}: cannot be read", file.display()))
    }

    fn write(&self, name: &str, tensors: &HashMap<String, Tensor>) -> Result<()> {
        self.replace(name, |file| Ok(candle_core::safetensors::save(tensors, file)?))
    }

    /// A file appears whole or not at all: it is written under another name, synced, and renamed.
    fn replace(&self, name: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let (file, partial) = (self.path.join(name), self.path.join(format!("{name}.partial")));
        let replace = || {
            write(&partial)?;
            File::open(&partial)?.sync_all()?;
            fs::rename(&partial, &file)?;
            anyhow::Ok(File::open(&self.path)?.sync_all()?)
        };
        replace().with_context(|| format!("{}: cannot be written", file.display()))
    }

    /// Removes files of earlier states; only names that this file gives, whatever else lies there.
    fn remove_all_but(&self, names: &[Option<&str>]) -> Result<()> {
        let failed = || format!("{}: cannot be tidied", self.path.display());
        for entry in fs::read_dir(&self.path).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let is_ours = (name.starts_with("step-") || name.starts_with("best-")) && name.contains(".safetensors");
            if is_ours && !names.contains(&Some(name)) {
                fs::remove_file(entry.path()).with_context(failed)?;
            }
        }
        Ok(())
    }
}
