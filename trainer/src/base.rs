//! Where a run starts from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a run starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// The best that can be had from the labels alone: a linear model, and the small BERT where it is clearly better.
    New,
    /// A linear model of character n-grams.
    NewLinear,
    /// A small BERT with random weights and a vocabulary of the characters of the training texts.
    NewBert,
    /// A checkpoint directory: a classifier, or an encoder that gets a new head.
    Checkpoint(PathBuf),
}

impl FromStr for Base {
    type Err = std::convert::Infallible;

    /// `new`, `new-linear`, `new-bert`, or the path of a checkpoint.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "new" => Self::New,
            "new-linear" => Self::NewLinear,
            "new-bert" => Self::NewBert,
            directory => Self::Checkpoint(directory.into()),
        })
    }
}

impl fmt::Display for Base {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => out.write_str("new"),
            Self::NewLinear => out.write_str("new-linear"),
            Self::NewBert => out.write_str("new-bert"),
            Self::Checkpoint(directory) => write!(out, "{}", directory.display()),
        }
    }
}
