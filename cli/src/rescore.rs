//! `labelstream rescore`: what an older version said of stored reviews, said again by the champion.
//!
//! Each page is one transaction, which takes only rows that are still older and notes how far the
//! pass has come: an interrupted run is gone on with by running it again, and the live stream is
//! never in the way.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use classifier::{Classifier, DeviceChoice};
use indicatif::ProgressBar;
use serde_json::json;
use service::{CacheArguments, CheckpointArguments, DatabaseArguments, checkpoint};
use store::{Model, PredictionKey, RescorePass, Rescored, Store, Version};

use crate::print;
use crate::publish::{RateLimit, positive};

/// Flags of `labelstream rescore`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,

    #[command(flatten)]
    checkpoints: CheckpointArguments,

    /// Only what versions before this one have classified [default: all before the champion].
    #[arg(long, value_name = "V")]
    older_than_version: Option<i64>,

    /// Classify at most this many reviews a second, to leave the machine to the live stream.
    #[arg(long, default_value = "100", value_parser = positive)]
    rate: f64,

    /// Stop after this many reviews.
    #[arg(long)]
    limit: Option<u64>,

    /// Where the model runs: auto, cpu, cuda or cuda:N.
    #[arg(long, env = "LABELSTREAM_DEVICE", default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,

    #[command(flatten)]
    cache: CacheArguments,

    /// Print the summary as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Reviews in a page, at most: a good batch for the model, a short transaction for the database.
const PAGE: u32 = 64;

/// Runs the command.
pub async fn run(arguments: Arguments) -> Result<()> {
    let store = arguments.database.connect().await?;
    let model = store.champion().await?.context("there is no champion to label with")?;
    let older_than = Version(arguments.older_than_version.unwrap_or(model.version.0));
    ensure!(
        older_than <= model.version,
        "the champion is version {}: what version {older_than} or later has labeled is not older",
        model.version
    );
    let classifier = open(&arguments, &model).await.with_context(|| format!("version {}", model.version))?;
    let waiting = store.count_to_rescore(older_than).await?;
    let wanted = [waiting, arguments.limit].into_iter().flatten().min();
    let progress = print::progress_bar(wanted, "{wide_bar} {human_pos}/{human_len} reviews, {per_sec}, {eta} left");
    let pass = RescorePass { version: model.version, older_than };
    let rescore = Rescore { store, pass, classifier: Arc::new(classifier) };
    let started = Instant::now();
    let labeled = rescore.pages(arguments.rate, arguments.limit.unwrap_or(u64::MAX), &progress).await;
    progress.finish_and_clear();
    let (labeled, left) = (labeled?, rescore.store.count_to_rescore(older_than).await?);
    let (version, seconds) = (pass.version, started.elapsed().as_secs_f64());
    if arguments.json {
        return print::json(&json!({"labeled": labeled, "left": left, "version": version, "seconds": seconds}));
    }
    println!(
        "version {version} has labeled {} reviews again in {seconds:.1} s; {} are left",
        print::grouped(labeled),
        left.map_or_else(|| "too many to count".to_owned(), print::grouped)
    );
    Ok(())
}

async fn open(arguments: &Arguments, model: &Model) -> Result<Classifier> {
    let directory = checkpoint::fetch(&arguments.checkpoints.open()?, model, &arguments.cache.path()?).await?;
    let (labels, device) = (model.labels.clone(), arguments.device);
    tokio::task::spawn_blocking(move || open_and_try(&directory, &labels, device)).await?
}

fn open_and_try(directory: &Path, registered: &[String], device: DeviceChoice) -> Result<Classifier> {
    let classifier = Classifier::open(directory, &device.open()?)?;
    let labels = classifier.classes().names();
    ensure!(labels == registered, "the checkpoint has the labels {labels:?}, the registry says {registered:?}");
    classifier.canary()?;
    Ok(classifier)
}

struct Rescore {
    store: Store,
    pass: RescorePass,
    classifier: Arc<Classifier>,
}

impl Rescore {
    /// Labels page after page, from where the pass stands, until there is no more or `wanted` are
    /// labeled; returns how many.
    async fn pages(&self, rate: f64, wanted: u64, progress: &ProgressBar) -> Result<u64> {
        let rate_limit = RateLimit::start(Some(rate));
        // Even a slow rate has pages of its own second, not one long page now and then.
        let most = (rate.ceil() as u32).clamp(1, PAGE);
        let (mut labeled, mut read) = (0, 0);
        let mut after = self.store.rescored_up_to(&self.pass).await?;
        while labeled < wanted {
            let limit = u64::from(most).min(wanted - labeled) as u32;
            let page = self.store.predictions_to_rescore(&self.pass, after.as_ref(), limit).await?;
            let Some(looked_at) = page.looked_at else {
                self.store.end_rescore(&self.pass).await?;
                break;
            };
            rate_limit.wait(read).await;
            read += page.rows.len();
            self.check_champion().await?;
            labeled += self.store.rescore(&self.pass, &self.label(page.rows).await?, &looked_at).await?;
            after = Some(looked_at);
            progress.set_position(labeled);
        }
        Ok(labeled)
    }

    /// A promotion in between makes this version's answers worth little.
    async fn check_champion(&self) -> Result<()> {
        let champion = self.store.champion().await?.map(|model| model.version);
        let version = self.pass.version;
        ensure!(
            champion == Some(version),
            "version {version} is champion no more: run again to go on with the new one"
        );
        Ok(())
    }

    async fn label(&self, page: Vec<(PredictionKey, String)>) -> Result<Vec<Rescored>> {
        let (classifier, version) = (self.classifier.clone(), self.pass.version);
        let label = move || {
            let (keys, texts): (Vec<_>, Vec<_>) = page.into_iter().unzip();
            let answers = classifier.classify(&texts)?;
            let rescored = keys.into_iter().zip(answers).map(|(key, answer)| {
                let (best, score) = answer.best();
                let label = classifier.classes().name(best).into();
                Rescored { key, label, score, scores: answer.scores, version, precision: classifier.precision().name() }
            });
            Ok(rescored.collect())
        };
        tokio::task::spawn_blocking(label).await?
    }
}
