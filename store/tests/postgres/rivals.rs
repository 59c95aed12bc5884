//! Six owners fight over three partitions, lose their connections, and drop what they do half done.
//!
//! The claim: whatever they do, every record leaves its one effect, and nothing waits for ever.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::PgConnection;
use store::{Claim, NextOffset, Outcome, Store, Write};
use tokio::time::timeout;

use crate::{dead_letter, migrated, predictions, reviews};

const PARTITIONS: i32 = 3;
const RECORDS: i64 = 1_500;
const RIVALS: u64 = 6;

/// What becomes of the record at an offset is the record's own doing, whoever reads it.
fn write(claim: &Claim, records: Range<i64>) -> Write {
    let mut write = predictions(claim, records.end);
    write.predictions.retain(|row| !is_bad(row.kafka_offset) && !is_tombstone(row.kafka_offset));
    write.dead_letters = records.clone().filter(|offset| is_bad(*offset)).map(dead_letter).collect();
    write.tombstones = records.filter(|offset| is_tombstone(*offset)).count() as u64;
    write
}

fn is_bad(offset: i64) -> bool {
    offset % 7 == 0
}

fn is_tombstone(offset: i64) -> bool {
    offset % 11 == 5 && !is_bad(offset)
}

#[derive(Default)]
struct Tally {
    written: AtomicU64,
    fenced: AtomicU64,
    crashed: AtomicU64,
    transient: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rivals_who_crash_at_any_moment_lose_and_repeat_nothing() {
    let (store, mut look) = migrated().await;
    let tally = Arc::new(Tally::default());
    let mut rivals = tokio::task::JoinSet::new();
    for seed in 1..=RIVALS {
        rivals.spawn(rival(store.clone(), Dice(seed), tally.clone()));
    }
    let all_done = async {
        let mut dice = Dice(99);
        loop {
            tokio::select! {
                ended = rivals.join_next() => match ended {
                    Some(ended) => ended.unwrap(),
                    None => break,
                },
                () = tokio::time::sleep(Duration::from_millis(dice.below(40))) => cut_a_connection(&mut look).await,
            }
        }
    };
    timeout(Duration::from_secs(120), all_done).await.expect("somebody waits for ever");

    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counts = [&tally.written, &tally.fenced, &tally.crashed, &tally.transient].map(count);
    println!("written, fenced, crashed, transient errors: {counts:?}");
    assert!(counts.iter().all(|count| *count > 20), "not much of a fight: {counts:?}");
    check(&mut look).await;
}

async fn rival(store: Store, mut dice: Dice, tally: Arc<Tally>) {
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    let mut done = [false; PARTITIONS as usize];
    while done.contains(&false) {
        let partition = dice.below(PARTITIONS as u64) as i32;
        let claim = store.claim(reviews(), partition, "rival", NextOffset(0));
        let mut claim = match timeout(dice.moment(), claim).await {
            Ok(Ok(claim)) => claim,
            Ok(Err(error)) => {
                assert!(error.is_transient(), "{error}");
                count(&tally.transient);
                continue;
            }
            Err(_) => {
                count(&tally.crashed);
                continue;
            }
        };
        done[partition as usize] = claim.next_offset.0 == RECORDS;
        let mut tries = dice.below(12);
        while tries > 0 && claim.next_offset.0 < RECORDS {
            tries -= 1;
            let from = claim.next_offset.0;
            let to = RECORDS.min(from + 1 + dice.below(40) as i64);
            let write = write(&claim, from..to);
            match persist(&store, &write, &mut dice, &tally).await {
                Some(Outcome::Written) => {
                    count(&tally.written);
                    claim.next_offset = write.to;
                }
                Some(Outcome::Fenced) => {
                    count(&tally.fenced);
                    break;
                }
                None => break,
            }
        }
    }
}

/// Until the outcome is known, or until the rival dies of it.
async fn persist(store: &Store, write: &Write, dice: &mut Dice, tally: &Tally) -> Option<Outcome> {
    loop {
        match timeout(dice.moment(), store.write(reviews(), write)).await {
            Ok(Ok(outcome)) => return Some(outcome),
            Ok(Err(error)) => {
                assert!(error.is_transient(), "{error}");
                tally.transient.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                tally.crashed.fetch_add(1, Ordering::Relaxed);
                if dice.below(2) == 0 {
                    return None;
                }
            }
        }
    }
}

async fn cut_a_connection(look: &mut PgConnection) {
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'
        order by random() limit 1",
    )
    .execute(look)
    .await
    .unwrap();
}

/// Record by record.
async fn check(look: &mut PgConnection) {
    for partition in 0..PARTITIONS {
        for (table, belongs) in [
            ("predictions", (|offset| !is_bad(offset) && !is_tombstone(offset)) as fn(i64) -> bool),
            ("dead_letters", is_bad),
        ] {
            let query = format!("select kafka_offset from {table} where partition = $1 order by kafka_offset");
            let offsets: Vec<i64> =
                sqlx::query_scalar(sqlx::AssertSqlSafe(query)).bind(partition).fetch_all(&mut *look).await.unwrap();
            assert_eq!(offsets, (0..RECORDS).filter(|offset| belongs(*offset)).collect::<Vec<_>>());
        }
        let (position, sum): (i64, i64) = sqlx::query_as(
            "select next_offset, predictions + dead_letters + tombstones from positions where partition = $1",
        )
        .bind(partition)
        .fetch_one(&mut *look)
        .await
        .unwrap();
        assert_eq!((position, sum), (RECORDS, RECORDS));
    }
    let deadlocks: i64 =
        sqlx::query_scalar("select deadlocks from pg_stat_database where datname = current_database()")
            .fetch_one(look)
            .await
            .unwrap();
    assert_eq!(deadlocks, 0);
}

/// A seeded random number generator (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (self.0 >> 29);
        (self.0 >> 20) % limit
    }

    /// Mostly long enough, sometimes in the middle of things.
    fn moment(&mut self) -> Duration {
        match self.below(4) {
            0 => Duration::from_micros(self.below(8_000)),
            _ => Duration::from_secs(30),
        }
    }
}
