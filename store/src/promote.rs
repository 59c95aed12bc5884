//! Which model serves, and the record of every change of it.

use chrono::{DateTime, Utc};

use sqlx::{Connection, PgConnection};

use crate::columns::from_row;
use crate::models::{Model, Version, models};
use crate::{Store, StoreError};

/// A row of `deployments`: from then on, until the next row, `version` was what `alias` names.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Deployment {
    /// Counts up.
    pub id: i64,
    /// The role: `champion`.
    pub alias: String,
    /// Who took it.
    pub version: Version,
    /// Why, in the words of whoever or whatever did it.
    pub why: String,
    /// When.
    pub deployed_at: DateTime<Utc>,
}

/// What serves, and the deployment that says so: a version that is promoted again is deployed anew.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployed {
    /// The number of the deployment.
    pub deployment: i64,
    /// The model.
    pub model: Model,
}

from_row!(Deployment { id, alias, version, why, deployed_at });

impl Store {
    /// The model that serves, if any was ever promoted.
    pub async fn champion(&self) -> Result<Option<Model>, StoreError> {
        self.run(async |connection| match champion(connection).await? {
            Some(version) => Ok(models(connection, Some(version)).await?.pop()),
            None => Ok(None),
        })
        .await
    }

    /// The model that serves, with the deployment that made it champion.
    pub async fn deployed(&self) -> Result<Option<Deployed>, StoreError> {
        self.run(async |connection| {
            let newest = "select id, version from deployments where alias = 'champion' order by id desc limit 1";
            let newest: Option<(i64, Version)> = sqlx::query_as(newest).fetch_optional(&mut *connection).await?;
            let Some((deployment, version)) = newest else { return Ok(None) };
            let model = models(connection, Some(version)).await?.pop();
            Ok(model.map(|model| Deployed { deployment, model }))
        })
        .await
    }

    /// Makes `version` the champion if `expected` still is (`None`: if there is none yet), and
    /// notifies the consumers.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where somebody else was quicker, [`StoreError::NoSuchModel`],
    /// [`StoreError::Collected`].
    pub async fn promote(&self, version: Version, why: &str, expected: Option<Version>) -> Result<(), StoreError> {
        self.run(async |connection| {
            let mut transaction = connection.begin().await?;
            lock_deployments(&mut transaction).await?;
            let champion = champion(&mut transaction).await?;
            if champion != expected {
                return Err(StoreError::Conflict { champion, expected });
            }
            deploy(&mut transaction, version, why).await?;
            Ok(transaction.commit().await?)
        })
        .await
    }

    /// Makes the newest earlier champion that differs from the present one, and whose files are
    /// still there, champion again, and returns it.
    ///
    /// # Errors
    /// [`StoreError::NothingToRollBackTo`].
    pub async fn rollback(&self, why: &str) -> Result<Version, StoreError> {
        self.run(async |connection| {
            let mut transaction = connection.begin().await?;
            lock_deployments(&mut transaction).await?;
            let champion = champion(&mut transaction).await?;
            let previous: Option<Version> = sqlx::query_scalar(
                "select version from deployments join models using (version)
                where alias = 'champion' and version <> $1 and collected_at is null
                order by id desc limit 1",
            )
            .bind(champion)
            .fetch_optional(&mut *transaction)
            .await?;
            let previous = previous.ok_or(StoreError::NothingToRollBackTo)?;
            deploy(&mut transaction, previous, why).await?;
            transaction.commit().await?;
            Ok(previous)
        })
        .await
    }

    /// Every deployment, newest first.
    pub async fn deployments(&self) -> Result<Vec<Deployment>, StoreError> {
        self.run(async |connection| {
            let newest_first = "select id, alias, version, why, deployed_at from deployments order by id desc";
            Ok(sqlx::query_as(newest_first).fetch_all(connection).await?)
        })
        .await
    }
}

/// One change at a time; readers are not held up.
pub(crate) async fn lock_deployments(transaction: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("lock table deployments in share row exclusive mode").execute(transaction).await?;
    Ok(())
}

pub(crate) async fn champion(connection: &mut PgConnection) -> Result<Option<Version>, StoreError> {
    let version = "select version from deployments where alias = 'champion' order by id desc limit 1";
    Ok(sqlx::query_scalar(version).fetch_optional(connection).await?)
}

/// The notification leaves with the commit, and is only a hint: consumers look for themselves too.
pub(crate) async fn deploy(transaction: &mut PgConnection, version: Version, why: &str) -> Result<(), StoreError> {
    let deployed = sqlx::query(
        "insert into deployments (alias, version, why)
        select 'champion', version, $2 from models where version = $1 and collected_at is null",
    )
    .bind(version)
    .bind(why)
    .execute(&mut *transaction)
    .await?;
    if deployed.rows_affected() == 0 {
        return Err(refused(transaction, version).await?);
    }
    sqlx::query("select pg_notify('labelstream_models', $1)").bind(version.to_string()).execute(transaction).await?;
    Ok(())
}

pub(crate) async fn refused(connection: &mut PgConnection, version: Version) -> Result<StoreError, StoreError> {
    let known: bool = sqlx::query_scalar("select exists (select from models where version = $1)")
        .bind(version)
        .fetch_one(connection)
        .await?;
    Ok(if known { StoreError::Collected(version) } else { StoreError::NoSuchModel(version) })
}
