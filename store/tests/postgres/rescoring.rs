//! Stored predictions labeled anew.

use store::{Outcome, PredictionKey, RescorePass, Rescored, Store, Version};

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

fn pass(version: i64, older_than: i64) -> RescorePass {
    RescorePass { version: Version(version), older_than: Version(older_than) }
}

#[tokio::test]
async fn only_older_versions_are_labeled_anew_and_an_interrupted_pass_goes_on_where_it_was() {
    let (store, mut look) = migrated().await;
    predicted(&store).await;
    let pass = pass(3, 3);
    let mut seen = Vec::new();
    loop {
        // Each time as after a kill: nothing is known but what the database knows.
        let after = store.rescored_up_to(&pass).await.unwrap();
        assert_eq!(after.as_ref().map(|key| key.kafka_offset), seen.last().copied());
        let page = store.predictions_to_rescore(&pass, after.as_ref(), 2).await.unwrap();
        let Some(looked_at) = page.looked_at else { break };
        seen.extend(page.rows.iter().map(|(key, _)| key.kafka_offset));
        let rows: Vec<_> = page
            .rows
            .into_iter()
            .map(|(key, text)| {
                assert_eq!(text, "很快，好吃");
                rescored(key, 3)
            })
            .collect();
        assert_eq!(store.rescore(&pass, &rows, &looked_at).await.unwrap(), rows.len() as u64);
        // The last page looks at one more.
        if looked_at.kafka_offset == 9 {
            seen.push(9);
        }
    }
    assert_eq!(seen.pop(), Some(9));
    store.end_rescore(&pass).await.unwrap();
    assert_eq!(store.rescored_up_to(&pass).await.unwrap(), None);
    assert_eq!(store.count_to_rescore(Version(3)).await.unwrap(), Some(0));
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
    let pass = pass(2, 2);
    let page = store.predictions_to_rescore(&pass, None, 100).await.unwrap();
    assert_eq!(page.rows.len(), 5);
    let looked_at = page.looked_at.unwrap();
    assert_eq!(looked_at.kafka_offset, 9);
    sqlx::raw_sql("update prediction_rows set version = 5 where kafka_offset < 4").execute(&mut look).await.unwrap();
    let before: Vec<(String,)> = sqlx::query_as("select classified_at::text from predictions order by kafka_offset")
        .fetch_all(&mut look)
        .await
        .unwrap();
    let rows: Vec<_> = page.rows.into_iter().map(|(key, _)| rescored(key, 2)).collect();
    assert_eq!(store.rescore(&pass, &rows, &looked_at).await.unwrap(), 3);
    assert_eq!(store.rescore(&pass, &rows, &looked_at).await.unwrap(), 0, "a second time changes nothing");
    let after: Vec<(String,)> = sqlx::query_as("select classified_at::text from predictions order by kafka_offset")
        .fetch_all(&mut look)
        .await
        .unwrap();
    assert_eq!(before, after, "when a review was first classified stays");
    assert_eq!(store.rescore(&pass, &[], &looked_at).await.unwrap(), 0);
}

/// A pass over a million rows of which the last alone is old: no page reads more than its share.
#[tokio::test]
async fn a_pass_comes_through_what_is_done_in_short_pages() {
    let (store, mut look) = migrated().await;
    predicted(&store).await;
    sqlx::raw_sql(
        "insert into prediction_rows (kafka_offset, version, stream_id, partition, score, review_id, label, precision,
            scores, text)
        select n, case when n = 55000 then 1 else 9 end, 1, 7, 0.5, n::text, 'a', 'f32', '{0.5,0.5}', 'text'
        from generate_series(100, 55000) as n",
    )
    .execute(&mut look)
    .await
    .unwrap();
    let pass = pass(9, 9);
    let (mut after, mut pages, mut found) = (None, 0, Vec::new());
    while let Some(looked_at) = {
        let page = store.predictions_to_rescore(&pass, after.as_ref(), 64).await.unwrap();
        found.extend(page.rows.iter().map(|(key, _)| key.kafka_offset));
        page.looked_at
    } {
        after = Some(looked_at);
        pages += 1;
    }
    assert_eq!((pages, found.last(), found.len()), (6, Some(&55_000), 11));
}
