//! What the page shows of a stream: counts over time, how long records take, and dead letters, at a
//! cost that does not grow with the tables.

use chrono::{DateTime, Utc};

use crate::columns::from_row;
use crate::models::Version;
use crate::{Store, StoreError};

/// Predictions of one class by one version in an hour or a day.
#[derive(Debug, Clone, PartialEq)]
pub struct Count {
    /// When the hour or the day began, in UTC.
    pub at: DateTime<Utc>,
    /// What was said.
    pub label: String,
    /// Who said it.
    pub version: Version,
    /// How often; an estimate where not all blocks were read.
    pub predictions: f64,
}

from_row!(Count { at, label, version, predictions });

/// How long the newest predictions took from their record's timestamp to Postgres, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EndToEnd {
    /// Half of them took less.
    pub median: Option<f64>,
    /// 99 of 100 took less.
    pub p99: Option<f64>,
}

from_row!(EndToEnd { median, p99 });

/// Dead letters with one reason.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadReason {
    /// The reason.
    pub reason: String,
    /// How many of the last thirty days; counting stops at a hundred thousand.
    pub letters: i64,
    /// How many of them were not replayed.
    pub waiting: i64,
    /// The bytes of their values.
    pub bytes: i64,
    /// When the newest failed.
    pub newest: DateTime<Utc>,
}

from_row!(DeadReason { reason, letters, waiting, bytes, newest });

/// What a dead letter held, its beginning.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadExample {
    /// Where its record stands.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub kafka_offset: i64,
    /// Why it could not be read.
    pub reason: String,
    /// In words.
    pub detail: String,
    /// When.
    pub failed_at: DateTime<Utc>,
    /// When it was published again.
    pub replayed_at: Option<DateTime<Utc>>,
    /// The first bytes of its value.
    pub beginning: Option<Vec<u8>>,
    /// How many bytes it has.
    pub bytes: Option<i32>,
}

from_row!(DeadExample { topic, partition, kafka_offset, reason, detail, failed_at, replayed_at, beginning, bytes });

impl Store {
    /// Predictions by hour (`hour`) of the newest million or so, or by day (`day`) of all, since a
    /// time. Of a table of more than four thousand blocks three thousand are read, at random.
    pub async fn counts(&self, pipeline: &str, unit: &str, since: DateTime<Utc>) -> Result<Vec<Count>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "with size as (select pg_relation_size('prediction_rows') / 8192 as blocks),
                range as (
                    select first, blocks - first as number, least(blocks - first, 3000) as wanted,
                        blocks - first <= 4000 as is_whole
                    from (
                        select case when $2 = 'hour' then greatest(0, blocks - 30000) else 0 end as first, blocks
                        from size
                    ) as newest
                ), block as materialized (
                    select distinct case when is_whole then first + step - 1
                        else first + floor(random() * number)::bigint end as at_block
                    from range, generate_series(1, case when is_whole then number else wanted end) as step
                ), share as (
                    select greatest(1, number)::float8 / greatest(1, (select count(*) from block)) as factor from range
                )
                select date_trunc($2, classified_at, 'UTC') as at, label, version,
                    count(*) * (select factor from share) as predictions
                from block cross join lateral (
                    select classified_at, label, version, stream_id from prediction_rows
                    where ctid >= format('(%s,0)', at_block)::tid and ctid < format('(%s,0)', at_block + 1)::tid
                    offset 0
                ) as row
                where classified_at >= $3 and stream_id in (select id from streams where pipeline = $1)
                group by 1, 2, 3 order by 1, 2, 3",
            )
            .bind(pipeline)
            .bind(unit)
            .bind(since)
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// How long the predictions of the last hour took, by those in the last fifty blocks.
    pub async fn end_to_end(&self, pipeline: &str) -> Result<EndToEnd, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "select percentile_cont(0.5) within group (order by seconds) as median,
                    percentile_cont(0.99) within group (order by seconds) as p99
                from (
                    select extract(epoch from classified_at - record_time)::float8 as seconds
                    from prediction_rows
                    where ctid >= (
                            select format('(%s,0)', greatest(0, pg_relation_size('prediction_rows') / 8192 - 50))::tid
                        )
                        and stream_id in (select id from streams where pipeline = $1)
                        and classified_at >= now() - interval '1 hour'
                ) as newest",
            )
            .bind(pipeline)
            .fetch_one(connection)
            .await?)
        })
        .await
    }

    /// The dead letters of thirty days by reason, the most frequent first.
    pub async fn dead_reasons(&self, pipeline: &str) -> Result<Vec<DeadReason>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "select reason, count(*) as letters, count(*) filter (where replayed_at is null) as waiting,
                    coalesce(sum(length(payload)), 0)::bigint as bytes, max(failed_at) as newest
                from (
                    select reason, replayed_at, payload, failed_at from dead_letter_rows
                    where failed_at >= now() - interval '30 days'
                        and stream_id in (select id from streams where pipeline = $1)
                    order by failed_at desc limit 100000
                ) as letter
                group by reason order by count(*) desc, reason",
            )
            .bind(pipeline)
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// The newest dead letters of a reason, or of all, with the beginning of what they hold.
    pub async fn dead_examples(
        &self,
        pipeline: &str,
        reason: Option<&str>,
        limit: u32,
    ) -> Result<Vec<DeadExample>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "select topic, partition, kafka_offset, reason, detail, failed_at, replayed_at,
                    substring(payload for 400) as beginning, length(payload) as bytes
                from dead_letters
                where pipeline = $1 and ($2::text is null or reason = $2)
                order by failed_at desc, kafka_offset desc limit $3",
            )
            .bind(pipeline)
            .bind(reason)
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// Where the partitions of a pipeline stand, see [`Status`](crate::Status).
    pub async fn partitions(&self, pipeline: &str) -> Result<Vec<crate::PartitionStatus>, StoreError> {
        self.run(async |connection| crate::status::partitions(connection, pipeline).await).await
    }
}
