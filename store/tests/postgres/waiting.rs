//! What passes by itself: a queue for the connections that write, plans that a migration has made
//! old, a server that only reads.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use store::{NextOffset, Outcome, Store};

use crate::{empty_database, migrated, predictions, reviews};

/// Fault 10. Five partitions and one connection to write on, behind a lock of seven seconds: longer
/// than a connection is waited for where none is to be had.
#[tokio::test]
async fn a_queue_for_the_connections_that_write_is_no_outage_and_nobody_else_waits_in_it() {
    let url = empty_database();
    let store = Store::connect(&url, 1).await.unwrap();
    store.migrate().await.unwrap();
    let mut claims = Vec::new();
    for partition in 0..5 {
        claims.push(store.claim(reviews(), partition, "a", NextOffset(0)).await.unwrap());
    }
    let mut slow = PgConnection::connect(&url).await.unwrap();
    let mut transaction = slow.begin().await.unwrap();
    sqlx::raw_sql("lock table prediction_rows").execute(&mut *transaction).await.unwrap();
    let writes = claims.iter().map(|claim| {
        let store = store.clone();
        async move { store.write(reviews(), &predictions(claim, 3)).await }
    });
    let control = async {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(7) {
            let asked = Instant::now();
            store.ping().await.unwrap();
            store.claim(reviews(), 9, "b", NextOffset(0)).await.unwrap();
            assert!(asked.elapsed() < Duration::from_secs(4), "a claim waits behind writes: {:?}", asked.elapsed());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        transaction.rollback().await.unwrap();
    };
    let (written, ()) = tokio::join!(futures::future::join_all(writes), control);
    for written in written {
        assert_eq!(written.unwrap(), Outcome::Written);
    }
}

#[tokio::test]
async fn a_plan_from_before_a_migration_is_made_again() {
    let (store, mut look) = migrated().await;
    for turn in 0..3 {
        // On every connection that there is.
        for _ in 0..4 {
            store.classes().await.unwrap();
        }
        let change = if turn % 2 == 0 { "varchar(90)" } else { "text" };
        let change = sqlx::AssertSqlSafe(format!("alter table classes alter column name type {change}"));
        sqlx::raw_sql(change).execute(&mut look).await.unwrap();
        let mut old = 0;
        while let Err(error) = store.classes().await {
            assert!(error.is_transient(), "{error}");
            old += 1;
            assert!(old < 5, "{error}");
        }
    }
}

/// Fault 7: a server that only reads is waited for, and what it refused is written when it writes.
#[tokio::test]
async fn a_server_that_only_reads_is_waited_for() {
    let (store, mut look) = migrated().await;
    let claim = crate::claim(&store, "a").await;
    let set = async |look: &mut PgConnection, to: &str| {
        let set = format!(
            "do $$ begin execute format('alter database %I set default_transaction_read_only = {to}', current_database());
            end $$"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("set transaction_read_only = off; {set}")))
            .execute(&mut *look)
            .await
            .unwrap();
        let others = "select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid()";
        sqlx::query(others).execute(look).await.unwrap();
    };
    set(&mut look, "on").await;
    let mut refused = 0;
    for _ in 0..4 {
        let error = store.write(reviews(), &predictions(&claim, 3)).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        refused += i32::from(error.to_string().contains("read-only"));
    }
    assert!(refused > 0);
    set(&mut look, "off").await;
    let mut written = store.write(reviews(), &predictions(&claim, 3)).await;
    for _ in 0..5 {
        if written.is_ok() {
            break;
        }
        written = store.write(reviews(), &predictions(&claim, 3)).await;
    }
    assert_eq!(written.unwrap(), Outcome::Written);
}
