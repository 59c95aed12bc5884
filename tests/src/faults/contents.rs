//! What stands in a topic, and what no longer does: compacted records, timestamps of every kind,
//! records made to take memory (faults 25, 28, 29 and 30; those of `bad_records.rs` are 26, 27 and 32).

use std::time::Duration;

use harness::{PATIENCE, kafka, postgres, until};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use sqlx::query_as;

use crate::records::{Message, Sent};
use crate::site::Site;

/// Fault 25: of most records only the offset is left, at the start, in the middle and, as
/// tombstones, at the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_with_holes_and_tombstones_is_read_to_its_end() {
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "200"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "200"),
    ];
    kafka().create_topic_with("compacted", 1, &settings).expect("the topic can be made");
    let site = Site::of_topic("compacted", 1, kafka(), postgres()).await;
    let topic = site.open_topic();
    let keyed = |number: usize| {
        let key = format!("key-{}", number % 20);
        let message = if number % 60 > 55 { Message::tombstone() } else { Message::mixed_at(number) };
        message.with_key(key.as_bytes())
    };
    let mut sent = Vec::new();
    for from in [0, 200, 400] {
        sent.extend(topic.publish(&(from..from + 200).map(keyed).collect::<Vec<_>>()).await);
        tokio::time::sleep(Duration::from_millis(300)).await;
        // A segment ends when a later record comes.
        sent.extend(topic.publish(&[Message::review("end", &format!("after {from}")).with_key(b"end")]).await);
    }
    until("a compacted topic", async || offsets(&site).len() < 200).await;

    let _consumer = site.consumer("consumer", &[]);
    site.until_done(&sent).await;
    // The broker goes on compacting, so look for what is left after the consumer has read it: no
    // less than what it had to see.
    let left = offsets(&site);
    let last = sent.last().expect("records were sent").offset;
    let seen = "select kafka_offset from predictions union all select kafka_offset from dead_letters";
    let seen: Vec<(i64,)> = query_as(seen).fetch_all(&site.pool).await.expect("the database answers");
    let is_value = |record: &&Sent| record.message.payload.is_some();
    let values: Vec<&Sent> = sent.iter().filter(is_value).collect();
    for record in &values {
        let rows = seen.iter().filter(|(offset,)| *offset == record.offset).count();
        assert!(rows <= 1, "doubled at {}", record.offset);
        assert!(rows == 1 || !left.contains(&record.offset), "lost at {}", record.offset);
    }
    assert!(seen.iter().all(|(offset,)| values.iter().any(|record| record.offset == *offset)), "rows of nothing");
    assert!(seen.len() < values.len() / 2, "there are no holes, which proves nothing");
    assert_eq!((site.done().await, site.number("select count(*) from gaps").await), (last + 1, Some(0)));
    println!("{} records were left of {}", left.len(), sent.len());
}

/// Fault 28: what is nested deep or says one name ten thousand times is refused or read without
/// memory that grows with it.
#[tokio::test(flavor = "multi_thread")]
async fn records_made_to_take_memory_take_none() {
    let site = Site::new("deep", 2).await;
    let topic = site.open_topic();
    let mut sent = topic.publish(&Message::mixed(100)).await;
    let consumer = site.consumer("consumer", &[]);
    site.until_done(&sent).await;
    let Some(before) = consumer.peak_memory() else { return stack::not_run("this system tells nobody's memory") };

    let arrays = format!(r#"{{"text": "好", "extra": {}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let objects = format!(r#"{{"text": "好", "extra": {}1{}}}"#, r#"{"a":"#.repeat(40_000), "}".repeat(40_000));
    let names = r#""text": "again", "#.repeat(10_000);
    let kinds = [
        Message::bad(arrays, "too_deep"),
        Message::bad(objects, "too_deep"),
        Message::bad("[".repeat(200_000), "not_an_object"),
        Message::raw(
            format!(r#"{{{names}"text": "the last"}}"#),
            crate::records::Expect::Prediction("the last".into()),
        ),
    ];
    for _ in 0..10 {
        let messages: Vec<Message> = kinds.iter().cycle().take(40).cloned().collect();
        sent.extend(topic.publish(&messages).await);
    }
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
    let after = consumer.peak_memory().expect("it told before");
    println!("peak memory {before} MiB before 400 such records of 0.2 MB, {after} MiB after");
    assert!(after < before + 300, "{before} MiB have become {after} MiB");
}

/// Fault 30: the record's own timestamp, or the one that the broker gives it.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_has_the_time_that_its_topic_gives_it() {
    // Unless it is told otherwise, a broker refuses times more than an hour ahead.
    let any = [("message.timestamp.after.max.ms", "9223372036854775807")];
    kafka().create_topic_with("times", 1, &any).expect("the topic can be made");
    let mut site = Site::of_topic("times", 1, kafka(), postgres()).await;
    let year_of = "select extract(year from record_time)::bigint from predictions where text = ";
    let review = |year: i64| {
        let mut message = Message::review("", &format!("year {year}"));
        message.timestamp = Some((year - 1970) * 31_556_952_000 + 1);
        message
    };
    let messages = [review(1970), review(1999), review(2300)];
    let sent = site.open_topic().publish(&messages).await;
    let _own = site.consumer("own", &[]);
    site.until_done(&sent).await;
    for year in [1970, 1999, 2300] {
        assert_eq!(site.number(&format!("{year_of} 'year {year}'")).await, Some(year));
    }
    site.check_every_record(&sent).await;

    site.topic = "stamped".to_owned();
    kafka()
        .create_topic_with("stamped", 1, &[("message.timestamp.type", "LogAppendTime")])
        .expect("the topic can be made");
    site.open_topic().publish(&messages).await;
    let _stamped = site.consumer("stamped", &[]);
    let now = "select count(*) from predictions where topic = 'stamped' and abs(extract(epoch from now() - record_time)) < 600";
    until("three records of today", async || site.number(now).await == Some(3)).await;
}

/// Fault 29: each alone is larger than what is to be fetched at a time.
#[tokio::test(flavor = "multi_thread")]
async fn records_larger_than_a_fetch_are_read_among_small_ones() {
    let site = Site::new("large", 2).await;
    let review = |number: usize| {
        let text = if number.is_multiple_of(5) { "很长。".repeat(10_000) } else { "好吃".to_owned() };
        Message::review(&format!("r-{number}"), &format!("{text} {number}"))
    };
    let sent = site.open_topic().publish(&(0..60).map(review).collect::<Vec<_>>()).await;
    let _consumer = site.consumer("consumer", &[("--kafka-property", "fetch.message.max.bytes=1000")]);
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
}

/// The offsets that partition 0 still has, as another client reads them.
fn offsets(site: &Site) -> Vec<i64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &site.brokers).set("group.id", "reader").set("enable.partition.eof", "true");
    let reader: BaseConsumer = config.create().expect("a consumer can be made");
    let mut start = TopicPartitionList::new();
    start.add_partition_offset(&site.topic, 0, Offset::Beginning).expect("an offset is one");
    reader.assign(&start).expect("the partition is there");
    let mut offsets = Vec::new();
    // The end is an event of its own.
    while let Some(Ok(record)) = reader.poll(PATIENCE) {
        offsets.push(record.offset());
    }
    offsets
}
