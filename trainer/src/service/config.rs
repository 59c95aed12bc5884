//! Everything that the trainer service can be told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, ensure};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use service::duration::seconds;
use service::http::AccessArguments;
use service::{CheckpointArguments, DatabaseArguments, directories};
use sha2::{Digest, Sha256};

use super::triggers::{Schedule, Triggers};
use crate::base::Base;
use crate::class_names::{ClassNames, class_names};
use crate::flags::TrainingFlags;
use crate::gate::Policy;
use crate::metrics::BestBy;
use crate::round_dataset::Split;
use crate::settings::Settings;

/// Everything that can be set. Each flag has an environment variable; secrets belong there or in a
/// file, not on the command line.
#[derive(Clone, clap::Parser)]
#[command(name = "trainer", version, about = "labelstream's trainer: labels into a better champion", long_about = None)]
pub struct Config {
    /// Where Postgres is.
    #[command(flatten)]
    pub database: DatabaseArguments,

    /// Where checkpoints are kept.
    #[command(flatten)]
    pub checkpoints: CheckpointArguments,

    /// Checkpoint directory to fine-tune from, or `new`, `new-linear` or `new-bert` to learn from
    /// the labels alone
    #[arg(long, env = "LABELSTREAM_BASE", default_value = "new", value_name = "DIR")]
    pub base: Base,

    /// Directory of a pretrained encoder in the HuggingFace layout, such as bge-small-zh, for the
    /// base `new`: with few labels a linear model learns from it and from the stored reviews; from
    /// 2000 training texts on it is fine-tuned too
    #[arg(long, env = "LABELSTREAM_ENCODER", value_name = "DIR")]
    pub encoder: Option<PathBuf>,

    /// Tune the encoder on the labels of each round first, which takes a minute or two; taken if it
    /// is no worse on the validation texts
    #[arg(long, env = "LABELSTREAM_TUNE")]
    pub tune: bool,

    /// What a round starts from: the champion (the base if there is none, or it is linear or
    /// candle-transformers computes it), or always the base
    #[arg(long, env = "LABELSTREAM_FROM", value_enum, default_value_t = From::Champion)]
    pub from: From,

    /// Classes of a new base, separated by commas (a name with a comma in quotes); needed to learn
    /// classes that the champion does not have
    #[arg(long, alias = "labels", env = "LABELSTREAM_CLASSES", value_parser = class_names, value_name = "CLASSES")]
    pub classes: Option<ClassNames>,

    /// Number of new labels that starts a round; 0: labels alone start none
    #[arg(long, env = "LABELSTREAM_MIN_NEW_LABELS", default_value_t = 100)]
    pub min_new_labels: i64,

    /// Cron expression (minute, hour, day, month, day of the week) of the times at which a round
    /// starts if there is a new label
    #[arg(long, env = "LABELSTREAM_SCHEDULE", value_name = "CRON")]
    pub schedule: Option<Schedule>,

    /// Start a round when the stream has changed, as `labelstream drift` shows it, and there is a
    /// new label; on a stream that does not change, less than once in a hundred days
    #[arg(long, env = "LABELSTREAM_ON_DRIFT")]
    pub on_drift: bool,

    /// Time zone of the schedule, such as Asia/Shanghai
    #[arg(long, env = "LABELSTREAM_TIME_ZONE", default_value = "UTC")]
    pub time_zone: Tz,

    /// Run one round if there is a new label, then exit: for cron and Kubernetes CronJobs
    #[arg(long, env = "LABELSTREAM_ONCE")]
    pub once: bool,

    /// Seconds to wait after a failed round before the next one starts by itself
    #[arg(long, env = "LABELSTREAM_RETRY_AFTER", default_value = "600", value_parser = seconds, value_name = "SECONDS")]
    pub retry_after: Duration,

    /// Share of the labeled texts held out to compare models, chosen by a hash of the text
    #[arg(long, env = "LABELSTREAM_HELD_OUT", default_value_t = 0.2)]
    pub held_out: f64,

    /// Share of the other texts for validation, which chooses the best step, and the network or the
    /// linear model
    #[arg(long, env = "LABELSTREAM_VALID", default_value_t = 0.1)]
    pub valid: f64,

    /// Labeled texts that a class needs before a model learns it
    #[arg(long, env = "LABELSTREAM_MIN_PER_CLASS", default_value_t = 10)]
    pub min_per_class: usize,

    /// Held-out texts that the gate needs to accept a candidate
    #[arg(long, env = "LABELSTREAM_MIN_HELD_OUT", default_value_t = Policy::default().min_held_out)]
    pub min_held_out: usize,

    /// Held-out texts of each class that the gate needs
    #[arg(long, env = "LABELSTREAM_MIN_HELD_OUT_PER_CLASS", default_value_t = Policy::default().min_held_out_per_class)]
    pub min_held_out_per_class: usize,

    /// Highest p-value at which the gate takes a candidate for better than the champion
    #[arg(long, env = "LABELSTREAM_SIGNIFICANCE", default_value_t = Policy::default().significance)]
    pub significance: f64,

    /// Figure by which the gate compares candidate and champion: accuracy, macro-f1 or mcc; or f1,
    /// precision or recall of one class, as in recall:CLASS
    #[arg(long, env = "LABELSTREAM_GATE_BY", value_name = "METRIC", default_value_t = BestBy::default())]
    pub gate_by: BestBy,

    /// Also accept a candidate whose accuracy is shown to be less than this below that of the
    /// champion
    #[arg(long, env = "LABELSTREAM_MARGIN")]
    pub margin: Option<f64>,

    /// Lowest recall that a candidate may have on any class
    #[arg(long, env = "LABELSTREAM_MIN_RECALL", default_value_t = Policy::default().min_recall)]
    pub min_recall: f64,

    /// Lowest recall on one class, as CLASS=SHARE; may be given several times
    #[arg(long, env = "LABELSTREAM_CLASS_RECALL", value_parser = class_recalls, value_name = "CLASS=SHARE")]
    pub class_recall: Vec<ClassRecalls>,

    /// Most milliseconds that a candidate may take for a text, in batches on this machine
    #[arg(long, env = "LABELSTREAM_MAX_TEXT_MS", default_value_t = Policy::default().max_milliseconds_per_text)]
    pub max_text_ms: f64,

    /// File of golden texts (text, label; CSV or JSON lines): a candidate must label all of them
    /// right
    #[arg(long, env = "LABELSTREAM_GOLDEN", value_name = "FILE")]
    pub golden: Option<PathBuf>,

    /// Let a candidate that passes score this share of the stream beside the champion first, and
    /// leave it to a person to promote it [default: it is promoted at once]
    #[arg(long, env = "LABELSTREAM_SHADOW_FIRST", value_parser = service::share, value_name = "SHARE")]
    pub shadow_first: Option<f64>,

    /// How to train.
    #[command(flatten)]
    pub training: TrainingFlags,

    /// Processes that train a network together on this machine, each with its share of every batch
    /// and of the threads, or with a GPU of its own
    #[arg(long, env = "LABELSTREAM_DATA_PARALLEL", value_name = "N", default_value_t = 1)]
    pub data_parallel: usize,

    /// Directory for event files that TensorBoard opens, one directory a round
    #[arg(long, env = "LABELSTREAM_TENSORBOARD", value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,

    /// The directory of the round whose training this process is a copy for; a person never gives it
    #[arg(long, env = "LABELSTREAM_COPY_OF", hide = true)]
    pub copy_of: Option<PathBuf>,

    /// Training steps between two writings of the state, from which a killed round resumes
    #[arg(long, env = "LABELSTREAM_SAVE_STEPS", default_value_t = 200)]
    pub save_steps: usize,

    /// Niceness of the training threads, 0 to 19; the higher, the more they leave to others, such
    /// as a consumer on this machine
    #[arg(long, env = "LABELSTREAM_NICENESS", default_value_t = 10, value_parser = clap::value_parser!(i32).range(0..=19))]
    pub niceness: i32,

    /// Earlier champions to keep the checkpoints of
    #[arg(long, env = "LABELSTREAM_KEEP_CHECKPOINTS", default_value_t = 5)]
    pub keep_checkpoints: u32,

    /// Seconds for which a checkpoint is kept after its registration, and after a consumer last
    /// used it
    #[arg(long, env = "LABELSTREAM_KEEP_FOR", default_value = "3600", value_parser = seconds, value_name = "SECONDS")]
    pub keep_for: Duration,

    /// Directory for the state of a running round, from which it resumes after a crash, and for
    /// fetched checkpoints [default: labelstream/trainer in the user's cache directory]
    #[arg(long, env = "LABELSTREAM_WORK", value_name = "DIRECTORY")]
    pub work: Option<PathBuf>,

    /// Seconds without a sign of life after which another trainer takes over a round
    #[arg(long, env = "LABELSTREAM_LEASE", default_value = "60", value_parser = seconds, value_name = "SECONDS")]
    pub lease: Duration,

    /// Seconds between two checks for new labels
    #[arg(long, env = "LABELSTREAM_POLL", default_value = "2", value_parser = seconds, value_name = "SECONDS")]
    pub poll: Duration,

    /// Address to serve health, metrics and labels on
    #[arg(long, env = "LABELSTREAM_HTTP", default_value = "127.0.0.1:9101", value_name = "ADDRESS")]
    pub http: SocketAddr,

    /// Who may ask over HTTP.
    #[command(flatten)]
    pub access: AccessArguments,
}

/// What a round starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// The version that serves.
    Champion,
    /// The base.
    Base,
}

/// A class and the share of it that a candidate must find.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassRecall {
    /// Its name.
    pub class: String,
    /// The share.
    pub share: f64,
}

/// Those that one flag gives.
pub type ClassRecalls = Vec<ClassRecall>;

/// Separated by commas; one whose class has a comma in its name stands in quotes.
fn class_recalls(flag: &str) -> Result<ClassRecalls> {
    let floors = rows::fields(flag, "--class-recall")?;
    floors.iter().map(|floor| floor.trim().parse().map_err(anyhow::Error::msg)).collect()
}

impl FromStr for ClassRecall {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (class, share) = text.rsplit_once('=').ok_or("expected CLASS=SHARE")?;
        let share = share.trim().parse::<f64>().map_err(|error| error.to_string())?;
        Ok(Self { class: class.trim().to_owned(), share })
    }
}

impl Default for Config {
    /// The defaults of the command line. Database and checkpoint store are empty: they are for the
    /// caller to say.
    fn default() -> Self {
        let defaults: Self = service::defaults(&[]).expect("defaults that cannot be read are a bug");
        // Without the token of this process's environment.
        Self { access: AccessArguments::default(), ..defaults }
    }
}

impl Config {
    /// What is wrong with the settings, before anything is waited for.
    pub(crate) fn check(&self) -> Result<()> {
        let shares = [
            ("held-out", self.held_out),
            ("valid", self.valid),
            ("significance", self.significance),
            ("margin", self.margin.unwrap_or(0.0)),
            ("min-recall", self.min_recall),
        ];
        for (name, share) in shares {
            ensure!((0.0..1.0).contains(&share), "{name} must be at least 0 and below 1");
        }
        ensure!(self.held_out > 0.0, "held-out must be above 0: without held-out texts the gate lets nothing pass");
        ensure!(!self.lease.is_zero() && !self.poll.is_zero(), "lease and poll must be above 0");
        ensure!(self.data_parallel > 0, "data-parallel must be at least 1");
        let needs_scores = ["auc", "loss"].contains(&self.gate_by.to_string().as_str());
        ensure!(!needs_scores, "gate-by {}: the gate compares answers, and not their scores", self.gate_by);
        let with_margin = self.margin.is_some() && self.gate_by != BestBy::default();
        ensure!(!with_margin, "margin is one of accuracy: it does not go with gate-by {}", self.gate_by);
        if let Base::Checkpoint(directory) = &self.base {
            ensure!(directory.is_dir(), "the base {} is no directory", directory.display());
        }
        if let Some(encoder) = &self.encoder {
            ensure!(self.base == Base::New, "--encoder goes with --base new, not {}", self.base);
            ensure!(encoder.is_dir(), "the encoder {} is no directory", encoder.display());
        }
        ensure!(!self.tune || self.encoder.is_some(), "--tune says how to use an --encoder");
        self.settings(&self.base).check()
    }

    /// When rounds are due.
    pub(crate) fn triggers(&self) -> Triggers {
        Triggers {
            min_new_labels: (self.min_new_labels > 0).then_some(self.min_new_labels),
            on_drift: self.on_drift,
            schedule: self.schedule.clone(),
            time_zone: self.time_zone,
            retry_after: self.retry_after,
        }
    }

    /// How labels become a dataset.
    pub(crate) fn split(&self) -> Split {
        Split { held_out: self.held_out, valid: self.valid, min_per_class: self.min_per_class }
    }

    /// What the gate asks for.
    pub(crate) fn policy(&self) -> Policy {
        let floors = self.class_recall.iter().flatten().map(|floor| (floor.class.clone(), floor.share));
        Policy {
            min_held_out: self.min_held_out,
            min_held_out_per_class: self.min_held_out_per_class,
            significance: self.significance,
            metric: self.gate_by.clone(),
            margin: self.margin,
            min_recall: self.min_recall,
            recall_floors: floors.collect::<BTreeMap<_, _>>(),
            max_milliseconds_per_text: self.max_text_ms,
        }
    }

    /// The settings of a training from this base.
    pub(crate) fn settings(&self, base: &Base) -> Settings {
        let encoder = self.encoder.as_deref().filter(|_| *base == Base::New);
        let mut settings = self.training.settings_with(base, encoder);
        // Nobody looks at the checkpoints on the way.
        settings.options.save_limit = 0;
        settings.options.save_steps = Some(self.save_steps);
        settings
    }

    /// Where rounds keep their state: trainers of two databases on one machine do not meet.
    pub(crate) fn rounds_directory(&self) -> PathBuf {
        // What cannot be read is refused before anything is kept.
        let database = store::servers_of(self.database.url.expose()).unwrap_or_default();
        self.work().join(format!("rounds-{}", short_digest(&database)))
    }

    /// Where the encoder's vectors are kept from round to round.
    pub(crate) fn embeddings(&self) -> PathBuf {
        self.work().join("embeddings")
    }

    /// Where fetched checkpoints are kept.
    pub(crate) fn cache(&self) -> PathBuf {
        self.work().join("checkpoints")
    }

    /// The same with its directory named, and made.
    pub(crate) fn with_directory(self) -> Result<Self> {
        Ok(Self { work: Some(directories::work(self.work.as_deref())?), ..self })
    }

    fn work(&self) -> &Path {
        self.work.as_deref().expect("a service that starts without its directory is a bug")
    }

    /// The golden texts, if there are any.
    pub(crate) fn golden(&self) -> Option<&Path> {
        self.golden.as_deref()
    }
}

/// Enough of a digest to tell names apart.
pub(crate) fn short_digest(text: &str) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
