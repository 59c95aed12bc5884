//! What consumers report of versions, and which may be deleted.

use std::time::Duration;

use sqlx::PgConnection;
use store::{Begun, Concluded, Conclusion, LoadStatus, NewRound, Outcome, Store, StoreError, Trigger, Version};

use crate::migrated;
use crate::registry::{champion, checkpoint};

const HOUR: Duration = Duration::from_secs(3600);

/// As if everything had happened a day before.
async fn age(look: &mut PgConnection) {
    sqlx::raw_sql(
        "update models set created_at = created_at - interval '1 day';
        update model_load_status set updated_at = updated_at - interval '1 day'",
    )
    .execute(look)
    .await
    .unwrap();
}

/// Versions 1 to `count`, each champion in its turn.
async fn champions(store: &Store, count: u32) -> Vec<Version> {
    let mut versions = Vec::new();
    for number in 1..=count {
        let version = store.register_model(&checkpoint(number)).await.unwrap();
        store.promote(version, "next", versions.last().copied()).await.unwrap();
        versions.push(version);
    }
    versions
}

async fn collectable(store: &Store, keep: u32) -> Vec<i64> {
    store.collectable(keep, HOUR).await.unwrap().into_iter().map(|model| model.version.0).collect()
}

#[tokio::test]
async fn the_champion_and_its_predecessors_within_the_limit_are_kept() {
    let (store, mut look) = migrated().await;
    let versions = champions(&store, 5).await;
    assert!(collectable(&store, 0).await.is_empty(), "all were registered just now");
    age(&mut look).await;
    assert_eq!(collectable(&store, 0).await, [1, 2, 3, 4]);
    assert_eq!(collectable(&store, 2).await, [1, 2]);
    // Brought back, the first is the champion, and the fifth the one before it.
    store.promote(versions[0], "back", Some(versions[4])).await.unwrap();
    assert_eq!(collectable(&store, 0).await, [2, 3, 4, 5]);
    assert_eq!(collectable(&store, 1).await, [2, 3, 4]);
    assert_eq!(collectable(&store, 10).await, [0i64; 0]);
}

#[tokio::test]
async fn a_version_that_a_consumer_has_reported_lately_is_kept() {
    let (store, mut look) = migrated().await;
    let versions = champions(&store, 4).await;
    for (version, status) in [(versions[0], LoadStatus::Serving), (versions[1], LoadStatus::Loading)] {
        store.report_load("host/1", "labelstream", version, status, None).await.unwrap();
    }
    age(&mut look).await;
    assert_eq!(collectable(&store, 0).await, [1, 2, 3]);
    store.report_load("host/1", "labelstream", versions[0], LoadStatus::Serving, None).await.unwrap();
    assert_eq!(collectable(&store, 0).await, [2, 3]);
}

#[tokio::test]
async fn rejected_candidates_are_collected_and_what_a_person_registered_is_not() {
    let (store, mut look) = migrated().await;
    let by_hand = store.register_model(&checkpoint(1)).await.unwrap();
    let new =
        NewRound { trigger: Trigger::Once, parameters: serde_json::json!({}), owner: "a".to_owned(), lease: HOUR };
    let Begun::Started(lease) = store.begin_round(&new).await.unwrap() else { panic!("not started") };
    let conclusion = Conclusion {
        model: checkpoint(2),
        accepted: false,
        reason: "worse".to_owned(),
        evidence: serde_json::json!({}),
        champion_metrics: None,
        candidate_metrics: serde_json::json!({}),
        baseline_metrics: None,
        expected_champion: None,
        shadow_first: None,
    };
    let concluded = store.conclude_round(&lease, &conclusion).await.unwrap();
    let Concluded::Rejected(rejected) = concluded else { panic!("{concluded:?}") };
    age(&mut look).await;
    assert_eq!(collectable(&store, 0).await, [rejected.0]);
    assert_ne!(by_hand, rejected);
}

#[tokio::test]
async fn what_a_running_round_compares_with_is_kept() {
    let (store, mut look) = migrated().await;
    let versions = champions(&store, 2).await;
    age(&mut look).await;
    assert_eq!(collectable(&store, 0).await, [1]);
    let new =
        NewRound { trigger: Trigger::Once, parameters: serde_json::json!({}), owner: "a".to_owned(), lease: HOUR };
    let Begun::Started(lease) = store.begin_round(&new).await.unwrap() else { panic!("not started") };
    assert_eq!(store.record_dataset(&lease, "f", crate::seen(0), Some(versions[0])).await.unwrap(), Outcome::Written);
    assert!(collectable(&store, 0).await.is_empty());
    assert_eq!(store.abandon_round(&lease, "over").await.unwrap(), Outcome::Written);
    assert_eq!(collectable(&store, 0).await, [1]);
}

#[tokio::test]
async fn a_collected_version_is_never_champion_again_until_it_is_published_again() {
    let (store, mut look) = migrated().await;
    let versions = champions(&store, 3).await;
    age(&mut look).await;
    assert!(store.mark_collected(versions[1]).await.unwrap().is_some());
    assert!(store.mark_collected(versions[2]).await.unwrap().is_none(), "the champion");
    assert_eq!(collectable(&store, 0).await, [1]);
    let error = store.promote(versions[1], "by hand", Some(versions[2])).await.unwrap_err();
    assert!(matches!(error, StoreError::Collected(version) if version == versions[1]), "{error}");
    assert_eq!(store.rollback("to what is still there").await.unwrap(), versions[0]);

    assert_eq!(store.register_model(&checkpoint(2)).await.unwrap(), versions[1]);
    store.promote(versions[1], "published again", Some(versions[0])).await.unwrap();
    assert_eq!(champion(&store).await, Some(versions[1]));
}

#[tokio::test]
async fn a_consumer_serves_one_version_and_its_refusals_stay_with_their_reasons() {
    let (store, mut look) = migrated().await;
    let versions = champions(&store, 3).await;
    let report = async |version, status, reason| {
        store.report_load("host/1", "labelstream", version, status, reason).await.unwrap();
    };
    report(versions[0], LoadStatus::Loading, None).await;
    report(versions[0], LoadStatus::Serving, None).await;
    report(versions[1], LoadStatus::Loading, None).await;
    report(versions[1], LoadStatus::Refused, Some("a bit was flipped")).await;
    report(versions[2], LoadStatus::Serving, None).await;
    store.report_load("host/2", "labelstream", versions[0], LoadStatus::Serving, None).await.unwrap();

    let mut said: Vec<_> = store
        .load_reports()
        .await
        .unwrap()
        .into_iter()
        .map(|row| (row.consumer, row.version, row.status, row.reason))
        .collect();
    said.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
    let row = |consumer: &str, version, status, reason: Option<&str>| {
        (consumer.to_owned(), version, status, reason.map(str::to_owned))
    };
    assert_eq!(
        said,
        [
            row("host/1", versions[1], LoadStatus::Refused, Some("a bit was flipped")),
            row("host/1", versions[2], LoadStatus::Serving, None),
            row("host/2", versions[0], LoadStatus::Serving, None),
        ]
    );
    // What nobody repeats for a week is forgotten.
    sqlx::raw_sql("update model_load_status set updated_at = now() - interval '8 days'")
        .execute(&mut look)
        .await
        .unwrap();
    report(versions[2], LoadStatus::Serving, None).await;
    assert_eq!(store.load_reports().await.unwrap().len(), 1);
}
