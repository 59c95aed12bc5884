//! The training loop.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bert::checkpoint::Checkpoint;
use bert::{Dropout, Parameters};
use candle_core::Device;
use classifier::{Classifier, Precision};
use serde::Serialize;

use crate::base::Base;
use crate::batches::Order;
use crate::checkpoints::Checkpoints;
use crate::dataset::Dataset;
use crate::evaluate::evaluate_samples;
use crate::fingerprint::Fingerprint;
use crate::gradient::{Gradients, Model, Pass};
use crate::hyperparameters::Hyperparameters;
use crate::loss::Loss;
use crate::metrics::Evaluation;
use crate::optimizer;
use crate::progress::{Head, Progress, Watch};
use crate::replicas::Replicas;
use crate::saved_state::{EpochLoss, Position, SavedState};
use crate::schedule;
use crate::settings::Settings;
use crate::start::Start;
use crate::training_state::TrainingState;

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
    /// Steps taken: fewer than planned where the run ended early.
    pub steps: usize,
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

/// Fits a classifier and writes the best checkpoint of the run to `out`; the last few are kept in
/// `out.checkpoints`.
///
/// Where the settings name a directory for the state, a run that was killed goes on from there.
/// With the same number of threads it ends with the same bits.
///
/// # Errors
/// Settings, data or a base that do not fit; an `out` that exists; the state of another run; a loss
/// that is no number any more; an error of `progress`.
pub fn fit(settings: &Settings, dataset: &Dataset, base: &Base, out: &Path, progress: &mut Watch) -> Result<Summary> {
    lead(settings, dataset, base, out, progress).map_err(explained)
}

fn lead(settings: &Settings, dataset: &Dataset, base: &Base, out: &Path, progress: &mut Watch) -> Result<Summary> {
    settings.check()?;
    let device = settings.options.open_device()?;
    let settings = &settings.with_precision_on(&device);
    let started = Instant::now();
    let goes_on = settings.options.state.as_deref().is_some_and(SavedState::is_in);
    let mut checkpoints = Checkpoints::new(out, settings, goes_on)?;
    let start = Start::new(&settings.hyperparameters, dataset, base)?;
    let mut run = Run::new(settings, dataset, &start, &device)?;
    let state = SavedState::new(settings, &start)?;
    let (first, mut losses) = run.resume(&state, &mut checkpoints)?;
    progress(&Progress::Started(&run.head))?;
    if goes_on {
        progress(&Progress::Resumed { step: first })?;
    }

    let (mut step, mut examples_seen, mut learning_seconds, mut ends) = (first, 0, 0.0, false);
    while step < run.head.optimization_steps && !ends {
        let step_started = Instant::now();
        let Step { loss, learning_rate, examples, tokens } = run.step(step)?;
        if step.is_multiple_of(run.order.steps()) {
            losses = EpochLoss::default();
        }
        losses.add(loss, examples);
        step += 1;
        examples_seen += examples;
        learning_seconds += step_started.elapsed().as_secs_f64();
        progress(&Progress::Stepped { step, loss, learning_rate, examples, tokens })?;

        let is_due = run.evaluates_after(step);
        if is_due {
            if !start.valid.is_empty() {
                let learned = run.training.learned();
                let evaluation = run.evaluate(&learned)?;
                let best = checkpoints.offer(step, &evaluation, snapshot(&start, &learned)?)?;
                progress(&Progress::Evaluated { step, evaluation: &evaluation, best })?;
            }
            ends = settings.hyperparameters.patience.is_some_and(|patience| checkpoints.kept().since_best >= patience);
            run.replicas.agree(&[ends.into()])?;
        }
        if !ends && settings.options.save_steps.map_or(is_due, |steps| step.is_multiple_of(steps)) {
            state.save(&run.position(step, losses, &checkpoints)?)?;
        }
    }

    let best = checkpoints.finish(step, snapshot(&start, &run.training.learned())?)?;
    state.remove()?;
    Ok(Summary {
        checkpoint: out.to_owned(),
        manifest_sha256: best.manifest_sha256,
        steps: step,
        best_step: best.step,
        evaluation: best.evaluation,
        train_loss: losses.mean(),
        seconds: started.elapsed().as_secs_f64(),
        texts_per_second: examples_seen as f64 / learning_seconds,
        head: run.head,
    })
}

/// Takes the same steps as a [`fit`] elsewhere that is the first of several replicas; it alone
/// evaluates and writes.
///
/// # Errors
/// As [`fit`]; the first replica has other settings, texts or another base, or has left.
pub fn follow(settings: &Settings, dataset: &Dataset, base: &Base) -> Result<()> {
    follow_steps(settings, dataset, base).map_err(explained)
}

fn follow_steps(settings: &Settings, dataset: &Dataset, base: &Base) -> Result<()> {
    settings.check()?;
    let device = settings.options.open_device()?;
    let settings = &settings.with_precision_on(&device);
    let start = Start::new(&settings.hyperparameters, dataset, base)?;
    let mut run = Run::new(settings, dataset, &start, &device)?;
    let mut step = run.follow()?;
    let mut ends = false;
    while step < run.head.optimization_steps && !ends {
        run.step(step)?;
        step += 1;
        if run.evaluates_after(step) {
            ends = run.replicas.agree(&[])? == [u8::from(true)];
        }
    }
    Ok(())
}

/// A run as its steps need it.
struct Run<'a> {
    settings: &'a Settings,
    start: &'a Start,
    head: Head,
    order: Order<'a>,
    loss: Loss,
    training: TrainingState,
    model: Model,
    gradients: Gradients,
    replicas: Replicas,
    device: Device,
}

/// What a step came to.
struct Step {
    loss: f64,
    learning_rate: f64,
    examples: usize,
    tokens: usize,
}

impl<'a> Run<'a> {
    fn new(settings: &'a Settings, dataset: &Dataset, start: &'a Start, device: &Device) -> Result<Self> {
        let Settings { hyperparameters, options } = settings;
        let Checkpoint { config, parameters, .. } = &start.checkpoint;
        let best_by = &hyperparameters.best_by;
        ensure!(best_by.is_for(config.classes.names()), "best-by: there is no {best_by} of these classes");
        let training = TrainingState::new(parameters, config, settings, device)?;
        let model = Model::new(config, &training.parameters, hyperparameters.precision, device)?;
        let gradients = Gradients::new(&model)?;
        optimizer::check(&gradients, device)?;
        let order = Order::new(&start.train, hyperparameters);
        Ok(Self {
            settings,
            start,
            device: device.clone(),
            head: Head::new(hyperparameters, start, &order, &training),
            order,
            loss: Loss::new(hyperparameters, &dataset.classes, &config.classes, &start.train)?,
            training,
            gradients,
            model,
            replicas: Replicas::gather(options.replica.as_ref(), device, || {
                // Shards are cut by the number of threads: it must be the same everywhere.
                Ok(format!("{} {}", Fingerprint::new(hyperparameters, start)?.digest(), options.threads))
            })?,
        })
    }

    /// How the validation texts are labeled, by what will serve where that runs in bf16.
    fn evaluate(&self, parameters: &Parameters) -> Result<Evaluation> {
        let Checkpoint { config, tokenizer, .. } = &self.start.checkpoint;
        let is_bf16 = self.settings.hyperparameters.precision.is_bf16(&self.device);
        let precision = if is_bf16 { None } else { Some(Precision::F32) };
        let parameters = parameters.to_device(&self.device)?.detached();
        let classifier = Classifier::new(config, &parameters, tokenizer.clone(), precision)?;
        evaluate_samples(&classifier, &self.start.valid)
    }

    /// Moves the weights; `step` counts from 0.
    fn step(&mut self, step: usize) -> Result<Step> {
        let loss = self.accumulate(step)?;
        let norm = self.gradients.norm(self.settings.options.threads)?;
        ensure!(
            loss.is_finite() && norm.is_finite(),
            "at step {step} the loss is {loss} and the length of the gradient {norm}: the run has diverged, lower the learning rate"
        );
        let all = self.head.optimization_steps;
        let Hyperparameters { warmup_ratio, learning_rate, max_grad_norm, .. } = self.settings.hyperparameters;
        let warmup = (warmup_ratio * all as f64).ceil() as usize;
        let learning_rate = learning_rate * schedule::linear(step, warmup, all);
        let clip = (max_grad_norm / (norm + 1e-6)).min(1.0);
        self.training.step(step + 1, &self.gradients, learning_rate, clip)?;
        let batches = self.order.of_step(step);
        let texts = || batches.iter().flatten();
        let tokens = texts().map(|index| self.start.train[*index].ids.len()).sum();
        Ok(Step { loss, learning_rate, examples: texts().count(), tokens })
    }

    /// The mean loss of a step's batches as if they were one; its gradients are then at hand.
    fn accumulate(&mut self, step: usize) -> Result<f64> {
        let hyperparameters = &self.settings.hyperparameters;
        let batches = self.order.of_step(step);
        let weight = self.loss.weight(batches.iter().flatten().map(|index| &self.start.train[*index]));
        self.gradients.clear();
        let mut loss = 0.0;
        for (number, batch) in batches.iter().enumerate() {
            let number = step * hyperparameters.accumulation_steps + number;
            let pass = Pass {
                loss: &self.loss,
                // Texts of classes without weight teach nothing.
                scale: if weight > 0.0 { 1.0 / weight } else { 0.0 },
                dropout: Dropout::new(hyperparameters.seed, number as u64),
                threads: self.settings.options.threads,
                share: self.replicas.share(),
            };
            let samples = self.start.batch(batch, hyperparameters, number);
            loss += self.gradients.add_batch(&self.model, &samples, pass)?;
        }
        self.replicas.sum(loss, &mut self.gradients)
    }

    fn evaluates_after(&self, step: usize) -> bool {
        let steps = self.settings.hyperparameters.eval_steps;
        let steps = steps.unwrap_or(self.settings.hyperparameters.eval_epochs * self.order.steps());
        step.is_multiple_of(steps) || step == self.head.optimization_steps
    }

    fn position(&self, step: usize, losses: EpochLoss, checkpoints: &Checkpoints) -> Result<Position> {
        Ok(Position {
            step,
            losses,
            kept: checkpoints.kept().clone(),
            training: self.training.tensors()?,
            best: checkpoints.best().map(|best| best.parameters.clone()),
        })
    }

    /// Goes on where the state says, and tells the other replicas; or writes the first state, so
    /// that a run that is killed before its first evaluation finds it. Gives the steps taken and
    /// the loss of the epoch's texts so far.
    fn resume(&mut self, state: &SavedState, checkpoints: &mut Checkpoints) -> Result<(usize, EpochLoss)> {
        let Some(position) = state.open()? else {
            state.save(&self.position(0, EpochLoss::default(), checkpoints)?)?;
            self.replicas.agree(&0u64.to_le_bytes())?;
            return Ok((0, EpochLoss::default()));
        };
        self.training.restore(position.step, &position.training)?;
        let best = position.best.map(|parameters| {
            // The figures of the best are computed again: that is exact, and numbers in JSON are
            // not.
            let evaluation = self.evaluate(&parameters)?;
            anyhow::Ok((evaluation, Checkpoint { parameters, ..self.start.checkpoint.clone() }))
        });
        checkpoints.resume(position.kept, best.transpose()?)?;
        self.replicas.agree(&(position.step as u64).to_le_bytes())?;
        if position.step > 0 {
            self.replicas.agree(&self.training.to_bytes()?)?;
        }
        Ok((position.step, position.losses))
    }

    /// What [`resume`](Self::resume) tells the other replicas: the steps taken, and the training
    /// state after them.
    fn follow(&mut self) -> Result<usize> {
        let step = self.replicas.agree(&[])?;
        let step = u64::from_le_bytes(step.try_into().ok().context("the first replica said no number")?) as usize;
        if step > 0 {
            self.training.restore_bytes(step, &self.replicas.agree(&[])?)?;
        }
        Ok(step)
    }
}

/// A GPU's error with what to do.
fn explained(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<candle_core::Error>() {
        Ok(error) => gpu::explain(error).into(),
        Err(error) => error,
    }
}

/// A copy of the model that further steps do not change.
fn snapshot(start: &Start, parameters: &Parameters) -> Result<Checkpoint> {
    let parameters = parameters.to_device(&Device::Cpu)?.snapshot()?;
    Ok(Checkpoint { parameters, ..start.checkpoint.clone() })
}

impl Head {
    fn new(settings: &Hyperparameters, start: &Start, order: &Order, training: &TrainingState) -> Self {
        Self {
            examples: start.train.len(),
            valid_examples: start.valid.len(),
            epochs: settings.epochs,
            batch_size: settings.batch_size,
            total_batch_size: settings.batch_size * settings.accumulation_steps,
            accumulation_steps: settings.accumulation_steps,
            optimization_steps: order.steps() * settings.epochs,
            trainable_parameters: training.parameters.variables().map(|(_, tensor)| tensor.elem_count()).sum(),
            layers: start.checkpoint.config.num_hidden_layers,
            hidden_size: start.checkpoint.config.hidden_size,
            intermediate_size: start.checkpoint.config.intermediate_size,
            labels: start.checkpoint.config.classes.names().to_vec(),
            initialised: start.initialised.clone(),
        }
    }
}
