//! The training loop.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use classifier::Classifier;
use classifier::checkpoint::Checkpoint;
use classifier::model::{BertClassifier, Dropout, Parameters};
use serde::Serialize;

use crate::batches::{self, Sample};
use crate::checkpoints::Checkpoints;
use crate::dataset::Dataset;
use crate::evaluate::evaluate_samples;
use crate::gradient::{self, Gradients, Pass};
use crate::metrics::Evaluation;
use crate::optimizer::AdamW;
use crate::random::Random;
use crate::schedule;
use crate::settings::{Base, Settings};
use crate::start::Start;

/// The size of a run, known before its first step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Head {
    /// Training texts.
    pub examples: usize,
    /// Validation texts.
    pub valid_examples: usize,
    /// Passes over the training texts.
    pub epochs: usize,
    /// Texts a gradient is computed from at once.
    pub batch_size: usize,
    /// Texts an optimization step learns from.
    pub total_batch_size: usize,
    /// Batches an optimization step sums.
    pub accumulation_steps: usize,
    /// Times the weights move.
    pub optimization_steps: usize,
    /// Numbers that are learned.
    pub trainable_parameters: usize,
    /// Names of the classes, in the order of the model's outputs.
    pub labels: Vec<String>,
    /// Parameters that the base did not have, made from the seed; empty where the whole model is new.
    pub initialised: Vec<String>,
}

/// What happens in a run, as it happens.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Before the first step.
    Started(&'a Head),
    /// The weights have moved.
    Stepped {
        /// Steps so far.
        step: usize,
        /// Mean cross entropy of the step's texts before it.
        loss: f64,
        /// The rate of the step.
        learning_rate: f64,
        /// Texts of the step.
        examples: usize,
    },
    /// The validation texts were classified.
    Evaluated {
        /// Steps so far.
        step: usize,
        /// How well.
        evaluation: &'a Evaluation,
        /// Whether no earlier checkpoint of the run was as good.
        best: bool,
    },
}

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The checkpoint that was written.
    pub checkpoint: PathBuf,
    /// Its SHA-256: that of its manifest.
    pub manifest_sha256: String,
    /// The size of the run.
    #[serde(flatten)]
    pub head: Head,
    /// The step after which the best checkpoint was taken.
    pub best_step: usize,
    /// The best checkpoint on the validation texts; absent where there are none.
    pub evaluation: Option<Evaluation>,
    /// Mean loss of the last epoch's texts as they were learned from.
    pub train_loss: f64,
    /// How long the run took, evaluations included.
    pub seconds: f64,
    /// Training texts a second, evaluations not included.
    pub texts_per_second: f64,
}

/// Fits a classifier and writes the best checkpoint of the run to `out`; the last few are kept in `out.checkpoints`.
///
/// # Errors
/// Settings, data or a base that do not fit; an `out` that exists; a loss that is no number any more.
pub fn fit(
    settings: &Settings,
    dataset: &Dataset,
    base: &Base,
    out: &Path,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Summary> {
    settings.check()?;
    let started = Instant::now();
    let mut checkpoints = Checkpoints::new(out, settings)?;
    let device = settings.device.open().with_context(|| format!("device {}", settings.device))?;
    let start = Start::new(settings, dataset, base)?;
    let parameters = start.checkpoint.parameters.to_device(&device)?.trainable()?;
    let head = Head::new(settings, &start);
    progress(&Progress::Started(&head));

    let mut optimizer = AdamW::new(&parameters, settings.weight_decay)?;
    let mut random = Random::new(settings.seed);
    let warmup = (settings.warmup_ratio * head.optimization_steps as f64).ceil() as usize;
    let eval_steps = settings.eval_steps.unwrap_or(head.optimization_steps / settings.epochs);
    let (mut step, mut losses, mut learning_seconds) = (0, 0.0, 0.0);
    for epoch in 1..=settings.epochs {
        let batches = batches::epoch(&start.train, settings.batch_size, &mut random);
        for group in batches.chunks(settings.accumulation_steps) {
            let step_started = Instant::now();
            let examples = group.iter().map(Vec::len).sum();
            let batches: Vec<_> =
                group.iter().map(|batch| start.batch(batch, settings.token_masking, &mut random)).collect();
            let (loss, gradients) = accumulate(settings, &start.checkpoint, &parameters, &batches, step)?;
            let norm = gradients.norm(settings.threads)?;
            ensure!(
                loss.is_finite() && norm.is_finite(),
                "at step {step} the loss is {loss} and the length of the gradient {norm}: the run has diverged, lower the learning rate"
            );
            let learning_rate = settings.learning_rate * schedule::linear(step, warmup, head.optimization_steps);
            let clip = (settings.max_grad_norm / (norm + 1e-6)).min(1.0);
            optimizer.step(&gradients, learning_rate, clip, settings.threads)?;
            step += 1;
            learning_seconds += step_started.elapsed().as_secs_f64();
            losses += if epoch == settings.epochs { loss * examples as f64 } else { 0.0 };
            progress(&Progress::Stepped { step, loss, learning_rate, examples });

            let is_due = step.is_multiple_of(eval_steps) || step == head.optimization_steps;
            if is_due && !start.valid.is_empty() {
                let evaluation = evaluate(&start, &parameters)?;
                let best = checkpoints.offer(step, &evaluation, snapshot(&start, &parameters)?)?;
                progress(&Progress::Evaluated { step, evaluation: &evaluation, best });
            }
        }
    }

    let best = checkpoints.finish(step, snapshot(&start, &parameters)?)?;
    Ok(Summary {
        checkpoint: out.to_owned(),
        manifest_sha256: best.manifest_sha256,
        best_step: best.step,
        evaluation: best.evaluation,
        train_loss: losses / head.examples as f64,
        seconds: started.elapsed().as_secs_f64(),
        texts_per_second: (head.examples * head.epochs) as f64 / learning_seconds,
        head,
    })
}

/// The mean loss of several batches as if they were one, and its gradients.
fn accumulate(
    settings: &Settings,
    checkpoint: &Checkpoint,
    parameters: &Parameters,
    batches: &[Vec<Sample>],
    step: usize,
) -> Result<(f64, Gradients)> {
    let model = BertClassifier::new(&checkpoint.config, parameters)?;
    let samples: usize = batches.iter().map(Vec::len).sum();
    let mut sum: Option<(f64, Gradients)> = None;
    for (number, batch) in batches.iter().enumerate() {
        let pass = Pass {
            scale: 1.0 / samples as f64,
            dropout: Dropout::new(settings.seed, (step * settings.accumulation_steps + number) as u64),
            threads: settings.threads,
        };
        let (loss, gradients) = gradient::of_batch(&model, parameters, batch, pass)?;
        sum = Some(match sum {
            None => (loss, gradients),
            Some((loss_sum, mut gradient_sum)) => {
                gradient_sum.add(gradients, settings.threads)?;
                (loss_sum + loss, gradient_sum)
            }
        });
    }
    sum.context("a step without batches is a bug")
}

fn evaluate(start: &Start, parameters: &Parameters) -> Result<Evaluation> {
    let Checkpoint { config, tokenizer, .. } = &start.checkpoint;
    let classifier = Classifier::new(config, &parameters.detached(), tokenizer.clone())?;
    evaluate_samples(&classifier, &start.valid)
}

/// A copy of the model that further steps do not change.
fn snapshot(start: &Start, parameters: &Parameters) -> Result<Checkpoint> {
    let parameters = parameters.to_device(&Device::Cpu)?.snapshot()?;
    Ok(Checkpoint { parameters, ..start.checkpoint.clone() })
}

impl Head {
    fn new(settings: &Settings, start: &Start) -> Self {
        let batches = start.train.len().div_ceil(settings.batch_size);
        Self {
            examples: start.train.len(),
            valid_examples: start.valid.len(),
            epochs: settings.epochs,
            batch_size: settings.batch_size,
            total_batch_size: settings.batch_size * settings.accumulation_steps,
            accumulation_steps: settings.accumulation_steps,
            optimization_steps: batches.div_ceil(settings.accumulation_steps) * settings.epochs,
            trainable_parameters: start.checkpoint.parameters.count(),
            labels: start.checkpoint.config.labels.names().to_vec(),
            initialised: start.initialised.clone(),
        }
    }
}
