//! The end of a round, in one transaction: its candidate registered, its verdict written, and if it
//! was accepted, the champion changed. A trainer that dies at any moment leaves the old champion or
//! the complete new one.

use serde_json::Value;
use sqlx::{Connection, PgConnection};

use crate::models::{ModelStatus, NewModel, Version, register};
use crate::promote::{champion, deploy, lock_deployments};
use crate::round_lease::RoundLease;
use crate::rounds::Verdict;
use crate::{Store, StoreError, shadow};

/// What a round came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Conclusion {
    /// The candidate, whose files are in the checkpoint store.
    pub model: NewModel,
    /// The gate's decision.
    pub accepted: bool,
    /// The gate's reason, for people.
    pub reason: String,
    /// The numbers on which it decided.
    pub evidence: Value,
    /// The champion on the held-out texts.
    pub champion_metrics: Option<Value>,
    /// The candidate on the same texts.
    pub candidate_metrics: Value,
    /// The linear model on the same texts.
    pub baseline_metrics: Option<Value>,
    /// The champion that the candidate was compared with.
    pub expected_champion: Option<Version>,
    /// The share of the stream that an accepted candidate scores beside the champion until a person
    /// promotes it; `None` promotes it at once. A first champion never waits.
    pub shadow_first: Option<f64>,
}

/// How a round was concluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a fenced owner must stop, and a changed champion asks for another comparison"]
pub enum Concluded {
    /// The candidate is the champion.
    Promoted(Version),
    /// The candidate is accepted, and shadows the champion.
    Shadows(Version),
    /// The candidate is on record as rejected.
    Rejected(Version),
    /// Somebody else has taken the round over: nothing was written.
    Fenced,
    /// The candidate was accepted against a champion that serves no more: nothing was written.
    ChampionChanged {
        /// The version that serves now.
        champion: Option<Version>,
    },
}

impl Store {
    /// Ends a round with its verdict: everything is written, or nothing.
    ///
    /// A round never changes the label set of what serves: that is left to a person, with
    /// [`Store::promote`].
    ///
    /// May be called again with the same arguments after a transient error, an unknown outcome of
    /// the commit among them.
    ///
    /// # Errors
    /// [`StoreError::OtherLabels`] for an accepted candidate with other labels than the champion's.
    pub async fn conclude_round(&self, lease: &RoundLease, conclusion: &Conclusion) -> Result<Concluded, StoreError> {
        self.run(async |connection| {
            let mut transaction = connection.begin().await?;
            let Some((verdict, candidate)) = held(&mut transaction, lease).await? else {
                return Ok(Concluded::Fenced);
            };
            if let Some(verdict) = verdict {
                return Ok(as_it_ended(verdict, candidate));
            }
            if conclusion.accepted {
                lock_deployments(&mut transaction).await?;
                let champion = champion(&mut transaction).await?;
                if champion != conclusion.expected_champion {
                    return Ok(Concluded::ChampionChanged { champion });
                }
                refuse_other_labels(&mut transaction, champion, &conclusion.model.labels).await?;
            }
            let status = if conclusion.accepted { ModelStatus::Registered } else { ModelStatus::Rejected };
            let model = NewModel { round: Some(lease.round), ..conclusion.model.clone() };
            let version = register(&mut transaction, &model, status).await?;
            finish(&mut transaction, lease, conclusion, version).await?;
            let why = format!("round {}: {}", lease.round, conclusion.reason);
            let concluded = match conclusion.shadow_first.filter(|_| conclusion.expected_champion.is_some()) {
                _ if !conclusion.accepted => Concluded::Rejected(version),
                Some(share) => {
                    shadow::start(&mut transaction, version, share, &why).await?;
                    Concluded::Shadows(version)
                }
                None => {
                    deploy(&mut transaction, version, &why).await?;
                    Concluded::Promoted(version)
                }
            };
            transaction.commit().await?;
            Ok(concluded)
        })
        .await
    }
}

/// The verdict, if there is one, and the candidate of the round that this lease's epoch still owns;
/// nobody else can take it over until the transaction ends.
async fn held(
    connection: &mut PgConnection,
    lease: &RoundLease,
) -> Result<Option<(Option<Verdict>, Option<Version>)>, StoreError> {
    let held = sqlx::query_as("select verdict, candidate from rounds where round = $1 and owner_epoch = $2 for update");
    Ok(held.bind(lease.round).bind(lease.epoch).fetch_optional(connection).await?)
}

/// Their order may differ: each prediction is read with the labels of its own version.
async fn refuse_other_labels(
    connection: &mut PgConnection,
    champion: Option<Version>,
    labels: &[String],
) -> Result<(), StoreError> {
    let differ = sqlx::query_scalar(
        "select array(select unnest(labels) order by 1) <> array(select unnest($2::text[]) order by 1)
        from models where version = $1",
    );
    let differ: Option<bool> = differ.bind(champion).bind(labels).fetch_optional(connection).await?;
    if differ == Some(true) { Err(StoreError::OtherLabels) } else { Ok(()) }
}

/// A commit whose answer was lost is recognised by what it left.
fn as_it_ended(verdict: Verdict, candidate: Option<Version>) -> Concluded {
    match (verdict, candidate) {
        (Verdict::Accepted, Some(version)) => Concluded::Promoted(version),
        (Verdict::Rejected, Some(version)) => Concluded::Rejected(version),
        _ => Concluded::Fenced,
    }
}

async fn finish(
    connection: &mut PgConnection,
    lease: &RoundLease,
    conclusion: &Conclusion,
    candidate: Version,
) -> Result<(), StoreError> {
    let verdict = if conclusion.accepted { Verdict::Accepted } else { Verdict::Rejected };
    sqlx::query(
        "update rounds
        set verdict = $2, reason = $3, candidate = $4, champion = $5, champion_metrics = $6, candidate_metrics = $7,
            baseline_metrics = $8, evidence = $9, finished_at = now(), lease_until = null
        where round = $1",
    )
    .bind(lease.round)
    .bind(verdict)
    .bind(&conclusion.reason)
    .bind(candidate)
    .bind(conclusion.expected_champion)
    .bind(&conclusion.champion_metrics)
    .bind(&conclusion.candidate_metrics)
    .bind(&conclusion.baseline_metrics)
    .bind(&conclusion.evidence)
    .execute(connection)
    .await?;
    Ok(())
}
