//! What the gate asks for.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::metrics::BestBy;

/// What a candidate must show.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Policy {
    /// Held-out labels without which nothing is decided.
    pub min_held_out: usize,
    /// Held-out labels that each class must have.
    pub min_held_out_per_class: usize,
    /// Probability with which a candidate that is no better may pass the test by luck.
    pub significance: f64,
    /// The figure by which it must be better.
    pub metric: BestBy,
    /// A candidate may also pass that is shown to be less than this much worse in accuracy; `None`:
    /// it must be better.
    pub margin: Option<f64>,
    /// Share of each class that the candidate must find.
    pub min_recall: f64,
    /// The same for single classes, by name.
    pub recall_floors: BTreeMap<String, f64>,
    /// Milliseconds that a text may take, classified in batches on this machine.
    pub max_milliseconds_per_text: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min_held_out: 50,
            min_held_out_per_class: 5,
            significance: 0.05,
            metric: BestBy::default(),
            margin: None,
            // Finds the model that has given a class up; what a class is worth beyond that, its
            // owner must say.
            min_recall: 0.3,
            recall_floors: BTreeMap::new(),
            // BERT-base on two cores takes 40.
            max_milliseconds_per_text: 200.0,
        }
    }
}

impl Policy {
    /// Share of this class that the candidate must find.
    pub fn recall_floor(&self, class: &str) -> f64 {
        self.recall_floors.get(class).copied().unwrap_or(self.min_recall)
    }
}
