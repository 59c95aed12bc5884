//! A group whose members come and go (faults 13 and 15).

use std::time::{Duration, Instant};

use harness::{Process, Signal, until};
use tokio::sync::watch;

use crate::records::{Message, publish_steadily};
use crate::site::Site;

/// Small batches, so that a member always has some in flight.
const FLAGS: [(&str, &str); 2] = [("--max-batch-reviews", "20"), ("--max-batch-delay-ms", "5")];

/// Fault 13: three consumers, restarted one after the other as an update would, twenty times.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_restarts_one_after_the_other_keep_the_lag_small() {
    let site = Site::new("rolling", 6).await;
    let mut consumers: Vec<Process> = (0..3).map(|number| site.consumer(&format!("first_{number}"), &FLAGS)).collect();
    for consumer in &mut consumers {
        consumer.until_ready().await;
    }
    let (stop, stopped) = watch::channel(false);
    let flow = tokio::spawn(publish_steadily(site.open_topic(), Message::mixed_at, stopped));
    until("the first records", async || site.done().await > 100).await;

    // How long the oldest record that waits has waited.
    let age = "select coalesce(extract(epoch from now() - min(updated_at)), 0)::bigint from positions";
    let (started, mut worst) = (Instant::now(), 0);
    for restart in 0..20 {
        let consumer = &mut consumers[restart % 3];
        consumer.signal(Signal::SIGTERM);
        assert_eq!(consumer.exit_code().await, Some(0), "{}", consumer.log());
        *consumer = site.consumer(&format!("restarted_{restart}"), &FLAGS);
        until("a consumer that reads", async || {
            worst = worst.max(site.number(age).await.unwrap_or(0));
            consumers[restart % 3].metric("labelstream_assigned_partitions") > Some(0.0)
        })
        .await;
    }
    println!("twenty restarts in {:.0} s, the longest stand of a partition {worst} s", started.elapsed().as_secs_f64());
    stop.send(true).expect("the publisher listens");
    let sent = flow.await.expect("the publisher does not panic");
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
    assert!(worst < 20, "a partition stood still for {worst} s");
}

/// Fault 15: somebody joins, leaves or dies before the group has come to rest from the last time,
/// and in each of its generations something is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_rebalances_makes_progress_in_each_generation() {
    let site = Site::new("storm", 6).await;
    let sent = site.open_topic().publish(&Message::mixed(60_000)).await;
    let steady = site.consumer("steady", &FLAGS);
    let mut others: Vec<Process> = Vec::new();
    until("the first records", async || site.done().await > 100).await;
    let (started, mut longest) = (Instant::now(), Duration::ZERO);
    for wave in 0..15 {
        match wave % 3 {
            0 => others.push(site.consumer(&format!("member_{wave}"), &FLAGS)),
            1 => others.push(site.consumer(&format!("other_{wave}"), &FLAGS)),
            _ if wave % 2 == 0 => others.remove(0).kill(),
            _ => others.remove(0).signal(Signal::SIGTERM),
        }
        let (before, since) = (site.done().await, Instant::now());
        if before == 60_000 {
            assert!(wave > 2, "the storm must fall into the flow");
            break;
        }
        until("progress in this generation", async || site.done().await > before).await;
        longest = longest.max(since.elapsed());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let generations = steady.metric("labelstream_rebalances_total");
    println!(
        "15 changes of the group in {:.0} s, {generations:?} rebalances of one member, the longest stand {:.1} s",
        started.elapsed().as_secs_f64(),
        longest.as_secs_f64()
    );
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
    assert!(longest < Duration::from_secs(20));
}

/// Fault 12. Longer than `max.poll.interval.ms` may be made, which is a minute.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes two minutes: cargo test -p tests -- --ignored"]
async fn a_member_that_stalls_in_a_rebalance_past_its_poll_interval_writes_nothing_and_joins_again() {
    let site = Site::new("stalled_claim", 4).await;
    let proxy = harness::Proxy::to(harness::postgres().address());
    let database = proxy.url(&site.database);
    let interval = ("-X", "max.poll.interval.ms=60000");
    let topic = site.open_topic();
    let mut sent = topic.publish(&Message::mixed(300)).await;
    let other = site.consumer("other", &[interval]);
    site.until_done(&sent).await;

    let mut stalled = site.consumer("stalled", &[interval, ("--database-url", &database)]);
    stalled.until_it_says("joining the group").await;
    proxy.hold();
    let started = Instant::now();
    // The others of the group go on with what is theirs, and with all of it in the end.
    sent.extend(topic.publish(&Message::mixed(1_000)).await);
    site.until_done(&sent).await;
    println!("all records done {:.0} s after the stall began", started.elapsed().as_secs_f64());
    let left = Duration::from_secs(75).saturating_sub(started.elapsed());
    tokio::time::sleep(left).await;
    proxy.release();

    sent.extend(topic.publish(&Message::mixed(1_000)).await);
    site.until_done(&sent).await;
    until("partitions for both", async || {
        [&stalled, &other].iter().all(|consumer| consumer.metric("labelstream_assigned_partitions") > Some(0.0))
    })
    .await;
    site.check_every_record(&sent).await;
    stalled.until_ready().await;
}
