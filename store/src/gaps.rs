//! Offsets that can never be read: recorded as gaps, and the position moved over them.

use crate::stream::{Claim, NextOffset, Stream};
use crate::{Store, StoreError};

impl Store {
    /// Records of each claim that the offsets from its position up to `to` can never be read, and
    /// moves the position there, in one statement. Returns the partitions that were moved: the
    /// others have been claimed again.
    pub async fn record_gaps(
        &self,
        stream: &Stream,
        gaps: &[(Claim, NextOffset)],
        reason: &str,
    ) -> Result<Vec<i32>, StoreError> {
        let column = |value: fn(&(Claim, NextOffset)) -> i64| gaps.iter().map(value).collect::<Vec<i64>>();
        let partitions: Vec<i32> = gaps.iter().map(|(claim, _)| claim.partition).collect();
        self.run(async |connection| {
            Ok(sqlx::query_scalar(
                "with lost as (
                    select partition, epoch, from_offset, to_offset
                    from unnest($4::integer[], $5::bigint[], $6::bigint[], $7::bigint[])
                        as lost (partition, epoch, from_offset, to_offset)
                ), moved as (
                    update position_rows as held set next_offset = to_offset, updated_at = now()
                    from lost
                    where stream_id = (select id from streams where pipeline = $1 and cluster_id = $2 and topic = $3)
                        and held.partition = lost.partition and owner_epoch = epoch and next_offset = from_offset
                        and from_offset < to_offset
                    returning stream_id, held.partition, from_offset, to_offset
                )
                insert into gap_rows (stream_id, partition, from_offset, to_offset, reason)
                select stream_id, partition, from_offset, to_offset, $8 from moved
                returning partition",
            )
            .bind(&stream.pipeline)
            .bind(&stream.cluster_id)
            .bind(&stream.topic)
            .bind(&partitions)
            .bind(column(|(claim, _)| claim.epoch.0))
            .bind(column(|(claim, _)| claim.next_offset.0))
            .bind(column(|(_, to)| to.0))
            .bind(reason)
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// Gives up the offsets from `expected` up to `to`, on a person's word: records them as a gap,
    /// moves the position, and fences whoever reads the partition, so that it claims it again from
    /// there. Nothing happens where the position is not `expected`; false then.
    pub async fn skip(
        &self,
        stream: &Stream,
        partition: i32,
        (expected, to): (NextOffset, NextOffset),
        reason: &str,
    ) -> Result<bool, StoreError> {
        assert!(expected < to, "a position that does not grow is a bug: {expected:?} to {to:?}");
        self.run(async |connection| {
            let skipped = sqlx::query(
                "with moved as (
                    update position_rows
                    set next_offset = $6, owner_epoch = owner_epoch + 1, updated_at = now(),
                        last_error = null, last_error_at = null
                    where stream_id = (select id from streams where pipeline = $1 and cluster_id = $2 and topic = $3)
                        and partition = $4 and next_offset = $5
                    returning stream_id, partition
                )
                insert into gap_rows (stream_id, partition, from_offset, to_offset, reason)
                select stream_id, partition, $5, $6, $7 from moved",
            )
            .bind(&stream.pipeline)
            .bind(&stream.cluster_id)
            .bind(&stream.topic)
            .bind(partition)
            .bind(expected.0)
            .bind(to.0)
            .bind(reason)
            .execute(connection)
            .await?;
            Ok(skipped.rows_affected() == 1)
        })
        .await
    }
}
