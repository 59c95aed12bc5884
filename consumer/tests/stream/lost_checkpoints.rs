//! A new champion that cannot be fetched: a full disk, a checkpoint that is deleted meanwhile.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::{until, until_some};
use rustix::fs::OFlags;
use stack::SmallDisk;
use store::{LoadStatus, Version};

use crate::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_champion_for_which_the_disk_has_no_room_is_refused_until_it_has() {
    let site = Site::new().await;
    let disk = match SmallDisk::mount(&site.path("cache"), 4) {
        Ok(disk) => disk,
        Err(error) => return stack::not_run(format!("{error:#}")),
    };
    let consumer = site.consume_looking(Duration::from_millis(200));
    site.until_reported(Version(1), LoadStatus::Serving).await;
    disk.fill().unwrap();
    let second = site.promote_tiny_model(2).await;

    let reason = site.until_reported(second, LoadStatus::Refused).await.unwrap();
    assert!(reason.contains("No space left on device") && reason.contains("cache"), "{reason}");
    site.world.publish_reviews(10);
    site.world.until_written(10).await;
    assert_eq!(site.newest_versions(10).await, [1], "the old model serves");
    let left = fs::read_dir(site.path("cache")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with(".fetching-")), "half a copy stays");

    disk.clear().unwrap();
    site.until_reported(second, LoadStatus::Serving).await;
    consumer.stop().await;
    site.world.assert_each_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_champion_that_is_deleted_while_it_is_fetched_is_refused() {
    let site = Site::new().await;
    let consumer = site.consume_looking(Duration::from_millis(200));
    site.until_reported(Version(1), LoadStatus::Serving).await;
    let second = site.register_tiny_model(2).await;
    let weights = site.published(second, "model.safetensors").await;
    let pipe = Pipe::in_place_of(&weights);
    site.promote(second).await;

    let held = pipe.until_read().await;
    fs::remove_dir_all(weights.parent().unwrap()).unwrap();
    drop(held);
    // The half that was read is another refusal, and the last word that of the next attempt.
    until("the reason", async || {
        let reason = site.until_reported(second, LoadStatus::Refused).await.unwrap();
        reason.contains("there is no checkpoint file")
    })
    .await;
    site.world.publish_reviews(10);
    site.world.until_written(10).await;
    assert_eq!(site.newest_versions(10).await, [1], "the old model serves");
    consumer.stop().await;
    site.world.assert_each_exactly_once().await;
}

/// A file that whoever reads it waits at.
struct Pipe<'a>(&'a Path);

impl<'a> Pipe<'a> {
    fn in_place_of(file: &'a Path) -> Self {
        fs::remove_file(file).unwrap();
        assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
        Self(file)
    }

    /// Somebody reads, and reads nothing until this is dropped.
    async fn until_read(&self) -> File {
        until_some("a reader", async || {
            // To write without waiting is possible only while somebody reads.
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            File::options().write(true).custom_flags(flags).open(self.0).ok()
        })
        .await
    }
}
