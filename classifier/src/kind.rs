//! What a classifier can be.

use std::fmt;

use bert::Family;

use crate::composed::ComposedFamily;
use crate::linear;

/// What a classifier can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelKind {
    /// A network that reads tokens: BERT or one of its relatives.
    Bert(Family),
    /// A network that candle-transformers computes.
    Composed(ComposedFamily),
    /// A linear model that counts n-grams.
    Linear,
}

impl fmt::Display for ModelKind {
    /// As `model_type` of `config.json` says it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Bert(family) => family.model_type(),
            Self::Composed(family) => family.model_type(),
            Self::Linear => linear::MODEL_TYPE,
        })
    }
}
