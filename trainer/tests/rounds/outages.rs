//! What is away or full is waited for, in the middle of a round.

use harness::until;
use stack::{Postgres, SmallDisk};

use crate::site::Site;

const LINEAR: [&str; 3] = ["--once", "--base", "new-linear"];

#[tokio::test]
async fn a_full_checkpoint_store_is_waited_for_and_nothing_half_published_is_registered() {
    let site = Site::new().await;
    let disk = match SmallDisk::mount(&site.path("checkpoints"), 64) {
        Ok(disk) => disk,
        Err(error) => return stack::not_run(format!("{error:#}")),
    };
    disk.fill().unwrap();
    site.label(0..600).await;
    let mut trainer = site.trainer("trainer", &LINEAR);
    until("a trainer that waits", async || trainer.log().contains("No space left on device")).await;
    let waiting = site.registry().await;
    assert_eq!((waiting.models, &waiting.champions[..], &waiting.verdicts[..]), (0, &[][..], &[None][..]));

    disk.clear().unwrap();
    assert_eq!(trainer.exit_code().await, Some(0));
    assert_eq!(site.registry().await.champions, [1]);
    site.every_registered_checkpoint_is_complete().await;
}

#[tokio::test]
async fn a_database_that_stops_and_one_that_crashes_in_the_middle_of_a_round_cost_nothing_but_time() {
    let mut postgres = Postgres::start().expect("a private Postgres");
    let site = Site::on(&postgres).await;
    let base = site.small_network();
    site.label(0..300).await;
    let network =
        ["--once", "--base", &base, "--epochs", "6", "--batch-size", "4", "--max-length", "16", "--save-steps", "1"];
    let mut trainer = site.trainer("trainer", &network);
    site.until_steps(2).await;
    postgres.stop();
    // Longer than the lease, which the trainer cannot extend meanwhile.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    postgres.start_again().expect("Postgres starts again");
    site.until_steps(2).await;
    assert_eq!(site.registry().await.verdicts, [None], "the round ended too early for this test");
    postgres.kill().expect("Postgres can be killed");
    postgres.start_again().expect("Postgres starts again");

    assert_eq!(trainer.exit_code().await, Some(0), "{}", trainer.log());
    let registry = site.registry().await;
    assert_eq!((registry.verdicts.len(), &registry.champions[..]), (1, &[1][..]), "{}", trainer.log());
    site.every_registered_checkpoint_is_complete().await;
}
