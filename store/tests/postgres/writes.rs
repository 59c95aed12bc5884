//! A batch and its position: both or neither, once.

use store::{Claim, Epoch, NextOffset, Outcome, Store, StoreError, Write};

use crate::{claim, dead_letter, migrated, offsets, prediction, predictions, reviews};

async fn position(store: &Store) -> store::PartitionStatus {
    store.status("labelstream").await.unwrap().partitions.remove(0)
}

#[tokio::test]
async fn a_write_leaves_its_rows_and_the_position_behind_them() {
    let (store, mut look) = migrated().await;
    let claim = store.claim(reviews(), 0, "a", NextOffset(40)).await.unwrap();
    assert_eq!(claim, Claim { partition: 0, epoch: Epoch(1), next_offset: NextOffset(40) });
    let write = Write {
        from: NextOffset(40),
        to: NextOffset(50),
        predictions: vec![prediction(40), prediction(44)],
        dead_letters: vec![dead_letter(41), dead_letter(49)],
        tombstones: 3,
        ..predictions(&claim, 40)
    };
    assert_eq!(store.write(reviews(), &write).await.unwrap(), Outcome::Written);
    assert_eq!(offsets(&mut look, "predictions").await, [40, 44]);
    assert_eq!(offsets(&mut look, "dead_letters").await, [41, 49]);
    let position = position(&store).await;
    assert_eq!(position.next_offset, NextOffset(50));
    assert_eq!((position.predictions, position.dead_letters, position.tombstones), (2, 2, 3));
}

#[tokio::test]
async fn a_write_repeated_after_an_unknown_outcome_writes_nothing_twice() {
    let (store, mut look) = migrated().await;
    let write = predictions(&claim(&store, "a").await, 10);
    assert_eq!(store.write(reviews(), &write).await.unwrap(), Outcome::Written);
    assert_eq!(store.write(reviews(), &write).await.unwrap(), Outcome::Written);
    assert_eq!(offsets(&mut look, "predictions").await, (0..10).collect::<Vec<_>>());
    assert_eq!(position(&store).await.predictions, 10);
}

#[tokio::test]
async fn an_older_claim_writes_nothing() {
    let (store, mut look) = migrated().await;
    let old = claim(&store, "a").await;
    let new = claim(&store, "b").await;
    assert_eq!(store.write(reviews(), &predictions(&old, 10)).await.unwrap(), Outcome::Fenced);
    assert_eq!(store.write(reviews(), &predictions(&new, 10)).await.unwrap(), Outcome::Written);
    // The position is where the old one wanted it, but it was not the old one who moved it.
    assert_eq!(store.write(reviews(), &predictions(&old, 10)).await.unwrap(), Outcome::Fenced);
    assert_eq!(offsets(&mut look, "predictions").await.len(), 10);
}

#[tokio::test]
async fn a_write_that_does_not_begin_at_the_position_is_fenced() {
    let (store, mut look) = migrated().await;
    let claim = claim(&store, "a").await;
    let ahead = Claim { next_offset: NextOffset(5), ..claim };
    assert_eq!(store.write(reviews(), &predictions(&ahead, 10)).await.unwrap(), Outcome::Fenced);
    assert!(offsets(&mut look, "predictions").await.is_empty());
}

#[tokio::test]
async fn a_record_that_stands_already_stops_the_write_loudly() {
    let (store, mut look) = migrated().await;
    let claim = claim(&store, "a").await;
    assert_eq!(store.write(reviews(), &predictions(&claim, 10)).await.unwrap(), Outcome::Written);
    // Somebody moved the position by hand.
    sqlx::query("update position_rows set next_offset = 0").execute(&mut look).await.unwrap();
    let error = store.write(reviews(), &predictions(&claim, 20)).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed(_)) && !error.is_transient(), "{error}");
    assert_eq!(position(&store).await.next_offset, NextOffset(0));
}

#[tokio::test]
async fn streams_that_differ_in_one_word_never_meet() {
    let (store, mut look) = migrated().await;
    let mut streams = vec![reviews().clone(); 4];
    streams[1].pipeline = "other".to_owned();
    streams[2].cluster_id = "other".to_owned();
    streams[3].topic = "other".to_owned();
    for stream in &streams {
        let claim = store.claim(stream, 0, "a", NextOffset(0)).await.unwrap();
        assert_eq!(claim.epoch, Epoch(1));
        assert_eq!(store.write(stream, &predictions(&claim, 3)).await.unwrap(), Outcome::Written);
    }
    assert_eq!(offsets(&mut look, "predictions").await.len(), 12);
}

#[tokio::test]
async fn a_gap_moves_the_position_once_and_stays_on_record() {
    let (store, mut look) = migrated().await;
    let claim = claim(&store, "a").await;
    for moved in [vec![0], vec![]] {
        let gaps = [(claim, NextOffset(7))];
        assert_eq!(store.record_gaps(reviews(), &gaps, "below the low watermark").await.unwrap(), moved);
    }
    let gaps: Vec<(i64, i64, String)> =
        sqlx::query_as("select from_offset, to_offset, reason from gaps").fetch_all(&mut look).await.unwrap();
    assert_eq!(gaps, [(0, 7, "below the low watermark".to_owned())]);
    let claim = Claim { next_offset: NextOffset(7), ..claim };
    assert_eq!(store.write(reviews(), &predictions(&claim, 9)).await.unwrap(), Outcome::Written);
    assert_eq!(offsets(&mut look, "predictions").await, [7, 8]);
}

#[tokio::test]
async fn only_the_owner_may_record_a_gap_or_a_halt() {
    let (store, mut look) = migrated().await;
    let old = claim(&store, "a").await;
    let new = claim(&store, "b").await;
    let moved = store.record_gaps(reviews(), &[(old, NextOffset(7))], "lost").await.unwrap();
    assert!(moved.is_empty(), "a fenced claim moved {moved:?}");
    let halt = async |epoch, why| store.record_halt(reviews(), 0, epoch, why).await.unwrap();
    assert_eq!(halt(old.epoch, Some("broken")).await, Outcome::Fenced);
    assert_eq!(position(&store).await.last_error, None);
    assert_eq!(halt(new.epoch, Some("broken")).await, Outcome::Written);
    assert_eq!(position(&store).await.last_error.as_deref(), Some("broken"));
    assert_eq!(halt(new.epoch, None).await, Outcome::Written);
    let mended = position(&store).await;
    assert_eq!((mended.last_error, mended.last_error_at), (None, None));
    let gaps: i64 = sqlx::query_scalar("select count(*) from gaps").fetch_one(&mut look).await.unwrap();
    assert_eq!(gaps, 0);
}

#[tokio::test]
async fn the_last_record_before_a_position_is_found_among_both_kinds_of_rows_if_it_is_near() {
    let (store, _) = migrated().await;
    let last = async |to, predictions, dead_letters| {
        let claim = store.claim(reviews(), 0, "a", NextOffset(0)).await.unwrap();
        let (from, to) = (claim.next_offset, NextOffset(to));
        let write = Write { from, to, predictions, dead_letters, ..self::predictions(&claim, from.0) };
        assert_eq!(store.write(reviews(), &write).await.unwrap(), Outcome::Written);
        let mut records = store.last_records(reviews(), &[0, 1]).await.unwrap();
        records.pop().map(|record| (record.partition, record.kafka_offset, record.record_time))
    };
    let time = prediction(0).record_time;
    assert!(time.is_some());
    let dated = |kafka_offset| store::DeadLetterRow { record_time: time, ..dead_letter(kafka_offset) };
    assert_eq!(last(5, vec![prediction(1), prediction(2)], vec![]).await, Some((0, 2, time.unwrap())));
    assert_eq!(last(10, vec![prediction(6)], vec![dated(8)]).await, Some((0, 8, time.unwrap())));
    // What has no time cannot be compared.
    assert_eq!(last(12, vec![], vec![dead_letter(11)]).await, Some((0, 8, time.unwrap())));
    assert_eq!(last(100, vec![prediction(12)], vec![]).await, None);
    // Behind a gap it was another log, as far as anybody knows.
    assert_eq!(last(110, vec![prediction(109)], vec![]).await, Some((0, 109, time.unwrap())));
    assert!(store.skip(reviews(), 0, (NextOffset(110), NextOffset(112)), "a test").await.unwrap());
    assert!(store.last_records(reviews(), &[0]).await.unwrap().is_empty());
}
