//! Stream, search, review and models, as a program sees them.

use chrono::{TimeDelta, Utc};
use store::{DeadLetterRow, NextOffset, Outcome, Stream, Version, Write};

use crate::site::{Site, between, prediction, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_by_each_field_and_shows_sql_that_finds_the_same() {
    let site = Site::open().await;
    site.add_classes().await;
    let mut rows: Vec<_> = (0..150).map(|number| prediction(&format!("r-{number}"), &text(number))).collect();
    rows[7] = store::PredictionRow {
        text: "it's 100% 好\\吃".into(),
        label: "差评".into(),
        score: 0.97,
        version: Version(3),
        attributes: Some("{\"city\": \"北京\", \"stars\": 5}".into()),
        ..prediction("r-seven", "")
    };
    site.predict(rows).await;
    let mut visitor = site.visitor();
    let query = |fields: &[(&str, &str)]| {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        format!("/search?{query}")
    };
    for fields in [
        &[("text", "it's 100% 好\\")][..],
        &[("review_id", "r-seven")],
        &[("label", "差评")],
        &[("version", "3")],
        &[("min", "0.9")],
        &[("attribute", "city"), ("value", "北京")],
        &[("attribute", "stars"), ("value", "5"), ("max", "0.98"), ("text", "100%")],
    ] {
        let page = visitor.get(&query(fields)).body;
        assert_eq!(page.matches("/review?id=").count(), 1, "{fields:?}: {page}");
        assert!(page.contains("r-seven"), "{fields:?}");
        let sql = between(&page, "<pre tabindex=\"0\"><code>", "</code>").unwrap();
        let sql = sql
            .replace("&#39;", "'")
            .replace("&#38;", "&")
            .replace("&#34;", "\"")
            .replace("&#60;", "<")
            .replace("&#62;", ">");
        let rows =
            sqlx::query(sqlx::AssertSqlSafe(sql.trim_end_matches(';').to_owned())).fetch_all(&site.storage.pool).await;
        assert_eq!(rows.unwrap_or_else(|error| panic!("{error}: {sql}")).len(), 1, "{sql}");
    }
    // Fifty a page, and the rest behind it; no row twice and none left out.
    let (mut path, mut ids) = ("/search".to_owned(), Vec::new());
    loop {
        let page = visitor.get(&path).body;
        ids.extend(page.split("/review?id=").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        match between(&page, "<a class=\"button\" href=\"", "\"") {
            Some(next) => path = next.replace("&#38;", "&"),
            None => break,
        }
    }
    let different: std::collections::HashSet<&String> = ids.iter().collect();
    assert_eq!((ids.len(), different.len()), (150, 150));
    let csv = visitor.get("/search.csv?version=3");
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    assert!(
        csv.body.starts_with("\u{feff}review_id,text,label")
            && csv.body.contains("r-seven,it's 100% 好\\吃,差评,0.9700,3,")
    );
    assert_eq!(visitor.get("/search?version=x").status, 422);
    assert_eq!(visitor.get("/search?text=%00").status, 422);
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_tells_its_whole_history() {
    let site = Site::open().await;
    site.add_classes().await;
    site.predict(vec![prediction("r-1", &text(1))]).await;
    site.predict(vec![store::PredictionRow { version: Version(2), ..prediction("r-1", &text(1)) }]).await;
    let mut visitor = site.visitor();
    let (item, _) = visitor.asked("/label").unwrap();
    visitor.post("/label", &[("item", &item), ("label", "差评")]);
    let page = visitor.get("/review?id=r-1").body;
    assert!(page.contains("<bdi>reviews</bdi>/0/0") && page.contains("<bdi>reviews</bdi>/0/1"), "{page}");
    assert!(page.contains("<b><bdi>差评</bdi></b> · <bdi>local</bdi>") && page.contains("<bdi>page</bdi>"), "{page}");
    assert!(page.contains("Picked to be labeled") && page.contains("上海"), "{page}");
    assert_eq!(visitor.get("/review?id=nothing").status, 404);
    // Any review can be labeled again from here.
    assert_eq!(visitor.asked("/label?item=review-r-1").unwrap().1, text(1));
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_shows_partitions_that_stand_still_and_what_could_not_be_read() {
    let kafka = stack::InProcessKafka::start().unwrap();
    kafka.create_topic("reviews", 1).unwrap();
    let brokers = kafka.brokers().to_owned();
    let site = Site::with(|config, _| config.brokers = Some(brokers)).await;
    let arguments =
        service::KafkaArguments { brokers: kafka.brokers().to_owned(), settings: service::KafkaSettings::default() };
    let cluster = service::broker::Cluster::connect(&arguments, std::time::Duration::from_secs(10)).await.unwrap();
    let cluster_id = cluster.id().await.unwrap();
    let publisher = service::broker::Publisher::open(&arguments).unwrap();
    for number in 0..9 {
        let record = service::broker::Record { key: None, payload: Some(b"{}".to_vec()), headers: vec![] };
        publisher.send("reviews", &record, number).await;
    }
    assert!(publisher.finish().await.is_empty());

    let store = &site.storage.store;
    let stream = Stream { pipeline: "labelstream".into(), cluster_id, topic: "reviews".into() };
    let claim = store.claim(&stream, 0, "a test", NextOffset(0)).await.unwrap();
    let letter = DeadLetterRow {
        kafka_offset: 1,
        record_time: None,
        reason: "not_json",
        detail: "expected <value>".to_owned(),
        key: None,
        payload: Some(b"not json {\x00\xff<script>".to_vec()),
        headers: vec![],
    };
    let write = Write {
        partition: 0,
        epoch: claim.epoch,
        from: NextOffset(0),
        to: NextOffset(2),
        predictions: vec![store::PredictionRow {
            record_time: Some(Utc::now() - TimeDelta::milliseconds(1_500)),
            ..prediction("r-0", &text(0))
        }],
        dead_letters: vec![letter],
        tombstones: 0,
    };
    assert_eq!(store.write(&stream, &write).await.unwrap(), Outcome::Written);
    let halted = store.record_halt(&stream, 0, claim.epoch, Some("the log is torn at 2")).await.unwrap();
    assert_eq!(halted, Outcome::Written);
    let mut visitor = site.visitor();
    let page = visitor.get("/stream").body;
    assert!(page.contains("<dt>Lag, records</dt><dd>7</dd>"), "{page}");
    assert!(page.contains("the log is torn at 2") && page.contains("<dd class=\"bad\">1</dd>"), "{page}");
    assert!(page.contains("/dead-letters?reason=not_json") && page.contains("<bdi>好评</bdi>"), "{page}");
    let letters = visitor.get("/dead-letters?reason=not_json").body;
    assert!(
        letters.contains("not json {·\u{fffd}&#60;script&#62;") && letters.contains("expected &#60;value&#62;"),
        "{letters}"
    );

    let replayed = visitor.post("/dead-letters/replay", &[("reason", "not_json")]);
    assert!(replayed.to.ends_with("replayed=1"), "{} {}", replayed.to, replayed.body);
    assert_eq!(cluster.ends("reviews", 1).await.unwrap(), [10]);
    assert_eq!(site.storage.number("select count(*) from dead_letters where replayed_at is not null").await, Some(1));
    assert!(visitor.get("/models").body.contains("replayed 1 dead letters of not_json"));
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_speaks_the_browser_s_language_or_the_one_that_was_chosen() {
    let site = Site::open().await;
    let mut visitor = site.visitor();
    assert!(visitor.get("/stream").body.contains("<html lang=\"en\" data-theme=\"system\">"));
    let chinese = visitor.get_with("/stream", &[("accept-language", "zh-CN,zh;q=0.9")]).body;
    assert!(chinese.contains("<html lang=\"zh-CN\"") && chinese.contains("消息流"), "{chinese}");
    let chosen = visitor.get("/settings?language=zh&to=%2Fstream");
    assert_eq!(chosen.to, "/stream");
    assert!(chosen.headers.iter().any(|(_, value)| value.starts_with("language=zh;")));
    let dark = visitor.get_with("/stream", &[("cookie", "language=zh; theme=dark"), ("accept-language", "en")]).body;
    assert!(dark.contains("<html lang=\"zh-CN\" data-theme=\"dark\">"));
    site.close().await;
}
