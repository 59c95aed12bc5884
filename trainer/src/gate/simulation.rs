//! How often the gate errs, on streams of which the truth is known: a candidate that is no better
//! than what it would replace passes in at most 5 of 100 rounds.

use super::*;
use crate::random::{Purpose, Random};

const RUNS: usize = 1_000;
/// Labels there are, and held-out texts that judge: below 250 labels those of a cross-validation
/// do.
const BUDGETS: [(usize, usize); 4] = [(60, 55), (100, 90), (300, 60), (1_000, 200)];

fn names() -> Vec<String> {
    ["bad", "good"].map(str::to_owned).to_vec()
}

fn answers(classes: Vec<usize>) -> Answers {
    Answers { classes: classes.into_iter().map(Some).collect(), milliseconds_per_text: 0.01 }
}

fn case(truth: Vec<usize>, candidate: Vec<usize>, champion: Option<Vec<usize>>, origins: Vec<Origin>) -> Case {
    Case {
        classes: names(),
        candidate_classes: names(),
        champion_classes: champion.as_ref().map(|_| names()),
        truth,
        origins,
        cross_validated: 0,
        candidate: answers(candidate),
        champion: champion.map(answers),
        baseline: None,
        golden: Vec::new(),
    }
}

fn accepted(case: impl Fn(&mut Random) -> Case) -> f64 {
    let passes = (0..RUNS).filter(|run| {
        let case = case(&mut Random::of(*run as u64, Purpose::Order, 7));
        judge(&case, &Policy::default()).accepted
    });
    passes.count() as f64 / RUNS as f64
}

#[test]
fn a_first_model_that_has_learned_nothing_passes_in_at_most_5_of_100_rounds() {
    for (labels, texts) in BUDGETS {
        for (of_truth, of_answers) in [(0.5, 0.5), (0.65, 0.5), (0.65, 0.6)] {
            let share = accepted(|random| {
                let mut deal = |share| (0..texts).map(|_| usize::from(random.chance(share))).collect::<Vec<_>>();
                let (truth, candidate) = (deal(of_truth), deal(of_answers));
                case(truth, candidate, None, vec![Origin::Chosen; texts])
            });
            println!("{labels} labels, {of_truth} of them good, {of_answers} answers good: {share} pass");
            assert!(share <= 0.05, "{labels} labels: {share}");
        }
    }
}

#[test]
fn a_first_model_that_is_right_in_8_of_10_passes() {
    for (labels, texts) in BUDGETS {
        let share = accepted(|random| {
            let truth: Vec<usize> = (0..texts).map(|_| usize::from(random.chance(0.6))).collect();
            let candidate = truth.iter().map(|class| if random.chance(0.8) { *class } else { 1 - class }).collect();
            case(truth, candidate, None, vec![Origin::Chosen; texts])
        });
        assert!(share > 0.95, "{labels} labels: {share}");
    }
}

/// A normal number, nearly: Irwin and Hall.
fn normal(random: &mut Random) -> f64 {
    (0..12).map(|_| random.uniform()).sum::<f64>() - 6.0
}

/// Two models of equal worth on one stream: how far each is on the right side is what the text
/// makes of it, and something of its own. Two texts of five were picked since the champion was near
/// the middle.
fn equals(random: &mut Random, texts: usize, doubted: Origin) -> Case {
    let mut seen: Vec<(f64, f64)> = (0..4 * texts)
        .map(|_| {
            let text = 1.0 + normal(random);
            (text + 0.5 * normal(random), text + 0.5 * normal(random))
        })
        .collect();
    let picked = texts * 2 / 5;
    let chosen: Vec<(f64, f64)> = seen.drain(..texts - picked).collect();
    seen.sort_by(|one, other| one.0.abs().total_cmp(&other.0.abs()));
    let texts: Vec<(f64, f64, Origin)> =
        (chosen.into_iter().map(|(champion, candidate)| (champion, candidate, Origin::Chosen)))
            .chain(seen.into_iter().take(picked).map(|(champion, candidate)| (champion, candidate, doubted)))
            .collect();
    let truth: Vec<usize> = (0..texts.len()).map(|index| index % 2).collect();
    let said = |of: fn(&(f64, f64, Origin)) -> f64| {
        texts.iter().zip(&truth).map(|(text, class)| if of(text) > 0.0 { *class } else { 1 - class }).collect()
    };
    let (champion, candidate) = (said(|text| text.0), said(|text| text.1));
    case(truth, candidate, Some(champion), texts.iter().map(|text| text.2).collect())
}

#[test]
fn an_equal_of_the_champion_passes_in_at_most_5_of_100_rounds_whatever_the_champion_doubted() {
    for (labels, texts) in BUDGETS {
        let share = accepted(|random| equals(random, texts * 5 / 3, Origin::Doubted));
        println!("{labels} labels: {share} pass");
        assert!(share <= 0.05, "{labels} labels: {share}");
    }
    let fooled = accepted(|random| equals(random, 200, Origin::Chosen));
    println!("were the doubted texts to judge: {fooled} pass");
    assert!(fooled > 0.1, "the simulation shows no danger: {fooled}");
}
