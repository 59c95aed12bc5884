//! A row that Postgres cannot hold is named, and the rest of its batch is none the worse.

use chrono::{DateTime, Utc};
use store::{Outcome, PredictionRow, StoreError, Write};

use crate::{claim, dead_letter, migrated, offsets, prediction, predictions, reviews};

#[tokio::test]
async fn a_row_that_cannot_be_held_is_named_and_the_batch_succeeds_without_it() {
    let (store, mut look) = migrated().await;
    let bad_rows = [
        PredictionRow { attributes: Some(r#"{"a": "\u0000"}"#.to_owned()), ..prediction(3) },
        PredictionRow { attributes: Some(r#"{"a": "\ud800"}"#.to_owned()), ..prediction(3) },
        PredictionRow { attributes: Some("{".to_owned()), ..prediction(3) },
        PredictionRow { attributes: Some("[".repeat(100_000)), ..prediction(3) },
        PredictionRow { text: "nul \0 in it".to_owned(), ..prediction(3) },
        PredictionRow { created_at: Some(DateTime::<Utc>::MIN_UTC), ..prediction(3) },
    ];
    let mut claim = claim(&store, "a").await;
    for bad in bad_rows {
        let shift = claim.next_offset.0;
        let mut write = predictions(&claim, shift + 10);
        write.predictions[3] = PredictionRow { kafka_offset: shift + 3, ..bad };
        let error = store.write(reviews(), &write).await.unwrap_err();
        assert!(!error.is_transient(), "{error}");
        let StoreError::BadRow { table: "prediction_rows", kafka_offset, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(kafka_offset, shift + 3);

        write.predictions.remove(3);
        write.dead_letters.push(dead_letter(kafka_offset));
        assert_eq!(store.write(reviews(), &write).await.unwrap(), Outcome::Written);
        claim.next_offset = write.to;
    }
    assert_eq!(offsets(&mut look, "predictions").await.len(), 54);
    assert_eq!(offsets(&mut look, "dead_letters").await, [3, 13, 23, 33, 43, 53]);
}

#[tokio::test]
async fn a_dead_letter_that_cannot_be_held_is_named() {
    let (store, _) = migrated().await;
    let claim = claim(&store, "a").await;
    let mut bad = dead_letter(8);
    bad.detail = "nul \0 in it".to_owned();
    let write = Write { dead_letters: vec![dead_letter(7), bad], ..predictions(&claim, 10) };
    let write = Write { predictions: vec![], ..write };
    let error = store.write(reviews(), &write).await.unwrap_err();
    assert!(matches!(error, StoreError::BadRow { table: "dead_letter_rows", kafka_offset: 8, .. }), "{error}");
}
