//! Verdicts of the gate.

use super::*;

/// A case over `bad` and `good` in which each model has the stated share of the texts wrong, from
/// the front or the back.
struct Texts {
    count: usize,
}

impl Texts {
    fn truth(&self) -> Vec<usize> {
        (0..self.count).map(|index| index % 2).collect()
    }

    fn answers(&self, wrong: std::ops::Range<usize>) -> Answers {
        let truth = self.truth();
        let classes = truth
            .iter()
            .enumerate()
            .map(|(index, class)| Some(if wrong.contains(&index) { 1 - class } else { *class }));
        Answers { classes: classes.collect(), milliseconds_per_text: 1.0 }
    }

    fn case(&self, candidate: std::ops::Range<usize>, champion: std::ops::Range<usize>) -> Case {
        Case {
            classes: names(&["bad", "good"]),
            candidate_classes: names(&["bad", "good"]),
            champion_classes: Some(names(&["bad", "good"])),
            truth: self.truth(),
            origins: vec![Origin::Chosen; self.count],
            cross_validated: 0,
            candidate: self.answers(candidate),
            champion: Some(self.answers(champion)),
            baseline: None,
            golden: Vec::new(),
        }
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn rejected(case: &Case, policy: &Policy, reason: &str) {
    let verdict = judge(case, policy);
    assert!(!verdict.accepted && verdict.reason.contains(reason), "{}", verdict.reason);
}

#[track_caller]
fn accepted(case: &Case, policy: &Policy, reason: &str) {
    let verdict = judge(case, policy);
    assert!(verdict.accepted && verdict.reason.contains(reason), "{}", verdict.reason);
}

#[test]
fn a_candidate_that_is_clearly_better_is_accepted_with_its_numbers() {
    let case = Texts { count: 200 }.case(0..10, 0..40);
    accepted(&case, &Policy::default(), "0.9500 against 0.8000 on 200 held-out texts, 30 only it has right");
    let evidence = serde_json::to_value(judge(&case, &Policy::default()).evidence).unwrap();
    assert_eq!((&evidence["held_out"], &evidence["against_champion"]["better"]), (&200.into(), &30.into()));
}

#[test]
fn a_worse_candidate_and_one_that_is_better_by_luck_are_rejected() {
    let texts = Texts { count: 200 };
    rejected(&texts.case(0..40, 0..10), &Policy::default(), "not shown to be better");
    // Three texts more, of thirteen on which they differ.
    rejected(&texts.case(0..5, 192..200), &Policy::default(), "not shown to be better");
    rejected(&texts.case(0..20, 0..20), &Policy::default(), "p = 1.0000");
}

#[test]
fn a_tiny_held_out_set_decides_nothing() {
    rejected(&Texts { count: 30 }.case(0..0, 0..15), &Policy::default(), "only 30 held-out labels, 50 are needed");
    let mut case = Texts { count: 60 }.case(0..0, 0..30);
    case.truth = vec![0; 60];
    case.candidate.classes = vec![Some(0); 60];
    rejected(&case, &Policy::default(), "\"good\" has 0, 5 of each");
}

#[test]
fn a_candidate_that_never_predicts_a_class_is_rejected_however_often_it_is_right() {
    let mut case = Texts { count: 400 }.case(0..0, 0..200);
    for (index, truth) in case.truth.iter_mut().enumerate() {
        *truth = usize::from(index >= 20);
    }
    case.candidate.classes = vec![Some(1); 400];
    assert!(judge(&case, &Policy::default()).evidence.against_champion.unwrap().p_better < 1e-9);
    rejected(&case, &Policy::default(), "it finds 0.0% of \"bad\", the floor is 30.0%");
}

#[test]
fn a_class_may_have_a_floor_of_its_own() {
    let case = Texts { count: 200 }.case(0..40, 0..100);
    accepted(&case, &Policy::default(), "better");
    let strict = Policy { recall_floors: [("good".to_owned(), 0.9)].into(), ..Policy::default() };
    rejected(&case, &strict, "80.0% of \"good\", the floor is 90.0%");
}

#[test]
fn as_good_as_the_champion_is_enough_only_where_the_policy_says_so() {
    let case = Texts { count: 1000 }.case(0..20, 10..30);
    rejected(&case, &Policy::default(), "not shown to be better");
    accepted(&case, &Policy { margin: Some(0.02), ..Policy::default() }, "not worse than the champion by 0.02");
    let worse = Texts { count: 1000 }.case(0..40, 0..10);
    rejected(&worse, &Policy { margin: Some(0.02), ..Policy::default() }, "not shown to be better");
}

#[test]
fn a_figure_of_the_gates_own_decides_in_place_of_accuracy() {
    let mut case = Texts { count: 400 }.case(0..0, 0..0);
    for (index, truth) in case.truth.iter_mut().enumerate() {
        *truth = usize::from(index % 8 > 0);
    }
    // The champion takes every bad text but 20 for a good one; the candidate finds all, and takes
    // 30 good ones for bad.
    let said = |is_bad: fn(usize) -> bool| (0..400).map(|index| Some(usize::from(!is_bad(index)))).collect();
    case.champion = Some(Answers { classes: said(|index| index % 8 == 0 && index < 160), milliseconds_per_text: 1.0 });
    case.candidate.classes = said(|index| index % 8 == 0 || index % 8 == 1 && index < 240);
    rejected(&case, &Policy::default(), "not shown to be better than the champion: accuracy");
    let by_recall = Policy { metric: "recall:bad".parse().unwrap(), ..Policy::default() };
    accepted(&case, &by_recall, "better than the champion by recall:bad 1.0000 against 0.4000");
    std::mem::swap(&mut case.candidate, case.champion.as_mut().unwrap());
    rejected(&case, &by_recall, "not shown to be better than the champion by recall:bad");
}

#[test]
fn a_candidate_that_loses_on_the_stream_is_rejected_however_it_does_elsewhere() {
    // Better on 60 texts that people chose, worse on 20 of the 100 that were drawn.
    let mut case = Texts { count: 300 }.case(200..220, 0..60);
    accepted(&case, &Policy::default(), "better than the champion: accuracy");
    for origin in &mut case.origins[200..] {
        *origin = Origin::Audit { probability: 0.01 };
    }
    rejected(&case, &Policy::default(), "worse than the champion on the stream");
    let on_stream = judge(&case, &Policy::default()).evidence.on_stream.unwrap();
    assert_eq!((on_stream.candidate.value, on_stream.champion.unwrap().value), (0.8, 1.0));
}

#[test]
fn the_linear_baseline_is_recorded_and_decides_nothing() {
    let texts = Texts { count: 200 };
    let mut case = texts.case(0..10, 0..60);
    case.baseline = Some(texts.answers(0..9));
    accepted(&case, &Policy::default(), "better than the champion");
    let evidence = judge(&case, &Policy::default()).evidence;
    let paired = evidence.against_baseline.unwrap();
    assert_eq!((paired.better, paired.worse, evidence.baseline.unwrap().accuracy), (0, 1, 0.955));
}

#[test]
fn the_first_champion_needs_no_comparison_but_keeps_the_floors() {
    let mut case = Texts { count: 200 }.case(0..20, 0..0);
    case.champion = None;
    accepted(&case, &Policy::default(), "the first champion: accuracy 0.9000");
    case.candidate = Texts { count: 200 }.answers(0..200);
    rejected(&case, &Policy::default(), "the floor is");
}

#[test]
fn golden_texts_label_sets_and_latency_are_checked_and_every_failure_is_named() {
    let mut case = Texts { count: 200 }.case(0..10, 0..40);
    let golden =
        |answer: &str| Golden { text: "好吃".to_owned(), label: "good".to_owned(), answer: answer.to_owned() };
    case.golden = vec![golden("good"), golden("bad")];
    rejected(&case, &Policy::default(), "1 of 2 golden texts wrong, such as \"好吃\": \"bad\" instead of \"good\"");
    case.candidate_classes = names(&["good", "bad", "mixed"]);
    case.candidate.milliseconds_per_text = 500.0;
    for reason in ["it knows good, bad, mixed", "a text takes it 500.00 ms", "golden"] {
        rejected(&case, &Policy::default(), reason);
    }
}

#[test]
fn other_classes_than_the_champions_are_a_persons_to_promote() {
    let mut case = Texts { count: 200 }.case(0..10, 0..40);
    case.champion_classes = Some(names(&["bad", "good", "mixed"]));
    rejected(&case, &Policy::default(), "the champion's bad, good, mixed: only a person may promote it");
    case.champion_classes = Some(names(&["good", "bad"]));
    rejected(&case, &Policy::default(), "only a person may promote it");
}

#[test]
fn a_champion_of_other_classes_is_wrong_where_it_names_them() {
    let mut case = Texts { count: 200 }.case(0..10, 0..0);
    case.champion = Some(Answers { classes: vec![None; 200], milliseconds_per_text: 1.0 });
    accepted(&case, &Policy::default(), "0.9500 against 0.0000");
}
