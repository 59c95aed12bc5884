//! Requests of several people in passes over one model.

use anyhow::{Result, ensure};
use classifier::Prediction;
use store::Version;

use super::*;

/// Says of a text how long it is; fails at a text that says so. Keeps what it was asked.
struct Kept {
    classes: Classes,
    passes: Vec<Vec<String>>,
}

impl Kept {
    fn new() -> Self {
        Self { classes: Classes::new(["a", "b"]), passes: Vec::new() }
    }
}

impl Model for Kept {
    fn classes(&self) -> &Classes {
        &self.classes
    }

    fn max_length(&self) -> usize {
        100
    }

    fn version(&self) -> Version {
        Version(1)
    }

    fn classify(&mut self, texts: &[&str]) -> Result<Vec<Prediction>> {
        self.passes.push(texts.iter().map(|text| (*text).to_owned()).collect());
        ensure!(!texts.contains(&"fail"), "cannot label this");
        Ok(texts.iter().map(|text| Prediction { scores: vec![text.len() as f32, 1.0] }).collect())
    }
}

type Reply = oneshot::Receiver<Result<Answer, NoAnswer>>;

fn ask(waiting: &mut Waiting, texts: &[&str], truncation: Truncation, raw: bool) -> Reply {
    let (reply, answer) = oneshot::channel();
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    waiting.push(PredictJob { texts, truncation, raw, reply, _place: Place::default() });
    answer
}

fn first_scores(mut reply: Reply) -> Vec<f32> {
    reply.try_recv().unwrap().unwrap().scores.iter().map(|scores| scores[0]).collect()
}

#[test]
fn requests_are_answered_together_in_one_pass_each_with_its_own() {
    let (mut model, mut waiting) = (Kept::new(), Waiting::default());
    let replies: Vec<_> = ["a", "bb", "ccc"].map(|text| ask(&mut waiting, &[text], Truncation::Right, false)).into();
    let batch = ask(&mut waiting, &["dddd", "a"], Truncation::Refused, false);
    waiting.pass(&mut model, 1_000);
    assert_eq!(model.passes, [["a", "bb", "ccc", "dddd", "a"]]);
    assert_eq!(replies.into_iter().flat_map(first_scores).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
    assert_eq!(first_scores(batch), [4.0, 1.0]);
    assert!(waiting.is_empty());
}

#[test]
fn a_pass_is_bounded_and_many_texts_of_one_do_not_hold_up_the_others() {
    let (mut model, mut waiting) = (Kept::new(), Waiting::default());
    let long = "x".repeat(98);
    let many = ask(&mut waiting, &[long.as_str(); 20], Truncation::Right, false);
    let mut one = ask(&mut waiting, &["a"], Truncation::Right, false);
    assert_eq!(waiting.pass(&mut model, 100), 100);
    assert!(one.try_recv().is_err());
    waiting.pass(&mut model, 100);
    assert_eq!(first_scores(one), [1.0], "it had its turn");
    for _ in 0..18 {
        waiting.pass(&mut model, 100);
    }
    assert_eq!(first_scores(many), [98.0; 20]);
    assert!(model.passes.iter().all(|pass| pass.len() <= 2) && waiting.is_empty());
}

#[test]
fn who_has_hung_up_costs_nothing_even_in_the_middle() {
    let (mut model, mut waiting) = (Kept::new(), Waiting::default());
    let long = "x".repeat(98);
    let gone = ask(&mut waiting, &[long.as_str(); 2], Truncation::Right, false);
    waiting.pass(&mut model, 100);
    drop(gone);
    let here = ask(&mut waiting, &["a"], Truncation::Right, false);
    waiting.pass(&mut model, 1_000);
    assert_eq!(model.passes[1..], [["a"]]);
    assert_eq!(first_scores(here), [1.0]);
}

#[test]
fn a_text_that_the_model_fails_at_or_that_is_too_long_fails_its_own_request_alone() {
    let (mut model, mut waiting) = (Kept::new(), Waiting::default());
    let long = "x".repeat(99);
    let good = ask(&mut waiting, &["a"], Truncation::Right, false);
    let mut bad = ask(&mut waiting, &["bb", "fail"], Truncation::Right, false);
    let mut too_long = ask(&mut waiting, &["a", &long], Truncation::Refused, false);
    let cut = ask(&mut waiting, &[&long], Truncation::Right, false);
    waiting.pass(&mut model, 1_000);
    assert_eq!((first_scores(good), first_scores(cut)), (vec![1.0], vec![99.0]));
    assert!(matches!(bad.try_recv().unwrap(), Err(NoAnswer::Failed(_))));
    let too_long = too_long.try_recv().unwrap().err().unwrap();
    assert!(matches!(too_long, NoAnswer::TooLong(TooLong { tokens: 101, .. }, 100)), "{too_long:?}");
    assert!(waiting.is_empty());
}

#[test]
fn raw_scores_and_probabilities_are_not_mixed_up() {
    let (mut model, mut waiting) = (Kept::new(), Waiting::default());
    let raw = ask(&mut waiting, &["bb"], Truncation::Right, true);
    let probabilities = ask(&mut waiting, &["bb"], Truncation::Right, false);
    waiting.pass(&mut model, 1_000);
    assert_eq!((first_scores(raw), first_scores(probabilities)), (vec![2.0_f32.ln()], vec![2.0]));
}

#[test]
fn another_model_answers_all_of_a_request() {
    let (mut model, mut waiting) = (Kept::new(), Waiting::default());
    let reply = ask(&mut waiting, &["a", "bb"], Truncation::Right, false);
    waiting.pass(&mut model, 1);
    waiting.start_over();
    waiting.pass(&mut model, 1_000);
    assert_eq!(model.passes[1], ["a", "bb"]);
    assert_eq!(first_scores(reply), [1.0, 2.0]);
}

#[test]
fn the_queue_is_bounded_in_requests_texts_and_bytes_and_places_come_free() {
    let one = ["a".to_owned()];
    let full = |request: &[String]| {
        let (queue, _jobs) = Queue::new();
        let places: Vec<_> = std::iter::from_fn(|| queue.place(request)).collect();
        let count = places.len();
        drop(places);
        assert!(queue.place(request).is_some());
        count
    };
    assert_eq!(full(&one), MAX_REQUESTS);
    assert_eq!(full(&vec!["a".to_owned(); 64]), 16);
    assert_eq!(full(&["x".repeat(1 << 20)]), 3);
}
