//! The fence: a partition's position moves only from where its owner believes it to be, and only for the newest claim.

use sqlx::PgConnection;

use crate::StoreError;
use crate::stream::{Epoch, NextOffset, Outcome, Stream};

/// One move of a partition's position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub partition: i32,
    pub epoch: Epoch,
    pub from: NextOffset,
    pub to: NextOffset,
}

/// What a step leaves behind, for the totals beside the position.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub predictions: i64,
    pub dead_letters: i64,
    pub tombstones: i64,
}

impl Step {
    /// Moves the position if this epoch still owns it and it stands where the step begins, and says which number the
    /// stream's rows carry. Comes first in its transaction, and holds the row until that ends.
    pub async fn take(
        &self,
        connection: &mut PgConnection,
        stream: &Stream,
        counts: Counts,
    ) -> Result<Option<i32>, StoreError> {
        assert!(self.from < self.to, "a position that does not grow is a bug: {self:?}");
        let moved = sqlx::query_scalar(
            "update position_rows
            set next_offset = $7, updated_at = now(),
                predictions = predictions + $8, dead_letters = dead_letters + $9, tombstones = tombstones + $10
            where stream_id = (select id from streams where pipeline = $1 and cluster_id = $2 and topic = $3)
                and partition = $4 and owner_epoch = $5 and next_offset = $6
            returning stream_id",
        )
        .bind(&stream.pipeline)
        .bind(&stream.cluster_id)
        .bind(&stream.topic)
        .bind(self.partition)
        .bind(self.epoch.0)
        .bind(self.from.0)
        .bind(self.to.0)
        .bind(counts.predictions)
        .bind(counts.dead_letters)
        .bind(counts.tombstones)
        .fetch_optional(connection)
        .await?;
        Ok(moved)
    }

    /// What it means that the step could not be taken: it was taken before, by a commit whose answer was lost; or this
    /// epoch is fenced.
    pub async fn outcome(&self, connection: &mut PgConnection, stream: &Stream) -> Result<Outcome, StoreError> {
        let position: Option<(i64, i64)> = sqlx::query_as(
            "select owner_epoch, next_offset from position_rows
            where stream_id = (select id from streams where pipeline = $1 and cluster_id = $2 and topic = $3)
                and partition = $4",
        )
        .bind(&stream.pipeline)
        .bind(&stream.cluster_id)
        .bind(&stream.topic)
        .bind(self.partition)
        .fetch_optional(connection)
        .await?;
        Ok(if position == Some((self.epoch.0, self.to.0)) { Outcome::Written } else { Outcome::Fenced })
    }
}
