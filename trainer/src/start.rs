//! Where a run starts: a model, and the examples in its tokens.

use std::collections::HashSet;

use anyhow::{Context, Result, bail, ensure};
use bert::checkpoint::{self, Checkpoint};
use bert::{Classes, ModelConfig, Tokenizer, initialise};

use crate::base::Base;
use crate::batches::{self, Sample, Taught};
use crate::dataset::{Dataset, Example};
use crate::hyperparameters::Hyperparameters;
use crate::lessons::Lessons;
use crate::random::{Purpose, Random};

/// Entries of a new vocabulary at most; every character of 10,000 reviews is about 2,500 of them.
const VOCABULARY: usize = 8_000;

/// Characters of text for each entry that is longer than one: a piece must come often enough to
/// learn what it means.
const TEXT_PER_PIECE: usize = 40;

/// A model before its first step, and the tokenized examples.
pub(crate) struct Start {
    pub checkpoint: Checkpoint,
    /// Parameters that the base did not have.
    pub initialised: Vec<String>,
    pub train: Vec<Sample>,
    pub valid: Vec<Sample>,
    /// What hidden tokens become; a vocabulary may lack it.
    unknown_id: Option<u32>,
}

impl Start {
    pub(crate) fn new(settings: &Hyperparameters, dataset: &Dataset, base: &Base) -> Result<Self> {
        ensure!(!dataset.train.is_empty(), "there is no text to learn from");
        let classes = Classes::new(dataset.classes.clone());
        let (mut checkpoint, initialised) = match base {
            Base::NewBert => (new_checkpoint(settings, dataset, classes)?, Vec::new()),
            Base::New | Base::NewLinear => bail!("`{base}` is not a BERT: `fit` trains only those"),
            Base::Checkpoint(directory) => {
                let base = checkpoint::Base::open(directory, &classes, settings.pooling, settings.seed)?;
                (base.checkpoint, base.initialised)
            }
        };
        if let Some(dropout) = settings.dropout {
            checkpoint.config.hidden_dropout_prob = dropout;
            checkpoint.config.attention_probs_dropout_prob = dropout;
            checkpoint.config.classifier_dropout = None;
        }
        // No longer than the model is asked for when it serves.
        let served = checkpoint.tokenizer.max_length().unwrap_or(usize::MAX);
        let max_length = settings.max_length.min(checkpoint.config.longest_text()).min(served);
        // A base that was trained for these classes may know them in another order.
        let order = class_order(&dataset.classes, &checkpoint.config.classes)?;
        let sample = |examples: &[Example]| tokenize(&checkpoint.tokenizer, examples, max_length, &order);
        let unknown_id = checkpoint.tokenizer.unknown();
        ensure!(
            settings.token_masking == 0.0 || unknown_id.is_some(),
            "token-masking needs a vocabulary with an unknown token; the base has none"
        );
        let mut train = sample(&dataset.train)?;
        if let Some(lessons) = &dataset.lessons {
            add_lessons(&mut train, lessons, &checkpoint.tokenizer, max_length, &order)?;
        }
        Ok(Self { train, valid: sample(&dataset.valid)?, unknown_id, initialised, checkpoint })
    }

    /// Batch `number` of the run: training samples by index, with a share of their tokens hidden.
    pub(crate) fn batch(&self, indices: &[usize], settings: &Hyperparameters, number: usize) -> Vec<Sample> {
        let Hyperparameters { seed, token_masking: masking, .. } = *settings;
        let mut samples: Vec<Sample> = indices.iter().map(|index| self.train[*index].clone()).collect();
        if let Some(unknown_id) = self.unknown_id.filter(|_| masking > 0.0) {
            let mut random = Random::of(seed, Purpose::Masks, number);
            for sample in &mut samples {
                batches::mask(&mut sample.ids, unknown_id, masking, &mut random);
            }
        }
        samples
    }
}

/// A small model that truncates texts where the training does, since positions behind that would
/// stay random.
fn new_checkpoint(settings: &Hyperparameters, dataset: &Dataset, classes: Classes) -> Result<Checkpoint> {
    let unlabeled = dataset.lessons.iter().flat_map(|lessons| &lessons.unlabeled).map(|(text, _)| text.as_str());
    let texts: Vec<&str> = dataset.train.iter().map(|example| example.text.as_str()).chain(unlabeled).collect();
    let tokenizer = Tokenizer::from_pieces(&texts, vocabulary_limit(&texts));
    let mut config = ModelConfig::small(tokenizer.vocab_size(), classes);
    config.max_position_embeddings = settings.max_length;
    config.pooling = settings.pooling.unwrap_or_default();
    Ok(Checkpoint { parameters: initialise(&config, settings.seed)?, config, tokenizer })
}

/// Adds what a teacher says of the labeled texts, and those that it alone knows.
fn add_lessons(
    train: &mut Vec<Sample>,
    lessons: &Lessons,
    tokenizer: &Tokenizer,
    max_length: usize,
    order: &[u32],
) -> Result<()> {
    let taught = |said: &[f32], is_labeled| {
        let mut logits = vec![0.0; said.len()];
        order.iter().zip(said).for_each(|(class, logit)| logits[*class as usize] = *logit);
        Taught { logits, is_labeled }
    };
    for (sample, said) in train.iter_mut().zip(&lessons.of_train) {
        sample.taught = Some(taught(said, true));
    }
    let texts: Vec<&str> = lessons.unlabeled.iter().map(|(text, _)| text.as_str()).collect();
    for (ids, (_, said)) in tokenizer.encode_batch(&texts, max_length)?.into_iter().zip(&lessons.unlabeled) {
        let best = (0..said.len()).max_by(|one, other| said[*one].total_cmp(&said[*other])).unwrap_or(0);
        train.push(Sample { ids, label: order[best], taught: Some(taught(said, false)) });
    }
    Ok(())
}

fn vocabulary_limit(texts: &[&str]) -> usize {
    let characters = || texts.iter().flat_map(|text| text.chars());
    let different: HashSet<char> = characters().collect();
    VOCABULARY.min(different.len() + characters().count() / TEXT_PER_PIECE)
}

/// The model's index of each class of the data.
fn class_order(data: &[String], model: &Classes) -> Result<Vec<u32>> {
    let index = |name: &String| {
        let index = model.index(name).with_context(|| format!("the model has no class {name:?}: that is a bug"))?;
        Ok(u32::try_from(index)?)
    };
    data.iter().map(index).collect()
}

fn tokenize(tokenizer: &Tokenizer, examples: &[Example], max_length: usize, order: &[u32]) -> Result<Vec<Sample>> {
    let texts: Vec<&str> = examples.iter().map(|example| example.text.as_str()).collect();
    let ids = tokenizer.encode_batch(&texts, max_length)?;
    Ok(ids
        .into_iter()
        .zip(examples)
        .map(|(ids, example)| Sample { ids, label: order[example.label], taught: None })
        .collect())
}
