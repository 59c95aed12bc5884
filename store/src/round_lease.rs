//! The right to work on a round: one owner at a time, for as long as the lease is extended; after
//! that somebody else may take the round over, and whatever the former owner still writes is fenced
//! by its epoch.

use std::time::Duration;

use serde_json::Value;
use sqlx::{Connection, PgConnection};

use crate::models::Version;
use crate::rounds::{Round, Trigger, numbered};
use crate::stream::Outcome;
use crate::{Store, StoreError};

/// A round to begin.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRound {
    /// What starts it.
    pub trigger: Trigger,
    /// With which settings: a JSON object.
    pub parameters: Value,
    /// Who will work on it: host and process.
    pub owner: String,
    /// How long nobody else may take it over, unless the lease is extended.
    pub lease: Duration,
}

/// The right to work on a round, until somebody else takes it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundLease {
    /// The round.
    pub round: i64,
    /// Names this owner in every write.
    pub epoch: i64,
}

/// Which labels a round has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelsSeen {
    /// How many.
    pub count: i64,
    /// The highest id among them; 0 where there is none.
    pub last: i64,
}

/// What came of the wish to begin a round.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// A new round.
    Started(RoundLease),
    /// A round whose owner's lease ran out, to be finished first.
    Resumed(RoundLease, Round),
    /// Somebody works on this one.
    Busy(Round),
}

impl Store {
    /// Begins a round, or takes over one that was left lying. Any number may try at once: one gets
    /// it.
    ///
    /// A new round with [`Trigger::Command`] answers the oldest open request.
    pub async fn begin_round(&self, new: &NewRound) -> Result<Begun, StoreError> {
        self.run(async |connection| {
            let mut transaction = connection.begin().await?;
            sqlx::query("select pg_advisory_xact_lock(hashtext('labelstream rounds'))")
                .execute(&mut *transaction)
                .await?;
            let begun = match unfinished(&mut transaction).await? {
                None => Begun::Started(start(&mut transaction, new).await?),
                Some(round) => {
                    let taken = take_over(&mut transaction, new).await?;
                    let round = numbered(&mut transaction, round).await?;
                    match taken {
                        Some(lease) => Begun::Resumed(lease, round),
                        None => Begun::Busy(round),
                    }
                }
            };
            transaction.commit().await?;
            Ok(begun)
        })
        .await
    }

    /// Keeps a round for another while from now, and says how far it is.
    pub async fn extend_lease(
        &self,
        lease: &RoundLease,
        until: Duration,
        progress: &Value,
    ) -> Result<Outcome, StoreError> {
        self.run(async |connection| {
            let extended = sqlx::query(
                "update rounds set lease_until = clock_timestamp() + make_interval(secs => $3), progress = $4
                where round = $1 and owner_epoch = $2 and finished_at is null",
            );
            let extended = extended.bind(lease.round).bind(lease.epoch).bind(until.as_secs_f64()).bind(progress);
            Ok(outcome(extended.execute(connection).await?.rows_affected()))
        })
        .await
    }

    /// Notes what a round is trained on, and which champion it is to beat.
    pub async fn record_dataset(
        &self,
        lease: &RoundLease,
        fingerprint: &str,
        seen: LabelsSeen,
        champion: Option<Version>,
    ) -> Result<Outcome, StoreError> {
        self.run(async |connection| {
            let recorded = sqlx::query(
                "update rounds set dataset_fingerprint = $3, labels_seen = $4, champion = $5, last_label = $6
                where round = $1 and owner_epoch = $2 and finished_at is null",
            )
            .bind(lease.round)
            .bind(lease.epoch)
            .bind(fingerprint)
            .bind(seen.count)
            .bind(champion)
            .bind(seen.last)
            .execute(connection)
            .await?;
            Ok(outcome(recorded.rows_affected()))
        })
        .await
    }

    /// Ends a round that came to nothing. Its labels count as new again.
    pub async fn abandon_round(&self, lease: &RoundLease, reason: &str) -> Result<Outcome, StoreError> {
        self.run(async |connection| {
            let abandoned = sqlx::query(
                "update rounds set verdict = 'abandoned', reason = $3, finished_at = now(), lease_until = null
                where round = $1 and owner_epoch = $2 and finished_at is null",
            );
            let abandoned = abandoned.bind(lease.round).bind(lease.epoch).bind(reason);
            Ok(outcome(abandoned.execute(connection).await?.rows_affected()))
        })
        .await
    }
}

/// There is at most one: the schema sees to it.
async fn unfinished(connection: &mut PgConnection) -> Result<Option<i64>, StoreError> {
    let unfinished = "select round from rounds where finished_at is null";
    Ok(sqlx::query_scalar(unfinished).fetch_optional(connection).await?)
}

async fn start(connection: &mut PgConnection, new: &NewRound) -> Result<RoundLease, StoreError> {
    let (round, epoch) = sqlx::query_as(
        "insert into rounds (trigger, parameters, owner, owner_epoch, lease_until)
        values ($1, $2, $3, 1, clock_timestamp() + make_interval(secs => $4)) returning round, owner_epoch",
    )
    .bind(new.trigger)
    .bind(&new.parameters)
    .bind(&new.owner)
    .bind(new.lease.as_secs_f64())
    .fetch_one(&mut *connection)
    .await?;
    if new.trigger == Trigger::Command {
        sqlx::query(
            "update round_requests set round = $1
            where id = (select id from round_requests where round is null order by id limit 1)",
        )
        .bind(round)
        .execute(connection)
        .await?;
    }
    Ok(RoundLease { round, epoch })
}

/// The unfinished round, if its lease has run out: with a new owner, before whom all others are
/// fenced.
async fn take_over(connection: &mut PgConnection, new: &NewRound) -> Result<Option<RoundLease>, StoreError> {
    let taken = sqlx::query_as(
        "update rounds
        set owner = $1, owner_epoch = owner_epoch + 1, lease_until = clock_timestamp() + make_interval(secs => $2)
        where finished_at is null and coalesce(lease_until, '-infinity') < clock_timestamp()
        returning round, owner_epoch",
    );
    let taken = taken.bind(&new.owner).bind(new.lease.as_secs_f64()).fetch_optional(connection).await?;
    Ok(taken.map(|(round, epoch)| RoundLease { round, epoch }))
}

fn outcome(rows: u64) -> Outcome {
    if rows == 1 { Outcome::Written } else { Outcome::Fenced }
}
