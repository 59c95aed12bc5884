//! Trainers that freeze, compete, or crash again and again.

use std::time::Duration;

use harness::{Signal, flip_a_bit, until};

use crate::site::Site;

const LINEAR: [&str; 3] = ["--once", "--base", "new-linear"];

#[tokio::test]
async fn a_trainer_frozen_past_its_lease_publishes_nothing() {
    let site = Site::new().await;
    site.label(0..600).await;
    // It is frozen where it asks for the champion, with its round begun.
    let mut blocker = site.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table deployments in access exclusive mode").execute(&mut *blocker).await.unwrap();
    let mut frozen = site.trainer("frozen", &LINEAR);
    let begun = "select count(*) from rounds";
    until("a round", async || site.number(begun).await == Some(1)).await;
    frozen.signal(Signal::SIGSTOP);
    blocker.rollback().await.unwrap();

    tokio::time::sleep(Duration::from_millis(1_100)).await;
    site.round(&[]).await;
    let after = site.registry().await;
    assert_eq!((&after.champions[..], after.models), (&[1][..], 1));

    frozen.signal(Signal::SIGCONT);
    assert_eq!(frozen.exit_code().await, Some(1));
    assert!(frozen.log().contains("another trainer has taken the round over"), "{}", frozen.log());
    assert_eq!(site.registry().await, after);
}

#[tokio::test]
async fn of_two_trainers_one_does_the_round() {
    let site = Site::new().await;
    site.label(0..600).await;
    let mut trainers = [site.trainer("one", &LINEAR), site.trainer("other", &LINEAR)];
    for trainer in &mut trainers {
        assert_eq!(trainer.exit_code().await, Some(0));
    }
    let registry = site.registry().await;
    assert_eq!((&registry.champions[..], registry.models, registry.verdicts.len()), (&[1][..], 1, 1));
}

#[tokio::test]
async fn a_round_that_has_ended_ten_trainers_is_given_up() {
    let site = Site::new().await;
    site.label(0..600).await;
    sqlx::query(
        "insert into rounds (trigger, parameters, owner, owner_epoch, lease_until)
        values ('once', '{}', 'somebody', 10, now() - interval '1 second')",
    )
    .execute(&site.pool)
    .await
    .unwrap();
    let mut trainer = site.trainer("trainer", &LINEAR);
    assert_eq!(trainer.exit_code().await, Some(1));
    let round = site.last_round().await;
    assert_eq!(round["reason"], "given up: 10 trainers ended in the middle of it");
}

#[tokio::test]
async fn a_champion_that_a_person_promotes_meanwhile_is_the_one_to_beat() {
    let site = Site::new().await;
    site.label(0..300).await;
    site.round(&["--margin", "0.5"]).await;
    site.label(300..600).await;
    site.round(&["--margin", "0.5"]).await;
    assert_eq!(site.registry().await.champions, [1, 2]);

    // The round compares with version 2 and finds, when it is to conclude, that version 1 serves
    // again.
    site.label(600..1200).await;
    let mut blocker = site.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table deployments in share row exclusive mode").execute(&mut *blocker).await.unwrap();
    let mut trainer = site.trainer("trainer", &[&LINEAR[..], &["--margin", "0.5"]].concat());
    let waits = "select count(*) from pg_locks where not granted and relation = 'deployments'::regclass";
    until("a verdict that waits", async || site.number(waits).await == Some(1)).await;
    sqlx::query("insert into deployments (alias, version, why) values ('champion', 1, 'by hand')")
        .execute(&mut *blocker)
        .await
        .unwrap();
    blocker.commit().await.unwrap();
    assert_eq!(trainer.exit_code().await, Some(0));
    let round = site.last_round().await;
    assert_eq!((&round["verdict"], &round["champion"]), (&"accepted".into(), &1.into()), "{}", round["reason"]);
    assert_eq!(site.registry().await.champions, [1, 2, 1, 3]);
}

#[tokio::test]
async fn a_champion_that_was_damaged_in_the_cache_is_fetched_again() {
    let site = Site::new().await;
    site.label(0..600).await;
    site.round(&[]).await;
    for labeled in [600..610, 610..620] {
        site.label(labeled).await;
        site.round(&["--min-held-out", "100000"]).await;
        let champion = site.store.champion().await.unwrap().unwrap().manifest_sha256;
        flip_a_bit(&site.path("trainer").join("checkpoints").join(champion).join("model.safetensors"));
    }
    let verdicts = site.registry().await.verdicts;
    assert_eq!(verdicts, ["accepted", "rejected", "rejected"].map(|verdict| Some(verdict.to_owned())));
}
