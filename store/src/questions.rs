//! The reviews that people label on the page, one at a time: several people share a queue, and no
//! two of them are given one review.

use sqlx::PgConnection;

use crate::columns::from_row;
use crate::models::Version;
use crate::picks::Way;
use crate::{Store, StoreError};

/// What waits to be labeled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// All picks.
    Picks,
    /// Those on which two models disagree.
    Disagreements,
    /// Labels that are probably wrong.
    Suspects,
}

/// Who is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The browser.
    pub holder: &'a str,
    /// The person.
    pub person: &'a str,
}

/// What a question is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A pick, by its id.
    Pick(i64),
    /// A label, by its id: it is to be given anew.
    Label(i64),
    /// Any review, by its id.
    Review(String),
}

/// A review that a person is asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Of the pick or the label; 0 where it is neither.
    pub id: i64,
    /// The review, where it has an id.
    pub review_id: Option<String>,
    /// Its text.
    pub text: String,
    /// Why it was picked.
    pub way: Option<Way>,
    /// The version that had labeled it.
    pub version: Option<Version>,
    /// What that version had said.
    pub prediction: Option<String>,
    /// The probability that it gave that.
    pub score: Option<f32>,
    /// The label that a person has given it.
    pub label: Option<String>,
    /// Who that was.
    pub labeled_by: Option<String>,
    /// The class that models claim which have not learned the label.
    pub claimed: Option<String>,
}

from_row!(Question { id, review_id, text, way, version, prediction, score, label, labeled_by, claimed });

/// How labeling is coming along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelCounts {
    /// Labels that the person has given.
    pub mine: i64,
    /// Labels of everybody.
    pub all: i64,
}

from_row!(LabelCounts { mine, all });

/// A label that models contradict which have not learned it.
#[derive(Debug, Clone, PartialEq)]
pub struct SuspectLabel {
    /// The label.
    pub label: i64,
    /// The class that they claim.
    pub claimed: String,
    /// How probable they find it.
    pub probability: f32,
}

/// Times that a review is tried to be had before somebody else has it.
const TRIES: usize = 8;

impl Store {
    /// The next review of a queue for a person, who has it alone for three minutes. What the person
    /// passed over is left out, and so is what two people could not say.
    pub async fn next_question(&self, queue: Queue, asker: Asker<'_>) -> Result<Option<Question>, StoreError> {
        for _ in 0..TRIES {
            let next = self
                .run(async |connection| match queue {
                    Queue::Picks => next_pick(connection, asker, None).await,
                    Queue::Disagreements => next_pick(connection, asker, Some(Way::Disagreement)).await,
                    Queue::Suspects => next_suspect(connection, asker).await,
                })
                .await?;
            match next {
                // Somebody else was quicker.
                Next::Taken => {}
                Next::Question(question) => return Ok(Some(question)),
                Next::Nothing => return Ok(None),
            }
        }
        Ok(None)
    }

    /// What a question is about, whoever has it.
    pub async fn question(&self, subject: &Subject) -> Result<Option<Question>, StoreError> {
        self.run(async |connection| match subject {
            Subject::Pick(id) => pick(connection, *id).await,
            Subject::Label(id) => label(connection, *id).await,
            Subject::Review(review_id) => review(connection, review_id).await,
        })
        .await
    }

    /// Puts down that a person has passed a text over, and gives the text back.
    pub async fn pass(&self, text: &str, asker: Asker<'_>, cannot_say: bool) -> Result<(), StoreError> {
        self.run(async |connection| {
            sqlx::query(
                "insert into label_passes (text_digest, passed_by, cannot_say)
                values (sha256(convert_to($1, 'UTF8')), $2, $3)",
            )
            .bind(text)
            .bind(asker.person)
            .bind(cannot_say)
            .execute(&mut *connection)
            .await?;
            release(connection, text, asker.holder).await
        })
        .await
    }

    /// Gives a text back that was answered; forgets leases that have run out.
    pub async fn release(&self, text: &str, holder: &str) -> Result<(), StoreError> {
        self.run(async |connection| release(connection, text, holder).await).await
    }

    /// How many texts of the newest two thousand picks nobody has labeled.
    pub async fn count_questions(&self) -> Result<i64, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_scalar(
                "select count(distinct text) from picks
                where id > (select coalesce(max(id), 0) - 2000 from picks)
                    and not exists (select from labels where labels.review_id = picks.review_id)
                    and not exists (select from labels where labels.text = picks.text)",
            )
            .fetch_one(connection)
            .await?)
        })
        .await
    }

    /// The texts of the newest two thousand picks that nobody has labeled: those that wait, and
    /// those that people passed over.
    pub async fn asked_texts(&self) -> Result<Vec<String>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_scalar(
                "select distinct text from picks
                where id > (select coalesce(max(id), 0) - 2000 from picks)
                    and not exists (select from labels where labels.review_id = picks.review_id)
                    and not exists (select from labels where labels.text = picks.text)",
            )
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// How many labels there are.
    pub async fn label_counts(&self, person: &str) -> Result<LabelCounts, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as("select count(*) filter (where labeled_by = $1) as mine, count(*) as all from labels")
                .bind(person)
                .fetch_one(connection)
                .await?)
        })
        .await
    }

    /// The newest label of a text.
    pub async fn newest_label(&self, text: &str) -> Result<Option<String>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_scalar("select label from labels where text = $1 order by labeled_at desc, id desc limit 1")
                .bind(text)
                .fetch_optional(connection)
                .await?)
        })
        .await
    }

    /// Puts down which labels are suspect, in place of those that were before.
    pub async fn record_suspects(&self, suspects: &[SuspectLabel]) -> Result<(), StoreError> {
        self.run(async |connection| {
            let mut transaction = sqlx::Connection::begin(connection).await?;
            sqlx::query("delete from label_suspects").execute(&mut *transaction).await?;
            sqlx::query(
                "insert into label_suspects (label_id, claimed, probability)
                select label_id, claimed, probability from unnest($1::bigint[], $2::text[], $3::real[])
                    as suspect (label_id, claimed, probability)
                on conflict (label_id) do nothing",
            )
            .bind(suspects.iter().map(|suspect| suspect.label).collect::<Vec<_>>())
            .bind(suspects.iter().map(|suspect| suspect.claimed.as_str()).collect::<Vec<_>>())
            .bind(suspects.iter().map(|suspect| suspect.probability).collect::<Vec<_>>())
            .execute(&mut *transaction)
            .await?;
            Ok(transaction.commit().await?)
        })
        .await
    }
}

enum Next {
    Question(Question),
    Taken,
    Nothing,
}

/// What this browser has already comes first; what an older version was not sure of comes last. Each
/// browser goes through what was picked together in an order of its own, so that few meet.
async fn next_pick(connection: &mut PgConnection, asker: Asker<'_>, way: Option<Way>) -> Result<Next, StoreError> {
    let rows: Vec<Taken> = sqlx::query_as(
        "with waiting as (
            select picks.id, picks.review_id, picks.text, way, version, prediction, score, picked_at,
                sha256(convert_to(picks.text, 'UTF8')) as digest,
                way <> 'audit' and version is distinct from (
                    select deployments.version from deployments where alias = 'champion'
                    order by deployments.id desc limit 1
                ) as is_old
            from picks
            where picks.id > (select coalesce(max(id), 0) - 2000 from picks)
                and ($3::text is null or way = $3)
                and not exists (select from labels where labels.review_id = picks.review_id)
                and not exists (select from labels where labels.text = picks.text)
        ), free as (
            select id, review_id, text, way, version, prediction, score, digest
            from waiting left join label_leases as lease on lease.text_digest = digest and leased_until > now()
            where (holder is null or holder = $1)
                and not exists (
                    select from label_passes as pass where pass.text_digest = digest and passed_by = $2
                )
                and 2 > (
                    select count(distinct passed_by) from label_passes as pass
                    where pass.text_digest = digest and cannot_say
                )
            order by holder is null, is_old, picked_at, hashint8(id) # hashtext($1) limit 1
        ), leased as (
            insert into label_leases (text_digest, holder, leased_until)
            select digest, $1, now() + interval '3 minutes' from free
            on conflict (text_digest) do update set holder = excluded.holder, leased_until = excluded.leased_until
            where label_leases.leased_until <= now() or label_leases.holder = excluded.holder
            returning text_digest
        )
        select id, review_id, text, way, version, prediction, score, null::text as label, null::text as labeled_by,
            null::text as claimed, exists (select from leased where text_digest = digest) as is_taken
        from free",
    )
    .bind(asker.holder)
    .bind(asker.person)
    .bind(way)
    .fetch_all(connection)
    .await?;
    Ok(next(rows))
}

async fn next_suspect(connection: &mut PgConnection, asker: Asker<'_>) -> Result<Next, StoreError> {
    let rows: Vec<Taken> = sqlx::query_as(
        "with free as (
            select suspect.label_id as id, review_id, text, given.label, given.labeled_by, claimed, probability,
                sha256(convert_to(text, 'UTF8')) as digest
            from label_suspects as suspect
            join labels as given on given.id = suspect.label_id
            left join label_leases as lease
                on lease.text_digest = sha256(convert_to(text, 'UTF8')) and leased_until > now()
            where (holder is null or holder = $1)
                and not exists (
                    select from labels as newer
                    where newer.text = given.text and (newer.labeled_at, newer.id) > (given.labeled_at, given.id)
                )
                and not exists (
                    select from label_passes as pass
                    where pass.text_digest = sha256(convert_to(text, 'UTF8')) and passed_by = $2
                        and passed_at > given.labeled_at
                )
                and 2 > (
                    select count(distinct passed_by) from label_passes as pass
                    where pass.text_digest = sha256(convert_to(text, 'UTF8')) and cannot_say
                        and passed_at > given.labeled_at
                )
            order by holder is null, probability desc, suspect.label_id limit 1
        ), leased as (
            insert into label_leases (text_digest, holder, leased_until)
            select digest, $1, now() + interval '3 minutes' from free
            on conflict (text_digest) do update set holder = excluded.holder, leased_until = excluded.leased_until
            where label_leases.leased_until <= now() or label_leases.holder = excluded.holder
            returning text_digest
        )
        select id, review_id, text, null::text as way, null::bigint as version, null::text as prediction,
            probability as score, label, labeled_by, claimed,
            exists (select from leased where text_digest = digest) as is_taken
        from free",
    )
    .bind(asker.holder)
    .bind(asker.person)
    .fetch_all(connection)
    .await?;
    Ok(next(rows))
}

/// A question, and whether this browser has it now.
struct Taken {
    question: Question,
    is_taken: bool,
}

from_row!(Taken { is_taken, ..question });

fn next(mut rows: Vec<Taken>) -> Next {
    match rows.pop() {
        Some(Taken { question, is_taken: true }) => Next::Question(question),
        Some(_) => Next::Taken,
        None => Next::Nothing,
    }
}

async fn pick(connection: &mut PgConnection, id: i64) -> Result<Option<Question>, StoreError> {
    let pick = sqlx::query_as(
        "select id, review_id, text, way, version, prediction, score, null::text as label, null::text as labeled_by,
            null::text as claimed
        from picks where id = $1",
    );
    Ok(pick.bind(id).fetch_optional(connection).await?)
}

async fn label(connection: &mut PgConnection, id: i64) -> Result<Option<Question>, StoreError> {
    let label = sqlx::query_as(
        "select labels.id, review_id, text, null::text as way, null::bigint as version, null::text as prediction,
            probability as score, label, labeled_by, claimed
        from labels left join label_suspects on label_id = labels.id where labels.id = $1",
    );
    Ok(label.bind(id).fetch_optional(connection).await?)
}

async fn review(connection: &mut PgConnection, review_id: &str) -> Result<Option<Question>, StoreError> {
    let review = sqlx::query_as(
        "select 0::bigint as id, review_id, text, null::text as way, version, label as prediction, score,
            null::text as label, null::text as labeled_by, null::text as claimed
        from prediction_rows where review_id = $1 order by classified_at desc, kafka_offset desc limit 1",
    );
    Ok(review.bind(review_id).fetch_optional(connection).await?)
}

async fn release(connection: &mut PgConnection, text: &str, holder: &str) -> Result<(), StoreError> {
    sqlx::query(
        "delete from label_leases
        where (text_digest = sha256(convert_to($1, 'UTF8')) and holder = $2) or leased_until < now() - interval '1 hour'",
    )
    .bind(text)
    .bind(holder)
    .execute(connection)
    .await?;
    Ok(())
}
