//! Stored predictions labeled anew.

use store::{Outcome, PredictionKey, Rescored, Store, Version};

use crate::{claim, migrated, offsets, predictions, reviews};

/// Predictions at the offsets 0 to 9: the even ones by version 1, the odd ones by version 3.
async fn predicted(store: &Store) {
    let claim = claim(store, "a").await;
    let mut write = predictions(&claim, 10);
    for row in &mut write.predictions {
        row.version = Version(if row.kafka_offset % 2 == 0 { 1 } else { 3 });
    }
    assert_eq!(store.write(reviews(), &write).await.unwrap(), Outcome::Written);
}

fn rescored(key: PredictionKey, version: i64) -> Rescored {
    Rescored {
        key,
        label: "差评".to_owned(),
        score: 0.7,
        scores: vec![0.7, 0.2, 1e-9],
        version: Version(version),
        precision: "int8",
    }
}

#[tokio::test]
async fn only_older_versions_are_labeled_anew_and_an_interrupted_pass_goes_on_where_it_was() {
    let (store, mut look) = migrated().await;
    predicted(&store).await;
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.predictions_to_rescore(Version(3), after.as_ref(), 2).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        seen.extend(page.iter().map(|(key, _)| key.kafka_offset));
        let rows: Vec<_> = page
            .into_iter()
            .map(|(key, text)| {
                assert_eq!(text, "很快，好吃");
                rescored(key, 3)
            })
            .collect();
        assert_eq!(store.rescore(&rows).await.unwrap(), rows.len() as u64);
        // Started again without a memory of where it was, it finds what is left.
        if seen.len() == 4 {
            after = None;
        }
    }
    assert_eq!(seen, [0, 2, 4, 6, 8]);
    let row: (String, f32, Vec<f32>, i64, String) =
        sqlx::query_as("select label, score, scores, version, precision from predictions where kafka_offset = 4")
            .fetch_one(&mut look)
            .await
            .unwrap();
    assert_eq!(row, ("差评".to_owned(), 0.7, vec![0.7, 0.2, 1e-9], 3, "int8".to_owned()));
    assert_eq!(offsets(&mut look, "predictions").await.len(), 10);
}

#[tokio::test]
async fn a_row_that_a_newer_version_has_labeled_meanwhile_stays() {
    let (store, mut look) = migrated().await;
    predicted(&store).await;
    let page = store.predictions_to_rescore(Version(2), None, 100).await.unwrap();
    assert_eq!(page.len(), 5);
    sqlx::raw_sql("update prediction_rows set version = 5 where kafka_offset < 4").execute(&mut look).await.unwrap();
    let before: Vec<(String,)> = sqlx::query_as("select classified_at::text from predictions order by kafka_offset")
        .fetch_all(&mut look)
        .await
        .unwrap();
    let rows: Vec<_> = page.into_iter().map(|(key, _)| rescored(key, 2)).collect();
    assert_eq!(store.rescore(&rows).await.unwrap(), 3);
    assert_eq!(store.rescore(&rows).await.unwrap(), 0, "a second time changes nothing");
    let after: Vec<(String,)> = sqlx::query_as("select classified_at::text from predictions order by kafka_offset")
        .fetch_all(&mut look)
        .await
        .unwrap();
    assert_eq!(before, after, "when a review was first classified stays");
    assert_eq!(store.rescore(&[]).await.unwrap(), 0);
}
