//! The store against a real Postgres: one server for all tests, one database a test.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_rows;
mod claims;
mod collecting;
mod connecting;
mod crashes;
mod dead_letters;
mod dumps;
mod free_claims;
mod labels;
mod picks;
mod poolers;
mod queries;
mod registry;
mod rescoring;
mod rivals;
mod round_trip;
mod rounds;
mod schema;
mod sources;
mod statements;
mod tls;
mod waiting;
mod writes;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Connection, PgConnection};
use store::{Claim, DeadLetterRow, LabelsSeen, NextOffset, PredictionRow, Store, Stream, Version, Write};

/// Ends with the test process.
static SERVER: LazyLock<stack::Postgres> = LazyLock::new(|| stack::Postgres::start().expect("a private Postgres"));

/// An empty database; returns its address.
fn empty_database() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    SERVER.create_database(&name).expect("a database")
}

/// A migrated database: the store on it, and a connection to look behind it.
async fn migrated() -> (Store, PgConnection) {
    let url = empty_database();
    let store = Store::connect(&url, 8).await.unwrap();
    store.migrate().await.unwrap();
    (store, PgConnection::connect(&url).await.unwrap())
}

fn reviews() -> &'static Stream {
    static REVIEWS: LazyLock<Stream> = LazyLock::new(|| Stream {
        pipeline: "labelstream".to_owned(),
        cluster_id: "MkU3OEVBNTcwNTJENDM2Qg".to_owned(),
        topic: "reviews".to_owned(),
    });
    &REVIEWS
}

async fn claim(store: &Store, owner: &str) -> Claim {
    store.claim(reviews(), 0, owner, NextOffset(0)).await.unwrap()
}

/// A write of the claim's partition from its position to `to` with a prediction at every offset.
fn predictions(claim: &Claim, to: i64) -> Write {
    Write {
        partition: claim.partition,
        epoch: claim.epoch,
        from: claim.next_offset,
        to: NextOffset(to),
        predictions: (claim.next_offset.0..to).map(prediction).collect(),
        dead_letters: Vec::new(),
        tombstones: 0,
    }
}

fn prediction(kafka_offset: i64) -> PredictionRow {
    PredictionRow {
        kafka_offset,
        record_time: Some(chrono::DateTime::UNIX_EPOCH),
        review_id: format!("r-{kafka_offset}"),
        text: "很快，好吃".to_owned(),
        created_at: None,
        attributes: None,
        label: "好评".into(),
        score: 0.9,
        scores: vec![0.1, 0.9],
        version: Version(1),
        precision: "f32",
    }
}

fn dead_letter(kafka_offset: i64) -> DeadLetterRow {
    DeadLetterRow {
        kafka_offset,
        record_time: None,
        reason: "not_json",
        detail: "expected value at line 1 column 1".to_owned(),
        key: Some(b"key".to_vec()),
        payload: Some(b"\xff\x00 not json".to_vec()),
        headers: vec![("trace".to_owned(), Some(vec![0, 255])), ("empty".to_owned(), None)],
    }
}

/// The offsets of a table of records, in order.
async fn offsets(connection: &mut PgConnection, table: &str) -> Vec<i64> {
    let offsets = format!("select kafka_offset from {table} order by partition, kafka_offset");
    sqlx::query_scalar(sqlx::AssertSqlSafe(offsets)).fetch_all(connection).await.unwrap()
}

/// The labels of the ids 1 to a number.
fn seen(count: i64) -> LabelsSeen {
    LabelsSeen { count, last: count }
}
