//! Rounds of retraining, to be read, and the requests for one.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use crate::columns::{from_row, words};
use crate::models::Version;
use crate::{Store, StoreError};

/// What started a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum Trigger {
    /// Enough labels had come.
    #[serde(rename = "new labels")]
    NewLabels,
    /// The schedule.
    #[serde(rename = "schedule")]
    Schedule,
    /// A person, with `labelstream retrain`.
    #[serde(rename = "command")]
    Command,
    /// The stream has changed.
    #[serde(rename = "drift")]
    Drift,
    /// A trainer that was started for one round.
    #[serde(rename = "once")]
    Once,
}

words!(Trigger {
    NewLabels = "new labels",
    Schedule = "schedule",
    Command = "command",
    Drift = "drift",
    Once = "once",
});

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Its candidate became the champion.
    Accepted,
    /// The gate refused its candidate.
    Rejected,
    /// It came to nothing.
    Abandoned,
}

words!(Verdict { Accepted = "accepted", Rejected = "rejected", Abandoned = "abandoned" });

/// A row of `rounds`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Round {
    /// Counts up.
    pub round: i64,
    /// What started it.
    pub trigger: Trigger,
    /// With which settings.
    pub parameters: Value,
    /// Names the texts, labels and split that it was trained on.
    pub dataset_fingerprint: Option<String>,
    /// How many labels there were when its dataset was taken.
    pub labels_seen: Option<i64>,
    /// The champion that the candidate was compared with.
    pub champion: Option<Version>,
    /// What it made.
    pub candidate: Option<Version>,
    /// The champion on the held-out texts.
    pub champion_metrics: Option<Value>,
    /// The candidate on the same texts.
    pub candidate_metrics: Option<Value>,
    /// The linear model on the same texts.
    pub baseline_metrics: Option<Value>,
    /// The numbers on which the gate decided.
    pub evidence: Option<Value>,
    /// How far it is, or was when it ended.
    pub progress: Option<Value>,
    /// How it ended; `None` while it runs.
    pub verdict: Option<Verdict>,
    /// Why it ended so.
    pub reason: Option<String>,
    /// Who works on it: host and process.
    pub owner: Option<String>,
    /// Counts its owners.
    pub owner_epoch: i64,
    /// Until when nobody else may take it over.
    pub lease_until: Option<DateTime<Utc>>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

from_row!(Round {
    round,
    trigger,
    parameters,
    dataset_fingerprint,
    labels_seen,
    champion,
    candidate,
    champion_metrics,
    candidate_metrics,
    baseline_metrics,
    evidence,
    progress,
    verdict,
    reason,
    owner,
    owner_epoch,
    lease_until,
    started_at,
    finished_at
});

/// A round that a person asked for.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RoundRequest {
    /// Counts up.
    pub id: i64,
    /// Settings that differ from the trainer's own: a JSON object.
    pub parameters: Value,
    /// Who asked.
    pub requested_by: String,
    /// When.
    pub requested_at: DateTime<Utc>,
    /// The round that was begun for it.
    pub round: Option<i64>,
}

from_row!(RoundRequest { id, parameters, requested_by, requested_at, round });

impl Store {
    /// The rounds, newest first, at most `limit`.
    pub async fn rounds(&self, limit: u32) -> Result<Vec<Round>, StoreError> {
        self.run(async |connection| rounds(connection, None, limit).await).await
    }

    /// One round.
    ///
    /// # Errors
    /// [`StoreError::NoSuchRound`].
    pub async fn round(&self, round: i64) -> Result<Round, StoreError> {
        self.run(async |connection| numbered(connection, round).await).await
    }

    /// The highest id of a label that the round of a version had seen: the version knows none of a
    /// higher one. Of a version that no round has made, every label may be known.
    pub async fn labels_known_to(&self, version: Version) -> Result<i64, StoreError> {
        self.run(async |connection| {
            let known: Option<i64> = sqlx::query_scalar(
                "select last_label from models join rounds on rounds.round = models.round where version = $1",
            )
            .bind(version)
            .fetch_optional(connection)
            .await?
            .flatten();
            Ok(known.unwrap_or(i64::MAX))
        })
        .await
    }

    /// The newest round, if there ever was one.
    pub async fn last_round(&self) -> Result<Option<Round>, StoreError> {
        Ok(self.rounds(1).await?.pop())
    }

    /// Asks for a round; returns the number of the request.
    pub async fn request_round(&self, parameters: &Value, requested_by: &str) -> Result<i64, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_scalar("insert into round_requests (parameters, requested_by) values ($1, $2) returning id")
                .bind(parameters)
                .bind(requested_by)
                .fetch_one(connection)
                .await?)
        })
        .await
    }

    /// One request; none under a number that was never given out.
    pub async fn round_request(&self, id: i64) -> Result<Option<RoundRequest>, StoreError> {
        self.run(async |connection| {
            let request = sqlx::query_as(
                "select id, parameters, requested_by, requested_at, round from round_requests where id = $1",
            );
            Ok(request.bind(id).fetch_optional(connection).await?)
        })
        .await
    }

    /// The oldest request for which no round was begun yet.
    pub async fn open_request(&self) -> Result<Option<RoundRequest>, StoreError> {
        self.run(async |connection| {
            let oldest = "select id, parameters, requested_by, requested_at, round
                from round_requests where round is null order by id limit 1";
            Ok(sqlx::query_as(oldest).fetch_optional(connection).await?)
        })
        .await
    }
}

/// The round of a number.
pub(crate) async fn numbered(connection: &mut PgConnection, round: i64) -> Result<Round, StoreError> {
    rounds(connection, Some(round), 1).await?.pop().ok_or(StoreError::NoSuchRound(round))
}

/// The round of a number, or all of them, newest first.
async fn rounds(connection: &mut PgConnection, round: Option<i64>, limit: u32) -> Result<Vec<Round>, StoreError> {
    let rounds = sqlx::query_as(
        "select round, trigger, parameters, dataset_fingerprint, labels_seen, champion, candidate, champion_metrics,
            candidate_metrics, baseline_metrics, evidence, progress, verdict, reason, owner, owner_epoch, lease_until,
            started_at, finished_at
        from rounds where $1::bigint is null or round = $1 order by round desc limit $2",
    );
    Ok(rounds.bind(round).bind(i64::from(limit)).fetch_all(connection).await?)
}
