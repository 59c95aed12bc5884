//! Readers that die: noted by partition, so that a record that ends every process which reads it is
//! found.

use crate::stream::{Epoch, NextOffset, Stream};
use crate::{Store, StoreError};

impl Store {
    /// Notes that `reader`, a name that no other process ever has, reads these claimed partitions
    /// from their positions on. Returns for each how many readers in a row died at this position:
    /// they ended without [`Store::say_goodbye`], and none has moved it, or had gone on from it with
    /// care, see [`Store::note_attempt`].
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
                    crashes = case
                            when excluded.from_offset in (former.from_offset, former.attempted_offset) then former.crashes
                            else 0
                        end + coalesce(former.reader <> excluded.reader, false)::integer
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

    /// Notes that the records from the position `from` on are about to be tried with care. Returns how
    /// often the one there was tried alone, this time included; `None` is a lost claim.
    pub async fn note_attempt(
        &self,
        stream: &Stream,
        partition: i32,
        epoch: Epoch,
        from: NextOffset,
        alone: bool,
    ) -> Result<Option<i32>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_scalar(
                "update readers
                set attempted_offset = $6,
                    attempts = case when not $7 then 0 when attempted_offset = $6 then attempts + 1 else 1 end
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
            .bind(from.0)
            .bind(alone)
            .fetch_optional(connection)
            .await?)
        })
        .await
    }
}
