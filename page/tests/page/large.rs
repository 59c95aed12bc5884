//! A million predictions: each view answers all the same.

use std::time::{Duration, Instant};

use crate::site::{Site, Visitor};

#[tokio::test(flavor = "multi_thread")]
async fn with_a_million_predictions_each_view_answers_in_under_a_second() {
    let site = Site::open().await;
    site.add_classes().await;
    site.predict_some(10).await;
    let fill =
        "insert into prediction_rows (kafka_offset, record_time, classified_at, version, stream_id, partition, score,
            review_id, label, precision, scores, text, attributes)
        select 1000 + n, now() - n * interval '1 second', now() - n * interval '1 second', 1 + n % 5,
            (select id from streams limit 1), 0, 0.5 + (n % 500) / 1000.0, 'm-' || n,
            case when n % 3 = 0 then '差评' else '好评' end, 'f32', array[0.5, 0.5],
            '第' || n || '条评论，味道' || (n * 7919 % 1000) || '还可以，送餐' || (n * 104729 % 977) || '分钟', null
        from generate_series(1000000::bigint, 1, -1) as n";
    sqlx::query(fill).execute(&site.storage.pool).await.unwrap();
    sqlx::query("analyze prediction_rows").execute(&site.storage.pool).await.unwrap();
    // Pages that have not answered anything yet, so that none has an answer at hand.
    let mut visitors = [site.visitor(), Visitor::of(site.another().await), Visitor::of(site.another().await)];
    // The first one fills the queue; nobody waits for that a second time.
    visitors[0].get("/label");
    for path in [
        "/label",
        "/label?queue=disagreements",
        "/stream",
        "/stream?by=day",
        "/search",
        "/search?text=送餐901分钟",
        "/search?text=没有这样的评论",
        "/search?label=差评&max=0.51",
        "/search?review_id=m-777777",
        "/review?id=m-1234",
        "/models",
        "/dead-letters",
    ] {
        // The best of three: the machine does other things, too.
        let path = &url::Url::parse("http://page").unwrap().join(path).unwrap();
        let path = format!("{}?{}", path.path(), path.query().unwrap_or_default());
        let took = visitors.each_mut().map(|visitor| {
            let started = Instant::now();
            assert_eq!(visitor.get(&path).status, 200, "{path}");
            started.elapsed()
        });
        println!("{path}: {took:?}");
        let took = *took.iter().min().unwrap();
        assert!(took < Duration::from_secs(1), "{path}: {took:?}");
    }
    // What is said to be nowhere was looked for everywhere, a step at a time.
    let mut path = "/search?text=%E6%B2%A1%E6%9C%89".to_owned();
    let mut steps = 0;
    while let Some(next) = crate::site::between(&visitors[0].get(&path).body, "<a class=\"button\" href=\"", "\"") {
        (path, steps) = (next.replace("&#38;", "&"), steps + 1);
        assert!(steps < 100);
    }
    site.close().await;
}
