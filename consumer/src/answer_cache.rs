//! A cache of answers: reviews repeat ("好评" a thousand times a day), and a model says the same of
//! the same text.

use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Result;
use classifier::{Classes, Prediction, Truncation};
use lru::LruCache;
use store::Version;

use crate::metrics::Metrics;
use crate::model::{Model, Scores};

/// A model with a cache of its last answers. The cache goes with the model when another version
/// takes over.
pub(crate) struct AnswerCache {
    model: Box<dyn Model>,
    answers: LruCache<Box<str>, Known>,
    metrics: Arc<Metrics>,
}

#[derive(Clone)]
struct Known {
    prediction: Prediction,
    /// Whether all of the text is known to have been read.
    whole: bool,
}

impl AnswerCache {
    /// Keeps the answers to the last `texts` different texts.
    pub fn new(model: Box<dyn Model>, texts: NonZeroUsize, metrics: Arc<Metrics>) -> Self {
        Self { model, answers: LruCache::new(texts), metrics }
    }
}

impl Model for AnswerCache {
    fn classes(&self) -> &Classes {
        self.model.classes()
    }

    fn max_length(&self) -> usize {
        self.model.max_length()
    }

    fn version(&self) -> Version {
        self.model.version()
    }

    fn precision(&self) -> &'static str {
        self.model.precision()
    }

    fn classify(&mut self, texts: &[&str]) -> Result<Vec<Prediction>> {
        let known = |text: &&str| self.answers.get(*text).map(|known| known.prediction.clone());
        let mut predictions: Vec<Option<Prediction>> = texts.iter().map(known).collect();
        let unknown: Vec<&str> =
            texts.iter().zip(&predictions).filter(|(_, known)| known.is_none()).map(|(text, _)| *text).collect();
        self.metrics.recent_texts.inc_by(texts.len() as u64);
        self.metrics.recent_text_hits.inc_by((texts.len() - unknown.len()) as u64);
        let answers = if unknown.is_empty() { Vec::new() } else { self.model.classify(&unknown)? };
        // What cannot be believed may be better the next time.
        let believed = answers.len() == unknown.len();
        let is_sound = |answer: &Prediction| believed && answer.scores.iter().all(|score| score.is_finite());
        for (text, answer) in unknown.iter().zip(&answers).filter(|(_, answer)| is_sound(answer)) {
            self.answers.put((*text).into(), Known { prediction: answer.clone(), whole: false });
        }
        let missing = predictions.iter_mut().filter(|known| known.is_none());
        missing.zip(answers).for_each(|(place, answer)| *place = Some(answer));
        // Where the model gave too few answers, so do we: that is for the caller to find.
        Ok(predictions.into_iter().flatten().collect())
    }

    /// From the cache where the answer is the stream's too, and where all of the text was read.
    fn answer(&mut self, texts: &[(&str, Truncation)], raw: bool) -> Result<Vec<Scores>> {
        if raw || texts.iter().any(|(_, truncation)| *truncation == Truncation::Left) {
            return self.model.answer(texts, raw);
        }
        let known = |(text, truncation): &(&str, Truncation)| {
            let known = self.answers.get(*text).filter(|known| known.whole || *truncation == Truncation::Right);
            known.map(|known| Ok(known.prediction.scores.clone()))
        };
        let mut answers: Vec<Option<Scores>> = texts.iter().map(known).collect();
        let unknown: Vec<_> =
            texts.iter().zip(&answers).filter(|(_, known)| known.is_none()).map(|(text, _)| *text).collect();
        self.metrics.recent_texts.inc_by(texts.len() as u64);
        self.metrics.recent_text_hits.inc_by((texts.len() - unknown.len()) as u64);
        let found = if unknown.is_empty() { Vec::new() } else { self.model.answer(&unknown, false)? };
        let believed = found.len() == unknown.len();
        for ((text, truncation), scores) in unknown.iter().zip(&found) {
            if let Ok(scores) = scores
                && believed
                && scores.iter().all(|score| score.is_finite())
            {
                let prediction = Prediction { scores: scores.clone() };
                self.answers.put((*text).into(), Known { prediction, whole: *truncation == Truncation::Refused });
            }
        }
        let missing = answers.iter_mut().filter(|known| known.is_none());
        missing.zip(found).for_each(|(place, scores)| *place = Some(scores));
        Ok(answers.into_iter().flatten().collect())
    }

    fn on_cpu(&self) -> Option<Result<Box<dyn Model>>> {
        let cached = |model| Box::new(Self::new(model, self.answers.cap(), self.metrics.clone())) as Box<dyn Model>;
        Some(self.model.on_cpu()?.map(cached))
    }

    /// Of the model itself: cached answers say nothing of its health.
    fn canary(&mut self) -> Result<()> {
        self.model.canary()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Says how often it was asked.
    struct Counting(Classes, Arc<AtomicUsize>);

    impl Model for Counting {
        fn classes(&self) -> &Classes {
            &self.0
        }

        fn max_length(&self) -> usize {
            64
        }

        fn version(&self) -> Version {
            Version(1)
        }

        fn classify(&mut self, texts: &[&str]) -> Result<Vec<Prediction>> {
            self.1.fetch_add(texts.len(), Ordering::Relaxed);
            let score = |text: &&str| if *text == "nan" { f32::NAN } else { text.chars().count() as f32 / 100.0 };
            Ok(texts.iter().map(|text| Prediction { scores: vec![score(text), 1.0 - score(text)] }).collect())
        }
    }

    fn cached(texts: usize) -> (AnswerCache, Arc<AtomicUsize>, Arc<Metrics>) {
        let (asked, metrics) = (Arc::new(AtomicUsize::new(0)), Arc::new(Metrics::new()));
        let model = Box::new(Counting(Classes::new(["good", "bad"]), asked.clone()));
        (AnswerCache::new(model, NonZeroUsize::new(texts).unwrap(), metrics.clone()), asked, metrics)
    }

    #[test]
    fn a_text_is_asked_once_and_every_answer_stands_at_its_text() {
        let (mut model, asked, metrics) = cached(10);
        let scores = |predictions: Vec<Prediction>| predictions.iter().map(|said| said.scores[0]).collect::<Vec<_>>();
        assert_eq!(scores(model.classify(&["a", "bb"]).unwrap()), [0.01, 0.02]);
        assert_eq!(scores(model.classify(&["ccc", "bb", "dddd", "a"]).unwrap()), [0.03, 0.02, 0.04, 0.01]);
        assert_eq!(scores(model.classify(&["a", "a"]).unwrap()), [0.01, 0.01]);
        assert_eq!(asked.load(Ordering::Relaxed), 4);
        assert_eq!((metrics.recent_texts.get(), metrics.recent_text_hits.get()), (8, 4));
    }

    #[test]
    fn an_answer_that_is_no_number_is_not_cached() {
        let (mut model, asked, _) = cached(10);
        for _ in 0..2 {
            assert!(model.classify(&["nan"]).unwrap()[0].scores[0].is_nan());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn what_was_not_seen_for_long_is_forgotten_and_the_model_is_asked_for_its_health() {
        let (mut model, asked, _) = cached(2);
        for text in ["a", "b", "a", "c", "b"] {
            model.classify(&[text]).unwrap();
        }
        assert_eq!(asked.load(Ordering::Relaxed), 4, "c displaced b");
        for _ in 0..3 {
            model.canary().unwrap();
        }
        assert_eq!(asked.load(Ordering::Relaxed), 7);
    }
}
