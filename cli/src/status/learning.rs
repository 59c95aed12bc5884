//! The other half of `labelstream status`: which model serves where, and how the next one is coming
//! along.

use std::collections::HashMap;

use serde_json::{Value, json};
use store::{LoadReport, LoadStatus, Round, Store, Version};

use crate::print::{self, ago, grouped};
use crate::rounds;

/// What the registry, the rounds and the labels say.
pub struct Learning {
    /// Why the champion is it, and since when.
    deployment: Option<store::Deployment>,
    consumers: Vec<LoadReport>,
    /// The newest one.
    round: Option<Round>,
    new_labels: i64,
    requested: bool,
}

impl Learning {
    /// Asks for all of it. Consumers of other pipelines are left out.
    pub async fn read(store: &Store, pipeline: &str) -> anyhow::Result<Self> {
        let mut consumers = store.load_reports().await?;
        consumers.retain(|report| report.pipeline == pipeline);
        Ok(Self {
            deployment: store.deployments().await?.into_iter().next(),
            consumers,
            round: store.last_round().await?,
            new_labels: store.new_labels().await?,
            requested: store.open_request().await?.is_some(),
        })
    }

    /// Prints it in lines; what every consumer serves in a line each.
    pub fn show(&self) {
        if let Some(deployment) = &self.deployment {
            println!("champion since {}: {}", ago(deployment.deployed_at), deployment.why);
        }
        println!("labels: {} since the last round", grouped(self.new_labels));
        println!("training: {}", self.training());
        let champion = self.deployment.as_ref().map(|deployment| deployment.version);
        for report in self.reports(champion) {
            println!("{report}");
        }
    }

    fn training(&self) -> String {
        let round = match &self.round {
            None => "no round yet".to_owned(),
            Some(round) => {
                let outcome = rounds::outcome(round);
                let when = round.finished_at.map_or_else(|| format!("since {}", ago(round.started_at)), ago);
                let reason = round.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
                format!("round {} {outcome}, {when}{reason}", round.round)
            }
        };
        if self.requested { format!("{round}; a round is asked for, no trainer has begun it") } else { round }
    }

    /// One line a report: refusals always, and who serves what.
    fn reports(&self, champion: Option<Version>) -> Vec<String> {
        let lines = self.consumers.iter().map(|report| {
            let LoadReport { consumer, version, status, reason, updated_at, .. } = report;
            let when = ago(*updated_at);
            match status {
                LoadStatus::Refused => {
                    let reason = reason.as_deref().unwrap_or("no reason given");
                    format!("consumer {consumer} refused version {version} {when}: {}", print::shortened(reason, 200))
                }
                LoadStatus::Loading => format!("consumer {consumer} is loading version {version}, {when}"),
                LoadStatus::Serving => {
                    let old = if Some(*version) == champion { "" } else { ", which is not the champion" };
                    format!("consumer {consumer} serves version {version}{old} (said {when})")
                }
            }
        });
        lines.collect()
    }

    /// The fields that it adds to the JSON object.
    pub fn json(&self) -> HashMap<&'static str, Value> {
        HashMap::from([
            ("deployment", json!(self.deployment)),
            ("consumers", json!(self.consumers)),
            ("round", json!(self.round)),
            ("new_labels", json!(self.new_labels)),
            ("round_requested", json!(self.requested)),
        ])
    }
}
