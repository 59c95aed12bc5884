//! Rounds of retraining, to be read, and the requests for one.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::models::Version;
use crate::{Store, StoreError};

/// What started a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, sqlx::Type)]
#[sqlx(type_name = "text")]
pub enum Trigger {
    /// Enough labels had come.
    #[serde(rename = "new labels")]
    #[sqlx(rename = "new labels")]
    NewLabels,
    /// The schedule.
    #[serde(rename = "schedule")]
    #[sqlx(rename = "schedule")]
    Schedule,
    /// A person, with `labelstream retrain`.
    #[serde(rename = "command")]
    #[sqlx(rename = "command")]
    Command,
    /// A trainer that was started for one round.
    #[serde(rename = "once")]
    #[sqlx(rename = "once")]
    Once,
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, sqlx::Type)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Verdict {
    /// Its candidate became the champion.
    Accepted,
    /// The gate refused its candidate.
    Rejected,
    /// It came to nothing.
    Abandoned,
}

/// A row of `rounds`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, sqlx::FromRow)]
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

/// A round that a person asked for.
#[derive(Debug, Clone, PartialEq, serde::Serialize, sqlx::FromRow)]
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

impl Store {
    /// The rounds, newest first, at most `limit`.
    pub async fn rounds(&self, limit: u32) -> Result<Vec<Round>, StoreError> {
        self.run(async |connection| {
            let rounds = sqlx::query_as("select * from rounds order by round desc limit $1");
            Ok(rounds.bind(i64::from(limit)).fetch_all(connection).await?)
        })
        .await
    }

    /// One round.
    ///
    /// # Errors
    /// [`StoreError::NoSuchRound`].
    pub async fn round(&self, round: i64) -> Result<Round, StoreError> {
        self.run(async |connection| {
            sqlx::query_as("select * from rounds where round = $1")
                .bind(round)
                .fetch_optional(connection)
                .await?
                .ok_or(StoreError::NoSuchRound(round))
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
            let request = sqlx::query_as("select * from round_requests where id = $1");
            Ok(request.bind(id).fetch_optional(connection).await?)
        })
        .await
    }

    /// The oldest request for which no round was begun yet.
    pub async fn open_request(&self) -> Result<Option<RoundRequest>, StoreError> {
        self.run(async |connection| {
            let oldest = "select * from round_requests where round is null order by id limit 1";
            Ok(sqlx::query_as(oldest).fetch_optional(connection).await?)
        })
        .await
    }
}
