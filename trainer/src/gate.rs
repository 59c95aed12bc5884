//! The gate: from several models' answers on the same held-out texts, and a policy, to a verdict
//! with its numbers.
//!
//! Everything here is pure. All checks are made and all that fail are named, so that a rejected
//! candidate is understood at once; [`Evidence`] keeps the numbers of every check, passed or not.

mod by_metric;
mod chance;
mod origin;
mod paired;
mod policy;

use std::fmt::Write as _;

use serde::Serialize;

use crate::metrics::{BestBy, Evaluation};
pub use by_metric::ByMetric;
use chance::by_chance;
pub use origin::{OnStream, Origin};
pub use paired::Paired;
pub use policy::Policy;

/// What a model said of the held-out texts.
#[derive(Debug, Clone)]
pub struct Answers {
    /// One class a text, as an index into the case's classes; `None` for a class that is not among
    /// them.
    pub classes: Vec<Option<usize>>,
    /// Mean time a text took, classified in batches, in milliseconds.
    pub milliseconds_per_text: f64,
}

/// Everything that a verdict rests on.
#[derive(Debug, Clone)]
pub struct Case {
    /// The names of the classes that the candidate must have.
    pub classes: Vec<String>,
    /// The names of the classes that it has.
    pub candidate_classes: Vec<String>,
    /// What people said of the held-out texts, as indices into `classes`.
    pub truth: Vec<usize>,
    /// Where each of them comes from.
    pub origins: Vec<Origin>,
    /// How many of them the candidate has learned from: the last ones, which models answer for it
    /// that were fitted as it was, without them.
    pub cross_validated: usize,
    /// The candidate's answers.
    pub candidate: Answers,
    /// The champion's answers, where there is one.
    pub champion: Option<Answers>,
    /// The names of the classes that the champion has; `None` where there is none.
    pub champion_classes: Option<Vec<String>>,
    /// The answers of the linear model that was fitted on the same texts, where it is not the
    /// candidate itself: for the record, since the candidate was chosen before.
    pub baseline: Option<Answers>,
    /// Golden texts: what each must be labeled, and what the candidate says.
    pub golden: Vec<Golden>,
}

/// A text that every champion must get right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Golden {
    /// The text.
    pub text: String,
    /// Its label.
    pub label: String,
    /// What the candidate says.
    pub answer: String,
}

/// What the gate says.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Whether the candidate may become champion.
    pub accepted: bool,
    /// Why, in words.
    pub reason: String,
    /// The numbers of every check.
    pub evidence: Evidence,
}

/// The numbers of every check; each model's own metrics are kept, and serialised, apart.
#[derive(Debug, Clone, Serialize)]
pub struct Evidence {
    /// What was asked for.
    pub policy: Policy,
    /// Held-out texts, those of the cross-validation among them.
    pub held_out: usize,
    /// Of those, the texts that were answered by cross-validation.
    pub cross_validated: usize,
    /// Of those, the texts that do not judge, since the champion's doubt has chosen them.
    pub doubted: usize,
    /// How right the models are on the stream, by the texts that were drawn from it at random.
    pub on_stream: Option<OnStream>,
    /// Probability of as many right answers, had the candidate learned nothing.
    pub p_by_chance: f64,
    /// The candidate on them.
    #[serde(skip)]
    pub candidate: Evaluation,
    /// The champion on them.
    #[serde(skip)]
    pub champion: Option<Evaluation>,
    /// The linear baseline on them.
    #[serde(skip)]
    pub baseline: Option<Evaluation>,
    /// Candidate against champion, text by text.
    pub against_champion: Option<Paired>,
    /// Candidate against champion by a figure of the gate's own, where that is not accuracy.
    pub by_metric: Option<ByMetric>,
    /// Candidate against baseline, text by text.
    pub against_baseline: Option<Paired>,
    /// Golden texts that the candidate gets wrong.
    pub golden_wrong: Vec<Golden>,
    /// Milliseconds that a text took the candidate.
    pub milliseconds_per_text: f64,
    /// Milliseconds that a text took the champion.
    pub champion_milliseconds_per_text: Option<f64>,
}

/// Whether the candidate may become champion.
///
/// # Panics
/// When the models have not answered the same number of texts.
pub fn judge(case: &Case, policy: &Policy) -> Verdict {
    let evidence = Evidence::new(case, policy);
    let mut problems = Vec::new();
    problems.extend(label_set(case));
    problems.extend(enough_labels(case, policy));
    problems.extend(recall_floors(&evidence));
    problems.extend(knows_something(&evidence));
    problems.extend(golden(case, &evidence));
    problems.extend(latency(&evidence));
    let comparison = champion(&evidence);
    problems.extend(comparison.as_ref().err().cloned());
    let accepted = problems.is_empty();
    let reason = if accepted { comparison.unwrap_or_default() } else { problems.join("; ") };
    Verdict { accepted, reason, evidence }
}

impl Evidence {
    fn new(case: &Case, policy: &Policy) -> Self {
        let right = |answers: &Answers| -> Vec<bool> {
            assert_eq!(answers.classes.len(), case.truth.len(), "an answer for each held-out text");
            answers.classes.iter().zip(&case.truth).map(|(answer, truth)| *answer == Some(*truth)).collect()
        };
        assert_eq!(case.origins.len(), case.truth.len(), "an origin for each held-out text");
        let judging = |right: Vec<bool>| -> Vec<bool> {
            right.into_iter().zip(&case.origins).filter(|(_, origin)| judges(origin)).map(|(right, _)| right).collect()
        };
        let of_candidate = right(&case.candidate);
        let of_champion = case.champion.as_ref().map(right);
        let against =
            |other: &Answers| Paired::new(&judging(of_candidate.clone()), &judging(right(other)), policy.margin);
        let candidate = evaluation(case, &case.candidate);
        let is_own = policy.metric != BestBy::default();
        let by_metric =
            case.champion.as_ref().filter(|_| is_own).and_then(|champion| by_metric(case, champion, policy));
        Self {
            by_metric,
            policy: policy.clone(),
            held_out: case.truth.len(),
            cross_validated: case.cross_validated,
            doubted: case.origins.iter().filter(|origin| !judges(origin)).count(),
            on_stream: OnStream::of(&case.origins, &of_candidate, of_champion.as_deref()),
            p_by_chance: by_chance(&candidate.confusion),
            candidate,
            champion: case.champion.as_ref().map(|champion| evaluation(case, champion)),
            baseline: case.baseline.as_ref().map(|baseline| evaluation(case, baseline)),
            against_champion: case.champion.as_ref().map(against),
            against_baseline: case.baseline.as_ref().map(against),
            golden_wrong: case.golden.iter().filter(|golden| golden.answer != golden.label).cloned().collect(),
            milliseconds_per_text: case.candidate.milliseconds_per_text,
            champion_milliseconds_per_text: case.champion.as_ref().map(|champion| champion.milliseconds_per_text),
        }
    }
}

/// Both models by the gate's own figure, on the texts that judge.
fn by_metric(case: &Case, champion: &Answers, policy: &Policy) -> Option<ByMetric> {
    let other = case.classes.len();
    let texts: Vec<usize> = (0..case.truth.len()).filter(|text| judges(&case.origins[*text])).collect();
    let said = |answers: &Answers| -> Vec<usize> {
        texts.iter().map(|text| answers.classes[*text].unwrap_or(other)).collect()
    };
    let mut names = case.classes.clone();
    names.push("(another class)".to_owned());
    let truth: Vec<usize> = texts.iter().map(|text| case.truth[*text]).collect();
    let (candidate, champion) = (said(&case.candidate), said(champion));
    let answered = by_metric::Answered { names: &names, truth: &truth, candidate: &candidate, champion: &champion };
    ByMetric::of(&policy.metric, &answered)
}

/// A model's metrics; an answer outside the classes is wrong for every class, and counted as one
/// more.
fn evaluation(case: &Case, answers: &Answers) -> Evaluation {
    let other = case.classes.len();
    let predicted: Vec<usize> = answers.classes.iter().map(|answer| answer.unwrap_or(other)).collect();
    let mut names = case.classes.clone();
    if predicted.contains(&other) {
        names.push("(another class)".to_owned());
    }
    Evaluation::new(&names, &case.truth, &predicted)
}

/// A candidate without the wanted classes has gone wrong; one with other classes than the
/// champion's is what somebody wanted, but whoever reads the predictions must know of it before
/// they change.
fn label_set(case: &Case) -> Option<String> {
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    let known = case.candidate_classes.join(", ");
    if sorted(&case.candidate_classes) != sorted(&case.classes) {
        return Some(format!("it knows {known}, and not {}", case.classes.join(", ")));
    }
    let champion = case.champion_classes.as_ref().filter(|champion| **champion != case.candidate_classes)?;
    Some(format!("its classes are {known}, the champion's {}: only a person may promote it", champion.join(", ")))
}

/// Whether a text tells the models apart without favour.
fn judges(origin: &Origin) -> bool {
    *origin != Origin::Doubted
}

fn enough_labels(case: &Case, policy: &Policy) -> Option<String> {
    let judging = case.truth.iter().zip(&case.origins).filter(|(_, origin)| judges(origin));
    let mut counts = vec![0; case.classes.len()];
    judging.for_each(|(class, _)| counts[*class] += 1);
    let held_out: usize = counts.iter().sum();
    if held_out < policy.min_held_out {
        let doubted = match case.truth.len() - held_out {
            0 => String::new(),
            doubted => format!(" ({doubted} more were picked for the champion's doubt)"),
        };
        return Some(format!(
            "only {held_out} held-out labels{doubted}, {} are needed to tell models apart",
            policy.min_held_out
        ));
    }
    let few: Vec<String> = (case.classes.iter().zip(counts))
        .filter(|(_, count)| *count < policy.min_held_out_per_class)
        .map(|(class, count)| format!("{class:?} has {count}"))
        .collect();
    (!few.is_empty()).then(|| {
        format!(
            "too few held-out labels: {}, {} of each class are needed",
            few.join(", "),
            policy.min_held_out_per_class
        )
    })
}

fn knows_something(evidence: &Evidence) -> Option<String> {
    let p = evidence.p_by_chance;
    (p > evidence.policy.significance).then(|| format!("not shown to know more than chance: p = {p:.4}"))
}

fn recall_floors(evidence: &Evidence) -> Option<String> {
    let low: Vec<String> = classes(evidence)
        .filter(|class| class.support > 0 && class.recall < evidence.policy.recall_floor(&class.label))
        .map(|class| {
            let floor = evidence.policy.recall_floor(&class.label);
            format!("it finds {:.1}% of {:?}, the floor is {:.1}%", 100.0 * class.recall, class.label, 100.0 * floor)
        })
        .collect();
    (!low.is_empty()).then(|| low.join(", "))
}

/// The candidate's classes, without answers that are none.
fn classes(evidence: &Evidence) -> impl Iterator<Item = &crate::metrics::ClassReport> {
    evidence.candidate.per_class.iter().filter(|class| class.label != "(another class)")
}

fn golden(case: &Case, evidence: &Evidence) -> Option<String> {
    let first = evidence.golden_wrong.first()?;
    Some(format!(
        "{} of {} golden texts wrong, such as {:?}: {:?} instead of {:?}",
        evidence.golden_wrong.len(),
        case.golden.len(),
        first.text,
        first.answer,
        first.label
    ))
}

fn latency(evidence: &Evidence) -> Option<String> {
    let (took, limit) = (evidence.milliseconds_per_text, evidence.policy.max_milliseconds_per_text);
    (took > limit).then(|| format!("a text takes it {took:.2} ms, {limit} ms are allowed"))
}

/// The comparison with the champion in words: `Ok` where the candidate may take its place.
fn champion(evidence: &Evidence) -> Result<String, String> {
    let (accuracy, policy, on) = (evidence.candidate.accuracy, &evidence.policy, held_out(evidence));
    let on_stream = on_stream(evidence);
    let (Some(paired), Some(champion)) = (&evidence.against_champion, &evidence.champion) else {
        return Ok(format!("the first champion: accuracy {accuracy:.4} on {on}{on_stream}"));
    };
    let numbers = format!(
        "accuracy {accuracy:.4} against {:.4} on {on}, {} only it has right and {} only the champion{on_stream}",
        champion.accuracy, paired.better, paired.worse
    );
    let p_worse = evidence.on_stream.and_then(|on_stream| on_stream.p_worse);
    if let Some(p) = p_worse.filter(|p| *p <= policy.significance) {
        return Err(format!("worse than the champion on the stream: {numbers}, p = {p:.4}"));
    }
    if let Some(ByMetric { metric, candidate, champion, p_better }) = &evidence.by_metric {
        let by = format!("by {metric} {candidate:.4} against {champion:.4}, p = {p_better:.4}; {numbers}");
        return match *p_better <= policy.significance {
            true => Ok(format!("better than the champion {by}")),
            false => Err(format!("not shown to be better than the champion {by}")),
        };
    }
    if paired.p_better <= policy.significance {
        return Ok(format!("better than the champion: {numbers}, p = {:.4}", paired.p_better));
    }
    match (policy.margin, paired.p_not_worse) {
        (Some(margin), Some(p)) if p <= policy.significance => {
            Ok(format!("not worse than the champion by {margin} or more: {numbers}, p = {p:.4}"))
        }
        _ => Err(format!("not shown to be better than the champion: {numbers}, p = {:.4}", paired.p_better)),
    }
}

/// On how many texts, and which of them say less.
fn held_out(evidence: &Evidence) -> String {
    let mut on = format!("{} held-out texts", evidence.held_out);
    if evidence.cross_validated > 0 {
        let _ = write!(on, " ({} by cross-validation)", evidence.cross_validated);
    }
    if evidence.doubted > 0 {
        let _ = write!(on, " ({} picked for the champion's doubt do not judge)", evidence.doubted);
    }
    on
}

/// What the texts say that were drawn at random, where there are any.
fn on_stream(evidence: &Evidence) -> String {
    let Some(OnStream { candidate, champion, .. }) = &evidence.on_stream else { return String::new() };
    let against = champion.map_or(String::new(), |champion| format!(" against {:.4}", champion.value));
    format!(
        "; on the stream {:.4}{against} by {} texts drawn at random ({:.4} to {:.4})",
        candidate.value, candidate.texts, candidate.low, candidate.high
    )
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
