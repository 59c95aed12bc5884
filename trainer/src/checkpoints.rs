//! The checkpoints of a run: the best one, and the last few.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use classifier::checkpoint::{Checkpoint, Manifest};
use serde_json::{Map, Value, json};

use crate::metrics::Evaluation;
use crate::settings::{BestBy, Settings};

/// The best checkpoint is held in memory until it is written to `out`; each that was evaluated is written to
/// `out.checkpoints/step-N`, of which the last few stay, and the best.
pub(crate) struct Checkpoints {
    out: PathBuf,
    running: PathBuf,
    settings: Settings,
    best: Option<Candidate>,
    /// Steps of the checkpoints on disk, oldest first.
    saved: Vec<usize>,
}

struct Candidate {
    step: usize,
    evaluation: Option<Evaluation>,
    checkpoint: Checkpoint,
}

/// The checkpoint that a run ended with.
pub(crate) struct Finished {
    pub step: usize,
    pub evaluation: Option<Evaluation>,
    pub manifest_sha256: String,
}

impl Checkpoints {
    /// Refuses to begin where an earlier run has left something.
    pub(crate) fn new(out: &Path, settings: &Settings) -> Result<Self> {
        let mut running = OsString::from(out);
        running.push(".checkpoints");
        let running = PathBuf::from(running);
        for directory in [out, &running] {
            ensure!(!directory.exists(), "{}: exists already; give another --out, or remove it", directory.display());
        }
        if let Some(parent) = out.parent() {
            // Now, and not after hours of training, is the time to hear that nothing can be written there.
            fs::create_dir_all(parent).with_context(|| format!("{}: cannot be made", parent.display()))?;
        }
        Ok(Self { out: out.to_owned(), running, settings: settings.clone(), best: None, saved: Vec::new() })
    }

    /// Saves a checkpoint and says whether it is the best so far; the earlier of equals stays the best.
    pub(crate) fn offer(&mut self, step: usize, evaluation: &Evaluation, checkpoint: Checkpoint) -> Result<bool> {
        let score = |evaluation: &Evaluation| match self.settings.best_by {
            BestBy::Accuracy => evaluation.accuracy,
            BestBy::MacroF1 => evaluation.macro_f1,
        };
        let best_so_far = self.best.as_ref().and_then(|best| best.evaluation.as_ref()).map(score);
        let is_best = best_so_far.is_none_or(|best| score(evaluation) > best);
        if self.settings.save_limit > 0 {
            fs::create_dir_all(&self.running).with_context(|| format!("{}: cannot be made", self.running.display()))?;
            checkpoint.save(&self.directory(step), self.manifest(step, Some(evaluation)))?;
            self.saved.push(step);
        }
        if is_best {
            self.best = Some(Candidate { step, evaluation: Some(evaluation.clone()), checkpoint });
        }
        self.remove_old()?;
        Ok(is_best)
    }

    /// Writes the best checkpoint, or `last` where none was evaluated.
    pub(crate) fn finish(mut self, step: usize, last: Checkpoint) -> Result<Finished> {
        let Candidate { step, evaluation, checkpoint } =
            self.best.take().unwrap_or(Candidate { step, evaluation: None, checkpoint: last });
        checkpoint.save(&self.out, self.manifest(step, evaluation.as_ref()))?;
        let manifest_sha256 = Manifest::sha256(&self.out)?;
        Ok(Finished { step, evaluation, manifest_sha256 })
    }

    fn remove_old(&mut self) -> Result<()> {
        let best = self.best.as_ref().map(|best| best.step);
        let surplus = self.saved.len().saturating_sub(self.settings.save_limit);
        let (old, kept): (Vec<_>, Vec<_>) =
            self.saved.iter().enumerate().partition(|(index, step)| *index < surplus && Some(**step) != best);
        for (_, step) in old {
            let directory = self.directory(*step);
            fs::remove_dir_all(&directory).with_context(|| format!("{}: cannot be removed", directory.display()))?;
        }
        self.saved = kept.into_iter().map(|(_, step)| *step).collect();
        Ok(())
    }

    fn directory(&self, step: usize) -> PathBuf {
        self.running.join(format!("step-{step}"))
    }

    /// What the manifest says besides the files.
    fn manifest(&self, step: usize, evaluation: Option<&Evaluation>) -> Map<String, Value> {
        let Value::Object(extra) = json!({ "step": step, "metrics": evaluation, "settings": self.settings }) else {
            unreachable!("an object literal is an object: anything else is a bug")
        };
        extra
    }
}
