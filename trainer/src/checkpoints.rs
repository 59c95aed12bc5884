//! The checkpoints of a run: the best one, and the last few.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use classifier::checkpoint::{Checkpoint, Manifest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::metrics::Evaluation;
use crate::settings::Settings;

/// The best checkpoint is held in memory until it is written to `out`; each that was evaluated is written to
/// `out.checkpoints/step-N`, of which the last few stay, and the best.
pub(crate) struct Checkpoints {
    out: PathBuf,
    running: PathBuf,
    settings: Settings,
    /// Whether an earlier run was killed here.
    goes_on: bool,
    best: Option<Candidate>,
    kept: Kept,
}

/// Which checkpoints a run has made: what it must know of them to go on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The step of the best.
    pub best_step: Option<usize>,
    /// Evaluations since the best.
    pub since_best: usize,
    /// Steps of the checkpoints on disk, oldest first.
    pub saved: Vec<usize>,
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
    /// Refuses to begin where an earlier run has left something, unless this one goes on where that one was killed.
    pub(crate) fn new(out: &Path, settings: &Settings, goes_on: bool) -> Result<Self> {
        let mut running = OsString::from(out);
        running.push(".checkpoints");
        let running = PathBuf::from(running);
        for directory in [out, &running] {
            ensure!(
                goes_on || !directory.exists(),
                "{}: exists already; give another --out, or remove it",
                directory.display()
            );
        }
        if let Some(parent) = out.parent() {
            // Now, and not after hours of training, is the time to hear that nothing can be written there.
            fs::create_dir_all(parent).with_context(|| format!("{}: cannot be made", parent.display()))?;
        }
        Ok(Self {
            out: out.to_owned(),
            running,
            settings: settings.clone(),
            goes_on,
            best: None,
            kept: Kept::default(),
        })
    }

    /// Goes on with the checkpoints of a run that was killed; what it wrote after its state was kept is written again.
    pub(crate) fn resume(&mut self, kept: Kept, best: Option<(Evaluation, Checkpoint)>) -> Result<()> {
        if self.running.exists() {
            let names: Vec<OsString> = kept.saved.iter().map(|step| directory_name(*step).into()).collect();
            let failed = || format!("{}: cannot be tidied", self.running.display());
            for entry in fs::read_dir(&self.running).with_context(failed)? {
                let entry = entry.with_context(failed)?;
                let name = entry.file_name();
                let is_a_checkpoint = name.to_string_lossy().trim_start_matches('.').starts_with("step-");
                if is_a_checkpoint && !names.contains(&name) {
                    fs::remove_dir_all(entry.path()).with_context(failed)?;
                }
            }
        }
        self.best = best.zip(kept.best_step).map(|((evaluation, checkpoint), step)| Candidate {
            step,
            evaluation: Some(evaluation),
            checkpoint,
        });
        self.kept = kept;
        Ok(())
    }

    /// The checkpoints so far.
    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The best checkpoint so far.
    pub(crate) fn best(&self) -> Option<&Checkpoint> {
        self.best.as_ref().map(|best| &best.checkpoint)
    }

    /// Saves a checkpoint and says whether it is the best so far; the earlier of equals stays the best.
    pub(crate) fn offer(&mut self, step: usize, evaluation: &Evaluation, checkpoint: Checkpoint) -> Result<bool> {
        let best = self.best.as_ref().and_then(|best| best.evaluation.as_ref());
        let is_best = best.is_none_or(|best| self.settings.hyperparameters.best_by.is_better(evaluation, best));
        if self.settings.options.save_limit > 0 {
            fs::create_dir_all(&self.running).with_context(|| format!("{}: cannot be made", self.running.display()))?;
            checkpoint.save(&self.directory(step), self.manifest(step, Some(evaluation)))?;
            self.kept.saved.push(step);
        }
        self.kept.since_best += 1;
        if is_best {
            (self.kept.best_step, self.kept.since_best) = (Some(step), 0);
            self.best = Some(Candidate { step, evaluation: Some(evaluation.clone()), checkpoint });
        }
        self.remove_old()?;
        Ok(is_best)
    }

    /// Writes the best checkpoint, or `last` where none was evaluated.
    pub(crate) fn finish(mut self, step: usize, last: Checkpoint) -> Result<Finished> {
        let Candidate { step, evaluation, checkpoint } =
            self.best.take().unwrap_or(Candidate { step, evaluation: None, checkpoint: last });
        let manifest_sha256 = self.write(&checkpoint, self.manifest(step, evaluation.as_ref()))?;
        Ok(Finished { step, evaluation, manifest_sha256 })
    }

    fn write(&self, checkpoint: &Checkpoint, manifest: Map<String, Value>) -> Result<String> {
        if !(self.goes_on && self.out.exists()) {
            checkpoint.save(&self.out, manifest)?;
            return Ok(Manifest::sha256(&self.out)?);
        }
        // A run that was killed just after this has written it already: then they are the same bytes.
        let again = self.directory(0);
        checkpoint.save(&again, manifest)?;
        let manifest_sha256 = Manifest::sha256(&again)?;
        fs::remove_dir_all(&again).with_context(|| format!("{}: cannot be removed", again.display()))?;
        let is_ours = Manifest::sha256(&self.out)? == manifest_sha256;
        ensure!(is_ours, "{}: exists already, and is another checkpoint than this run's", self.out.display());
        Ok(manifest_sha256)
    }

    fn remove_old(&mut self) -> Result<()> {
        let best = self.kept.best_step;
        let surplus = self.kept.saved.len().saturating_sub(self.settings.options.save_limit);
        let (old, kept): (Vec<_>, Vec<_>) =
            self.kept.saved.iter().enumerate().partition(|(index, step)| *index < surplus && Some(**step) != best);
        for (_, step) in old {
            let directory = self.directory(*step);
            fs::remove_dir_all(&directory).with_context(|| format!("{}: cannot be removed", directory.display()))?;
        }
        self.kept.saved = kept.into_iter().map(|(_, step)| *step).collect();
        Ok(())
    }

    fn directory(&self, step: usize) -> PathBuf {
        self.running.join(directory_name(step))
    }

    /// What the manifest says besides the files.
    fn manifest(&self, step: usize, evaluation: Option<&Evaluation>) -> Map<String, Value> {
        let Value::Object(extra) =
            json!({ "step": step, "metrics": evaluation, "settings": self.settings.hyperparameters })
        else {
            unreachable!("an object literal is an object: anything else is a bug")
        };
        extra
    }
}

fn directory_name(step: usize) -> String {
    format!("step-{step}")
}
