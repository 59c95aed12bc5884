//! The position of a partition: claimed, moved over a gap, marked as halted.

use std::pin::pin;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::fence::{Counts, Step};
use crate::stream::{Claim, Epoch, NextOffset, Outcome, Stream};
use crate::{Store, StoreError};

/// How long a claim waits for the former owner's transaction before it looks whether that owner is frozen.
const COURTESY: Duration = Duration::from_secs(2);

impl Store {
    /// Takes a partition over from whoever held it and says where to read on; every older claim is fenced from now on.
    ///
    /// `owner` is for people (host and process); `if_new` is the position of a partition that was never claimed.
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

    /// Records that the offsets from the claim's position up to `to` can never be read, and moves the position there.
    /// May be called again after a transient error, like [`Store::write`].
    pub async fn record_gap(
        &self,
        stream: &Stream,
        claim: &Claim,
        to: NextOffset,
        reason: &str,
    ) -> Result<Outcome, StoreError> {
        let step = Step { partition: claim.partition, epoch: claim.epoch, from: claim.next_offset, to };
        self.run(async |connection| {
            let mut transaction = connection.begin().await?;
            let Some(stream_id) = step.take(&mut transaction, stream, Counts::default()).await? else {
                return step.outcome(&mut transaction, stream).await;
            };
            sqlx::query(
                "insert into gap_rows (stream_id, partition, from_offset, to_offset, reason)
                values ($1, $2, $3, $4, $5)",
            )
            .bind(stream_id)
            .bind(claim.partition)
            .bind(claim.next_offset.0)
            .bind(to.0)
            .bind(reason)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(Outcome::Written)
        })
        .await
    }

    /// Remembers Kafka's id of the topic with the position, if none is remembered yet, and returns the one that is: another
    /// one means that the topic was deleted and made again, and the position says nothing about it. `None` is a lost claim.
    pub async fn remember_topic(
        &self,
        stream: &Stream,
        claim: &Claim,
        topic_id: &str,
    ) -> Result<Option<String>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_scalar(
                "update position_rows set topic_id = coalesce(topic_id, $6)
                where stream_id = (select id from streams where pipeline = $1 and cluster_id = $2 and topic = $3)
                    and partition = $4 and owner_epoch = $5
                returning topic_id",
            )
            .bind(&stream.pipeline)
            .bind(&stream.cluster_id)
            .bind(&stream.topic)
            .bind(claim.partition)
            .bind(claim.epoch.0)
            .bind(topic_id)
            .fetch_optional(connection)
            .await?)
        })
        .await
    }

    /// Leaves word of why a partition stands still, for `labelstream status`.
    pub async fn record_halt(
        &self,
        stream: &Stream,
        partition: i32,
        epoch: Epoch,
        error: &str,
    ) -> Result<Outcome, StoreError> {
        self.run(async |connection| {
            let updated = sqlx::query(
                "update position_rows set last_error = $6, last_error_at = now()
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

    /// Ends the transaction that `process` waits for, if its client has fallen silent in the middle of it.
    ///
    /// No timeout of the server does this for a client that was frozen while it sent a `copy`: there
    /// the server reads with cancellation held back, for as long as the connection lasts.
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

/// Gives a stream its number, if nobody else does at the same time. A statement of its own, for the one that claims does not
/// see what another transaction has added meanwhile.
async fn number(connection: &mut PgConnection, stream: &Stream) -> Result<(), StoreError> {
    sqlx::query("insert into streams (pipeline, cluster_id, topic) values ($1, $2, $3) on conflict do nothing")
        .bind(&stream.pipeline)
        .bind(&stream.cluster_id)
        .bind(&stream.topic)
        .execute(connection)
        .await?;
    Ok(())
}
