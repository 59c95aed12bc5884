//! Readers that die: noted by partition, so that a record that ends every process which reads it is
//! found.

use crate::stream::{Epoch, Stream};
use crate::{Store, StoreError};

impl Store {
    /// Notes that `reader`, a name that no other process ever has, reads these claimed partitions
    /// from their positions on. Returns for each how many readers in a row died at this position:
    /// they ended without [`Store::say_goodbye`], and none has moved it.
    pub async fn note_reader(
        &self,
        stream: &Stream,
        partitions: &[i32],
        reader: &str,
    ) -> Result<Vec<(i32, i32)>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "insert into readers as former (stream_id, partition, reader, from_offset)
                select stream_id, partition, $5, next_offset from position_rows
                where stream_id = (select id from streams where pipeline = $1 and cluster_id = $2 and topic = $3)
                    and partition = any($4)
                order by partition
                on conflict (stream_id, partition) do update
                set reader = excluded.reader, from_offset = excluded.from_offset,
                    crashes = case when former.from_offset = excluded.from_offset then former.crashes else 0 end
                        + coalesce(former.reader <> excluded.reader, false)::integer
                returning partition, crashes",
            )
            .bind(&stream.pipeline)
            .bind(&stream.cluster_id)
            .bind(&stream.topic)
            .bind(partitions)
            .bind(reader)
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// Notes that `reader` is alive and reads these partitions no more; all of its partitions where
    /// there is no list.
    pub async fn say_goodbye(
        &self,
        stream: &Stream,
        partitions: Option<&[i32]>,
        reader: &str,
    ) -> Result<(), StoreError> {
        self.run(async |connection| {
            sqlx::query(
                "update readers set reader = null
                where stream_id = (select id from streams where pipeline = $1 and cluster_id = $2 and topic = $3)
                    and reader = $4 and ($5::integer[] is null or partition = any($5))",
            )
            .bind(&stream.pipeline)
            .bind(&stream.cluster_id)
            .bind(&stream.topic)
            .bind(reader)
            .bind(partitions)
            .execute(connection)
            .await?;
            Ok(())
        })
        .await
    }

    /// Notes that the record at `offset` is about to be tried on its own, and returns how often it
    /// was tried, this time included; `None` is a lost claim.
    pub async fn note_attempt(
        &self,
        stream: &Stream,
        partition: i32,
        epoch: Epoch,
        offset: i64,
    ) -> Result<Option<i32>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_scalar(
                "update readers
                set attempts = case when attempted_offset = $6 then attempts + 1 else 1 end, attempted_offset = $6
                where (stream_id, partition) = (
                    select stream_id, partition from position_rows
                    where stream_id = (select id from streams where pipeline = $1 and cluster_id = $2 and topic = $3)
                        and partition = $4 and owner_epoch = $5
                )
                returning attempts",
            )
            .bind(&stream.pipeline)
            .bind(&stream.cluster_id)
            .bind(&stream.topic)
            .bind(partition)
            .bind(epoch.0)
            .bind(offset)
            .fetch_optional(connection)
            .await?)
        })
        .await
    }
}
