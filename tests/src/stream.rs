//! A review's way from Kafka to Postgres, and an orderly stop.

use harness::{Signal, TINY_CLASSES, until};
use sqlx::query_as;

use crate::records::Message;
use crate::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_published_review_becomes_a_row_with_everything_that_is_known_of_it() {
    let site = Site::new("row", 1).await;
    let payload = r#"{"review_id": "r-1", "text": "很快，好吃", "created_at": "2026-11-22T10:00:00Z", "shop": {"id": 7}, "stars": 5}"#;
    let mut message = Message::review("", "很快，好吃");
    message.payload = Some(payload.into());
    message.timestamp = Some(1_700_000_000_000);
    let by_key = Message::raw(r#"{"text": "太慢了"}"#, Message::review("", "太慢了").expect).with_key(b"the-key");
    let by_place = Message::raw(r#"{"text": "不来了"}"#, Message::review("", "不来了").expect);
    let sent = site.open_topic().publish(&[message, by_key, by_place]).await;
    let _consumer = site.consumer("consumer", &[]);
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;

    type Row = (String, String, serde_json::Value, String, f32, Vec<f32>, i64, i64);
    let sql = "select review_id, to_char(created_at at time zone 'utc', 'YYYY-MM-DD HH24:MI'), attributes, label, score, scores, version,
            (extract(epoch from record_time) * 1000)::bigint
        from predictions where kafka_offset = 0";
    let row: Row = query_as(sql).fetch_one(&site.pool).await.expect("the row is there");
    let (review_id, created_at, attributes, label, score, scores, version, record_time) = row;
    assert_eq!((review_id.as_str(), created_at.as_str()), ("r-1", "2026-11-22 10:00"));
    assert_eq!(attributes, serde_json::json!({"shop": {"id": 7}, "stars": 5}));
    assert_eq!(record_time, 1_700_000_000_000);
    assert_eq!((version, scores.len()), (1, 2));
    assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{scores:?} are no probabilities");
    let best = usize::from(scores[1] > scores[0]);
    assert_eq!((label.as_str(), score), (TINY_CLASSES[best], scores[best]));

    let ids: Vec<(String,)> =
        query_as("select review_id from predictions where kafka_offset > 0 order by kafka_offset")
            .fetch_all(&site.pool)
            .await
            .expect("the database answers");
    assert_eq!(ids, [("the-key".to_owned(),), (format!("{}/0/2", site.topic),)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_consumer_writes_what_it_has_and_the_next_one_goes_on_there() {
    let site = Site::new("drain", 3).await;
    let sent = site.open_topic().publish(&Message::mixed(8_000)).await;
    let mut consumer = site.consumer("first", &[("--max-batch-reviews", "20"), ("--grace", "20")]);
    until("the first records", async || site.done().await > 1_000).await;
    consumer.signal(Signal::SIGTERM);
    assert_eq!(consumer.exit_code().await, Some(0), "{}", consumer.log());

    let done = site.done().await;
    assert!(done < 8_000, "the stop must fall into the flow");
    let rows = "select (select count(*) from predictions) + (select count(*) from dead_letters)
        + (select sum(tombstones)::bigint from positions)";
    assert_eq!(site.number(rows).await, Some(done), "what was written and the position must agree");

    let _next = site.consumer("next", &[]);
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pipelines_over_one_topic_do_not_meet() {
    let site = Site::new("pipelines", 2).await;
    let sent = site.open_topic().publish(&Message::mixed(500)).await;
    let _one = site.consumer("one", &[]);
    site.until_done(&sent).await;
    let _two = site.consumer("two", &[("--group", "other"), ("--start", "earliest")]);
    let others = "select count(*) from predictions where pipeline = 'other'";
    let ours = format!("select count(*) from predictions where pipeline = '{}'", site.topic);
    until("the other pipeline's rows", async || site.number(others).await == site.number(&ours).await).await;
}
