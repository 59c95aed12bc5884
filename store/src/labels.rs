//! What people said of reviews, and the classes that they may name.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection};
use unicode_normalization::UnicodeNormalization as _;

use crate::columns::from_row;
use crate::{Store, StoreError};

/// What a person said of a review. Of several that speak of one text the newest wins.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Label {
    /// Counts up.
    pub id: i64,
    /// The review, where it has an id.
    pub review_id: Option<String>,
    /// Its text.
    pub text: String,
    /// The class.
    pub label: String,
    /// Who said so.
    pub labeled_by: String,
    /// When.
    pub labeled_at: DateTime<Utc>,
    /// Where it came from, such as a file or a tool.
    pub source: String,
}

from_row!(Label { id, review_id, text, label, labeled_by, labeled_at, source });

/// A label to add: of a review by its id, of a text, or of both.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLabel {
    /// The review, where it has an id.
    pub review_id: Option<String>,
    /// Its text; `None` takes it from the newest prediction of the review.
    pub text: Option<String>,
    /// The class.
    pub label: String,
    /// Who says so; `None` is the database's user.
    pub labeled_by: Option<String>,
    /// When; `None` is now.
    pub labeled_at: Option<DateTime<Utc>>,
    /// Where it comes from, such as a file or a tool.
    pub source: String,
}

/// Labels read at once.
const PAGE: u32 = 10_000;

impl Store {
    /// Adds labels, all or none, in their order, and returns how many.
    ///
    /// # Errors
    /// [`StoreError::UnknownLabel`], [`StoreError::NoSuchReview`], [`StoreError::OtherText`], and
    /// [`StoreError::BadLabel`] for what else is refused.
    pub async fn add_labels(&self, labels: &[NewLabel]) -> Result<u64, StoreError> {
        self.run(async |connection| {
            let mut transaction = connection.begin().await?;
            refuse_unknown_classes(&mut transaction, labels).await?;
            refuse_unknown_reviews(&mut transaction, labels).await?;
            refuse_other_texts(&mut transaction, labels).await?;
            let added = insert(&mut transaction, labels).await?;
            transaction.commit().await?;
            Ok(added)
        })
        .await
    }

    /// The labels after an id, in the order of their ids, at most `limit`.
    ///
    /// A label that is being added while this is read may come to stand before one that was read
    /// already: whoever wants all of them reads from 0.
    pub async fn labels_after(&self, id: i64, limit: u32) -> Result<Vec<Label>, StoreError> {
        self.run(async |connection| {
            let labels = sqlx::query_as(
                "select id, review_id, text, label, labeled_by, labeled_at, source
                from labels where id > $1 order by id limit $2",
            );
            Ok(labels.bind(id).bind(i64::from(limit)).fetch_all(connection).await?)
        })
        .await
    }

    /// Texts of stored reviews, at most so many: all of them where there are no more, else by chance.
    pub async fn some_texts(&self, limit: u32) -> Result<Vec<String>, StoreError> {
        self.run(async |connection| {
            // Blocks by chance, of which each holds ten rows or more, then rows by chance: the cost
            // hangs on the limit, not on the table.
            Ok(sqlx::query_scalar(
                "select text from prediction_rows tablesample system (
                    least(100, $1 / 0.1 / greatest(1, pg_relation_size('prediction_rows') / 8192))
                )
                order by random() limit $1",
            )
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// Every label, in the order of the ids.
    pub async fn all_labels(&self) -> Result<Vec<Label>, StoreError> {
        let mut labels: Vec<Label> = Vec::new();
        loop {
            let page = self.labels_after(labels.last().map_or(0, |label| label.id), PAGE).await?;
            if page.is_empty() {
                return Ok(labels);
            }
            labels.extend(page);
        }
    }

    /// The newest labels, at most `limit`, in the order of the ids.
    pub async fn newest_labels(&self, limit: u32) -> Result<Vec<Label>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "select id, review_id, text, label, labeled_by, labeled_at, source
                from (
                    select id, review_id, text, label, labeled_by, labeled_at, source
                    from labels order by id desc limit $1
                ) as newest order by id",
            )
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// How many labels there are.
    pub async fn count_labels(&self) -> Result<i64, StoreError> {
        self.run(async |connection| Ok(sqlx::query_scalar("select count(*) from labels").fetch_one(connection).await?))
            .await
    }

    /// How many labels no concluded round has seen yet. An abandoned round has seen none.
    ///
    /// Counted in two ways, of which neither counts too many: ids tell what is new where labels were
    /// deleted, numbers where one of a lower id was committed later.
    pub async fn new_labels(&self) -> Result<i64, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_scalar(
                "select coalesce((
                    select greatest(
                        0,
                        (select count(*) from labels) - labels_seen,
                        (select count(*) from labels where id > last_label)
                    )
                    from rounds where verdict in ('accepted', 'rejected') and labels_seen is not null
                    order by round desc limit 1
                ), (select count(*) from labels))",
            )
            .fetch_one(connection)
            .await?)
        })
        .await
    }

    /// The classes that a label may name, in order; while there are none, any label is taken.
    pub async fn classes(&self) -> Result<Vec<String>, StoreError> {
        self.run(async |connection| classes(connection).await).await
    }

    /// Lets labels name a class that no model knows yet.
    pub async fn add_class(&self, name: &str) -> Result<(), StoreError> {
        self.run(async |connection| {
            sqlx::query("insert into classes (name) values ($1) on conflict do nothing")
                .bind(name)
                .execute(connection)
                .await?;
            Ok(())
        })
        .await
    }
}

async fn classes(connection: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar("select name from classes order by name").fetch_all(connection).await?)
}

/// The table refuses them too, in words; this says it in a type.
async fn refuse_unknown_classes(connection: &mut PgConnection, labels: &[NewLabel]) -> Result<(), StoreError> {
    let known = classes(connection).await?;
    match labels.iter().find(|label| !known.is_empty() && !known.contains(&label.label)) {
        Some(unknown) => Err(StoreError::UnknownLabel { label: unknown.label.clone(), known }),
        None => Ok(()),
    }
}

async fn refuse_unknown_reviews(connection: &mut PgConnection, labels: &[NewLabel]) -> Result<(), StoreError> {
    let without_text = labels.iter().filter(|label| label.text.is_none());
    let review_ids: Vec<&str> = without_text.filter_map(|label| label.review_id.as_deref()).collect();
    let unknown: Option<String> = sqlx::query_scalar(
        "select wanted.review_id from unnest($1::text[]) as wanted (review_id)
        where not exists (select from prediction_rows as row where row.review_id = wanted.review_id) limit 1",
    )
    .bind(review_ids)
    .fetch_optional(connection)
    .await?;
    unknown.map_or(Ok(()), |review_id| Err(StoreError::NoSuchReview(review_id)))
}

/// One review has one text, but for what an edit or a tool changes in it: white space, case, width
/// and punctuation. A review that was published with several texts may be labeled with each.
async fn refuse_other_texts(connection: &mut PgConnection, labels: &[NewLabel]) -> Result<(), StoreError> {
    let named = labels.iter().filter_map(|label| Some((label.review_id.as_deref()?, label.text.as_deref()?)));
    let review_ids: HashSet<&str> = named.clone().map(|(review_id, _)| review_id).collect();
    if review_ids.is_empty() {
        return Ok(());
    }
    let held: Vec<(String, String)> = sqlx::query_as(
        "select review_id, text from labels where review_id = any($1)
        union select review_id, text from prediction_rows where review_id = any($1) order by review_id, text",
    )
    .bind(review_ids.into_iter().collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let mut texts: HashMap<&str, Vec<&str>> = HashMap::new();
    for (review_id, text) in &held {
        texts.entry(review_id).or_default().push(text);
    }
    for (review_id, text) in named {
        let texts = texts.entry(review_id).or_default();
        match texts.first() {
            None => texts.push(text),
            Some(first) if !texts.iter().any(|held| letters(held) == letters(text)) => {
                let (review_id, text) = (review_id.to_owned(), text.to_owned());
                return Err(StoreError::OtherText { review_id, text, held: (*first).to_owned() });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// What two texts of one review have in common; all of a text that has no letters.
fn letters(text: &str) -> String {
    let folded: String = text.nfkc().flat_map(char::to_lowercase).filter(|letter| !letter.is_whitespace()).collect();
    let letters: String = folded.chars().filter(|letter| letter.is_alphanumeric()).collect();
    if letters.is_empty() { folded } else { letters }
}

async fn insert(connection: &mut PgConnection, labels: &[NewLabel]) -> Result<u64, StoreError> {
    let column = |of: fn(&NewLabel) -> Option<&str>| labels.iter().map(of).collect::<Vec<_>>();
    let inserted = sqlx::query(
        "insert into labels (review_id, text, label, labeled_by, labeled_at, source)
        select review_id, text, label, coalesce(labeled_by, current_user), coalesce(labeled_at, now()), source
        from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[]) with ordinality
            as new (review_id, text, label, labeled_by, labeled_at, source, place)
        order by place",
    )
    .bind(column(|label| label.review_id.as_deref()))
    .bind(column(|label| label.text.as_deref()))
    .bind(column(|label| Some(&label.label)))
    .bind(column(|label| label.labeled_by.as_deref()))
    .bind(labels.iter().map(|label| label.labeled_at).collect::<Vec<_>>())
    .bind(column(|label| Some(&label.source)))
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected())
}
