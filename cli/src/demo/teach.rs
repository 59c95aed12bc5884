//! The demo's first model: small enough to learn the reviews in less than a minute on two cores.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::Context;
use classifier::checkpoint::Checkpoint;
use classifier::model::{ModelConfig, initialise};
use classifier::{Labels, Tokenizer};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use trainer::{Base, Progress, Settings, Summary};

use super::reviews::Reviews;

/// Characters that occur in the reviews; the rest are unknown to the model.
const VOCABULARY: usize = 4_000;

/// Trains a model on the reviews' data set and leaves it in `directory`.
pub async fn teach(reviews: &Reviews, files: &Path, directory: &Path) -> anyhow::Result<()> {
    let dataset = reviews.dataset.clone();
    let base = files.join("untrained");
    let directory = directory.to_owned();
    eprintln!("teaching a first model with {} reviews ...", dataset.train.len());
    let summary = tokio::task::spawn_blocking(move || {
        untrained(&dataset, &base)?;
        let mut progress = Bar::new();
        trainer::fit(&settings(), &dataset, &Base::Checkpoint(base), &directory, &mut |event| {
            progress.show(event);
            Ok(())
        })
    });
    let Summary { evaluation, seconds, .. } = summary.await?.context("the first model could not be trained")?;
    let accuracy = evaluation.map_or(String::new(), |evaluation| {
        format!("; it is right on {:.1}% of {} others", evaluation.accuracy * 100.0, evaluation.examples)
    });
    eprintln!("learned in {seconds:.0} s{accuracy}");
    Ok(())
}

/// Two layers of 96: a fraction of the work of the smallest model that one would deploy.
fn untrained(dataset: &trainer::Dataset, directory: &Path) -> anyhow::Result<()> {
    let texts: Vec<&str> = dataset.train.iter().map(|example| example.text.as_str()).collect();
    let tokenizer = Tokenizer::from_characters(&texts, VOCABULARY);
    let mut config = ModelConfig::small(tokenizer.vocab_size(), Labels::new(&dataset.labels));
    config.num_hidden_layers = 2;
    config.hidden_size = 96;
    config.intermediate_size = 384;
    config.max_position_embeddings = 128;
    // BERT's 0.02 is for vectors eight times as long: so narrow a model would lose its first epochs growing.
    config.initializer_range = 0.05;
    let seed = settings().seed;
    let checkpoint = Checkpoint { parameters: initialise(&config, seed)?, config, tokenizer };
    checkpoint.save(directory, serde_json::Map::new())?;
    Ok(())
}

/// More and larger steps than a wider model would bear.
fn settings() -> Settings {
    let usual = Settings::for_base(&Base::NewBert);
    Settings { epochs: 6, batch_size: 16, learning_rate: 1e-3, token_masking: 0.1, max_length: 64, ..usual }
}

/// A line that moves, on a terminal only.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} steps, {msg}, {eta} left")
            .expect("a template that cannot be read is a bug");
        Self(ProgressBar::with_draw_target(None, target).with_style(style))
    }

    fn show(&mut self, progress: &Progress) {
        match progress {
            Progress::Started(head) => self.0.set_length(head.optimization_steps as u64),
            Progress::Stepped { step, loss, .. } => {
                self.0.set_position(*step as u64);
                self.0.set_message(format!("loss {loss:.3}"));
            }
            Progress::Evaluated { .. } => {}
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
