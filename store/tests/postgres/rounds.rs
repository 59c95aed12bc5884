//! Rounds: one at a time, with an owner who can be fenced, concluded wholly or not at all.

use std::time::Duration;

use serde_json::json;
use sqlx::PgConnection;
use store::{
    Begun, Concluded, Conclusion, ModelStatus, NewLabel, NewRound, Outcome, Round, RoundLease, Store, StoreError,
    Trigger, Verdict, Version,
};

use crate::migrated;
use crate::registry::{champion, checkpoint};

const LONG: Duration = Duration::from_secs(60);

fn round(owner: &str, trigger: Trigger) -> NewRound {
    NewRound { trigger, parameters: json!({"epochs": 3}), owner: owner.to_owned(), lease: LONG }
}

async fn started(store: &Store, owner: &str) -> RoundLease {
    match store.begin_round(&round(owner, Trigger::NewLabels)).await.unwrap() {
        Begun::Started(lease) => lease,
        other => panic!("{other:?}"),
    }
}

fn conclusion(accepted: bool, expected_champion: Option<Version>) -> Conclusion {
    Conclusion {
        model: checkpoint(77),
        accepted,
        reason: "better by 3 points".to_owned(),
        evidence: json!({"p": 0.01}),
        champion_metrics: None,
        candidate_metrics: json!({"accuracy": 0.9}),
        baseline_metrics: Some(json!({"accuracy": 0.8})),
        expected_champion,
        shadow_first: None,
    }
}

/// As if its owner had not been heard of for long.
async fn lapse(look: &mut PgConnection) {
    sqlx::raw_sql("update rounds set lease_until = now() - interval '1 second' where finished_at is null")
        .execute(look)
        .await
        .unwrap();
}

/// Another owner takes over from whoever holds the unfinished round.
async fn taken_over(store: &Store, look: &mut PgConnection, owner: &str) -> (RoundLease, Round) {
    lapse(look).await;
    match store.begin_round(&round(owner, Trigger::Schedule)).await.unwrap() {
        Begun::Resumed(lease, round) => (lease, round),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn of_many_who_begin_a_round_at_once_one_gets_it_and_the_others_see_whose_it_is() {
    let (store, _) = migrated().await;
    for _ in 0..5 {
        let begun = (0..8).map(|index| {
            let store = &store;
            async move { store.begin_round(&round(&format!("owner {index}"), Trigger::Schedule)).await.unwrap() }
        });
        let begun = futures::future::join_all(begun).await;
        let leases: Vec<_> = begun
            .iter()
            .filter_map(|begun| if let Begun::Started(lease) = begun { Some(*lease) } else { None })
            .collect();
        let [lease] = leases[..] else { panic!("{begun:?}") };
        let owner = store.round(lease.round).await.unwrap().owner;
        for other in begun {
            match other {
                Begun::Busy(busy) => assert_eq!((busy.round, busy.owner), (lease.round, owner.clone())),
                other => assert_eq!(other, Begun::Started(lease)),
            }
        }
        assert_eq!(store.abandon_round(&lease, "next").await.unwrap(), Outcome::Written);
    }
    assert_eq!(store.rounds(100).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_round_whose_lease_ran_out_is_taken_over_and_its_former_owner_can_write_nothing() {
    let (store, mut look) = migrated().await;
    let frozen = started(&store, "frozen").await;
    assert_eq!(store.record_dataset(&frozen, "fingerprint", crate::seen(300), None).await.unwrap(), Outcome::Written);
    assert_eq!(store.extend_lease(&frozen, LONG, &json!({"step": 7})).await.unwrap(), Outcome::Written);
    let busy = store.begin_round(&round("other", Trigger::Schedule)).await.unwrap();
    assert!(matches!(busy, Begun::Busy(_)), "{busy:?}");

    let (lease, resumed) = taken_over(&store, &mut look, "other").await;
    assert_eq!((lease.round, resumed.trigger), (frozen.round, Trigger::NewLabels));
    assert_eq!((resumed.progress, resumed.labels_seen), (Some(json!({"step": 7})), Some(300)));
    assert_eq!(resumed.dataset_fingerprint.as_deref(), Some("fingerprint"));

    assert_eq!(store.extend_lease(&frozen, LONG, &json!({})).await.unwrap(), Outcome::Fenced);
    assert_eq!(store.record_dataset(&frozen, "other", crate::seen(1), None).await.unwrap(), Outcome::Fenced);
    assert_eq!(store.abandon_round(&frozen, "woke up").await.unwrap(), Outcome::Fenced);
    assert_eq!(store.conclude_round(&frozen, &conclusion(true, None)).await.unwrap(), Concluded::Fenced);
    assert!(store.models().await.unwrap().is_empty() && champion(&store).await.is_none());

    let concluded = store.conclude_round(&lease, &conclusion(true, None)).await.unwrap();
    assert!(matches!(concluded, Concluded::Promoted(_)), "{concluded:?}");
    // Nor after the round is over.
    assert_eq!(store.conclude_round(&frozen, &conclusion(false, None)).await.unwrap(), Concluded::Fenced);
    assert_eq!(store.extend_lease(&lease, LONG, &json!({})).await.unwrap(), Outcome::Fenced);
}

#[tokio::test]
async fn an_accepted_candidate_is_registered_and_champion_and_its_round_tells_why() {
    let (store, _) = migrated().await;
    let lease = started(&store, "a").await;
    let Concluded::Promoted(version) = store.conclude_round(&lease, &conclusion(true, None)).await.unwrap() else {
        panic!("not promoted")
    };
    // Asked again because the answer was lost.
    assert_eq!(store.conclude_round(&lease, &conclusion(true, None)).await.unwrap(), Concluded::Promoted(version));
    let model = store.champion().await.unwrap().unwrap();
    assert_eq!((model.version, model.status, model.round), (version, ModelStatus::Registered, Some(lease.round)));
    let deployments = store.deployments().await.unwrap();
    assert_eq!(deployments.len(), 1);
    assert_eq!(deployments[0].why, format!("round {}: better by 3 points", lease.round));
    let round = store.last_round().await.unwrap().unwrap();
    assert_eq!((round.verdict, round.candidate), (Some(Verdict::Accepted), Some(version)));
    assert_eq!((round.evidence, round.baseline_metrics), (Some(json!({"p": 0.01})), Some(json!({"accuracy": 0.8}))));
    assert!(round.finished_at.is_some() && round.lease_until.is_none());
}

#[tokio::test]
async fn a_rejected_candidate_stays_on_record_and_serves_nobody() {
    let (store, _) = migrated().await;
    let first = store.register_model(&checkpoint(1)).await.unwrap();
    store.promote(first, "the first", None).await.unwrap();
    let lease = started(&store, "a").await;
    // A verdict of rejected holds whoever the champion is by now.
    let Concluded::Rejected(version) = store.conclude_round(&lease, &conclusion(false, None)).await.unwrap() else {
        panic!("not rejected")
    };
    assert_eq!(store.model(version).await.unwrap().status, ModelStatus::Rejected);
    assert_eq!(champion(&store).await, Some(first));
    assert_eq!(store.register_model(&checkpoint(77)).await.unwrap(), version);
    assert_eq!(store.model(version).await.unwrap().status, ModelStatus::Rejected);
    // A person may know better than the gate.
    store.promote(version, "by hand", Some(first)).await.unwrap();
    assert_eq!(champion(&store).await, Some(version));
}

#[tokio::test]
async fn a_champion_that_changed_meanwhile_stays_and_nothing_of_the_conclusion_is_written() {
    let (store, _) = migrated().await;
    let first = store.register_model(&checkpoint(1)).await.unwrap();
    let second = store.register_model(&checkpoint(2)).await.unwrap();
    store.promote(first, "the first", None).await.unwrap();
    let lease = started(&store, "a").await;
    store.promote(second, "by hand", Some(first)).await.unwrap();

    let concluded = store.conclude_round(&lease, &conclusion(true, Some(first))).await.unwrap();
    assert_eq!(concluded, Concluded::ChampionChanged { champion: Some(second) });
    assert_eq!(champion(&store).await, Some(second));
    assert_eq!(store.models().await.unwrap().len(), 2);
    assert_eq!(store.round(lease.round).await.unwrap().finished_at, None);
    let concluded = store.conclude_round(&lease, &conclusion(true, Some(second))).await.unwrap();
    assert!(matches!(concluded, Concluded::Promoted(_)), "{concluded:?}");
}

#[tokio::test]
async fn a_round_cannot_change_the_labels_of_what_serves() {
    let (store, _) = migrated().await;
    let first = store.register_model(&checkpoint(1)).await.unwrap();
    store.promote(first, "the first", None).await.unwrap();
    let lease = started(&store, "a").await;
    let with = |labels: &[&str]| {
        let mut conclusion = conclusion(true, Some(first));
        conclusion.model.labels = labels.iter().map(|label| (*label).to_owned()).collect();
        conclusion
    };
    for labels in [&["好评", "差评", "中评"][..], &["好评", "中评"]] {
        let error = store.conclude_round(&lease, &with(labels)).await.unwrap_err();
        assert!(matches!(error, StoreError::OtherLabels) && !error.is_transient(), "{error}");
    }
    assert_eq!(champion(&store).await, Some(first));
    let concluded = store.conclude_round(&lease, &with(&["好评", "差评"])).await.unwrap();
    assert!(matches!(concluded, Concluded::Promoted(_)), "another order is the same set: {concluded:?}");
}

#[tokio::test]
async fn a_conclusion_that_fails_at_its_last_step_leaves_nothing() {
    let (store, mut look) = migrated().await;
    let lease = started(&store, "a").await;
    let refuse =
        "create trigger refuse before insert on deployments for each statement execute function refuse_change()";
    sqlx::raw_sql(refuse).execute(&mut look).await.unwrap();
    store.conclude_round(&lease, &conclusion(true, None)).await.unwrap_err();
    assert!(store.models().await.unwrap().is_empty());
    let round = store.round(lease.round).await.unwrap();
    assert_eq!((round.verdict, round.candidate), (None, None));

    sqlx::raw_sql("drop trigger refuse on deployments").execute(&mut look).await.unwrap();
    let concluded = store.conclude_round(&lease, &conclusion(true, None)).await.unwrap();
    assert!(matches!(concluded, Concluded::Promoted(_)), "{concluded:?}");
}

#[tokio::test]
async fn labels_are_new_until_a_round_has_concluded_with_them() {
    let (store, _) = migrated().await;
    let add = async |count: usize| {
        let label = NewLabel {
            review_id: None,
            text: Some("好吃".to_owned()),
            label: "好评".to_owned(),
            labeled_by: None,
            labeled_at: None,
            source: "test".to_owned(),
        };
        store.add_labels(&vec![label; count]).await.unwrap();
    };
    add(5).await;
    assert_eq!(store.new_labels().await.unwrap(), 5);
    let lease = started(&store, "a").await;
    assert_eq!(store.record_dataset(&lease, "f", crate::seen(5), None).await.unwrap(), Outcome::Written);
    assert_eq!(store.abandon_round(&lease, "killed").await.unwrap(), Outcome::Written);
    assert_eq!(store.new_labels().await.unwrap(), 5);

    let lease = started(&store, "a").await;
    assert_eq!(store.record_dataset(&lease, "f", crate::seen(5), None).await.unwrap(), Outcome::Written);
    add(2).await;
    let _ = store.conclude_round(&lease, &conclusion(false, None)).await.unwrap();
    assert_eq!(store.new_labels().await.unwrap(), 2);
}

#[tokio::test]
async fn a_command_answers_the_oldest_open_request() {
    let (store, mut look) = migrated().await;
    assert_eq!(store.open_request().await.unwrap(), None);
    let first = store.request_round(&json!({"epochs": 1}), "me").await.unwrap();
    let second = store.request_round(&json!({}), "you").await.unwrap();
    assert_eq!(store.open_request().await.unwrap().unwrap().id, first);

    let Begun::Started(lease) = store.begin_round(&round("a", Trigger::Command)).await.unwrap() else {
        panic!("not started")
    };
    assert_eq!(store.open_request().await.unwrap().unwrap().id, second);
    // Taking over answers no request: the round that is taken over was begun for another.
    lapse(&mut look).await;
    let resumed = store.begin_round(&round("b", Trigger::Command)).await.unwrap();
    assert!(matches!(&resumed, Begun::Resumed(again, _) if again.round == lease.round), "{resumed:?}");
    assert_eq!(store.open_request().await.unwrap().unwrap().id, second);
}

#[tokio::test]
async fn a_round_that_there_is_not_is_named() {
    let (store, _) = migrated().await;
    let error = store.round(5).await.unwrap_err();
    assert!(matches!(error, StoreError::NoSuchRound(5)), "{error}");
    assert_eq!(store.last_round().await.unwrap(), None);
}

#[tokio::test]
async fn what_is_new_does_not_hang_on_what_was_deleted() {
    let (store, mut look) = migrated().await;
    let add = async |look: &mut sqlx::PgConnection, count: i32| {
        let add = "insert into labels (text, label) select 'text', 'a' from generate_series(1, $1)";
        sqlx::query(add).bind(count).execute(look).await.unwrap();
    };
    add(&mut look, 10).await;
    assert_eq!(store.new_labels().await.unwrap(), 10);
    let lease = started(&store, "a").await;
    assert_eq!(store.record_dataset(&lease, "f", crate::seen(10), None).await.unwrap(), Outcome::Written);
    let concluded = store.conclude_round(&lease, &conclusion(false, None)).await.unwrap();
    assert!(matches!(concluded, Concluded::Rejected(_)), "{concluded:?}");
    let delete = "alter table labels disable trigger labels_are_append_only; delete from labels where id <= 4;
        alter table labels enable trigger labels_are_append_only";
    sqlx::raw_sql(delete).execute(&mut look).await.unwrap();
    assert_eq!(store.new_labels().await.unwrap(), 0, "not -4");
    sqlx::raw_sql("insert into classes values ('a')").execute(&mut look).await.unwrap();
    add(&mut look, 3).await;
    assert_eq!(store.new_labels().await.unwrap(), 3);
    // As a round of the release before has left it.
    sqlx::raw_sql("update rounds set last_label = null").execute(&mut look).await.unwrap();
    assert_eq!(store.new_labels().await.unwrap(), 0);
}
