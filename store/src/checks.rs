//! What `labelstream doctor` asks a database.

use chrono::{DateTime, Utc};

use crate::{Store, StoreError};

impl Store {
    /// The server's clock.
    pub async fn clock(&self) -> Result<DateTime<Utc>, StoreError> {
        self.run(async |connection| Ok(sqlx::query_scalar("select clock_timestamp()").fetch_one(connection).await?))
            .await
    }

    /// The other pipelines under which a topic is read.
    pub async fn other_pipelines(&self, topic: &str, pipeline: &str) -> Result<Vec<String>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_scalar(
                "select distinct pipeline from positions where topic = $1 and pipeline <> $2 order by pipeline",
            )
            .bind(topic)
            .bind(pipeline)
            .fetch_all(connection)
            .await?)
        })
        .await
    }
}
