//! A model small enough that nothing waits for it. What it says of a text means nothing, but it is
//! always the same.

use std::path::Path;

use bert::checkpoint::Checkpoint;
use bert::{Classes, ModelConfig, Tokenizer, initialise};

/// Its classes, where it does not matter which.
pub const TINY_CLASSES: [&str; 2] = ["negative", "positive"];

/// Writes it as a checkpoint directory, with these classes and the weights of a seed.
pub fn save_tiny_model(directory: &Path, classes: &[&str], seed: u64) {
    let tokenizer = Tokenizer::from_characters(&["很快，好吃。太慢了不来0123456789 review"], 100);
    let mut config = ModelConfig::small(tokenizer.vocab_size(), Classes::new(classes.iter().copied()));
    config.hidden_size = 32;
    config.num_hidden_layers = 1;
    config.num_attention_heads = 2;
    config.intermediate_size = 64;
    let parameters = initialise(&config, seed).expect("the shape is sound");
    let checkpoint = Checkpoint { config, parameters, tokenizer };
    checkpoint.save(directory, serde_json::Map::new()).expect("the checkpoint can be written");
}
