//! Records that cannot become reviews: each has a defined end, and none stops the others (faults 26,
//! 27, 28, 30 and 32 of `bench/faults.md`).

use std::env;
use std::time::Duration;

use harness::{PATIENCE, until};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::programs::labelstream;
use crate::records::{Expect, Message};
use crate::site::Site;

/// Everything bad that we could think of, with the code that it gets.
fn bad_records() -> Vec<Message> {
    let deep = |depth: usize, open: &str, close: &str| {
        format!(r#"{{"text": "好", "extra": {}1{}}}"#, open.repeat(depth), close.repeat(depth))
    };
    vec![
        Message::bad("", "empty_value"),
        Message::bad("好吃", "not_json"),
        Message::bad(r#"{"text": "好吃""#, "not_json"),
        Message::bad(r#"{"text": "好吃"} and more"#, "not_json"),
        Message::bad(r#"{"text": 5"#, "not_json"),
        Message::bad("[1, 2]", "not_an_object"),
        Message::bad("\"好吃\"", "not_an_object"),
        Message::bad("null", "not_an_object"),
        Message::bad(r#"{"review_id": "r-1"}"#, "text_missing"),
        Message::bad(r#"{"text": null}"#, "text_missing"),
        Message::bad(r#"{"text": ["好吃"]}"#, "text_not_a_string"),
        Message::bad(r#"{"text": 5}"#, "text_not_a_string"),
        Message::bad(r#"{"text": ""}"#, "text_empty"),
        Message::bad(r#"{"text": " \t\n　"}"#, "text_empty"),
        Message::bad(format!(r#"{{"text": "{}"}}"#, "好".repeat(333_333)), "too_large"),
        Message::bad(r#"{"text": "好\u0000吃"}"#, "nul_character"),
        Message::bad(r#"{"text": "好吃", "shop": "\u0000"}"#, "nul_character"),
        Message::bad(r#"{"text": "好\ud83d吃"}"#, "lone_surrogate"),
        Message::bad(r#"{"text": "好吃", "shop": "\udc00"}"#, "lone_surrogate"),
        Message::bad(b"{\"text\": \"\xff\xfe\"}", "not_utf8"),
        Message::bad(b"\xff\xfe\x00\x01".to_vec(), "not_utf8"),
        Message::bad(deep(100_000, "[", "]"), "too_deep"),
        Message::bad(deep(40_000, "{\"a\":", "}"), "too_deep"),
        Message::bad("[".repeat(100_000), "not_an_object"),
        Message::bad(r#"{"text": "好吃", "review_id": {}}"#, "id_invalid"),
        Message::bad(format!(r#"{{"text": "好吃", "review_id": "{}"}}"#, "r".repeat(3_000)), "id_too_long"),
        with_a_thousand_headers(Message::bad("a thousand headers", "not_json")),
    ]
}

/// Odd records that are reviews all the same.
fn odd_records() -> Vec<Message> {
    let review = |payload: &str, text: &str| Message::raw(payload, Expect::Prediction(text.to_owned()));
    let mut old = review(r#"{"text": "old"}"#, "old");
    old.timestamp = Some(0);
    vec![
        Message::tombstone(),
        Message::tombstone().with_key(b"r-1").with_header("why", Some(b"deleted")),
        old,
        review(r#"{"text": "1970", "created_at": "1970-01-01T00:00:00Z"}"#, "1970"),
        review(r#"{"text": "2300", "created_at": "2300-01-01T00:00:00Z"}"#, "2300"),
        review(r#"{"text": "no time", "created_at": "yesterday"}"#, "no time"),
        review(r#"{"text": "a huge header"}"#, "a huge header").with_header("huge", Some(&[b'h'; 500_000])),
        review(r#"{"text": "😀 👨‍👩‍👧 \ud83d\ude00"}"#, "😀 👨‍👩‍👧 😀"),
        review(r#"{"text": "twice", "text": "the last one counts"}"#, "the last one counts"),
        with_a_thousand_headers(review(r#"{"text": "a thousand headers"}"#, "a thousand headers")),
        review(r#"{"text": "an empty key"}"#, "an empty key").with_key(b"").with_header("", None),
    ]
}

/// A thousand of one name, none of which may be lost or change its place.
fn with_a_thousand_headers(message: Message) -> Message {
    (0..1_000_u32).fold(message, |message, number| message.with_header("hop", Some(&number.to_be_bytes())))
}

/// Bytes and headers that a careless copy would change.
fn with_trimmings(message: Message) -> Message {
    message
        .with_key(b"\x00key\xff")
        .with_header("trace", Some(b"\x00\x01\xff"))
        .with_header("trace", Some(b""))
        .with_header("none", None)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_record_gets_its_reason_and_keeps_its_bytes_and_the_good_ones_between_are_labelled() {
    let site = Site::new("bad", 2).await;
    let mut messages = Vec::new();
    for (number, bad) in bad_records().into_iter().enumerate() {
        messages.extend([Message::review(&format!("r-{number}"), &format!("第{number}次")), with_trimmings(bad)]);
    }
    messages.extend(odd_records());
    let sent = site.open_topic().publish(&messages).await;
    let consumer = site.consumer("consumer", &[]);
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;

    let years = "select array_agg(distinct extract(year from created_at)::bigint order by extract(year from created_at)::bigint)
        from predictions where created_at is not null";
    let years: Vec<i64> = sqlx::query_scalar(years).fetch_one(&site.pool).await.expect("the database answers");
    assert_eq!(years, [1970, 2300]);
    assert_eq!(consumer.metric("labelstream_dead_letters_total"), Some(bad_records().len() as f64));
    assert_eq!(consumer.metric(r#"labelstream_dead_letters_total{reason="too_deep"}"#), Some(2.0));
    assert_eq!(consumer.metric("labelstream_tombstones_total"), Some(2.0));
    assert_eq!(consumer.metric("labelstream_all_records_bad"), Some(0.0));
}

/// `LABELSTREAM_TEST_BAD_RECORDS` says how many, for a longer run.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_bad_records_raises_an_alarm_and_the_stream_goes_on() {
    let count = env::var("LABELSTREAM_TEST_BAD_RECORDS").map_or(3_000, |count| count.parse().expect("a number"));
    let site = Site::new("all_bad", 2).await;
    let topic = site.open_topic();
    let bad: Vec<Message> = (0..count).map(|number| Message::bad(format!("no json {number}"), "not_json")).collect();
    let mut sent = Vec::new();
    // As many as the producer's queue has room for.
    for messages in bad.chunks(10_000) {
        sent.extend(topic.publish(messages).await);
    }
    let mut consumer = site.consumer("consumer", &[]);
    site.until_done(&sent).await;
    until("the alarm", async || consumer.metric("labelstream_all_records_bad") == Some(1.0)).await;
    assert_eq!(consumer.metric("labelstream_dead_letter_share"), Some(1.0));
    consumer.until_ready().await;

    sent.extend(topic.publish(&Message::mixed(100)).await);
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
    assert_eq!(consumer.metric("labelstream_all_records_bad"), Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_published_again_byte_for_byte() {
    let site = Site::new("replay", 1).await;
    let letters: Vec<Message> = bad_records().into_iter().map(with_trimmings).collect();
    let sent = site.open_topic().publish(&letters).await;
    let mut consumer = site.consumer("consumer", &[]);
    site.until_done(&sent).await;
    consumer.kill();

    let replay = [
        "dead-letters",
        "replay",
        "--database-url",
        &site.database,
        "--brokers",
        &site.brokers,
        "--pipeline",
        &site.topic,
    ];
    let output = labelstream(&replay);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut replayed = read(&site, letters.len());
    // The order in which they are published again is nobody's business.
    for letter in &letters {
        let same = replayed.iter().position(|record| {
            record.payload == letter.payload && record.key == letter.key && record.headers == letter.headers
        });
        let same = same.unwrap_or_else(|| panic!("not published again as it was: {:?}", letter.expect));
        replayed.swap_remove(same);
    }
    let marked = "select count(*) from dead_letters where replayed_at is not null";
    assert_eq!(site.number(marked).await, Some(letters.len() as i64));
    let again = labelstream(&replay);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(high_watermark(&site), 2 * letters.len() as i64, "what was replayed once is not replayed again unasked");
}

/// The records of partition 0 from this offset on, as many as came before it.
fn read(site: &Site, from: usize) -> Vec<Message> {
    let consumer = reader(site);
    let mut start = TopicPartitionList::new();
    start.add_partition_offset(&site.topic, 0, Offset::Offset(from as i64)).expect("an offset is one");
    consumer.assign(&start).expect("the partition is there");
    let mut records = Vec::new();
    while records.len() < from {
        let record = consumer.poll(PATIENCE).expect("a record is there").expect("the broker answers");
        let mut message = Message::raw([], Expect::Tombstone);
        message.payload = record.payload().map(<[u8]>::to_vec);
        message.key = record.key().map(<[u8]>::to_vec);
        for header in record.headers().into_iter().flat_map(|headers| headers.iter()) {
            message = message.with_header(header.key, header.value);
        }
        records.push(message);
    }
    records
}

fn high_watermark(site: &Site) -> i64 {
    reader(site).fetch_watermarks(&site.topic, 0, Duration::from_secs(30)).expect("the broker answers").1
}

fn reader(site: &Site) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &site.brokers).set("group.id", "reader").set("enable.auto.commit", "false");
    config.create().expect("a consumer can be made")
}
