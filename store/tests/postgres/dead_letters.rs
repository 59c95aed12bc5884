//! Dead letters are found by what people ask for, and replays are noted.

use chrono::{Duration, Utc};
use store::{DeadLetterFilter, DeadLetterId, NextOffset, Outcome, StoreError, Write};

use crate::{claim, dead_letter, migrated, predictions, reviews};

#[tokio::test]
async fn a_filter_lets_through_what_it_says() {
    let (store, _) = migrated().await;
    let claim = claim(&store, "a").await;
    let mut dead_letters: Vec<_> = (0..6).map(dead_letter).collect();
    dead_letters[4].reason = "empty_text";
    let write = Write { to: NextOffset(6), dead_letters, ..predictions(&claim, 0) };
    assert_eq!(store.write(reviews(), &write).await.unwrap(), Outcome::Written);

    let found = async |filter: DeadLetterFilter| {
        let rows = store.dead_letters(&filter).await.unwrap();
        rows.into_iter().map(|row| row.id.kafka_offset).collect::<Vec<_>>()
    };
    let all = DeadLetterFilter::default();
    assert_eq!(found(all.clone()).await, [5, 4, 3, 2, 1, 0]);
    assert_eq!(found(DeadLetterFilter { limit: Some(2), ..all.clone() }).await, [5, 4]);
    let reason = Some("empty_text".to_owned());
    assert_eq!(found(DeadLetterFilter { reason, ..all.clone() }).await, [4]);
    let topic = Some("other".to_owned());
    assert!(found(DeadLetterFilter { topic, ..all.clone() }).await.is_empty());
    let since = Some(Utc::now() + Duration::hours(1));
    assert!(found(DeadLetterFilter { since, ..all.clone() }).await.is_empty());

    let rows = store.dead_letters(&all).await.unwrap();
    assert_eq!(rows[0].payload_bytes, Some(11));
    let arrived =
        async |held: Vec<(DeadLetterId, _)>| Ok::<_, StoreError>(held.into_iter().map(|(id, _)| id).collect());
    store.replay(&rows[..1], arrived).await.unwrap();
    let unreplayed = DeadLetterFilter { unreplayed: true, ..all.clone() };
    assert_eq!(found(unreplayed).await, [4, 3, 2, 1, 0]);
    assert!(store.dead_letters(&all).await.unwrap()[0].replayed_at.is_some());

    let status = store.status("labelstream").await.unwrap();
    let reasons = [("not_json".to_owned(), 5), ("empty_text".to_owned(), 1)];
    assert_eq!(status.dead_letters_last_hour, reasons);
    assert_eq!(store.status("other").await.unwrap().partitions, []);
}

#[tokio::test]
async fn letters_that_one_replays_are_nobody_elses_and_only_what_arrived_is_marked() {
    let (store, _) = migrated().await;
    let claim = claim(&store, "a").await;
    let write = Write { to: NextOffset(3), dead_letters: (0..3).map(dead_letter).collect(), ..predictions(&claim, 0) };
    assert_eq!(store.write(reviews(), &write).await.unwrap(), Outcome::Written);
    let letters = store.dead_letters(&DeadLetterFilter::default()).await.unwrap();

    let failed = store.replay(&letters, async |held| {
        assert_eq!(held.len(), 3);
        Err::<Vec<_>, _>(StoreError::Unavailable("the broker".into()))
    });
    assert!(failed.await.is_err());
    let first = store.replay(&letters, async |held| {
        let nobody_elses = store.replay(&letters, async |held| {
            assert_eq!(held, []);
            Ok::<_, StoreError>(Vec::new())
        });
        nobody_elses.await.unwrap();
        assert_eq!(held[0].0, letters[0].id);
        Ok::<_, StoreError>(vec![held[1].0.clone()])
    });
    first.await.unwrap();
    let unreplayed = DeadLetterFilter { unreplayed: true, ..DeadLetterFilter::default() };
    assert_eq!(store.dead_letters(&unreplayed).await.unwrap().len(), 2);
    // Whoever listed them before goes on with the others.
    let rest = store.replay(&letters, async |held| {
        assert_eq!(held.len(), 2);
        Ok::<_, StoreError>(Vec::new())
    });
    rest.await.unwrap();
}
