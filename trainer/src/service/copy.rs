//! Several processes that train a network of a round: the service is the first, and the others are
//! copies of it, which find what to train in the round's directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::config::Config;
use crate::base::Base;
use crate::copies::{Copies, TOKEN};
use crate::dataset::{Dataset, Example};
use crate::replica::Replica;

/// Where a copy stands, as the service tells it in the environment.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct CopyFlags {
    /// The round's directory; a person never gives it
    #[arg(long, env = "LABELSTREAM_COPY_OF", hide = true)]
    copy_of: Option<PathBuf>,

    /// Number of this process
    #[arg(long, env = "RANK", hide = true)]
    rank: Option<usize>,

    /// Number of processes
    #[arg(long, env = "WORLD_SIZE", hide = true)]
    world_size: Option<usize>,

    /// Port on which the first process waits
    // A text until it is needed: see `train`.
    #[arg(long, env = "MASTER_PORT", hide = true, default_value = "29500")]
    master_port: String,
}

impl CopyFlags {
    /// Whether this process is a copy.
    pub(super) fn is_one(&self) -> bool {
        self.copy_of.is_some()
    }
}

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
    let CopyFlags { copy_of: Some(directory), rank: Some(rank), world_size: Some(count), master_port } = &config.copy
    else {
        bail!("a copy knows its round, its number and how many they are")
    };
    let file = directory.join(FILE);
    let task: Task = serde_json::from_slice(&fs::read(&file).with_context(|| file.display().to_string())?)
        .with_context(|| file.display().to_string())?;
    let examples =
        |pairs: Vec<(String, usize)>| pairs.into_iter().map(|(text, label)| Example { text, label }).collect();
    let dataset = Dataset { classes: task.classes, train: examples(task.train), valid: examples(task.valid) };
    let [Ok(base), Ok(settings_of)] = [task.base, task.settings_of].map(|base| base.parse::<Base>());
    let mut settings = config.settings(&settings_of);
    settings.options.threads = config.threads_of_each(settings.options.threads);
    let token = std::env::var(TOKEN).unwrap_or_default().into();
    let address = format!("127.0.0.1:{master_port}");
    settings.options.replica = Some(Replica { rank: *rank, count: *count, address, local_rank: *rank, token });
    crate::fit::follow(&settings, &dataset, &base)
}
