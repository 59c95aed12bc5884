//! What a teacher has said, and how a student learns from it.

use serde::Serialize;

/// How a student learns from what a teacher says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Distillation {
    /// What logits of both are divided by before they are compared: the greater, the more counts
    /// what the teacher finds improbable.
    pub temperature: f64,
    /// What the teacher counts where there is a label too, which counts the rest.
    pub share: f64,
}

impl Default for Distillation {
    fn default() -> Self {
        Self { temperature: 2.0, share: 0.5 }
    }
}

/// What a teacher has said.
#[derive(Debug, Clone)]
pub struct Lessons {
    /// Its logits of each training text, in the order of the data's classes.
    pub(crate) of_train: Vec<Vec<f32>>,
    /// Texts that nobody has labeled, and the same of them.
    pub(crate) unlabeled: Vec<(String, Vec<f32>)>,
}
