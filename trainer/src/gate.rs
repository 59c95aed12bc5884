//! The gate: from several models' answers on the same held-out texts, and a policy, to a verdict with its numbers.
//!
//! Everything here is pure. All checks are made and all that fail are named, so that a rejected candidate is understood
//! at once; [`Evidence`] keeps the numbers of every check, passed or not.

mod paired;
mod policy;

use serde::Serialize;

use crate::metrics::Evaluation;
pub use paired::Paired;
pub use policy::Policy;

/// What a model said of the held-out texts.
#[derive(Debug, Clone)]
pub struct Answers {
    /// One class a text, as an index into the case's classes; `None` for a class that is not among them.
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
    /// The candidate's answers.
    pub candidate: Answers,
    /// The champion's answers, where there is one.
    pub champion: Option<Answers>,
    /// The names of the classes that the champion has; `None` where there is none.
    pub champion_classes: Option<Vec<String>>,
    /// The answers of the linear model that was fitted on the same texts, where it is not the candidate itself: for the
    /// record, since the candidate was chosen before.
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
    /// Held-out texts.
    pub held_out: usize,
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
    problems.extend(enough_labels(&evidence));
    problems.extend(recall_floors(&evidence));
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
        let against = |other: &Answers| Paired::new(&right(&case.candidate), &right(other), policy.margin);
        Self {
            policy: policy.clone(),
            held_out: case.truth.len(),
            candidate: evaluation(case, &case.candidate),
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

/// A model's metrics; an answer outside the classes is wrong for every class, and counted as one more.
fn evaluation(case: &Case, answers: &Answers) -> Evaluation {
    let other = case.classes.len();
    let predicted: Vec<usize> = answers.classes.iter().map(|answer| answer.unwrap_or(other)).collect();
    let mut names = case.classes.clone();
    if predicted.contains(&other) {
        names.push("(another class)".to_owned());
    }
    Evaluation::new(&names, &case.truth, &predicted)
}

/// A candidate without the wanted classes has gone wrong; one with other classes than the champion's is what somebody
/// wanted, but whoever reads the predictions must know of it before they change.
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

fn enough_labels(evidence: &Evidence) -> Option<String> {
    let policy = &evidence.policy;
    if evidence.held_out < policy.min_held_out {
        return Some(format!(
            "only {} held-out labels, {} are needed to tell models apart",
            evidence.held_out, policy.min_held_out
        ));
    }
    let few: Vec<String> = classes(evidence)
        .filter(|class| class.support < policy.min_held_out_per_class)
        .map(|class| format!("{:?} has {}", class.label, class.support))
        .collect();
    (!few.is_empty()).then(|| {
        format!(
            "too few held-out labels: {}, {} of each class are needed",
            few.join(", "),
            policy.min_held_out_per_class
        )
    })
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
    let (accuracy, policy) = (evidence.candidate.accuracy, &evidence.policy);
    let (Some(paired), Some(champion)) = (&evidence.against_champion, &evidence.champion) else {
        return Ok(format!("the first champion: accuracy {accuracy:.4} on {} held-out texts", evidence.held_out));
    };
    let numbers = format!(
        "accuracy {accuracy:.4} against {:.4} on {} held-out texts, {} only it has right and {} only the champion",
        champion.accuracy, evidence.held_out, paired.better, paired.worse
    );
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

#[cfg(test)]
mod tests;
