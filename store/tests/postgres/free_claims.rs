//! All partitions of an assignment are claimed at once, and one that is held keeps nobody waiting.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use store::{Claim, Epoch, NextOffset, Outcome, Store, Taken, Wanted};

use crate::{empty_database, migrated, predictions, reviews};

fn wanted(partitions: impl IntoIterator<Item = i32>) -> Vec<Wanted> {
    let wanted = |partition| Wanted { partition, if_new: Some(NextOffset(10)) };
    partitions.into_iter().map(wanted).collect()
}

async fn claim_free(store: &Store, partitions: impl IntoIterator<Item = i32>) -> Vec<(i32, Epoch, NextOffset)> {
    let taken = store.claim_free(reviews(), &wanted(partitions), "a test", None).await.unwrap();
    let mut claims: Vec<Claim> = taken.into_iter().map(|taken| taken.claim).collect();
    claims.sort_by_key(|claim| claim.partition);
    claims.into_iter().map(|claim| (claim.partition, claim.epoch, claim.next_offset)).collect()
}

#[tokio::test]
async fn a_thousand_partitions_are_claimed_in_one_statement_old_and_new_ones_alike() {
    let (store, _) = migrated().await;
    assert!(claim_free(&store, [0]).await.is_empty(), "a stream that was not begun has no partitions");
    assert!(store.begin(reviews(), &[(0, NextOffset(40)), (1, NextOffset(50))]).await.unwrap());
    let first = claim_free(&store, 0..1_000).await;
    assert_eq!(first.len(), 1_000);
    assert_eq!(
        first[..3],
        [(0, Epoch(1), NextOffset(40)), (1, Epoch(1), NextOffset(50)), (2, Epoch(1), NextOffset(10)),]
    );
    let second = claim_free(&store, 0..1_000).await;
    assert!(second.iter().all(|(_, epoch, _)| *epoch == Epoch(2)) && second.len() == 1_000);
}

#[tokio::test]
async fn a_stream_begins_once_and_what_is_added_later_is_told_apart() {
    let (store, _) = migrated().await;
    assert!(store.begin(reviews(), &[(0, NextOffset(40))]).await.unwrap());
    assert!(!store.begin(reviews(), &[(0, NextOffset(90)), (1, NextOffset(90))]).await.unwrap());
    assert_eq!(claim_free(&store, [0, 1]).await, [(0, Epoch(1), NextOffset(40)), (1, Epoch(1), NextOffset(10))]);
}

#[tokio::test]
async fn a_partition_without_a_position_and_without_an_offset_is_left_alone() {
    let (store, _) = migrated().await;
    store.begin(reviews(), &[]).await.unwrap();
    let unknown = Wanted { partition: 0, if_new: None };
    assert!(store.claim_free(reviews(), &[unknown], "a test", None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_partition_that_somebody_is_writing_is_left_out_and_the_others_are_claimed_at_once() {
    let url = empty_database();
    let store = Store::connect(&url, 4).await.unwrap();
    store.migrate().await.unwrap();
    store.begin(reviews(), &[]).await.unwrap();
    claim_free(&store, 0..3).await;
    let mut writer = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("begin; update position_rows set next_offset = 20 where partition = 1")
        .execute(&mut writer)
        .await
        .unwrap();
    let started = Instant::now();
    assert_eq!(claim_free(&store, 0..3).await, [(0, Epoch(2), NextOffset(10)), (2, Epoch(2), NextOffset(10))]);
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
    // It falls silent in the middle of its transaction, and is ended without a claim being taken.
    store.await_owner(reviews(), 1).await.unwrap();
    assert_eq!(claim_free(&store, [1]).await, [(1, Epoch(2), NextOffset(10))]);
    assert!(sqlx::raw_sql("commit").execute(&mut writer).await.is_err(), "the silent writer's transaction is gone");
}

#[tokio::test]
async fn the_first_topic_id_is_remembered_and_told_to_every_later_claim() {
    let (store, _) = migrated().await;
    store.begin(reviews(), &[]).await.unwrap();
    let told = async |topic_id| {
        let taken: Vec<Taken> = store.claim_free(reviews(), &wanted([0]), "a test", topic_id).await.unwrap();
        taken[0].topic_id.clone()
    };
    assert_eq!(told(None).await, None);
    for topic_id in ["first", "another"] {
        assert_eq!(told(Some(topic_id)).await.as_deref(), Some("first"));
    }
}

#[tokio::test]
async fn rivals_that_claim_the_same_partitions_never_deadlock_and_one_of_each_pair_is_fenced() {
    let (store, _) = migrated().await;
    store.begin(reviews(), &[]).await.unwrap();
    let rival = |forwards: bool| {
        let store = store.clone();
        async move {
            for _ in 0..50 {
                let mut partitions: Vec<i32> = (0..40).collect();
                if !forwards {
                    partitions.reverse();
                }
                store.claim_free(reviews(), &wanted(partitions), "rival", None).await.unwrap();
            }
        }
    };
    tokio::join!(rival(true), rival(false), rival(true), rival(false));
    let old = claim_free(&store, [0]).await[0];
    claim_free(&store, [0]).await;
    let old = Claim { partition: 0, epoch: old.1, next_offset: old.2 };
    assert_eq!(store.write(reviews(), &predictions(&old, 20)).await.unwrap(), Outcome::Fenced);
}

#[tokio::test]
async fn a_skip_is_a_gap_from_the_expected_position_alone_and_fences_whoever_reads() {
    let (store, mut look) = migrated().await;
    store.begin(reviews(), &[]).await.unwrap();
    claim_free(&store, [0]).await;
    let claim = Claim { partition: 0, epoch: Epoch(1), next_offset: NextOffset(10) };
    let skip =
        async |from, to| store.skip(reviews(), 0, (NextOffset(from), NextOffset(to)), "a torn disk").await.unwrap();
    assert!(!skip(9, 20).await, "the position is another");
    assert!(skip(10, 20).await);
    assert!(!skip(10, 20).await, "done already");
    assert_eq!(store.write(reviews(), &predictions(&claim, 15)).await.unwrap(), Outcome::Fenced);
    let gaps: Vec<(i64, i64, String)> =
        sqlx::query_as("select from_offset, to_offset, reason from gaps").fetch_all(&mut look).await.unwrap();
    assert_eq!(gaps, [(10, 20, "a torn disk".to_owned())]);
    assert_eq!(claim_free(&store, [0]).await, [(0, Epoch(3), NextOffset(20))]);
}
