//! Readers that die, and those that say goodbye.

use store::{Claim, NextOffset};

use crate::{migrated, reviews};

#[tokio::test]
async fn readers_that_die_at_one_position_are_counted_and_those_that_move_on_or_say_goodbye_are_not() {
    let (store, _) = migrated().await;
    let stream = reviews();
    let claim = store.claim(stream, 0, "owner", NextOffset(5)).await.unwrap();
    store.claim(stream, 1, "owner", NextOffset(0)).await.unwrap();
    let crashes = async |reader: &str| store.note_reader(stream, &[0], reader).await.unwrap();
    assert_eq!(crashes("a").await, [(0, 0)]);
    assert_eq!(crashes("a").await, [(0, 0)], "the same process joins again");
    assert_eq!(crashes("b").await, [(0, 1)]);
    assert_eq!(crashes("c").await, [(0, 2)]);
    store.say_goodbye(stream, Some(&[1]), "c").await.unwrap();
    store.say_goodbye(stream, None, "b").await.unwrap();
    assert_eq!(crashes("d").await, [(0, 3)], "goodbyes of others, or for another partition, count nothing");
    store.say_goodbye(stream, None, "d").await.unwrap();
    assert_eq!(crashes("e").await, [(0, 3)]);
    assert_eq!(store.record_gaps(stream, &[(claim, NextOffset(6))], "a test").await.unwrap(), [0]);
    assert_eq!(crashes("f").await, [(0, 1)], "e died further on");
    assert_eq!(crashes("g").await, [(0, 2)]);
    store.note_attempt(stream, 0, claim.epoch, NextOffset(9), false).await.unwrap();
    let careful = Claim { next_offset: NextOffset(6), ..claim };
    assert_eq!(store.record_gaps(stream, &[(careful, NextOffset(9))], "a test").await.unwrap(), [0]);
    assert_eq!(crashes("h").await, [(0, 3)], "g died further on with care: it is known where");
}

#[tokio::test]
async fn attempts_count_by_record_and_only_for_the_claim_that_holds() {
    let (store, _) = migrated().await;
    let stream = reviews();
    let old = store.claim(stream, 0, "owner", NextOffset(0)).await.unwrap();
    store.note_reader(stream, &[0], "a").await.unwrap();
    let attempt =
        async |epoch, from, alone| store.note_attempt(stream, 0, epoch, NextOffset(from), alone).await.unwrap();
    assert_eq!(attempt(old.epoch, 7, true).await, Some(1));
    let claim = store.claim(stream, 0, "owner", NextOffset(0)).await.unwrap();
    assert_eq!(attempt(old.epoch, 7, true).await, None);
    assert_eq!(attempt(claim.epoch, 7, true).await, Some(2));
    assert_eq!(attempt(claim.epoch, 8, true).await, Some(1));
    assert_eq!(attempt(claim.epoch, 8, false).await, Some(0), "in company it was not tried alone");
    assert_eq!(attempt(claim.epoch, 8, true).await, Some(1));
}
