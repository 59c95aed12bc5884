//! Tokenized examples to batches of similar length, in a seeded order.

use crate::hyperparameters::Hyperparameters;
use crate::random::{Purpose, Random};

/// Batches that are sorted by length together: enough that lengths are similar, few enough that the
/// order stays random.
const WINDOW: usize = 50;

/// A tokenized example.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// Token ids, `[CLS]` and `[SEP]` included.
    pub ids: Vec<u32>,
    /// The class.
    pub label: u32,
    /// What a teacher says of it.
    pub taught: Option<Taught>,
}

/// What a teacher says of a text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Taught {
    /// In the order of the model's classes.
    pub logits: Vec<f32>,
    /// Whether a person has labeled the text, too; else the label is the teacher's.
    pub is_labeled: bool,
}

/// The texts of every step of a run: a function of the seed and the step, so that a run can go on
/// at any.
pub(crate) struct Order<'a> {
    samples: &'a [Sample],
    settings: &'a Hyperparameters,
    /// The epoch whose batches are at hand.
    epoch: Option<usize>,
    batches: Vec<Vec<usize>>,
}

impl<'a> Order<'a> {
    pub(crate) fn new(samples: &'a [Sample], settings: &'a Hyperparameters) -> Self {
        Self { samples, settings, epoch: None, batches: Vec::new() }
    }

    /// Steps that an epoch has.
    pub(crate) fn steps(&self) -> usize {
        self.samples.len().div_ceil(self.settings.batch_size).div_ceil(self.settings.accumulation_steps)
    }

    /// The batches of a step, as indices of samples.
    pub(crate) fn of_step(&mut self, step: usize) -> &[Vec<usize>] {
        let Hyperparameters { batch_size, accumulation_steps, seed, .. } = *self.settings;
        let (number, step) = (step / self.steps(), step % self.steps());
        if self.epoch != Some(number) {
            self.batches = epoch(self.samples, batch_size, &mut Random::of(seed, Purpose::Order, number));
            self.epoch = Some(number);
        }
        let first = step * accumulation_steps;
        &self.batches[first..(first + accumulation_steps).min(self.batches.len())]
    }
}

/// One pass over the samples: every index once, in batches of similar length that come in random
/// order.
pub(crate) fn epoch(samples: &[Sample], batch_size: usize, random: &mut Random) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..samples.len()).collect();
    random.shuffle(&mut order);
    for window in order.chunks_mut(WINDOW * batch_size) {
        window.sort_by_key(|index| samples[*index].ids.len());
    }
    let mut batches: Vec<Vec<usize>> = order.chunks(batch_size).map(<[usize]>::to_vec).collect();
    random.shuffle(&mut batches);
    batches
}

/// Hides a share of the tokens between `[CLS]` and `[SEP]` behind another.
pub(crate) fn mask(ids: &mut [u32], hidden: u32, share: f64, random: &mut Random) {
    let end = ids.len().saturating_sub(1);
    for id in ids.iter_mut().take(end).skip(1) {
        if random.chance(share) {
            *id = hidden;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn samples(lengths: &[usize]) -> Vec<Sample> {
        lengths.iter().map(|length| Sample { ids: vec![9; *length], label: 0, taught: None }).collect()
    }

    proptest! {
        #[test]
        fn every_sample_comes_once_an_epoch(lengths in prop::collection::vec(2usize..60, 0..300), size in 1usize..40, seed: u64) {
            let samples = samples(&lengths);
            let batches = epoch(&samples, size, &mut Random::new(seed));
            prop_assert_eq!(batches.len(), lengths.len().div_ceil(size));
            prop_assert!(batches.iter().all(|batch| (1..=size).contains(&batch.len())));
            let mut seen: Vec<usize> = batches.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_steps_of_an_epoch_are_its_batches_and_any_of_them_can_be_the_first_to_be_asked_for() {
        let samples = samples(&[7; 100]);
        let settings = Hyperparameters {
            batch_size: 8,
            accumulation_steps: 3,
            ..Hyperparameters::for_base(&"x".parse().unwrap())
        };
        let in_turn: Vec<Vec<Vec<usize>>> = {
            let mut order = Order::new(&samples, &settings);
            (0..2 * order.steps()).map(|step| order.of_step(step).to_vec()).collect()
        };
        assert_eq!(in_turn.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 3, 1, 3, 3, 3, 3, 1]);
        for epoch in in_turn.chunks(5) {
            let mut seen = epoch.concat().concat();
            seen.sort_unstable();
            assert_eq!(seen, (0..100).collect::<Vec<_>>());
        }
        assert_ne!(in_turn[0], in_turn[5], "two epochs have the same order");
        for (step, batches) in in_turn.iter().enumerate() {
            assert_eq!(Order::new(&samples, &settings).of_step(step), batches);
        }
    }

    #[test]
    fn the_texts_of_a_batch_are_of_similar_length() {
        let lengths: Vec<usize> = (0..1600).map(|index| 2 + index * 7 % 64).collect();
        let samples = samples(&lengths);
        for batch in epoch(&samples, 32, &mut Random::new(1)) {
            let lengths = batch.iter().map(|index| samples[*index].ids.len());
            let spread = lengths.clone().max().unwrap() - lengths.min().unwrap();
            assert!(spread <= 3, "{spread}");
        }
    }

    #[test]
    fn the_seed_decides_the_order() {
        let samples = samples(&[5; 100]);
        let order = |seed| epoch(&samples, 8, &mut Random::new(seed));
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn the_first_and_the_last_token_are_never_hidden() {
        let mut ids = [2, 7, 7, 7, 3];
        mask(&mut ids, 4, 1.0, &mut Random::new(0));
        assert_eq!(ids, [2, 4, 4, 4, 3]);
        mask(&mut [], 4, 1.0, &mut Random::new(0));
    }
}
