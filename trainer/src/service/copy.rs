//! Several processes that train a network of a round: the service is the first, and the others are
//! copies of it, which find what to train in the round's directory.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::config::Config;
use crate::base::Base;
use crate::copies::{Copies, TOKEN, threads_of_each};
use crate::dataset::{Dataset, Example};
use crate::replica::Replica;

/// What is trained, as the copies read it.
#[derive(Serialize, Deserialize)]
struct Task {
    base: String,
    /// The base that its usual settings are those of.
    settings_of: String,
    classes: Vec<String>,
    train: Vec<(String, usize)>,
    valid: Vec<(String, usize)>,
}

/// The file of it in the round's directory.
const FILE: &str = "task.json";

/// Starts the copies of a service that trains with `count` processes; `None` where it is alone.
pub(super) fn start(
    count: usize,
    directory: &Path,
    dataset: &Dataset,
    base: &Base,
    settings_of: &Base,
) -> Result<Option<(Replica, Copies)>> {
    if count <= 1 {
        return Ok(None);
    }
    let pairs = |examples: &[Example]| examples.iter().map(|example| (example.text.clone(), example.label)).collect();
    let task = Task {
        base: base.to_string(),
        settings_of: settings_of.to_string(),
        classes: dataset.classes.clone(),
        train: pairs(&dataset.train),
        valid: pairs(&dataset.valid),
    };
    let file = directory.join(FILE);
    fs::write(&file, serde_json::to_vec(&task)?).with_context(|| file.display().to_string())?;
    let variables = [("LABELSTREAM_COPY_OF", directory.display().to_string())];
    Copies::start(count, &variables).map(Some)
}

/// The work of a copy: it gives its share of the gradients, and ends with the training.
///
/// # Errors
/// What is wrong with the task, or a service that has gone.
pub(super) fn follow(config: &Config) -> Result<()> {
    let directory = config.copy_of.as_ref().context("this process is no copy: a bug")?;
    let file = directory.join(FILE);
    let task: Task = serde_json::from_slice(&fs::read(&file).with_context(|| file.display().to_string())?)
        .with_context(|| file.display().to_string())?;
    let examples =
        |pairs: Vec<(String, usize)>| pairs.into_iter().map(|(text, label)| Example { text, label }).collect();
    let dataset =
        Dataset { classes: task.classes, train: examples(task.train), valid: examples(task.valid), lessons: None };
    let [Ok(base), Ok(settings_of)] = [task.base, task.settings_of].map(|base| base.parse::<Base>());
    let mut settings = config.settings(&settings_of);
    settings.options.threads = threads_of_each(settings.options.threads, config.data_parallel);
    settings.options.replica = Some(place()?);
    tracing::info!(rank = settings.options.replica.as_ref().map_or(0, |place| place.rank), "a copy trains too");
    crate::fit::follow(&settings, &dataset, &base)
}

/// The place of a copy, as [`Copies::start`] told it.
fn place() -> Result<Replica> {
    let told = |name: &str| std::env::var(name).with_context(|| format!("{name} says nothing to a copy"));
    let rank = told("RANK")?.parse()?;
    let address = format!("{}:{}", told("MASTER_ADDR")?, told("MASTER_PORT")?);
    Ok(Replica { rank, count: told("WORLD_SIZE")?.parse()?, address, local_rank: rank, token: told(TOKEN)?.into() })
}
