//! The positions of partitions: claimed, and marked as halted.

use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::columns::from_row;
use crate::stream::{Claim, Epoch, NextOffset, Outcome, Stream};
use crate::{Store, StoreError};

/// How long a claim waits for the former owner's transaction before it looks whether that owner is
/// frozen.
const COURTESY: Duration = Duration::from_secs(2);

/// A partition to claim.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Its number.
    pub partition: i32,
    /// Its position if it has none yet; without one, a partition that has none is not claimed.
    pub if_new: Option<NextOffset>,
}

/// A partition that was claimed, and the topic that its position is one of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The right to write it.
    pub claim: Claim,
    /// Kafka's id of the topic, where one was ever told.
    pub topic_id: Option<String>,
}

from_row!(Taken { topic_id, ..claim });

/// A record of which there is a row, as Kafka had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub kafka_offset: i64,
    /// Its own timestamp.
    pub record_time: DateTime<Utc>,
}

from_row!(LastRecord { partition, kafka_offset, record_time });

impl Store {
    /// Takes a partition over from whoever held it and says where to read on; every older claim is
    /// fenced from now on.
    ///
    /// `owner` is for people (host and process); `if_new` is the position of a partition that was
    /// never claimed.
    pub async fn claim(
        &self,
        stream: &Stream,
        partition: i32,
        owner: &str,
        if_new: NextOffset,
    ) -> Result<Claim, StoreError> {
        self.run(async |connection| {
            let process: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *connection).await?;
            let mut claim = pin!(claim(connection, stream, partition, owner, if_new));
            match timeout(COURTESY, &mut claim).await {
                Ok(claim) => claim,
                Err(_) => {
                    self.end_frozen_owner(process).await?;
                    claim.await
                }
            }
        })
        .await
    }

    /// Takes over all of these partitions that nobody is writing at this moment, in one statement
    /// that waits for no lock; every older claim of theirs is fenced from now on. Those that are
    /// not returned are to be tried again, see [`Store::await_owner`].
    ///
    /// `topic_id` is remembered with a position that has none yet; another one than is remembered
    /// means that the topic was deleted and made again, and the position says nothing about it.
    pub async fn claim_free(
        &self,
        stream: &Stream,
        wanted: &[Wanted],
        owner: &str,
        topic_id: Option<&str>,
    ) -> Result<Vec<Taken>, StoreError> {
        let partitions: Vec<i32> = wanted.iter().map(|wanted| wanted.partition).collect();
        let if_new: Vec<Option<i64>> = wanted.iter().map(|wanted| wanted.if_new.map(|offset| offset.0)).collect();
        self.run(async |connection| {
            // New rows are added in the order of the partitions, and known ones are never waited
            // for: two that claim the same do not deadlock.
            Ok(sqlx::query_as(
                "with wanted as (
                    select id as stream_id, asked.partition, asked.if_new
                    from streams, unnest($4::integer[], $5::bigint[]) as asked (partition, if_new)
                    where pipeline = $1 and cluster_id = $2 and topic = $3
                ), free as (
                    select held.stream_id, held.partition
                    from position_rows as held join wanted using (stream_id, partition)
                    order by held.partition for update of held skip locked
                ), claimed as (
                    update position_rows as held
                    set owner_epoch = owner_epoch + 1, owner = $6, claimed_at = now(), topic_id = coalesce(topic_id, $7)
                    from free
                    where held.stream_id = free.stream_id and held.partition = free.partition
                    returning held.partition, owner_epoch, next_offset, topic_id
                ), added as (
                    insert into position_rows (stream_id, partition, next_offset, owner_epoch, owner, topic_id)
                    select stream_id, partition, if_new, 1, $6, $7 from wanted
                    where if_new is not null and not exists (
                        select from position_rows as known
                        where known.stream_id = wanted.stream_id and known.partition = wanted.partition
                    )
                    order by partition
                    on conflict do nothing
                    returning partition, owner_epoch, next_offset, topic_id
                )
                select partition, owner_epoch as epoch, next_offset, topic_id from claimed
                union all select partition, owner_epoch, next_offset, topic_id from added",
            )
            .bind(&stream.pipeline)
            .bind(&stream.cluster_id)
            .bind(&stream.topic)
            .bind(&partitions)
            .bind(&if_new)
            .bind(owner)
            .bind(topic_id)
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// Whether the stream has begun.
    pub async fn is_begun(&self, stream: &Stream) -> Result<bool, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_scalar(
                "select exists (select from streams where pipeline = $1 and cluster_id = $2 and topic = $3)",
            )
            .bind(&stream.pipeline)
            .bind(&stream.cluster_id)
            .bind(&stream.topic)
            .fetch_one(connection)
            .await?)
        })
        .await
    }

    /// Makes the stream known, and with it the positions that its partitions begin at, which nobody
    /// owns yet; true if it was not known before. A partition that gets its first position later
    /// was added to the topic since.
    pub async fn begin(&self, stream: &Stream, positions: &[(i32, NextOffset)]) -> Result<bool, StoreError> {
        let (partitions, offsets): (Vec<i32>, Vec<i64>) =
            positions.iter().map(|&(partition, offset)| (partition, offset.0)).unzip();
        self.run(async |connection| {
            let begun: i64 = sqlx::query_scalar(
                "with begun as (
                    insert into streams (pipeline, cluster_id, topic) values ($1, $2, $3)
                    on conflict do nothing returning id
                ), added as (
                    insert into position_rows (stream_id, partition, next_offset, owner_epoch, owner)
                    select id, partition, next_offset, 0, 'nobody yet'
                    from begun, unnest($4::integer[], $5::bigint[]) as known (partition, next_offset)
                )
                select count(*) from begun",
            )
            .bind(&stream.pipeline)
            .bind(&stream.cluster_id)
            .bind(&stream.topic)
            .bind(&partitions)
            .bind(&offsets)
            .fetch_one(connection)
            .await?;
            Ok(begun == 1)
        })
        .await
    }

    /// The last record with a row and a time that each of these partitions has before its position;
    /// none where none of the sixteen offsets there has. If Kafka has another one at its offset, the
    /// partition is not what it was.
    pub async fn last_records(&self, stream: &Stream, partitions: &[i32]) -> Result<Vec<LastRecord>, StoreError> {
        self.run(async |connection| {
            // By whole keys of both tables, and no further than to the first that is found: it costs the
            // same however many rows they have.
            Ok(sqlx::query_as(
                "select held.partition, kafka_offset, record_time
                from position_rows as held
                cross join lateral (
                    select kafka_offset, record_time
                    from generate_series(1, 16) as back
                    cross join lateral (
                        select kafka_offset, record_time from prediction_rows as known
                        where known.kafka_offset = next_offset - back and known.partition = held.partition
                            and known.stream_id = held.stream_id
                        union all
                        select kafka_offset, record_time from dead_letter_rows as known
                        where known.kafka_offset = next_offset - back and known.partition = held.partition
                            and known.stream_id = held.stream_id
                    ) as known
                    where record_time is not null and not exists (
                        select from gap_rows as gap
                        where gap.stream_id = held.stream_id and gap.partition = held.partition
                            and gap.to_offset > kafka_offset
                    )
                    limit 1
                ) as record
                where held.stream_id = (select id from streams where pipeline = $1 and cluster_id = $2 and topic = $3)
                    and held.partition = any($4)",
            )
            .bind(&stream.pipeline)
            .bind(&stream.cluster_id)
            .bind(&stream.topic)
            .bind(partitions)
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// Waits until nobody is writing a partition, and ends a writer that has fallen silent in the
    /// middle of it. Takes no claim.
    pub async fn await_owner(&self, stream: &Stream, partition: i32) -> Result<(), StoreError> {
        self.run(async |connection| {
            let process: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *connection).await?;
            let free = sqlx::query(
                "select from position_rows
                where stream_id = (select id from streams where pipeline = $1 and cluster_id = $2 and topic = $3)
                    and partition = $4
                for update",
            );
            let free = free.bind(&stream.pipeline).bind(&stream.cluster_id).bind(&stream.topic).bind(partition);
            let mut free = pin!(free.execute(connection));
            if timeout(COURTESY, &mut free).await.is_err() {
                self.end_frozen_owner(process).await?;
                free.await?;
            }
            Ok(())
        })
        .await
    }

    /// Leaves word of why a partition stands still, for `labelstream status`; nothing for one that
    /// goes on.
    pub async fn record_halt(
        &self,
        stream: &Stream,
        partition: i32,
        epoch: Epoch,
        error: Option<&str>,
    ) -> Result<Outcome, StoreError> {
        self.run(async |connection| {
            let updated = sqlx::query(
                "update position_rows set last_error = $6, last_error_at = case when $6::text is not null then now() end
                where stream_id = (select id from streams where pipeline = $1 and cluster_id = $2 and topic = $3)
                    and partition = $4 and owner_epoch = $5",
            )
            .bind(&stream.pipeline)
            .bind(&stream.cluster_id)
            .bind(&stream.topic)
            .bind(partition)
            .bind(epoch.0)
            .bind(error)
            .execute(connection)
            .await?;
            Ok(if updated.rows_affected() == 1 { Outcome::Written } else { Outcome::Fenced })
        })
        .await
    }

    /// Ends the transaction that `process` waits for, if its client has fallen silent in the middle
    /// of it.
    ///
    /// No timeout of the server does this for a client that was frozen while it sent a `copy`:
    /// there the server reads with cancellation held back, for as long as the connection lasts.
    async fn end_frozen_owner(&self, process: i32) -> Result<(), StoreError> {
        // Not from the pool, whose other connections may all be waiting for the same owner.
        let mut connection = self.open_unlimited().await?;
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity
            where pid = any(pg_blocking_pids($1)) and usename = current_user and wait_event = 'ClientRead'",
        )
        .bind(process)
        .execute(&mut connection)
        .await?;
        Ok(connection.close().await?)
    }
}

async fn claim(
    connection: &mut PgConnection,
    stream: &Stream,
    partition: i32,
    owner: &str,
    if_new: NextOffset,
) -> Result<Claim, StoreError> {
    if let Some(claim) = claim_of_known(connection, stream, partition, owner, if_new).await? {
        return Ok(claim);
    }
    number(connection, stream).await?;
    let claim = claim_of_known(connection, stream, partition, owner, if_new).await?;
    claim.ok_or_else(|| StoreError::Failed("the stream was deleted as it was claimed".to_owned()))
}

/// Nothing where the stream has no number yet.
async fn claim_of_known(
    connection: &mut PgConnection,
    stream: &Stream,
    partition: i32,
    owner: &str,
    if_new: NextOffset,
) -> Result<Option<Claim>, StoreError> {
    let claimed: Option<(Epoch, NextOffset)> = sqlx::query_as(
        "insert into position_rows as held (stream_id, partition, next_offset, owner_epoch, owner)
        select id, $4, $5, 1, $6 from streams where pipeline = $1 and cluster_id = $2 and topic = $3
        on conflict (stream_id, partition) do update
        set owner_epoch = held.owner_epoch + 1, owner = excluded.owner, claimed_at = now()
        returning owner_epoch, next_offset",
    )
    .bind(&stream.pipeline)
    .bind(&stream.cluster_id)
    .bind(&stream.topic)
    .bind(partition)
    .bind(if_new)
    .bind(owner)
    .fetch_optional(connection)
    .await?;
    Ok(claimed.map(|(epoch, next_offset)| Claim { partition, epoch, next_offset }))
}

/// Gives a stream its number, if nobody else does at the same time. A statement of its own, for the
/// one that claims does not see what another transaction has added meanwhile.
async fn number(connection: &mut PgConnection, stream: &Stream) -> Result<(), StoreError> {
    sqlx::query("insert into streams (pipeline, cluster_id, topic) values ($1, $2, $3) on conflict do nothing")
        .bind(&stream.pipeline)
        .bind(&stream.cluster_id)
        .bind(&stream.topic)
        .execute(connection)
        .await?;
    Ok(())
}
