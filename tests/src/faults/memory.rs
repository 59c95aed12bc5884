//! A limit on a consumer's memory (fault 40).

use harness::{Process, Proxy, postgres, until};

use crate::records::Message;
use crate::site::Site;

/// What the consumer may write to: the stacks of its threads, the model, everything in flight. The
/// reviews are 133 MiB, and each is held about three times on its way.
const LIMIT_MIB: u64 = 384;

/// Sixteen partitions of long reviews wait behind a database that is silent: what is in flight stays
/// within the limit, and so the consumer lives.
#[tokio::test(flavor = "multi_thread")]
async fn long_reviews_behind_a_silent_database_stay_within_the_limit_of_memory() {
    let site = Site::new("memory", 16).await;
    let proxy = Proxy::to(postgres().address());
    let database = proxy.url(&site.database);
    let long =
        |number: usize| Message::review(&format!("r-{number}"), &format!("{number} {}", "很快，好吃。".repeat(13_000)));
    let topic = site.open_topic();
    let mut sent = Vec::new();
    for from in [0, 200, 400] {
        sent.extend(topic.publish(&(from..from + 200).map(long).collect::<Vec<_>>()).await);
    }
    let consumer = site.consumer_command(&[("--database-url", &database)]);
    let mut limited = harness::command("sh");
    limited.arg("-c").arg(format!("ulimit -d {} && exec \"$@\"", LIMIT_MIB * 1024)).arg("limited");
    limited.arg(consumer.get_program()).args(consumer.get_args());
    let mut consumer = Process::start(&mut limited, site.path("consumer.log"));
    until("the first records", async || site.done().await > 0).await;
    proxy.hold();
    consumer.until_it_says("reading pauses").await;
    assert!(consumer.ended().is_none(), "{}", consumer.log());
    proxy.release();
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
    assert!(consumer.ended().is_none(), "{}", consumer.log());
    println!("peak memory {:?} MiB of {} MiB of reviews", consumer.peak_memory(), (600 * 13_000 * 18) >> 20);
}
