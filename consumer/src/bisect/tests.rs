//! Models that fail over a text, or altogether.

use std::sync::Arc;

use anyhow::{bail, ensure};
use classifier::{Classes, Truncation};
use proptest::prelude::*;
use store::Version;

use super::*;

/// Labels a text by its length; fails, panics or talks nonsense at texts that say so.
pub(crate) struct Faulty {
    pub labels: Classes,
    pub broken: bool,
    pub breaks_after: usize,
    pub calls: usize,
}

impl Faulty {
    pub fn new() -> Self {
        Self { labels: Classes::new(["short", "long"]), broken: false, breaks_after: usize::MAX, calls: 0 }
    }
}

impl Model for Faulty {
    fn classes(&self) -> &Classes {
        &self.labels
    }

    fn max_length(&self) -> usize {
        512
    }

    fn version(&self) -> Version {
        Version(1)
    }

    fn classify(&mut self, texts: &[&str]) -> Result<Vec<Prediction>> {
        self.calls += 1;
        ensure!(!self.broken && self.calls <= self.breaks_after, "the device is gone");
        ensure!(!texts.contains(&"fail"), "cannot label this");
        assert!(!texts.contains(&"panic"), "a panic over a text");
        if texts.contains(&"few") {
            return Ok(Vec::new());
        }
        let score = |text: &&str| if *text == "nan" { f32::NAN } else { text.len() as f32 };
        Ok(texts.iter().map(|text| Prediction { scores: vec![0.0, score(text)] }).collect())
    }
}

fn outcomes(texts: &[&str]) -> Vec<Option<f32>> {
    let results = label(&mut Faulty::new(), texts, None, &Metrics::new()).unwrap();
    results.into_iter().map(|result| result.ok().map(|prediction| prediction.scores[1])).collect()
}

#[test]
fn a_record_that_the_model_cannot_label_is_found_and_the_others_are_labeled() {
    for bad in ["fail", "panic", "few", "nan"] {
        assert_eq!(outcomes(&["a", "bb", bad, "cccc", "d"]), [Some(1.0), Some(2.0), None, Some(4.0), Some(1.0)]);
    }
}

#[test]
fn a_broken_model_makes_no_dead_letters() {
    let mut model = Faulty { broken: true, ..Faulty::new() };
    let Broken(error) = label(&mut model, &["a", "b"], None, &Metrics::new()).unwrap_err();
    assert_eq!(error.to_string(), "the device is gone");
}

#[test]
fn a_panic_says_what_it_said() {
    let error = answer(&mut Faulty::new(), &[("panic", Truncation::Right)], false).unwrap_err();
    assert_eq!(error.to_string(), "the model panicked: a panic over a text");
}

#[test]
fn one_bad_record_of_a_thousand_costs_few_forward_passes() {
    let mut texts = vec!["a"; 1_000];
    texts[617] = "fail";
    let mut model = Faulty::new();
    label(&mut model, &texts, None, &Metrics::new()).unwrap();
    assert!(model.calls < 40, "{} calls", model.calls);
}

/// Labels an id by itself; fails at ids that say so.
struct Reader(Faulty);

impl Model for Reader {
    fn classes(&self) -> &Classes {
        self.0.classes()
    }

    fn max_length(&self) -> usize {
        self.0.max_length()
    }

    fn version(&self) -> Version {
        Version(7)
    }

    fn classify(&mut self, texts: &[&str]) -> Result<Vec<Prediction>> {
        self.0.classify(texts)
    }

    fn classify_tokens(&mut self, ids: &[Vec<u32>]) -> Result<Vec<Prediction>> {
        ensure!(ids.iter().all(|ids| ids[0] != 13), "no row for this id");
        Ok(ids.iter().map(|ids| Prediction { scores: vec![0.0, ids[0] as f32] }).collect())
    }
}

#[test]
fn ids_are_taken_where_they_are_given_and_texts_where_they_fail() {
    let scores = |ids: [u32; 3]| {
        let tokens = Tokens { encoder: Arc::new(|_| bail!("not asked")), ids: ids.map(|id| vec![id]).to_vec() };
        let results = label(&mut Reader(Faulty::new()), &["a", "fail", "cccc"], Some(&tokens), &Metrics::new());
        results.unwrap().into_iter().map(|result| result.ok().map(|said| said.scores[1])).collect::<Vec<_>>()
    };
    assert_eq!(scores([40, 50, 60]), [Some(40.0), Some(50.0), Some(60.0)]);
    assert_eq!(scores([40, 13, 60]), [Some(1.0), None, Some(4.0)], "ids that fail");
}

proptest! {
    #[test]
    fn bisecting_keeps_the_order_whatever_fails(kinds in prop::collection::vec(0..6usize, 0..40)) {
        let names = ["a", "bb", "ccc", "dddd", "fail", "nan"];
        let texts: Vec<&str> = kinds.iter().map(|&kind| names[kind]).collect();
        let expected: Vec<_> = kinds.iter().map(|&kind| (kind < 4).then_some(kind as f32 + 1.0)).collect();
        prop_assert_eq!(outcomes(&texts), expected);
    }
}
