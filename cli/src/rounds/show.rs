//! One round, for people.

use serde_json::Value;
use store::Round;

use super::{outcome, word};

/// Prints everything that is known of a round.
pub fn show(round: &Round) -> anyhow::Result<()> {
    let version = |version: Option<store::Version>| version.map_or("none".to_owned(), |version| version.to_string());
    println!("round       {}: {}", round.round, outcome(round));
    println!("started     {} by {}", round.started_at.format("%F %T UTC"), word(round.trigger));
    if let Some(finished) = round.finished_at {
        println!("took        {} s", (finished - round.started_at).num_seconds());
    }
    if let Some(owner) = &round.owner {
        println!("trainer     {owner}");
    }
    if let Some(fingerprint) = &round.dataset_fingerprint {
        println!("dataset     {fingerprint}, {} labels", round.labels_seen.unwrap_or_default());
    }
    println!("champion    {}{}", version(round.champion), measured(round.champion_metrics.as_ref()));
    println!("candidate   {}{}", version(round.candidate), measured(round.candidate_metrics.as_ref()));
    if round.baseline_metrics.is_some() {
        println!("linear      {}", measured(round.baseline_metrics.as_ref()).trim_start_matches(", "));
    }
    if let Some(reason) = &round.reason {
        println!("reason      {reason}");
    }
    for warning in warnings(round) {
        println!("warning     {warning}");
    }
    fields("parameters", Some(&round.parameters));
    match round.verdict {
        Some(_) => fields("evidence", round.evidence.as_ref()),
        None => fields("progress", round.progress.as_ref()),
    }
    Ok(())
}

/// What a person should know before trusting the candidate.
fn warnings(round: &Round) -> impl Iterator<Item = &str> {
    let warnings = round.evidence.as_ref().and_then(|evidence| evidence["warnings"].as_array());
    warnings.into_iter().flatten().filter_map(Value::as_str)
}

/// The fields of an object in lines of their own.
fn fields(name: &str, object: Option<&Value>) {
    let Some(Value::Object(fields)) = object else { return };
    println!("{name}");
    for (name, value) in fields {
        println!("  {name:<29}  {value}");
    }
}

/// The figures that every kind of model has.
fn measured(metrics: Option<&Value>) -> String {
    let named = [("accuracy", "accuracy"), ("macro_f1", "macro-F1")].into_iter().filter_map(|(field, name)| {
        let value = metrics?[field].as_f64()?;
        Some(format!(", {name} {value:.4}"))
    });
    named.collect()
}
