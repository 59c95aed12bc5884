//! What `labelstream status` shows.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::columns::from_row;
use crate::models::Version;
use crate::promote::champion;
use crate::stream::{Epoch, NextOffset, Stream};
use crate::{Store, StoreError};

/// How one pipeline is doing.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Status {
    /// Every partition ever claimed, by cluster, topic and partition.
    pub partitions: Vec<PartitionStatus>,
    /// Predictions written in the last minute; counting stops at ten million.
    pub predictions_last_minute: i64,
    /// Predictions written in the last hour; counting stops at ten million.
    pub predictions_last_hour: i64,
    /// Dead letters of the last hour by reason, most frequent first.
    pub dead_letters_last_hour: Vec<(String, i64)>,
    /// The version that serves.
    pub champion: Option<Version>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct PartitionStatus {
    /// The stream that it belongs to.
    #[serde(flatten)]
    pub stream: Stream,
    /// Its number.
    pub partition: i32,
    /// The first offset whose effect is not in Postgres yet.
    pub next_offset: NextOffset,
    /// The newest claim.
    pub epoch: Epoch,
    /// Who holds it.
    pub owner: String,
    /// Since when.
    pub claimed_at: DateTime<Utc>,
    /// When the position last moved.
    pub updated_at: DateTime<Utc>,
    /// Predictions written so far.
    pub predictions: i64,
    /// Dead letters so far.
    pub dead_letters: i64,
    /// Records without a value so far.
    pub tombstones: i64,
    /// Why it last stood still; over if it is older than `updated_at`.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<DateTime<Utc>>,
}

from_row!(PartitionStatus {
    partition,
    next_offset,
    epoch,
    owner,
    claimed_at,
    updated_at,
    predictions,
    dead_letters,
    tombstones,
    last_error,
    last_error_at,
    ..stream
});

impl PartitionStatus {
    /// Why it stands still now: an error that the position has not moved past.
    pub fn stands_still(&self) -> Option<&str> {
        let stands = self.last_error_at.is_some_and(|at| at >= self.updated_at);
        self.last_error.as_deref().filter(|_| stands)
    }
}

impl Store {
    /// How the pipeline is doing, for people to read.
    pub async fn status(&self, pipeline: &str) -> Result<Status, StoreError> {
        self.run(async |connection| {
            Ok(Status {
                partitions: partitions(connection, pipeline).await?,
                predictions_last_minute: predictions_within(connection, pipeline, 60.0).await?,
                predictions_last_hour: predictions_within(connection, pipeline, 3600.0).await?,
                dead_letters_last_hour: dead_letters_within(connection, pipeline, 3600.0).await?,
                champion: champion(connection).await?,
            })
        })
        .await
    }
}

pub(crate) async fn partitions(
    connection: &mut PgConnection,
    pipeline: &str,
) -> Result<Vec<PartitionStatus>, StoreError> {
    let partitions = sqlx::query_as(
        "select pipeline, cluster_id, topic, partition, next_offset, owner_epoch as epoch, owner, claimed_at, updated_at,
            predictions, dead_letters, tombstones, last_error, last_error_at
        from positions where pipeline = $1 order by cluster_id, topic, partition",
    );
    Ok(partitions.bind(pipeline).fetch_all(connection).await?)
}

/// Counts no further than anybody cares to wait for.
async fn predictions_within(connection: &mut PgConnection, pipeline: &str, seconds: f64) -> Result<i64, StoreError> {
    let count = sqlx::query_scalar(
        "select count(*) from (
            select from prediction_rows
            where stream_id in (select id from streams where pipeline = $1)
                and classified_at >= now() - make_interval(secs => $2)
            limit 10000000
        ) as recent",
    );
    Ok(count.bind(pipeline).bind(seconds).fetch_one(connection).await?)
}

async fn dead_letters_within(
    connection: &mut PgConnection,
    pipeline: &str,
    seconds: f64,
) -> Result<Vec<(String, i64)>, StoreError> {
    let reasons = sqlx::query_as(
        "select reason, count(*) from dead_letters
        where pipeline = $1 and failed_at >= now() - make_interval(secs => $2)
        group by reason order by count(*) desc, reason",
    );
    Ok(reasons.bind(pipeline).bind(seconds).fetch_all(connection).await?)
}
