//! The order to stop, given when there is nobody to say goodbye to (fault 39).

use std::time::{Duration, Instant};

use harness::{Process, Proxy, Signal, own_kafka, postgres, until};

use crate::records::Message;
use crate::site::Site;

/// Small batches, so that the flow lasts, and little time to finish it.
const FLAGS: [(&str, &str); 3] = [("--max-batch-reviews", "10"), ("--max-batch-delay-ms", "5"), ("--grace", "2")];

/// Longer than the grace and the goodbye together, on a busy machine.
const SOON: Duration = Duration::from_secs(25);

/// The exit code of a consumer that is told to stop.
async fn stop(consumer: &mut Process) -> Option<i32> {
    let told = Instant::now();
    consumer.signal(Signal::SIGTERM);
    let code = consumer.exit_code().await;
    println!("ended after {:.1} s", told.elapsed().as_secs_f64());
    assert!(told.elapsed() < SOON, "{}", consumer.log());
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_ends_in_time_without_its_database_and_at_once_when_it_is_told_twice() {
    let site = Site::new("stop_database", 2).await;
    let sent = site.open_topic().publish(&Message::mixed(5_000)).await;
    let proxy = Proxy::to(postgres().address());
    let database = proxy.url(&site.database);
    let flags = [&FLAGS[..], &[("--database-url", &database)]].concat();

    // Silent, then gone: what was in flight is given up after the grace, and the exit code says so.
    for silent in [true, false] {
        let mut consumer = site.consumer(&format!("silent_{silent}"), &flags);
        until_some_more(&site).await;
        if silent {
            proxy.hold()
        } else {
            proxy.close()
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(stop(&mut consumer).await, Some(1), "{}", consumer.log());
        assert!(consumer.log().contains("will be read again"), "{}", consumer.log());
        proxy.cut();
        proxy.release();
        proxy.lead_to(postgres().address());
    }

    let patient = [&flags[..2], &flags[3..], &[("--grace", "60")]].concat();
    let mut consumer = site.consumer("told_twice", &patient);
    until_some_more(&site).await;
    proxy.close();
    consumer.signal(Signal::SIGTERM);
    consumer.until_it_says("draining").await;
    assert!(consumer.ended().is_none(), "it has a minute to finish what it has read");
    assert_eq!(stop(&mut consumer).await, Some(130), "{}", consumer.log());
    proxy.lead_to(postgres().address());

    let _next = site.consumer("next", &[]);
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_without_its_broker_writes_what_it_has_and_ends() {
    let mut kafka = own_kafka();
    let site = Site::on("stop_broker", 2, &kafka, postgres()).await;
    let mut sent = Vec::new();

    // Silent, then gone.
    for silent in [true, false] {
        sent.extend(site.open_topic().publish(&Message::mixed(5_000)).await);
        let mut consumer = site.consumer(&format!("silent_{silent}"), &FLAGS);
        until_some_more(&site).await;
        if silent {
            kafka.broker(0).freeze().expect("the broker runs")
        } else {
            kafka.kill().expect("the broker runs")
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(stop(&mut consumer).await, Some(0), "{}", consumer.log());
        assert!(consumer.log().contains("everything that was read is written"), "{}", consumer.log());
        if silent {
            kafka.broker(0).thaw().expect("the broker is there")
        } else {
            kafka.start_again().expect("it starts")
        }
    }

    let _next = site.consumer("next", &[]);
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
}

/// Waits until some records more are done.
async fn until_some_more(site: &Site) {
    let before = site.done().await;
    until("more records", async || site.done().await > before + 100).await;
}
