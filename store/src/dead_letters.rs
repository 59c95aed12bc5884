//! Records that could not become reviews: listed, read byte for byte, marked as replayed.

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection};

use crate::columns::from_row;
use crate::stream::Stream;
use crate::{Store, StoreError};

/// Which record a dead letter was.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct DeadLetterId {
    /// The stream that it came in.
    #[serde(flatten)]
    pub stream: Stream,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub kafka_offset: i64,
}

from_row!(DeadLetterId { partition, kafka_offset, ..stream });

/// A dead letter without its bytes.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct DeadLetter {
    /// Which record.
    #[serde(flatten)]
    pub id: DeadLetterId,
    /// The record's own timestamp.
    pub record_time: Option<DateTime<Utc>>,
    /// The stable code.
    pub reason: String,
    /// The sentence for people.
    pub detail: String,
    /// Bytes of the value; `None` where the record had none.
    pub payload_bytes: Option<i64>,
    /// When it was set aside.
    pub failed_at: DateTime<Utc>,
    /// When it was last published again.
    pub replayed_at: Option<DateTime<Utc>>,
}

from_row!(DeadLetter { record_time, reason, detail, payload_bytes, failed_at, replayed_at, ..id });

/// Which dead letters; a field that is `None` or false asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// Of this pipeline.
    pub pipeline: Option<String>,
    /// From this topic.
    pub topic: Option<String>,
    /// With this code.
    pub reason: Option<String>,
    /// Set aside at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Only those that were never replayed.
    pub unreplayed: bool,
    /// At most so many.
    pub limit: Option<u32>,
}

/// A record as Kafka held it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub payload: Option<Vec<u8>>,
    /// The headers in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Store {
    /// The dead letters that the filter lets through, newest first.
    pub async fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetter>, StoreError> {
        self.run(async |connection| {
            let dead_letters = sqlx::query_as(
                "select pipeline, cluster_id, topic, partition, kafka_offset, record_time, reason, detail,
                    octet_length(payload)::bigint as payload_bytes, failed_at, replayed_at
                from dead_letters
                where ($1::text is null or pipeline = $1)
                    and ($2::text is null or topic = $2)
                    and ($3::text is null or reason = $3)
                    and ($4::timestamptz is null or failed_at >= $4)
                    and (not $5 or replayed_at is null)
                order by failed_at desc, kafka_offset desc
                limit $6",
            )
            .bind(&filter.pipeline)
            .bind(&filter.topic)
            .bind(&filter.reason)
            .bind(filter.since)
            .bind(filter.unreplayed)
            .bind(filter.limit.map(i64::from))
            .fetch_all(connection)
            .await?;
            Ok(dead_letters)
        })
        .await
    }

    /// Has dead letters published, and marks those that `publish` says have arrived, in one
    /// transaction that holds them meanwhile: of several who replay the same letters, one publishes
    /// each. Left out are letters that somebody else replays now, that were replayed since they
    /// were listed, or that are gone.
    ///
    /// What ends in the middle has marked nothing: what it had published is published again by the
    /// next one.
    pub async fn replay<E: From<StoreError>>(
        &self,
        letters: &[DeadLetter],
        publish: impl AsyncFnOnce(Vec<(DeadLetterId, RawRecord)>) -> Result<Vec<DeadLetterId>, E>,
    ) -> Result<(), E> {
        let mut connection = self.open_unlimited().await?;
        let mut transaction = connection.begin().await.map_err(StoreError::from)?;
        // Longer than the brokers are waited for; and who is frozen holds them no longer.
        let limit = sqlx::query("select set_config('idle_in_transaction_session_timeout', '5min', true)");
        limit.execute(&mut *transaction).await.map_err(StoreError::from)?;
        let held = hold(&mut transaction, letters).await?;
        let arrived = publish(held).await?;
        mark_replayed(&mut transaction, &arrived).await?;
        Ok(transaction.commit().await.map_err(StoreError::from)?)
    }
}

async fn hold(
    connection: &mut PgConnection,
    letters: &[DeadLetter],
) -> Result<Vec<(DeadLetterId, RawRecord)>, StoreError> {
    let ids: Vec<&DeadLetterId> = letters.iter().map(|letter| &letter.id).collect();
    let replayed: Vec<_> = letters.iter().map(|letter| letter.replayed_at).collect();
    let rows: Vec<HeldRow> = sqlx::query_as(
        "select stream.pipeline, stream.cluster_id, stream.topic, letter.partition, letter.kafka_offset,
            letter.key, letter.payload, letter.header_names, letter.header_values
        from unnest($1::text[], $2::text[], $3::text[], $4::int4[], $5::int8[], $6::timestamptz[]) with ordinality
            as wanted (pipeline, cluster_id, topic, partition, kafka_offset, replayed_at, place)
        join streams as stream using (pipeline, cluster_id, topic)
        join dead_letter_rows as letter on letter.stream_id = stream.id
            and letter.partition = wanted.partition and letter.kafka_offset = wanted.kafka_offset
        where letter.replayed_at is not distinct from wanted.replayed_at
        order by wanted.place
        for update of letter skip locked",
    )
    .bind(ids.iter().map(|id| id.stream.pipeline.as_str()).collect::<Vec<_>>())
    .bind(ids.iter().map(|id| id.stream.cluster_id.as_str()).collect::<Vec<_>>())
    .bind(ids.iter().map(|id| id.stream.topic.as_str()).collect::<Vec<_>>())
    .bind(ids.iter().map(|id| id.partition).collect::<Vec<_>>())
    .bind(ids.iter().map(|id| id.kafka_offset).collect::<Vec<_>>())
    .bind(replayed)
    .fetch_all(connection)
    .await?;
    let record = |HeldRow { id, key, payload, header_names, header_values }| {
        (id, RawRow { key, payload, header_names, header_values }.into_record())
    };
    Ok(rows.into_iter().map(record).collect())
}

/// They stay on record.
async fn mark_replayed(connection: &mut PgConnection, ids: &[DeadLetterId]) -> Result<(), StoreError> {
    sqlx::query(
        "update dead_letter_rows as letter set replayed_at = clock_timestamp()
        from unnest($1::text[], $2::text[], $3::text[], $4::int4[], $5::int8[])
            as arrived (pipeline, cluster_id, topic, partition, kafka_offset)
        join streams as stream using (pipeline, cluster_id, topic)
        where letter.stream_id = stream.id
            and letter.partition = arrived.partition and letter.kafka_offset = arrived.kafka_offset",
    )
    .bind(ids.iter().map(|id| id.stream.pipeline.as_str()).collect::<Vec<_>>())
    .bind(ids.iter().map(|id| id.stream.cluster_id.as_str()).collect::<Vec<_>>())
    .bind(ids.iter().map(|id| id.stream.topic.as_str()).collect::<Vec<_>>())
    .bind(ids.iter().map(|id| id.partition).collect::<Vec<_>>())
    .bind(ids.iter().map(|id| id.kafka_offset).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

struct HeldRow {
    id: DeadLetterId,
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    header_names: Vec<String>,
    header_values: Vec<Option<Vec<u8>>>,
}

from_row!(HeldRow { key, payload, header_names, header_values, ..id });

struct RawRow {
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    header_names: Vec<String>,
    header_values: Vec<Option<Vec<u8>>>,
}

from_row!(RawRow { key, payload, header_names, header_values });

impl RawRow {
    fn into_record(self) -> RawRecord {
        let headers = self.header_names.into_iter().zip(self.header_values).collect();
        RawRecord { key: self.key, payload: self.payload, headers }
    }
}
