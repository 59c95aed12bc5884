//! What a run shows while it goes on.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use trainer::metrics::METRICS;
use trainer::{Base, Evaluation, Head, Progress, Settings};

/// On standard error, so that standard output is the summary alone.
pub struct Display {
    bar: ProgressBar,
    base: Base,
    seed: u64,
    threads: usize,
}

impl Display {
    /// Shows nothing before the run begins.
    pub fn new(settings: &Settings, base: &Base) -> Self {
        let Settings { hyperparameters, options } = settings;
        Self { bar: ProgressBar::hidden(), base: base.clone(), seed: hyperparameters.seed, threads: options.threads }
    }

    /// Shows what happens.
    pub fn show(&mut self, progress: &Progress) {
        match progress {
            Progress::Started(head) => self.start(head),
            Progress::Resumed { step } => self.line(&format!("goes on after step {step}")),
            Progress::Stepped { step, loss, learning_rate, examples, .. } => {
                self.bar.inc(*examples as u64);
                self.bar.set_message(format!("step {step}  loss {loss:.4}  learning rate {learning_rate:.2e}"));
            }
            Progress::Evaluated { step, evaluation, best } => {
                let best = if *best { "  (best so far)" } else { "" };
                self.line(&format!("step {step:>6}  valid{}{best}", figures(evaluation)));
            }
        }
    }

    fn start(&mut self, head: &Head) {
        eprintln!("***** Running training *****");
        eprintln!("  Num examples = {}", head.examples);
        eprintln!("  Num Epochs = {}", head.epochs);
        eprintln!("  Instantaneous batch size = {}", head.batch_size);
        eprintln!("  Total train batch size (with accumulation) = {}", head.total_batch_size);
        eprintln!("  Gradient Accumulation steps = {}", head.accumulation_steps);
        eprintln!("  Total optimization steps = {}", head.optimization_steps);
        eprintln!("  Number of trainable parameters = {}", head.trainable_parameters);
        eprintln!("  Classes = {}", head.labels.join(", "));
        eprintln!("  Base = {}, seed {}, threads {}", self.base, self.seed, self.threads);
        if !head.initialised.is_empty() {
            eprintln!("not in the base, so made new from the seed: {}", head.initialised.join(", "));
        }
        if std::io::stderr().is_terminal() {
            self.bar = ProgressBar::new((head.examples * head.epochs) as u64).with_style(
                ProgressStyle::with_template("{bar:30} {percent:>3}%  {per_sec}  eta {eta}  {msg}")
                    .expect("a template that is no template is a bug"),
            );
        }
    }

    fn line(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Every metric, on one line.
fn figures(evaluation: &Evaluation) -> String {
    let figure = |name: &str| Some(format!("  {name} {:.4}", evaluation.metrics.get(name)?));
    METRICS.iter().filter_map(|metric| figure(metric.name())).collect()
}
