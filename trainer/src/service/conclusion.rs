//! What goes on record of a round: the verdict, its numbers, and what a person should look at.

use serde_json::json;
use store::{Conclusion, NewModel};

use super::champion::Champion;
use super::comparison::Compared;
use super::fitting::CurvePoint;
use crate::warnings;

/// The end of a round whose candidate was compared; `known` are the warnings of its dataset.
pub(super) fn conclusion(
    compared: Compared,
    model: NewModel,
    champion: Option<&Champion>,
    known: &[String],
    curve: &[CurvePoint],
) -> Conclusion {
    let verdict = compared.verdict;
    let mut evidence = json!(verdict.evidence);
    evidence["wrong"] = json!(compared.wrong);
    if !curve.is_empty() {
        evidence["curve"] = json!(curve);
    }
    let warnings = [known, &warnings::of_evaluation(&verdict.evidence.candidate)].concat();
    if !warnings.is_empty() {
        evidence["warnings"] = json!(warnings);
    }
    let metrics = |evaluation: &Option<crate::Evaluation>| evaluation.as_ref().map(|evaluation| json!(evaluation));
    Conclusion {
        model,
        accepted: verdict.accepted,
        reason: verdict.reason,
        evidence,
        champion_metrics: metrics(&verdict.evidence.champion),
        candidate_metrics: json!(verdict.evidence.candidate),
        baseline_metrics: metrics(&verdict.evidence.baseline),
        expected_champion: champion.map(|champion| champion.version),
        shadow_first: None,
    }
}
