//! What people change on the page, what they write down there, and the trainers that they wait for.

use chrono::{DateTime, Utc};

use crate::columns::from_row;
use crate::{Store, StoreError};

/// Something that a person changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// When.
    pub changed_at: DateTime<Utc>,
    /// Who it was.
    pub changed_by: String,
    /// What, in words.
    pub change: String,
}

from_row!(Change { changed_at, changed_by, change });

/// What a class means.
#[derive(Debug, Clone, PartialEq)]
pub struct Guideline {
    /// The class.
    pub class: String,
    /// In the words of those who decide.
    pub guideline: String,
    /// Who wrote it.
    pub written_by: String,
    /// When.
    pub written_at: DateTime<Utc>,
}

from_row!(Guideline { class, guideline, written_by, written_at });

/// A trainer, as far as it tells what it waits for.
#[derive(Debug, Clone, PartialEq)]
pub struct Trainer {
    /// Its host and process.
    pub trainer: String,
    /// So many new labels start a round.
    pub min_new_labels: Option<i64>,
    /// The times at which a round starts, as a cron expression.
    pub schedule: Option<String>,
    /// When it was seen last.
    pub seen_at: DateTime<Utc>,
}

from_row!(Trainer { trainer, min_new_labels, schedule, seen_at });

impl Store {
    /// Puts down what a person changed.
    pub async fn record_change(&self, changed_by: &str, change: &str) -> Result<(), StoreError> {
        self.run(async |connection| {
            sqlx::query("insert into changes (changed_by, change) values ($1, $2)")
                .bind(changed_by)
                .bind(change)
                .execute(connection)
                .await?;
            Ok(())
        })
        .await
    }

    /// The newest changes, the newest first.
    pub async fn changes(&self, limit: u32) -> Result<Vec<Change>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as("select changed_at, changed_by, change from changes order by id desc limit $1")
                .bind(i64::from(limit))
                .fetch_all(connection)
                .await?)
        })
        .await
    }

    /// Writes down what a class means.
    pub async fn write_guideline(&self, class: &str, guideline: &str, written_by: &str) -> Result<(), StoreError> {
        self.run(async |connection| {
            sqlx::query("insert into guidelines (class, guideline, written_by) values ($1, $2, $3)")
                .bind(class)
                .bind(guideline)
                .bind(written_by)
                .execute(connection)
                .await?;
            Ok(())
        })
        .await
    }

    /// The newest guideline of each class that has one.
    pub async fn guidelines(&self) -> Result<Vec<Guideline>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "select distinct on (class) class, guideline, written_by, written_at
                from guidelines order by class, id desc",
            )
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// Says that a trainer is there, and what it waits for. Of trainers that were not seen for a day
    /// nothing is kept.
    pub async fn note_trainer(
        &self,
        trainer: &str,
        min_new_labels: Option<i64>,
        schedule: Option<&str>,
    ) -> Result<(), StoreError> {
        self.run(async |connection| {
            sqlx::query("delete from trainers where seen_at < now() - interval '1 day'")
                .execute(&mut *connection)
                .await?;
            sqlx::query(
                "insert into trainers (trainer, min_new_labels, schedule) values ($1, $2, $3)
                on conflict (trainer) do update set min_new_labels = excluded.min_new_labels,
                    schedule = excluded.schedule, seen_at = now()",
            )
            .bind(trainer)
            .bind(min_new_labels)
            .bind(schedule)
            .execute(connection)
            .await?;
            Ok(())
        })
        .await
    }

    /// The trainer that was seen last.
    pub async fn trainer(&self) -> Result<Option<Trainer>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "select trainer, min_new_labels, schedule, seen_at from trainers order by seen_at desc limit 1",
            )
            .fetch_optional(connection)
            .await?)
        })
        .await
    }
}
