//! Versions and champions.

use std::time::Duration;

use sqlx::postgres::PgListener;
use store::{ModelStatus, NewModel, Store, StoreError, Version};
use tokio::time::timeout;

use crate::{empty_database, migrated};

pub fn checkpoint(number: u32) -> NewModel {
    let manifest_sha256 = format!("{number:064x}");
    NewModel {
        uri: format!("file:///checkpoints/{manifest_sha256}"),
        manifest_sha256,
        labels: vec!["差评".to_owned(), "好评".to_owned()],
        metrics: serde_json::json!({"accuracy": 0.9}),
        parent: None,
        round: None,
    }
}

pub async fn champion(store: &Store) -> Option<Version> {
    store.champion().await.unwrap().map(|model| model.version)
}

#[tokio::test]
async fn a_registered_model_is_found_as_it_was_given() {
    let (store, _) = migrated().await;
    let first = store.register_model(&checkpoint(1)).await.unwrap();
    let child = NewModel { parent: Some(first), ..checkpoint(2) };
    let second = store.register_model(&child).await.unwrap();
    let model = store.model(second).await.unwrap();
    assert_eq!(model.status, ModelStatus::Registered);
    assert_eq!((model.uri, model.manifest_sha256), (child.uri, child.manifest_sha256));
    assert_eq!((model.labels, model.metrics), (child.labels, child.metrics));
    assert_eq!(model.parent, Some(first));
    let versions: Vec<_> = store.models().await.unwrap().iter().map(|model| model.version).collect();
    assert_eq!(versions, [second, first]);
    let error = store.model(Version(99)).await.unwrap_err();
    assert!(matches!(error, StoreError::NoSuchModel(Version(99))), "{error}");
}

#[tokio::test]
async fn the_same_checkpoint_keeps_its_version() {
    let (store, _) = migrated().await;
    let first = store.register_model(&checkpoint(1)).await.unwrap();
    assert_eq!(store.register_model(&checkpoint(1)).await.unwrap(), first);
    assert_eq!(store.models().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_champion_is_made_only_in_the_place_of_the_expected_one() {
    let (store, _) = migrated().await;
    let first = store.register_model(&checkpoint(1)).await.unwrap();
    let second = store.register_model(&checkpoint(2)).await.unwrap();
    assert_eq!(champion(&store).await, None);

    let error = store.promote(first, "too early", Some(second)).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { champion: None, .. }), "{error}");
    store.promote(first, "the first", None).await.unwrap();
    let error = store.promote(second, "too late", None).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { champion: Some(v), .. } if v == first), "{error}");
    let error = store.promote(Version(99), "nobody", Some(first)).await.unwrap_err();
    assert!(matches!(error, StoreError::NoSuchModel(_)), "{error}");
    assert_eq!(champion(&store).await, Some(first));
}

#[tokio::test]
async fn of_many_who_promote_at_once_one_wins() {
    let (store, _) = migrated().await;
    let mut versions = Vec::new();
    for number in 0..8 {
        versions.push(store.register_model(&checkpoint(number)).await.unwrap());
    }
    // Each with its connection ready, so that they do meet.
    futures::future::join_all(versions.iter().map(|_| store.ping())).await;
    for round in 0..10 {
        let expected = champion(&store).await;
        let others = versions.iter().filter(|version| Some(**version) != expected);
        let ends = futures::future::join_all(others.map(|version| store.promote(*version, "race", expected))).await;
        let (won, lost): (Vec<_>, Vec<_>) = ends.iter().partition(|end| end.is_ok());
        assert_eq!(won.len(), 1, "{ends:?}");
        assert!(lost.iter().all(|end| matches!(end, Err(StoreError::Conflict { .. }))), "{ends:?}");
        assert_eq!(store.deployments().await.unwrap().len(), round + 1);
    }
}

#[tokio::test]
async fn a_rollback_brings_back_the_champion_before() {
    let (store, _) = migrated().await;
    let error = store.rollback("nothing there").await.unwrap_err();
    assert!(matches!(error, StoreError::NothingToRollBackTo), "{error}");
    let first = store.register_model(&checkpoint(1)).await.unwrap();
    let second = store.register_model(&checkpoint(2)).await.unwrap();
    store.promote(first, "the first", None).await.unwrap();
    let error = store.rollback("only one").await.unwrap_err();
    assert!(matches!(error, StoreError::NothingToRollBackTo), "{error}");
    store.promote(second, "better", Some(first)).await.unwrap();
    // Promoted again, it is still the same champion: going back means another version.
    store.promote(second, "better still", Some(second)).await.unwrap();
    assert_eq!(store.rollback("worse after all").await.unwrap(), first);
    assert_eq!(champion(&store).await, Some(first));
    let why: Vec<_> = store.deployments().await.unwrap().into_iter().map(|row| row.why).collect();
    assert_eq!(why, ["worse after all", "better still", "better", "the first"]);
}

#[tokio::test]
async fn a_promotion_is_heard_of() {
    let url = empty_database();
    let store = Store::connect(&url, 2).await.unwrap();
    store.migrate().await.unwrap();
    let mut listener = PgListener::connect(&url).await.unwrap();
    listener.listen("labelstream_models").await.unwrap();
    let version = store.register_model(&checkpoint(1)).await.unwrap();
    store.promote(version, "the first", None).await.unwrap();
    assert_eq!(listener.recv().await.unwrap().payload(), version.to_string());
}

#[tokio::test]
async fn a_listener_hears_promotions_and_says_when_it_was_cut_off() {
    let (store, mut look) = migrated().await;
    let first = store.register_model(&checkpoint(1)).await.unwrap();
    let second = store.register_model(&checkpoint(2)).await.unwrap();
    let mut listener = store.listen().await.unwrap();
    store.promote(first, "the first", None).await.unwrap();
    store.promote(second, "at once", Some(first)).await.unwrap();
    listener.next().await.unwrap();
    let heard_twice = timeout(Duration::from_millis(300), listener.next()).await;
    assert!(!matches!(heard_twice, Ok(Err(_))), "{heard_twice:?}");
    let silence = timeout(Duration::from_millis(300), listener.next()).await;
    assert!(silence.is_err(), "{silence:?}");

    let end = "select pg_terminate_backend(pid) from pg_stat_activity where query like '%LISTEN%' and pid <> pg_backend_pid()";
    sqlx::raw_sql(end).execute(&mut look).await.unwrap();
    let error = timeout(Duration::from_secs(10), listener.next()).await.expect("an end in time").unwrap_err();
    assert!(error.is_transient(), "{error}");
    let mut listener = store.listen().await.unwrap();
    assert_eq!(store.rollback("worse").await.unwrap(), first);
    timeout(Duration::from_secs(10), listener.next()).await.expect("word in time").unwrap();
}

#[tokio::test]
async fn labels_and_deployments_cannot_be_changed_afterwards() {
    let (store, mut look) = migrated().await;
    let version = store.register_model(&checkpoint(1)).await.unwrap();
    store.promote(version, "the first", None).await.unwrap();
    sqlx::raw_sql("insert into labels (text, label, labeled_by, source) values ('好吃', '好评', 'me', 'test')")
        .execute(&mut look)
        .await
        .unwrap();
    for statement in [
        "update labels set label = '差评'",
        "delete from labels",
        "truncate labels",
        "update deployments set why = 'no'",
        "delete from deployments",
        "truncate deployments",
    ] {
        let error = sqlx::raw_sql(statement).execute(&mut look).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{statement}: {error}");
    }
}
