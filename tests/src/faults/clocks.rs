//! Clocks that jump, and clocks that differ (faults 37 and 40): of the process's view of the time of
//! day, by a library that is loaded before the system's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{Process, TINY_CLASSES, until};

use crate::records::Message;
use crate::site::Site;

const HOUR: i64 = 3_600;

/// A wrong clock for a process.
struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    /// A clock that is right, so far; `None` where there is no C compiler that makes one.
    fn new(site: &Site, name: &str) -> Option<Self> {
        let (library, offset) = (site.path("clock.so"), site.path(&format!("{name}.offset")));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/faults/clock.c");
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).status();
        let clock = compiled.is_ok_and(|status| status.success()).then_some(Self { library, offset })?;
        clock.set(0);
        Some(clock)
    }

    /// So many seconds beside the right time, from now on.
    fn set(&self, seconds: i64) {
        // At once: half a number would be read as one.
        let new = self.offset.with_extension("new");
        fs::write(&new, seconds.to_string()).expect("the file can be written");
        fs::rename(new, &self.offset).expect("the file can be replaced");
    }

    fn give_to<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LD_PRELOAD", &self.library).env("CLOCK_OFFSET", &self.offset)
    }
}

/// Fault 40.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_by_hours_and_days_loses_nothing_and_stops_nothing() {
    let site = Site::new("clock", 2).await;
    let Some(clock) = Clock::new(&site, "consumer") else { return stack::not_run("there is no C compiler") };
    let topic = site.open_topic();
    let mut consumer = Process::start(clock.give_to(&mut site.consumer_command(&[])), site.path("consumer.log"));
    consumer.until_ready().await;
    let mut sent = Vec::new();
    for seconds in [HOUR, -2 * HOUR, 30 * 24 * HOUR, -365 * 24 * HOUR, 0] {
        clock.set(seconds);
        sent.extend(topic.publish(&Message::mixed(100)).await);
        site.until_done(&sent).await;
        assert_eq!(consumer.get("/health/ready").0, 200, "{seconds} s: {}", consumer.get("/health/ready").1);
    }
    site.check_every_record(&sent).await;
    assert_eq!(consumer.metric("labelstream_rejoins_total"), Some(0.0), "{}", consumer.log());
    let stamped = "select count(*) from predictions where abs(extract(epoch from now() - classified_at)) < 600";
    let predictions = "select count(*) from predictions";
    assert_eq!(site.number(stamped).await, site.number(predictions).await, "rows are stamped by the database");
    assert!(consumer.ended().is_none());
}

/// Fault 37: for a trainer that is frozen past its lease see the trainer's own tests.
#[tokio::test(flavor = "multi_thread")]
async fn two_trainers_whose_clocks_are_days_apart_do_one_round() {
    let site = Site::new("two_clocks", 1).await;
    let labels = "insert into labels (label, text)
        select case when n % 2 = 0 then $1 else $2 end, n || case when n % 2 = 0 then ' 太慢了，不来' else ' 很快，好吃' end
        from generate_series(1, 400) as n";
    let labeled = sqlx::query(labels).bind(TINY_CLASSES[0]).bind(TINY_CLASSES[1]).execute(&site.pool).await;
    labeled.expect("labels can be given");
    let mut trainers = Vec::new();
    for (name, days) in [("ahead", 3), ("behind", -3)] {
        let Some(clock) = Clock::new(&site, name) else { return stack::not_run("there is no C compiler") };
        clock.set(days * 24 * HOUR);
        let work = site.path(name).display().to_string();
        let flags =
            [("--base", "new-linear"), ("--min-new-labels", "300"), ("--min-held-out", "20"), ("--work", &work)];
        let mut command = site.trainer_command(&flags);
        trainers.push(Process::start(clock.give_to(&mut command), site.path(&format!("{name}.log"))));
    }
    until("a verdict", async || site.number("select count(*) from rounds where verdict is not null").await >= Some(1))
        .await;
    // Whoever is late looks again, and finds no label that is new.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(site.number("select count(*) from rounds").await, Some(1));
    assert_eq!(site.number("select count(*) from models where round is not null").await, Some(1));
    assert!(trainers.iter_mut().all(|trainer| trainer.ended().is_none()));
}
