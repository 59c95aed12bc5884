//! Trainers that die: the old champion or the complete new one, and nothing between.

use std::time::Duration;

use harness::{Signal, until};
use sqlx::Connection;

use crate::site::Site;

const LINEAR: [&str; 3] = ["--once", "--base", "new-linear"];

/// The champion is the old one, and the round goes on; or it is the new one, and everything about
/// it is there.
async fn old_or_new(site: &Site) -> bool {
    let registry = site.registry().await;
    site.every_registered_checkpoint_is_complete().await;
    match &registry.verdicts[..] {
        [None] => assert_eq!((registry.models, registry.champions.len()), (0, 0)),
        [Some(verdict)] => {
            assert_eq!((verdict.as_str(), registry.models, registry.champions.len()), ("accepted", 1, 1))
        }
        other => panic!("{other:?}"),
    }
    registry.verdicts == [Some("accepted".to_owned())]
}

#[tokio::test]
async fn killed_after_any_time_a_round_leaves_the_old_champion_or_the_complete_new_one() {
    // How long an undisturbed round takes from its first row.
    let site = Site::new().await;
    site.label(0..600).await;
    let begun = std::time::Instant::now();
    site.round(&[]).await;
    let whole = begun.elapsed();

    for part in 1..=8 {
        let site = Site::new().await;
        site.label(0..600).await;
        let mut trainer = site.trainer("trainer", &LINEAR);
        until("a round", async || !site.registry().await.verdicts.is_empty()).await;
        tokio::time::sleep(whole * part / 8).await;
        trainer.kill();
        old_or_new(&site).await;
        // Whoever comes next, after the lease, ends it.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        site.round(&[]).await;
        assert!(old_or_new(&site).await);
    }
}

#[tokio::test]
async fn a_trainer_that_is_told_to_stop_leaves_its_round_to_the_next_one_at_once() {
    let site = Site::new().await;
    site.label(0..600).await;
    let mut blocker = site.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table deployments in access exclusive mode").execute(&mut *blocker).await.unwrap();
    // A lease that outlives this test, were it not given back.
    let mut trainer = site.trainer("trainer", &[&LINEAR[..], &["--lease", "3600"]].concat());
    let begun = "select count(*) from rounds";
    until("a round", async || site.number(begun).await == Some(1)).await;
    trainer.signal(Signal::SIGTERM);
    assert_eq!(trainer.exit_code().await, Some(0));
    blocker.rollback().await.unwrap();
    assert!(!old_or_new(&site).await);
    site.round(&[]).await;
    assert!(old_or_new(&site).await);
    assert_eq!(site.last_round().await["owner_epoch"], 2);
}

/// The files are published, the transaction of the verdict is open.
#[tokio::test]
async fn killed_in_the_middle_of_the_verdict_a_round_is_concluded_by_the_next_trainer_with_the_same_checkpoint() {
    let site = Site::new().await;
    site.label(0..600).await;
    let mut blocker = sqlx::PgConnection::connect_with(&site.pool.connect_options()).await.unwrap();
    sqlx::raw_sql("begin; lock table deployments in share row exclusive mode").execute(&mut blocker).await.unwrap();
    let mut trainer = site.trainer("trainer", &LINEAR);
    let waits = "select count(*) from pg_locks where not granted and relation = 'deployments'::regclass";
    until("a verdict that waits", async || site.number(waits).await == Some(1)).await;
    let published = || {
        std::fs::read_dir(site.path("checkpoints")).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
    };
    let before = published();
    assert_eq!(before.len(), 1);
    trainer.kill();
    blocker.close().await.unwrap();
    assert!(!old_or_new(&site).await);

    tokio::time::sleep(Duration::from_millis(1_100)).await;
    site.round(&[]).await;
    assert!(old_or_new(&site).await);
    assert_eq!(published(), before, "the same round gives the same checkpoint");
    assert_eq!(site.last_round().await["owner_epoch"], 2);
}

#[tokio::test]
async fn a_training_that_is_killed_goes_on_to_the_checkpoint_that_an_undisturbed_one_gives() {
    let calm = Site::new().await;
    let base = calm.small_network();
    // Nothing is promoted: what is compared is the network, whatever it is worth.
    let network = [
        "--once",
        "--base",
        &base,
        "--epochs",
        "2",
        "--batch-size",
        "8",
        "--max-length",
        "16",
        "--save-steps",
        "1",
        "--valid",
        "0",
        "--min-held-out",
        "100000",
    ];
    calm.label(0..300).await;
    assert_eq!(calm.trainer("trainer", &network).exit_code().await, Some(0));

    let site = Site::new().await;
    site.label(0..300).await;
    let mut trainer = site.trainer("trainer", &network);
    site.until_steps(3).await;
    trainer.kill();
    assert_eq!(site.registry().await.models, 0, "it was killed too late for this test");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let mut trainer = site.trainer("trainer", &network);
    assert_eq!(trainer.exit_code().await, Some(0));
    assert!(trainer.log().contains("the training goes on where it was"));
    let checkpoint = async |site: &Site| site.store.model(store::Version(1)).await.unwrap().manifest_sha256;
    assert_eq!(checkpoint(&site).await, checkpoint(&calm).await);
}

#[tokio::test]
async fn a_new_model_that_is_killed_goes_on_with_the_vocabulary_that_it_began_with() {
    let network = ["--once", "--base", "new-bert", "--epochs", "2", "--batch-size", "8", "--save-steps", "1"];
    let site = Site::new().await;
    site.label(0..300).await;
    let mut trainer = site.trainer("trainer", &network);
    site.until_steps(3).await;
    trainer.kill();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let mut trainer = site.trainer("trainer", &network);
    assert_eq!(trainer.exit_code().await, Some(0));
    assert!(trainer.log().contains("the training goes on where it was"));
}
