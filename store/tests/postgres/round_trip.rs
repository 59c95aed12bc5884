//! Whatever a record can hold stands in the tables as it was: the encoder of `copy`, read back by
//! the server.

use std::sync::Arc;

use chrono::{DateTime, TimeZone, Utc};
use store::{DeadLetterFilter, DeadLetterRow, NextOffset, Outcome, PredictionRow, StoreError, Version, Write};

use crate::{claim, dead_letter, migrated, predictions, reviews};

type Time = Option<DateTime<Utc>>;
type Json = Option<serde_json::Value>;
type Row = (i64, Time, String, String, Time, Json, String, f32, Vec<f32>, i64, String);

#[tokio::test]
async fn every_prediction_is_read_back_as_it_was_written() {
    let (store, mut look) = migrated().await;
    let claim = claim(&store, "a").await;
    let year = |year| Some(Utc.with_ymd_and_hms(year, 1, 2, 3, 4, 5).unwrap());
    let rows = [
        ("", year(1970), r#"{}"#, 0.0, vec![]),
        ("很快，好吃 👍🏽 \u{10ffff}", year(2300), r#"{"城市": "上海", "n": [1, null, 1e-7]}"#, 1.0, vec![1.0]),
        (
            "\t\r\n\\N \\. ' \" \u{1} \u{7f} \u{feff}",
            year(1900),
            r#"{"a": "\" \\ \u4e0a"}"#,
            f32::INFINITY,
            vec![f32::NEG_INFINITY],
        ),
        ("\u{301}e\u{301}", year(9999), r#"{"a": {"b": {"c": []}}}"#, f32::MIN_POSITIVE, vec![-0.0, f32::MAX]),
        (&"长".repeat(400_000), None, "null", 0.5, vec![0.1; 100]),
    ];
    let written: Vec<_> = rows
        .into_iter()
        .zip(0..)
        .map(|((text, time, attributes, score, scores), kafka_offset)| PredictionRow {
            kafka_offset,
            record_time: time,
            review_id: text.chars().take(5_000).collect(),
            text: text.to_owned(),
            created_at: time.map(|time| time + chrono::Duration::microseconds(1)),
            attributes: time.map(|_| attributes.to_owned()),
            label: Arc::from("'; drop table predictions; --"),
            score,
            scores,
            version: Version(i64::MAX),
            precision: "int8",
        })
        .collect();
    let write = Write { predictions: written.clone(), ..predictions(&claim, 5) };
    assert_eq!(store.write(reviews(), &write).await.unwrap(), Outcome::Written);

    let read: Vec<Row> = sqlx::query_as(
        "select kafka_offset, record_time, review_id, text, created_at, attributes, label, score, scores, version, precision
        from predictions order by kafka_offset",
    )
    .fetch_all(&mut look)
    .await
    .unwrap();
    let as_read = |row: PredictionRow| -> Row {
        let attributes = row.attributes.map(|json| serde_json::from_str(&json).unwrap());
        let (label, precision) = (row.label.to_string(), row.precision.to_owned());
        let PredictionRow { kafka_offset, record_time, review_id, text, created_at, score, scores, version, .. } = row;
        (kafka_offset, record_time, review_id, text, created_at, attributes, label, score, scores, version.0, precision)
    };
    assert_eq!(read, written.into_iter().map(as_read).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_dead_letter_is_read_back_byte_for_byte() {
    let (store, _) = migrated().await;
    let claim = claim(&store, "a").await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let dead_letters = vec![
        dead_letter(0),
        DeadLetterRow { key: None, payload: None, headers: vec![], ..dead_letter(1) },
        DeadLetterRow {
            key: Some(vec![]),
            payload: Some(every_byte.repeat(8_192)),
            headers: vec![
                ("".to_owned(), Some(vec![])),
                ("same".to_owned(), None),
                ("same".to_owned(), Some(every_byte.clone())),
                ("名字\"{},NULL".to_owned(), Some(b"NULL".to_vec())),
            ],
            ..dead_letter(2)
        },
    ];
    let write =
        Write { to: NextOffset(3), predictions: vec![], dead_letters: dead_letters.clone(), ..predictions(&claim, 3) };
    assert_eq!(store.write(reviews(), &write).await.unwrap(), Outcome::Written);
    let letters = store.dead_letters(&DeadLetterFilter::default()).await.unwrap();
    let mut kept = Vec::new();
    let look = async |held| {
        kept = held;
        Ok::<_, StoreError>(Vec::new())
    };
    store.replay(&letters, look).await.unwrap();
    kept.sort_by_key(|(id, _)| id.kafka_offset);
    assert_eq!(kept.len(), dead_letters.len());
    for ((id, raw), row) in kept.into_iter().zip(dead_letters) {
        assert_eq!((id.kafka_offset, raw.key), (row.kafka_offset, row.key));
        assert_eq!((raw.payload, raw.headers), (row.payload, row.headers));
    }
}

/// Pieces of a megabyte each: the seams between them fall anywhere in a row.
#[tokio::test]
async fn a_batch_of_many_megabytes_arrives_whole() {
    let (store, mut look) = migrated().await;
    let claim = claim(&store, "a").await;
    let mut write = predictions(&claim, 3_000);
    for (length, row) in write.predictions.iter_mut().enumerate() {
        row.text = "评".repeat(length);
    }
    assert_eq!(store.write(reviews(), &write).await.unwrap(), Outcome::Written);
    let lengths: Vec<i32> = sqlx::query_scalar("select length(text) from predictions order by kafka_offset")
        .fetch_all(&mut look)
        .await
        .unwrap();
    assert_eq!(lengths, (0..3_000).collect::<Vec<_>>());
}
