//! Which reviews people were asked to label, and why those; and the draw that true numbers are
//! estimated from.

use chrono::{DateTime, Utc};

use crate::columns::{from_row, words};
use crate::models::Version;
use crate::predictions::Predicted;
use crate::{Store, StoreError};

/// Why a review was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// Drawn at random from the newest predictions: what a model is worth is estimated from these.
    Audit,
    /// The champion is not sure of it.
    Uncertain,
    /// It is unlike the others, and stands for many.
    Diverse,
    /// Two models say different things of it.
    Disagreement,
}

words!(Way { Audit = "audit", Uncertain = "uncertain", Diverse = "diverse", Disagreement = "disagreement" });

impl Way {
    /// Its word in `picks.way`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Uncertain => "uncertain",
            Self::Diverse => "diverse",
            Self::Disagreement => "disagreement",
        }
    }
}

/// A review to label.
#[derive(Debug, Clone, PartialEq)]
pub struct Pick {
    /// The review, where it has an id.
    pub review_id: Option<String>,
    /// Its text.
    pub text: String,
    /// Why this one.
    pub way: Way,
    /// How probable it was for this prediction to be drawn: of an audit, and of it alone.
    pub probability: Option<f64>,
    /// The version that had labeled it.
    pub version: Option<Version>,
    /// What that version had said.
    pub prediction: Option<String>,
    /// The probability that it gave that.
    pub score: Option<f32>,
    /// When.
    pub classified_at: Option<DateTime<Utc>>,
}

from_row!(Pick { review_id, text, way, probability, version, prediction, score, classified_at });

/// Predictions drawn at random: each of the newest million or so is as likely to be among them.
#[derive(Debug, Clone, PartialEq)]
pub struct Draw {
    /// In random order, so that the first of them are a smaller draw.
    pub predictions: Vec<Drawn>,
    /// How many predictions they are drawn from.
    pub population: f64,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// The prediction.
    pub predicted: Predicted,
    /// Whether a person has labeled its review or its text.
    pub is_labeled: bool,
}

/// A pick of an audit with its label.
#[derive(Debug, Clone, PartialEq)]
pub struct Audited {
    /// The version that had labeled it.
    pub version: Version,
    /// What that version had said.
    pub prediction: String,
    /// The probability that it gave that.
    pub score: f32,
    /// When.
    pub classified_at: DateTime<Utc>,
    /// How probable it was to be drawn.
    pub probability: f64,
    /// What a person says; `None` while nobody has answered.
    pub label: Option<String>,
}

from_row!(Audited { version, prediction, score, classified_at, probability, label });

struct Row {
    predicted: Predicted,
    is_labeled: bool,
    rows: i64,
    share: f64,
}

from_row!(Row { is_labeled, rows, share, ..predicted });

impl Store {
    /// Draws predictions, at most `limit`, from the newest million or so.
    ///
    /// Two draws, of which neither reads the table: two hundred of its newest blocks, then rows of
    /// all rows in them. Given the blocks, each row is as likely as any other.
    pub async fn draw_predictions(&self, limit: u32) -> Result<Draw, StoreError> {
        let rows: Vec<Row> = self
            .run(async |connection| {
                Ok(sqlx::query_as(
                    "with newest as (
                        select greatest(0, blocks - 30000) as first, blocks
                        from (select pg_relation_size('prediction_rows') / 8192 as blocks) as size
                    ), block as materialized (
                        select number from newest, generate_series(first, blocks - 1) as number
                        order by random() limit 200
                    ), drawn as (
                        select kafka_offset, record_time, review_id, text, label, score, version, classified_at,
                            count(*) over () as rows
                        from block cross join lateral (
                            select kafka_offset, record_time, review_id, text, label, score, version, classified_at
                            from prediction_rows
                            where ctid >= format('(%s,0)', number)::tid and ctid < format('(%s,0)', number + 1)::tid
                            offset 0
                        ) as row
                        order by random() limit $1
                    )
                    select kafka_offset, record_time, review_id, text, label, score, version, classified_at, rows,
                        least(1, 200.0 / greatest(1, blocks - first))::float8 as share,
                        exists (
                            select from labels where labels.review_id = drawn.review_id or labels.text = drawn.text
                        ) as is_labeled
                    from drawn, newest order by random()",
                )
                .bind(i64::from(limit))
                .fetch_all(connection)
                .await?)
            })
            .await?;
        let population = rows.first().map_or(0.0, |row| row.rows as f64 / row.share);
        let predictions = rows.into_iter().map(|Row { predicted, is_labeled, .. }| Drawn { predicted, is_labeled });
        Ok(Draw { predictions: predictions.collect(), population })
    }

    /// Writes down what people are asked to label.
    pub async fn record_picks(&self, picks: &[Pick]) -> Result<(), StoreError> {
        self.run(async |connection| {
            sqlx::query(
                "insert into picks (review_id, text, way, probability, version, prediction, score, classified_at)
                select review_id, text, way, probability, version, prediction, score, classified_at
                from unnest(
                    $1::text[], $2::text[], $3::text[], $4::float8[], $5::bigint[], $6::text[], $7::real[],
                    $8::timestamptz[]
                ) with ordinality
                    as pick (review_id, text, way, probability, version, prediction, score, classified_at, place)
                order by place",
            )
            .bind(picks.iter().map(|pick| pick.review_id.as_deref()).collect::<Vec<_>>())
            .bind(picks.iter().map(|pick| pick.text.as_str()).collect::<Vec<_>>())
            .bind(picks.iter().map(|pick| pick.way.word()).collect::<Vec<_>>())
            .bind(picks.iter().map(|pick| pick.probability).collect::<Vec<_>>())
            .bind(picks.iter().map(|pick| pick.version.map(|version| version.0)).collect::<Vec<_>>())
            .bind(picks.iter().map(|pick| pick.prediction.as_deref()).collect::<Vec<_>>())
            .bind(picks.iter().map(|pick| pick.score).collect::<Vec<_>>())
            .bind(picks.iter().map(|pick| pick.classified_at).collect::<Vec<_>>())
            .execute(connection)
            .await?;
            Ok(())
        })
        .await
    }

    /// Every pick that a person has answered, in the order of the picks.
    pub async fn answered_picks(&self) -> Result<Vec<Pick>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "select review_id, text, way, probability, version, prediction, score, classified_at
                from picked_labels where label is not null order by id",
            )
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// The audit's picks, answered or not.
    pub async fn audited(&self) -> Result<Vec<Audited>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "select version, prediction, score, classified_at, probability, label
                from picked_labels
                where way = 'audit' and version is not null and prediction is not null and score is not null
                    and classified_at is not null
                order by id",
            )
            .fetch_all(connection)
            .await?)
        })
        .await
    }
}
