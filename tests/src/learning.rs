//! The whole loop: people label what the stream has shown, the trainer makes a better model of it,
//! and the stream takes it over.

use harness::{TINY_CLASSES, until};
use serde_json::Value;
use sqlx::query_as;
use tokio::sync::watch;

use crate::programs::labelstream;
use crate::records::{Message, publish_steadily};
use crate::site::Site;

const SUBJECTS: [&str; 10] =
    ["味道", "包装", "配送", "分量", "服务", "牛肉面", "奶茶", "鱼香肉丝", "骑手的态度", "店里的环境"];
const PRAISE: [&str; 10] =
    ["很好", "特别棒", "让人满意", "没得说", "超出预期", "值得推荐", "相当不错", "无可挑剔", "越来越好", "一流"];
const BLAME: [&str; 10] =
    ["很差", "太糟糕", "让人失望", "不能忍", "一塌糊涂", "不敢恭维", "越来越差", "毫无诚意", "惨不忍睹", "垃圾"];
const ENDS: [&str; 5] = ["今天中午点的", "同事也这么说", "第二次买了", "送到公司的", "周末和家人一起吃"];

/// Review number `number`, and what people would say of it: the next thing, then the next word,
/// then the next end.
fn review(number: usize) -> (String, &'static str) {
    let (subject, word, end) = (number % 10, number / 10 % 20, number / 200 % 5);
    let (words, label) = if word < 10 { (PRAISE, TINY_CLASSES[1]) } else { (BLAME, TINY_CLASSES[0]) };
    (format!("{}{}，{}", SUBJECTS[subject], words[word % 10], ENDS[end]), label)
}

/// The same, to publish.
fn message(number: usize) -> Message {
    Message::review(&format!("r-{number}"), &review(number).0)
}

/// A stream under which people label the first `labels` reviews, and a trainer with these rules;
/// ends when the better model has labeled some records, and every record has its row.
async fn learn(name: &str, labels: usize, rules: &[(&str, &str)]) -> Site {
    let site = Site::new(name, 3).await;
    let mut consumer = site.consumer("consumer", &[]);
    consumer.until_ready().await;
    let mut trainer = site.trainer("trainer", rules);
    trainer.until_ready().await;
    let (stop, stopped) = watch::channel(false);
    let steady = tokio::spawn(publish_steadily(site.open_topic(), message, stopped));
    let labeled = format!(
        "select count(*) from predictions where review_id in (select 'r-' || n from generate_series(0, {labels} - 1) as n)"
    );
    until("predictions of what is to be labeled", async || site.number(&labeled).await == Some(labels as i64)).await;

    let people: Vec<&str> = (0..labels).map(|number| review(number).1).collect();
    sqlx::query(
        "insert into labels (review_id, label) select 'r-' || (place - 1), label
        from unnest($1::text[]) with ordinality as said (label, place)",
    )
    .bind(people)
    .execute(&site.pool)
    .await
    .expect("plain SQL labels reviews by their ids alone");
    until("the better model serves", async || consumer.metric("labelstream_model_version") == Some(2.0)).await;
    let seen = site.done().await;
    until("some records by the new version", async || site.done().await > seen + 500).await;
    stop.send(true).expect("the publisher listens");
    let sent = steady.await.expect("the publisher does not panic");
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
    site
}

/// A small BERT that has learned something else of such reviews: what they are about.
fn pretrained(site: &Site) -> String {
    let directory = site.path("pretraining");
    std::fs::create_dir(&directory).expect("a directory can be made");
    let rows = |range: std::ops::Range<usize>| {
        let row = |number: usize| format!("{},\"{}\"\n", ["food", "service"][number % 10 / 5], review(number).0);
        format!("label,text\n{}", range.map(row).collect::<String>())
    };
    std::fs::write(directory.join("train_data.csv"), rows(0..900)).expect("a file can be written");
    std::fs::write(directory.join("valid_data.csv"), rows(900..1000)).expect("a file can be written");
    let (data, out) = (directory.display().to_string(), site.path("pretrained").display().to_string());
    let train = ["train", "--data", &data, "--base", "new-bert", "--epochs", "3", "--max-length", "32", "--out", &out];
    let output = labelstream(&train);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_fine_tunes_a_pretrained_bert_and_the_running_stream_takes_it_over() {
    let pretraining = Site::bare("pretraining", 1).await;
    let base = pretrained(&pretraining);
    let rules = [
        ("--base", base.as_str()),
        ("--from", "base"),
        ("--min-new-labels", "500"),
        ("--epochs", "10"),
        ("--batch-size", "16"),
        ("--max-length", "32"),
        ("--learning-rate", "3e-4"),
    ];
    let site = learn("fine-tuning", 500, &rules).await;
    let champion: (String, Value) = query_as(
        "select manifest_sha256, metrics from models join deployments using (version) order by deployments.id desc limit 1",
    )
    .fetch_one(&site.pool)
    .await
    .expect("the database answers");
    let config = site.path("checkpoints").join(champion.0).join("config.json");
    let config = std::fs::read(&config).expect("the champion's configuration is in the store");
    let config: Value = serde_json::from_slice(&config).expect("it is JSON");
    assert_eq!(config["model_type"], "bert", "the network was taken, and not the linear model");
    assert_eq!(config["id2label"]["0"], TINY_CLASSES[0]);
    assert!(champion.1["accuracy"].as_f64() > Some(0.9), "{}", champion.1);
    assert!(champion.1["temperature"].as_f64() > Some(0.0), "its scores are calibrated: {}", champion.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_labels_become_a_better_champion_under_the_running_stream() {
    let rules = [("--base", "new-linear"), ("--min-new-labels", "300"), ("--min-held-out", "40")];
    let site = learn("learning", 300, &rules).await;
    let changes: Vec<(i32, i64, i64)> = query_as(
        "select partition, count(*) filter (where version <> before), max(version)
        from (select partition, version, lag(version) over (partition by partition order by kafka_offset) as before
            from predictions) as predictions
        group by partition order by partition",
    )
    .fetch_all(&site.pool)
    .await
    .expect("the database answers");
    assert_eq!(changes, [(0, 1, 2), (1, 1, 2), (2, 1, 2)], "every prediction after the swap names the new version");
    let mixed = "select count(*) from (
        select from predictions group by partition, classified_at having count(distinct version) > 1) as transactions";
    assert_eq!(site.number(mixed).await, Some(0), "no transaction names two versions");

    type Round = (String, String, i64, Option<i64>, Value, Value, Option<Value>);
    let rounds: Vec<Round> = query_as(
        "select trigger, verdict, candidate, champion, candidate_metrics, champion_metrics, evidence from rounds",
    )
    .fetch_all(&site.pool)
    .await
    .expect("the database answers");
    let [(trigger, verdict, candidate, champion, better, worse, evidence)] = &rounds[..] else {
        panic!("one round, not {rounds:?}");
    };
    assert_eq!((trigger.as_str(), verdict.as_str(), *candidate, *champion), ("new labels", "accepted", 2, Some(1)));
    let accuracy = |metrics: &Value| metrics["accuracy"].as_f64().expect("an accuracy");
    assert!(accuracy(better) > accuracy(worse), "{better} against {worse}");
    assert!(evidence.is_some(), "the verdict comes with its numbers");
    let why = "select count(*) from deployments where version = 2 and why like '%round 1%'";
    assert_eq!(site.number(why).await, Some(1), "it is on record why the champion changed");
}
