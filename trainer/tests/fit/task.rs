//! A task that is small enough to learn in seconds, and runs that learn it.

use std::path::{Path, PathBuf};

use classifier::DeviceChoice;
use classifier::checkpoint::Checkpoint;
use trainer::{Base, Dataset, Hyperparameters, Progress, Row, RunOptions, Settings, Summary};

/// Texts of which the first character alone tells the class.
pub fn rows(count: usize) -> Vec<Row> {
    let row = |index: usize| {
        let (mark, label) = if index.is_multiple_of(2) { ("好", "1") } else { ("差", "0") };
        let filler: String = "送餐很快味道一般".chars().cycle().skip(index * 5 % 8).take(2 + index * 3 % 11).collect();
        Row { line: index as u64 + 2, text: format!("{mark}{filler}"), label: label.to_owned() }
    };
    (0..count).map(row).collect()
}

pub fn dataset(train: usize) -> Dataset {
    let rows = rows(train + 40);
    Dataset::new(&rows[..train], &rows[train..], None).unwrap()
}

pub fn settings() -> Hyperparameters {
    Hyperparameters::for_base(&Base::NewBert)
}

pub fn options() -> RunOptions {
    RunOptions { threads: 2, save_limit: 0, device: DeviceChoice::Cpu, ..RunOptions::default() }
}

/// With the usual options.
pub fn usual(hyperparameters: &Hyperparameters) -> Settings {
    Settings { hyperparameters: hyperparameters.clone(), options: options() }
}

/// Enough for the task of `rows` to be learned whole.
pub fn thorough() -> Hyperparameters {
    Hyperparameters { epochs: 5, learning_rate: 1e-3, token_masking: 0.0, ..settings() }
}

/// Without what is random or changes over time, so that results can be compared.
pub fn plain_settings() -> Hyperparameters {
    Hyperparameters {
        dropout: Some(0.0),
        token_masking: 0.0,
        average: None,
        warmup_ratio: 0.0,
        epochs: 1,
        ..settings()
    }
}

pub struct Run {
    pub directory: tempfile::TempDir,
    pub summary: Summary,
    pub losses: Vec<f64>,
}

impl Run {
    pub fn new(hyperparameters: &Hyperparameters, dataset: &Dataset, base: &Base) -> Self {
        Self::with(&usual(hyperparameters), dataset, base)
    }

    pub fn with(settings: &Settings, dataset: &Dataset, base: &Base) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut losses = Vec::new();
        let mut watch = |progress: &Progress| {
            if let Progress::Stepped { loss, .. } = progress {
                losses.push(*loss);
            }
            Ok(())
        };
        let summary = trainer::fit(settings, dataset, base, &directory.path().join("out"), &mut watch).unwrap();
        Self { directory, summary, losses }
    }

    pub fn out(&self) -> PathBuf {
        self.directory.path().join("out")
    }
}

pub fn weights(directory: &Path) -> Vec<(String, Vec<f32>)> {
    let checkpoint = Checkpoint::open(directory).unwrap();
    let values = |(name, tensor): (&str, &candle_core::Tensor)| {
        (name.to_owned(), tensor.flatten_all().unwrap().to_vec1().unwrap())
    };
    checkpoint.parameters.iter().map(values).collect()
}
