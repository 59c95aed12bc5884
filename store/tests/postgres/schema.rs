//! What is migrated, what is not, and what a newer release has done.

use sqlx::{Connection, PgConnection};
use store::{Schema, Store, StoreError};

use crate::{empty_database, migrated};

#[tokio::test]
async fn an_unmigrated_database_says_what_it_lacks_and_what_to_do() {
    let store = Store::connect(&empty_database(), 1).await.unwrap();
    let error = store.check_schema().await.unwrap_err();
    assert!(matches!(error, StoreError::Unmigrated { .. }) && !error.is_transient(), "{error}");
    let said = error.to_string();
    assert!(said.contains("0001 streams") && said.contains("labelstream migrate"), "{said}");
    // Whoever does not ask first learns it too.
    let error = store.champion().await.unwrap_err();
    assert!(matches!(error, StoreError::Unmigrated { .. }), "{error}");
}

#[tokio::test]
async fn migrating_again_or_all_at_once_is_the_same_as_once() {
    let store = Store::connect(&empty_database(), 1).await.unwrap();
    let all = futures::future::join_all((0..4).map(|_| store.migrate())).await;
    all.into_iter().for_each(|migrated| migrated.unwrap());
    store.migrate().await.unwrap();
    assert_eq!(store.check_schema().await.unwrap(), Schema::Current);
}

#[tokio::test]
async fn every_file_of_migrations_is_applied() {
    let (_, mut look) = migrated().await;
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
    let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> = files.collect();
    files.sort();
    let applied =
        "select to_char(version, 'FM0000') || '_' || description || '.sql' from _sqlx_migrations order by version";
    let applied: Vec<String> = sqlx::query_scalar(applied).fetch_all(&mut look).await.unwrap();
    assert_eq!(applied, files);
}

/// As `pg_restore` runs them.
#[tokio::test]
async fn triggers_find_their_tables_without_a_search_path() {
    let (_, mut look) = migrated().await;
    sqlx::raw_sql(
        "set search_path = '';
        insert into public.models (uri, manifest_sha256, labels) values ('file:///x', repeat('a', 64), '{one,two}');
        insert into public.labels (text, label) values ('好吃', 'one')",
    )
    .execute(&mut look)
    .await
    .unwrap();
}

#[tokio::test]
async fn a_database_of_a_newer_release_is_noticed_and_worked_with() {
    let (store, mut look) = migrated().await;
    sqlx::query(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
        values (9000, 'future', true, '', 0)",
    )
    .execute(&mut look)
    .await
    .unwrap();
    assert_eq!(store.check_schema().await.unwrap(), Schema::Newer { by: 1 });
    store.migrate().await.unwrap();
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_review_is_refused() {
    let url = empty_database();
    let mut admin = PgConnection::connect(&url).await.unwrap();
    let create = "create database latin template template0 encoding 'LATIN1' locale 'C'";
    sqlx::raw_sql(create).execute(&mut admin).await.unwrap();
    let mut url: url::Url = url.parse().unwrap();
    url.set_path("/latin");
    let store = Store::connect(url.as_str(), 1).await.unwrap();
    store.migrate().await.unwrap();
    let error = store.check_schema().await.unwrap_err();
    assert!(error.to_string().contains("encoding is LATIN1"), "{error}");
}

#[tokio::test]
async fn a_database_that_other_files_have_migrated_is_refused() {
    let (store, mut look) = migrated().await;
    sqlx::raw_sql("update _sqlx_migrations set checksum = '\\x00' where version = 1").execute(&mut look).await.unwrap();
    let error = store.check_schema().await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)) && error.to_string().contains("0001"), "{error}");
}
