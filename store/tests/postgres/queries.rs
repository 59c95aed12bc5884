//! What analysts ask: the right answer, and from an index.

use sqlx::PgConnection;
use store::{NextOffset, Outcome, Write};

use crate::{claim, migrated, predictions, reviews};

#[tokio::test]
async fn labeled_reviews_shows_the_newest_prediction_and_the_newest_label() {
    let (store, mut look) = migrated().await;
    let mut claim = claim(&store, "a").await;
    // The same review three times, twice in one transaction: then the later offset is the newer
    // one.
    for (to, labels) in [(2, ["差评", "差评"]), (4, ["差评", "好评"])] {
        let mut write = predictions(&claim, to);
        for (row, label) in write.predictions.iter_mut().zip(labels) {
            row.review_id = "r-1".to_owned();
            row.label = label.into();
        }
        assert_eq!(store.write(reviews(), &write).await.unwrap(), Outcome::Written);
        claim.next_offset = NextOffset(to);
    }
    // One that nobody has labeled.
    assert_eq!(store.write(reviews(), &predictions(&claim, 5)).await.unwrap(), Outcome::Written);
    sqlx::raw_sql(
        "insert into labels (review_id, text, label, labeled_by, labeled_at, source) values
        ('r-1', '', '好评', 'old', now() - interval '1 day', 'test'),
        ('r-1', '', '好评', 'first of two', now(), 'test'),
        ('r-1', '', '差评', 'second of two', now(), 'test'),
        ('r-1', '', '好评', 'late import', now() - interval '2 days', 'test'),
        ('r-2', '', '好评', 'other', now(), 'test')",
    )
    .execute(&mut look)
    .await
    .unwrap();
    let rows: Vec<(String, String, Option<String>, Option<String>)> =
        sqlx::query_as("select review_id, prediction, label, labeled_by from labeled_reviews order by review_id")
            .fetch_all(&mut look)
            .await
            .unwrap();
    let row = |review_id: &str, prediction: &str, label: Option<&str>, by: Option<&str>| {
        (review_id.to_owned(), prediction.to_owned(), label.map(str::to_owned), by.map(str::to_owned))
    };
    let newest = [row("r-1", "好评", Some("差评"), Some("second of two")), row("r-4", "好评", None, None)];
    assert_eq!(rows, newest);
}

#[tokio::test]
async fn a_review_that_two_pipelines_classify_has_a_newest_prediction_in_each() {
    let (store, mut look) = migrated().await;
    for (pipeline, label) in [("labelstream", "好评"), ("second", "差评")] {
        let stream = store::Stream { pipeline: pipeline.to_owned(), ..reviews().clone() };
        let claim = store.claim(&stream, 0, "a", NextOffset(0)).await.unwrap();
        let mut write = predictions(&claim, 1);
        write.predictions[0].label = label.into();
        assert_eq!(store.write(&stream, &write).await.unwrap(), Outcome::Written);
    }
    sqlx::raw_sql("insert into labels (review_id, label) values ('r-0', '好评')").execute(&mut look).await.unwrap();
    let question = "select pipeline, prediction, label from labeled_reviews where label is not null order by pipeline";
    let rows: Vec<(String, String, String)> = sqlx::query_as(question).fetch_all(&mut look).await.unwrap();
    let row = |one: &str, other: &str| (one.to_owned(), other.to_owned(), "好评".to_owned());
    assert_eq!(rows, [row("labelstream", "好评"), row("second", "差评")]);
}

#[tokio::test]
async fn whoever_watches_reads_on_in_the_order_of_the_records() {
    let (store, _) = migrated().await;
    assert_eq!(store.progress("labelstream").await.unwrap(), None);
    let claim = claim(&store, "a").await;
    assert_eq!(store.write(reviews(), &predictions(&claim, 10)).await.unwrap(), Outcome::Written);
    let page = store.predictions(reviews(), 0, NextOffset(3), 4).await.unwrap();
    assert_eq!(page.iter().map(|row| row.kafka_offset).collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert!(store.predictions(reviews(), 1, NextOffset(0), 4).await.unwrap().is_empty());
    assert_eq!(store.count_predictions("labelstream").await.unwrap(), 10);
    assert_eq!(store.progress("labelstream").await.unwrap(), Some(10));
}

#[tokio::test]
async fn the_questions_people_ask_are_answered_from_an_index() {
    let (store, mut look) = migrated().await;
    let claim = claim(&store, "a").await;
    let mut write = predictions(&claim, 50_000);
    for row in &mut write.predictions {
        row.score = 0.5 + (row.kafka_offset * 7_919 % 50_000) as f32 / 100_000.0;
    }
    let write = Write { predictions: write.predictions, ..predictions(&claim, 50_000) };
    assert_eq!(store.write(reviews(), &write).await.unwrap(), Outcome::Written);
    // As if they had come one a minute.
    sqlx::raw_sql(
        "create table spread as table prediction_rows;
        truncate prediction_rows;
        insert into prediction_rows (stream_id, partition, kafka_offset, record_time, review_id, text, label, score,
            scores, version, precision, classified_at)
        select stream_id, partition, kafka_offset, record_time, review_id, text, label, score,
            scores, 1 + kafka_offset / 10000, precision, '2026-01-01'::timestamptz + kafka_offset * interval '1 minute'
        from spread order by kafka_offset;
        insert into labels (review_id, label)
        select 'r-' || n * 100, '差评' from generate_series(1, 100) as n;
        analyze",
    )
    .execute(&mut look)
    .await
    .unwrap();
    for (question, index) in [
        ("select * from predictions where review_id = 'r-77'", "predictions_by_review"),
        ("select * from predictions where score < 0.75 order by score limit 20", "predictions_least_certain"),
        (
            "select label, count(*) from predictions
            where classified_at >= '2026-01-20' and classified_at < '2026-01-21' group by label",
            "predictions_by_day",
        ),
        ("select label, count(*) from predictions where version = 3 group by label", "predictions_by_day"),
        (
            "select * from predictions where topic = 'reviews' and partition = 0 and kafka_offset between 70 and 90",
            "prediction_rows_pkey",
        ),
        ("select * from labeled_reviews where review_id = 'r-77'", "predictions_by_review"),
        (
            "select prediction, label, count(*) from labeled_reviews where label is not null group by 1, 2",
            "predictions_by_review",
        ),
    ] {
        let plan = plan(&mut look, question).await;
        assert!(plan.contains(index) && !plan.contains("Seq Scan on prediction_rows"), "{question}:\n{plan}");
    }
    // Names that nobody asks for cost nothing.
    let plan = plan(&mut look, "select label, count(*) from predictions group by label").await;
    assert!(!plan.contains("streams"), "{plan}");
}

async fn plan(connection: &mut PgConnection, question: &str) -> String {
    let lines: Vec<String> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!("explain {question}"))).fetch_all(connection).await.unwrap();
    lines.join("\n")
}

#[tokio::test]
async fn some_texts_are_all_where_there_are_few_and_as_many_as_wanted_where_there_are_more() {
    let (store, _) = migrated().await;
    let claim = claim(&store, "a").await;
    assert!(store.some_texts(10).await.unwrap().is_empty());
    assert_eq!(store.write(reviews(), &predictions(&claim, 500)).await.unwrap(), Outcome::Written);
    assert_eq!(store.some_texts(1_000).await.unwrap().len(), 500);
    assert_eq!(store.some_texts(100).await.unwrap().len(), 100);
}
