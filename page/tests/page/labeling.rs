//! People label: by keys, several at once, with second thoughts.

use std::collections::HashSet;

use fantoccini::Locator;
use harness::{Storage, until, until_some};
use service::{CheckpointArguments, DatabaseArguments};
use trainer::Base;
use trainer::service::From;

use crate::browser::{Browser, cannot_run};
use crate::site::{Site, between, class_of, prediction, text};

/// The number in a text, which says what is right.
fn number_of(shown: &str) -> usize {
    between(shown, "第", "次").unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_labels_by_keys_start_a_round_that_changes_the_champion() {
    if cannot_run() {
        return;
    }
    let storage = Storage::new().await;
    // A champion that knows nothing.
    let directory = storage.path("nothing");
    harness::save_tiny_model(&directory, &["好评", "差评"], 7);
    let first = storage.register(&directory, &["好评", "差评"]).await;
    storage.promote(first).await;
    let checkpoints = storage.checkpoints();
    let site = Site::over(storage, |config, _| config.checkpoints = Some(checkpoints.clone())).await;
    site.predict_some(400).await;
    site.label_before(1_000..1_280).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let trainer = trainer::service::Config {
        database: DatabaseArguments::new(&*site.storage.database),
        checkpoints: CheckpointArguments { url: checkpoints },
        base: Base::NewLinear,
        from: From::Base,
        min_new_labels: 300,
        min_held_out: 20,
        min_held_out_per_class: 5,
        min_per_class: 5,
        poll: std::time::Duration::from_millis(100),
        work: Some(site.storage.path("rounds")),
        http: harness::Http::on_a_free_port().address,
        ..trainer::service::Config::default()
    };
    let trainer = tokio::spawn(trainer::service::run(trainer, stop.clone()));

    let noted = "select count(*) from trainers where min_new_labels = 300";
    until("a trainer that is known", async || site.storage.number(noted).await == Some(1)).await;
    let page = site.visitor().get("/label").body;
    assert!(page.contains("<dt>Until the next round</dt><dd>20</dd>"), "{page}");

    let browser = Browser::open().await;
    browser.goto(&site.url("/label")).await;
    for done in 1..=20 {
        let shown = browser.text("#review").await.expect("a review to label");
        let key = if class_of(number_of(&shown)) == "好评" { "1" } else { "2" };
        browser.press(key).await;
        until("the next review", async || browser.text("#mine").await.as_deref() == Some(&done.to_string())).await;
        assert_eq!(browser.text(".answered .said b").await.as_deref(), Some(class_of(number_of(&shown))));
    }
    browser.goto(&site.url("/models")).await;
    // The page tells by itself.
    until("a new champion on the page", async || {
        browser.text("#now .large").await.is_some_and(|shown| shown != format!("v{first}"))
    })
    .await;
    let by_keys = "select count(*) from labels where labeled_by = 'local' and source = 'page'";
    assert_eq!(site.storage.number(by_keys).await, Some(20));
    browser.close().await;
    stop.cancel();
    trainer.await.unwrap().unwrap();
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_browsers_never_get_one_review() {
    if cannot_run() {
        return;
    }
    let site = Site::open().await;
    site.add_classes().await;
    site.predict_some(120).await;
    let (one, other) = tokio::join!(Browser::open(), Browser::open());
    let label = async |browser: &Browser, count: usize| {
        let mut shown = Vec::new();
        browser.goto(&site.url("/label")).await;
        for done in 0..count {
            let text = browser.text("#review").await.expect("a review to label");
            browser.press(if done % 3 == 0 { "s" } else { "1" }).await;
            until("another review", async || browser.text("#review").await.is_some_and(|now| now != text)).await;
            shown.push(text);
        }
        shown
    };
    let (mine, theirs) = tokio::join!(label(&one, 15), label(&other, 15));
    let shown: HashSet<&String> = mine.iter().chain(&theirs).collect();
    assert_eq!(shown.len(), 30, "{mine:?} {theirs:?}");
    tokio::join!(one.close(), other.close());
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_never_get_one_review() {
    let site = Site::open().await;
    site.add_classes().await;
    site.predict_some(200).await;
    site.visitor().asked("/label").unwrap();
    let label = |number: usize| {
        let mut visitor = site.visitor();
        std::thread::spawn(move || {
            let mut seen = Vec::new();
            for _ in 0..5 {
                let Some((item, text)) = visitor.asked("/label") else { break };
                assert_eq!(visitor.asked("/label").unwrap().1, text, "a browser keeps its review until it answers");
                let answer = visitor.post("/label", &[("item", &item), ("label", "好评")]);
                assert_eq!(answer.status, 303, "{number}: {}", answer.body);
                seen.push(text);
            }
            seen
        })
    };
    let threads: Vec<_> = (0..8).map(label).collect();
    let seen: Vec<String> =
        tokio::task::spawn_blocking(move || threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect())
            .await
            .unwrap();
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len());
    assert!(seen.len() >= 30, "{}", seen.len());
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_asks_again_and_the_newer_label_wins() {
    if cannot_run() {
        return;
    }
    let site = Site::open().await;
    site.add_classes().await;
    site.predict_some(30).await;
    let browser = Browser::open().await;
    browser.goto(&site.url("/label")).await;
    let first = browser.text("#review").await.unwrap();
    browser.press("1").await;
    until_some("the way back", async || browser.client.find(Locator::Css("#undo")).await.ok()).await;
    browser.press("u").await;
    until("the first review", async || browser.text("#review").await.as_ref() == Some(&first)).await;
    browser.press("2").await;
    until("the other answer", async || browser.text(".answered .said b").await.as_deref() == Some("差评")).await;
    let labels = sqlx::query_scalar::<_, String>("select label from labels where text = $1 order by id").bind(&first);
    assert_eq!(labels.fetch_all(&site.storage.pool).await.unwrap(), ["好评", "差评"]);
    let wins =
        sqlx::query_scalar::<_, String>("select label from labeled_reviews where text = $1 and label is not null");
    assert_eq!(wins.bind(&first).fetch_one(&site.storage.pool).await.unwrap(), "差评");
    browser.close().await;
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_passes_over_others_get_and_what_two_cannot_say_nobody_does() {
    let site = Site::open().await;
    site.add_classes().await;
    site.predict(vec![prediction("r-1", &text(1))]).await;
    let [mut ann, mut bob, mut cleo] = [0; 3].map(|_| site.visitor());
    // Without tokens all are one person: three pages with people tell them apart.
    let people = "ann labeler token-of-ann-1\nbob labeler token-of-bob-1\ncleo labeler token-of-cleo-1\n";
    let file = site.storage.path("others");
    std::fs::write(&file, people).unwrap();
    let others = Site::over(Storage::new().await, |config, _| config.people = Some(file)).await;
    others.add_classes().await;
    others.predict(vec![prediction("r-1", &text(1))]).await;
    for (visitor, token) in [(&mut ann, "token-of-ann-1"), (&mut bob, "token-of-bob-1"), (&mut cleo, "token-of-cleo-1")]
    {
        *visitor = others.visitor().signed_in(token);
    }
    let (item, shown) = ann.asked("/label").unwrap();
    assert_eq!(shown, text(1));
    assert!(bob.asked("/label").is_none(), "ann has it");
    assert_eq!(ann.post("/label", &[("item", &item), ("pass", "skip")]).status, 303);
    assert!(ann.asked("/label").is_none(), "ann has passed it over");
    assert_eq!(bob.asked("/label").unwrap().1, text(1));
    bob.post("/label", &[("item", &item), ("pass", "cannot_say")]);
    assert_eq!(cleo.asked("/label").unwrap().1, text(1), "one who cannot say is not enough");
    cleo.post("/label", &[("item", &item), ("pass", "cannot_say")]);
    let mut dan = others.visitor().signed_in("token-of-ann-1");
    assert!(dan.asked("/label").is_none());
    assert_eq!(others.storage.number("select count(*) from labels").await, Some(0));
    others.close().await;
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_and_the_review_is_asked_again() {
    let site = Site::open().await;
    site.add_classes().await;
    site.predict(vec![prediction("r-1", &text(1))]).await;
    let (mut ann, mut bob) = (site.visitor(), site.visitor());
    assert!(ann.asked("/label").is_some() && bob.asked("/label").is_none());
    let past = sqlx::query("update label_leases set leased_until = now() - interval '1 second'");
    past.execute(&site.storage.pool).await.unwrap();
    assert!(bob.asked("/label").is_some() && ann.asked("/label").is_none());
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn near_copies_are_offered_and_labeled_together() {
    let site = Site::open().await;
    site.add_classes().await;
    site.predict(vec![
        prediction("r-1", "黄焖鸡米饭很好吃，送餐也快，下次再点"),
        prediction("r-2", "黄焖鸡米饭很好吃！！送餐也快。下次再点"),
        prediction("r-3", "酒店的房间又旧又小，晚上还很吵"),
    ])
    .await;
    let mut visitor = site.visitor();
    let offer = loop {
        let (item, shown) = visitor.asked("/label").unwrap();
        let answer = visitor.post("/label", &[("item", &item), ("label", "好评")]);
        if shown.contains("黄焖鸡") {
            break (item, visitor.get(&answer.to).body);
        }
    };
    assert!(offer.1.contains("Label these too") && offer.1.contains("(1)"), "{}", offer.1);
    let unseen = visitor.post("/label/copies", &[("item", &offer.0), ("label", "好评"), ("shown", "[]")]);
    assert!(unseen.to.ends_with("added=0"), "what nobody saw was labeled: {}", unseen.to);
    let done = visitor.post("/label/copies", &[("item", &offer.0), ("label", "好评"), ("shown", "[\"r-1\",\"r-2\"]")]);
    assert!(done.to.ends_with("added=1"), "{}", done.to);
    let labeled = "select count(*) from labels where text like '黄焖鸡%' and label = '好评'";
    assert_eq!(site.storage.number(labeled).await, Some(2));
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_hidden_until_one_has_answered_unless_one_wants_it() {
    let site = Site::open().await;
    site.add_classes().await;
    site.predict_some(20).await;
    let mut visitor = site.visitor();
    let page = visitor.get("/label").body;
    assert!(!page.contains("The model says"), "{page}");
    let shown = visitor.get_with("/label", &[("cookie", "answers=shown")]).body;
    assert!(shown.contains("The model says <b><bdi>好评</bdi></b> (60%)"), "{shown}");
    let (item, _) = visitor.asked("/label").unwrap();
    let to = visitor.post("/label", &[("item", &item), ("label", "差评")]).to;
    let after = visitor.get(&to).body;
    assert!(after.contains("You said <b><bdi>差评</bdi></b>") && after.contains("The model says"), "{after}");
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suspect_labels_are_a_queue_and_a_newer_label_settles_them() {
    let site = Site::open().await;
    site.add_classes().await;
    site.label_before(0..200).await;
    let wrong = store::NewLabel {
        review_id: None,
        text: Some(text(1_001)),
        label: "好评".to_owned(),
        labeled_by: Some("tired".to_owned()),
        labeled_at: None,
        source: "test".to_owned(),
    };
    site.storage.store.add_labels(&[wrong]).await.unwrap();
    let mut visitor = site.visitor();
    let page = visitor.get("/label?queue=suspects").body;
    let (item, shown) = visitor.asked("/label?queue=suspects").unwrap();
    assert_eq!(shown, text(1_001));
    assert!(page.contains("Its label is probably wrong") && page.contains("(<bdi>tired</bdi>)"), "{page}");
    let to = visitor.post("/label", &[("queue", "suspects"), ("item", &item), ("label", "差评")]).to;
    assert!(to.starts_with("/label?queue=suspects"));
    let next = visitor.asked("/label?queue=suspects").map(|(_, shown)| shown);
    assert_ne!(next, Some(text(1_001)));
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_model_reviews_come_from_the_topic_and_classes_are_made_on_the_page() {
    let kafka = stack::InProcessKafka::start().unwrap();
    kafka.create_topic("reviews", 2).unwrap();
    let publisher = service::broker::Publisher::open(&service::KafkaArguments {
        brokers: kafka.brokers().to_owned(),
        settings: service::KafkaSettings::default(),
    })
    .unwrap();
    for number in 0..60 {
        let payload = format!("{{\"review_id\": \"r-{number}\", \"text\": \"{}\"}}", text(number)).into_bytes();
        let record = service::broker::Record { key: None, payload: Some(payload), headers: vec![] };
        publisher.send("reviews", &record, number).await;
    }
    assert!(publisher.finish().await.is_empty());
    let brokers = kafka.brokers().to_owned();
    let site = Site::with(|config, _| config.brokers = Some(brokers)).await;
    let mut visitor = site.visitor();
    let page = visitor.get("/label").body;
    assert!(page.contains("There are no classes yet"), "{page}");
    for class in ["好评", "差评"] {
        assert_eq!(visitor.post("/classes", &[("class", class)]).status, 303);
    }
    // What one has passed over is not asked again while there are others.
    let mut seen = HashSet::new();
    for _ in 0..45 {
        let (item, shown) = visitor.asked("/label").expect("another review");
        assert!(seen.insert(shown.clone()), "{shown} was asked again");
        assert_eq!(visitor.post("/label", &[("item", &item), ("pass", "skip")]).status, 303);
        // As slowly as a person.
        tokio::time::sleep(std::time::Duration::from_millis(220)).await;
    }
    let (item, shown) = visitor.asked("/label").unwrap();
    assert!(shown.contains('第'), "{shown}");
    assert_eq!(visitor.post("/label", &[("item", &item), ("label", "好评")]).status, 303);
    assert_eq!(site.storage.number("select count(*) from labels where review_id is not null").await, Some(1));
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn label_studio_gets_tasks_and_gives_labels() {
    let site = Site::open().await;
    site.add_classes().await;
    site.predict_some(50).await;
    let mut visitor = site.visitor();
    let tasks: serde_json::Value = serde_json::from_str(&visitor.get("/label/tasks.json").body).unwrap();
    let task = &tasks[0];
    assert_eq!(task["predictions"][0]["result"][0]["value"]["choices"][0], "好评");
    let export = serde_json::json!([{
        "id": 1, "data": task["data"],
        "annotations": [{"completed_by": 3, "was_cancelled": false, "created_at": "2026-11-26T10:00:00Z",
            "result": [{"type": "choices", "value": {"choices": ["差评"]}, "from_name": "label", "to_name": "text"}]}],
    }]);
    let imported = visitor.send("/label/import", "application/json", &export.to_string(), &[]);
    assert_eq!((imported.status, imported.to.as_str()), (303, "/label?added=1"));
    let stored = "select count(*) from labels where label = '差评' and source = 'label studio, by local' and labeled_by = 'label studio 3'";
    assert_eq!(site.storage.number(stored).await, Some(1));
    let refused = visitor.send("/label/import", "application/json", "[{\"text\": 1}]", &[]);
    assert!(refused.status == 422 && refused.body.contains("task 1"), "{}", refused.body);
    site.close().await;
}
