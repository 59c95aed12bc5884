//! A partition changes hands, whatever its former owner is doing.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use store::{Epoch, NextOffset, Outcome, Store};

use crate::{claim, empty_database, offsets, predictions, reviews};

const TAKE: &str = "update position_rows set next_offset = 10 where owner_epoch = 1 and next_offset = 0";

#[tokio::test]
async fn a_claim_counts_up_and_keeps_the_position() {
    let (store, _) = crate::migrated().await;
    let first = store.claim(reviews(), 3, "a", NextOffset(12)).await.unwrap();
    assert_eq!((first.epoch, first.next_offset), (Epoch(1), NextOffset(12)));
    let second = store.claim(reviews(), 3, "b", NextOffset(99)).await.unwrap();
    assert_eq!((second.epoch, second.next_offset), (Epoch(2), NextOffset(12)));
}

/// Between two statements the server's own timeout would do; in the middle of a `copy` none does.
#[tokio::test]
async fn an_owner_frozen_in_the_middle_of_its_write_does_not_keep_the_partition() {
    let (store, mut look, url) = migrated_at().await;
    assert_eq!(claim(&store, "frozen").await.epoch, Epoch(1));
    let mut frozen = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("begin").execute(&mut frozen).await.unwrap();
    sqlx::query(TAKE).execute(&mut frozen).await.unwrap();
    let mut copy = frozen.copy_in_raw("copy prediction_rows from stdin (format binary)").await.unwrap();
    copy.send(&b"PGCOPY\n"[..]).await.unwrap();

    let started = Instant::now();
    let claim = claim(&store, "heir").await;
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
    assert_eq!((claim.epoch, claim.next_offset), (Epoch(2), NextOffset(0)));
    let woken = copy.finish().await;
    assert!(woken.is_err(), "the frozen owner's transaction should be gone");
    assert_eq!(store.write(reviews(), &predictions(&claim, 4)).await.unwrap(), Outcome::Written);
    assert_eq!(offsets(&mut look, "predictions").await, [0, 1, 2, 3]);
}

/// It is not silent: the server is at work for it. So the claim waits, and finds the position that
/// it leaves.
#[tokio::test]
async fn an_owner_that_is_only_slow_finishes_its_write_first() {
    let (store, _, url) = migrated_at().await;
    assert_eq!(claim(&store, "slow").await.epoch, Epoch(1));
    let mut slow = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("begin").execute(&mut slow).await.unwrap();
    sqlx::query(TAKE).execute(&mut slow).await.unwrap();
    let slow = async {
        sqlx::raw_sql("select pg_sleep(4); commit").execute(&mut slow).await.unwrap();
    };
    let (claim, ()) = tokio::join!(claim(&store, "heir"), slow);
    assert_eq!((claim.epoch, claim.next_offset), (Epoch(2), NextOffset(10)));
}

#[tokio::test]
async fn whoever_waits_too_long_for_a_lock_gives_up_and_may_try_again() {
    let (store, mut look, _) = migrated_at().await;
    let claim = claim(&store, "a").await;
    sqlx::raw_sql("begin; update position_rows set owner = 'somebody at a psql prompt'")
        .execute(&mut look)
        .await
        .unwrap();
    let started = Instant::now();
    let error = store.record_halt(reviews(), 0, claim.epoch, Some("broken")).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("lock timeout"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20), "took {:?}", started.elapsed());
    sqlx::raw_sql("rollback").execute(&mut look).await.unwrap();
    assert_eq!(store.record_halt(reviews(), 0, claim.epoch, Some("broken")).await.unwrap(), Outcome::Written);
}

async fn migrated_at() -> (Store, PgConnection, String) {
    let url = empty_database();
    let store = Store::connect(&url, 4).await.unwrap();
    store.migrate().await.unwrap();
    let look = PgConnection::connect(&url).await.unwrap();
    (store, look, url)
}
