//! What people may say, and how it is completed.

use sqlx::PgConnection;
use store::{NewLabel, Outcome, Store, StoreError};

use crate::registry::checkpoint;
use crate::{claim, migrated, predictions, reviews};

fn of_text(text: &str, label: &str) -> NewLabel {
    NewLabel {
        review_id: None,
        text: Some(text.to_owned()),
        label: label.to_owned(),
        labeled_by: None,
        labeled_at: None,
        source: "test".to_owned(),
    }
}

fn of_review(review_id: &str, label: &str) -> NewLabel {
    NewLabel { review_id: Some(review_id.to_owned()), text: None, ..of_text("", label) }
}

/// Predictions of the reviews `r-0` to `r-(count - 1)`.
async fn predicted(store: &Store, count: i64) {
    let claim = claim(store, "a").await;
    let mut write = predictions(&claim, count);
    for row in &mut write.predictions {
        row.text = format!("text {}", row.kafka_offset);
        row.score = 0.6 + row.kafka_offset as f32 / 100.0;
    }
    assert_eq!(store.write(reviews(), &write).await.unwrap(), Outcome::Written);
}

async fn sql(look: &mut PgConnection, statement: &'static str) -> Result<(), String> {
    sqlx::raw_sql(statement).execute(look).await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn any_label_is_taken_until_classes_are_known_and_then_only_theirs() {
    let (store, mut look) = migrated().await;
    assert_eq!(store.add_labels(&[of_text("好吃", "anything")]).await.unwrap(), 1);
    store.register_model(&checkpoint(1)).await.unwrap();
    assert_eq!(store.classes().await.unwrap(), ["好评", "差评"]);

    let labels = [of_text("好吃", "好评"), of_text("慢", "中评")];
    let error = store.add_labels(&labels).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::UnknownLabel { label, known } if label == "中评" && known.len() == 2),
        "{error}"
    );
    assert_eq!(store.count_labels().await.unwrap(), 1, "all or none");
    let error = sql(&mut look, "insert into labels (text, label) values ('慢', '中评')").await.unwrap_err();
    assert!(error.contains("中评") && error.contains("\"好评\", \"差评\""), "{error}");

    store.add_class("中评").await.unwrap();
    assert_eq!(store.add_labels(&labels).await.unwrap(), 2);
    sql(&mut look, "insert into labels (text, label) values ('慢', '中评')").await.unwrap();
    assert_eq!(store.count_labels().await.unwrap(), 4);
}

#[tokio::test]
async fn a_review_id_alone_takes_the_text_of_its_newest_prediction() {
    let (store, mut look) = migrated().await;
    predicted(&store, 3).await;
    sql(&mut look, "update prediction_rows set review_id = 'r-1'").await.unwrap();
    sql(&mut look, "update prediction_rows set classified_at = now() + interval '1 hour' where kafka_offset = 0")
        .await
        .unwrap();

    sql(&mut look, "insert into labels (review_id, label) values ('r-1', '好评')").await.unwrap();
    store.add_labels(&[of_review("r-1", "差评")]).await.unwrap();
    let labels = store.labels_after(0, 10).await.unwrap();
    assert_eq!(labels.iter().map(|label| label.text.as_str()).collect::<Vec<_>>(), ["text 0", "text 0"]);
    assert_eq!((labels[0].source.as_str(), labels[1].source.as_str()), ("sql", "test"));
    assert!(labels.iter().all(|label| !label.labeled_by.is_empty()));
}

#[tokio::test]
async fn a_review_that_nobody_knows_and_a_label_of_nothing_are_refused() {
    let (store, mut look) = migrated().await;
    let error = store.add_labels(&[of_text("好吃", "好评"), of_review("r-9", "好评")]).await.unwrap_err();
    assert!(matches!(&error, StoreError::NoSuchReview(id) if id == "r-9"), "{error}");
    let error = sql(&mut look, "insert into labels (review_id, label) values ('r-9', '好评')").await.unwrap_err();
    assert!(error.contains("r-9"), "{error}");
    for bad in [NewLabel { text: None, ..of_text("", "好评") }, of_text("好吃", " ")] {
        let error = store.add_labels(&[bad]).await.unwrap_err();
        assert!(matches!(error, StoreError::BadLabel(_)) && !error.is_transient(), "{error}");
    }
    assert_eq!(store.count_labels().await.unwrap(), 0);
}

#[tokio::test]
async fn labels_are_read_in_pages_in_the_order_they_were_given() {
    let (store, _) = migrated().await;
    let labels: Vec<_> = (0..25).map(|index| of_text(&format!("text {index}"), "好评")).collect();
    store.add_labels(&labels).await.unwrap();
    let mut texts = Vec::new();
    let mut last = 0;
    loop {
        let page = store.labels_after(last, 10).await.unwrap();
        let Some(end) = page.last() else { break };
        last = end.id;
        texts.extend(page.into_iter().map(|label| label.text));
    }
    assert_eq!(texts, (0..25).map(|index| format!("text {index}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_least_certain_reviews_that_nobody_has_labeled_come_first() {
    let (store, mut look) = migrated().await;
    // Scores of 0.60 to 0.99: some below the bound of the index, most above.
    predicted(&store, 40).await;
    store.add_labels(&[of_review("r-1", "好评"), of_text("text 2", "好评")]).await.unwrap();
    // The newest prediction of r-0 is certain.
    sql(&mut look, "update prediction_rows set review_id = 'r-0' where kafka_offset = 39").await.unwrap();

    let ids = |rows: Vec<store::Predicted>| rows.into_iter().map(|row| row.review_id).collect::<Vec<_>>();
    assert_eq!(ids(store.least_certain(3).await.unwrap()), ["r-3", "r-4", "r-5"]);
    let all = ids(store.least_certain(100).await.unwrap());
    assert_eq!(all.len(), 37);
    assert_eq!((all[0].as_str(), all[36].as_str()), ("r-3", "r-0"));
}

#[tokio::test]
async fn classes_of_models_that_were_there_before_are_known() {
    let (store, mut look) = migrated().await;
    store.register_model(&checkpoint(1)).await.unwrap();
    // As the release before this one registers.
    sql(
        &mut look,
        "insert into models (uri, manifest_sha256, labels) values ('file:///x', repeat('a', 64), '{one,two}')",
    )
    .await
    .unwrap();
    assert_eq!(store.classes().await.unwrap(), ["one", "two", "好评", "差评"]);
}

#[tokio::test]
async fn a_review_keeps_to_its_text_within_a_request_and_against_what_is_held() {
    let (store, _) = migrated().await;
    predicted(&store, 3).await;
    let of_both = |review_id: &str, text: &str| NewLabel { text: Some(text.into()), ..of_review(review_id, "好评") };
    let refused = async |labels: &[NewLabel]| match store.add_labels(labels).await.unwrap_err() {
        StoreError::OtherText { review_id, text, held } => (review_id, text, held),
        other => panic!("{other}"),
    };
    let two = [of_both("new", "好吃"), of_both("r-1", "text 1"), of_both("new", "难吃")];
    assert_eq!(refused(&two).await, ("new".into(), "难吃".into(), "好吃".into()));
    assert_eq!(refused(&[of_both("r-1", "another")]).await, ("r-1".into(), "another".into(), "text 1".into()));
    assert_eq!(store.count_labels().await.unwrap(), 0, "all or none");

    store.add_labels(&[of_both("new", "好吃"), of_both("r-1", "Text １!"), of_review("r-2", "差评")]).await.unwrap();
    store.add_labels(&[of_both("new", "好吃！"), of_both("new", "好 吃"), of_both("r-2", "text 2")]).await.unwrap();
    assert!(refused(&[of_both("new", "难吃")]).await.2.starts_with('好'));
    assert!(store.add_labels(&[of_both("new", "难吃")]).await.unwrap_err().to_string().contains("spreadsheet"));
    assert_eq!(store.count_labels().await.unwrap(), 6);
}

#[tokio::test]
async fn a_review_that_was_published_with_several_texts_may_be_labeled_with_each() {
    let (store, mut look) = migrated().await;
    predicted(&store, 2).await;
    sql(&mut look, "update prediction_rows set review_id = 'r-1'").await.unwrap();
    let labels = ["text 0", "text 1"].map(|text| NewLabel { text: Some(text.into()), ..of_review("r-1", "好评") });
    assert_eq!(store.add_labels(&labels).await.unwrap(), 2);
}
