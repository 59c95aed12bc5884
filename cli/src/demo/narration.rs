//! What the trainer does meanwhile, printed as it happens.

use std::time::Duration;

use anyhow::bail;
use store::{Round, Store, Verdict};

use crate::rounds;

/// How often the rounds are looked at.
const EVERY: Duration = Duration::from_millis(250);

/// Rounds to look back on: nobody sees more than one begin between two looks.
const RECENT: u32 = 3;

/// Prints when each round begins and how it ends, for as long as the demo lasts.
///
/// # Errors
/// A first round that came to nothing: then nothing will ever be labeled.
pub async fn narrate(store: &Store) -> anyhow::Result<()> {
    let (mut begun, mut ended) = (0, 0);
    loop {
        let mut recent = store.rounds(RECENT).await?;
        recent.reverse();
        for round in &recent {
            if round.round > begun && round.labels_seen.is_some() {
                begun = round.round;
                let labels = round.labels_seen.unwrap_or_default();
                eprintln!("-- round {begun} begins, with {labels} labels");
            }
            if round.round > ended && round.verdict.is_some() {
                ended = round.round;
                eprintln!("-- {}", verdict(round));
                if round.verdict != Some(Verdict::Accepted) && store.champion().await?.is_none() {
                    bail!("there is no first model: {}", round.reason.as_deref().unwrap_or("no reason was given"));
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// One line about a round that has ended.
pub fn verdict(round: &Round) -> String {
    let took = round.finished_at.map_or(0.0, |finished| (finished - round.started_at).as_seconds_f64());
    let candidate = round.candidate.map_or(String::new(), |version| format!(" version {version}"));
    let reason = round.reason.as_deref().map_or(String::new(), |reason| format!(": {reason}"));
    format!("round {}:{candidate} {} after {took:.1} s{reason}", round.round, rounds::outcome(round))
}

/// What the candidate wins over a linear model of the same labels, where that was measured.
pub fn won(round: &Round) -> Option<String> {
    let accuracy = |metrics: &Option<serde_json::Value>| metrics.as_ref()?.get("accuracy")?.as_f64();
    let (candidate, linear) = (accuracy(&round.candidate_metrics)?, accuracy(&round.baseline_metrics)?);
    let texts = round.evidence.as_ref()?.get("held_out")?;
    Some(format!("of {texts} held-out texts {:.1}% right, a linear model {:.1}%", 100.0 * candidate, 100.0 * linear))
}
