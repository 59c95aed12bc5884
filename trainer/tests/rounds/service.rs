//! The trainer as it runs for weeks: labels come in, rounds start by themselves.

use harness::{Signal, until};
use serde_json::json;

use crate::site::Site;

const LINEAR: [&str; 2] = ["--base", "new-linear"];

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_labels_by_sql_start_a_round_and_a_signal_ends_the_trainer() {
    let site = Site::new().await;
    let mut trainer = site.trainer("trainer", &[&LINEAR[..], &["--min-new-labels", "300"]].concat());
    trainer.until_ready().await;
    site.label(0..299).await;
    until("the metric", async || trainer.get("/metrics").1.contains("labelstream_new_labels 299")).await;
    assert_eq!(site.registry().await.verdicts.len(), 0, "too few labels have started a round");
    site.label(299..300).await;
    until("a champion", async || !site.registry().await.champions.is_empty()).await;
    assert_eq!(site.last_round().await["trigger"], "new labels");
    let counted = "labelstream_rounds_total{verdict=\"accepted\"} 1";
    until("the metrics", async || trainer.get("/metrics").1.contains(counted)).await;
    trainer.signal(Signal::SIGTERM);
    assert_eq!(trainer.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_and_a_schedule_start_rounds_too() {
    let site = Site::new().await;
    let every_second = ["--min-new-labels", "0", "--schedule", "* * * * * *", "--margin", "0.5"];
    let mut trainer = site.trainer("trainer", &[&LINEAR[..], &every_second].concat());
    trainer.until_ready().await;
    site.label(0..400).await;
    until("a round", async || site.registry().await.verdicts == [Some("accepted".to_owned())]).await;
    assert_eq!(site.last_round().await["trigger"], "schedule");

    let request = site.store.request_round(&json!({"from": "base"}), "a test").await.unwrap();
    until("another round", async || site.registry().await.champions.len() == 2).await;
    let round = site.last_round().await;
    assert_eq!((&round["trigger"], &round["parameters"]["from"]), (&"command".into(), &"base".into()));
    let answered: Option<i64> = sqlx::query_scalar("select round from round_requests where id = $1")
        .bind(request)
        .fetch_one(&site.pool)
        .await
        .unwrap();
    assert_eq!(answered, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_stream_starts_a_round_where_there_is_something_to_learn() {
    let site = Site::new().await;
    let flags = ["--min-new-labels", "0", "--on-drift"];
    let mut trainer = site.trainer("trainer", &[&LINEAR[..], &flags].concat());
    trainer.until_ready().await;
    site.label(0..400).await;
    site.store.request_round(&json!({}), "a test").await.unwrap();
    until("a champion", async || site.registry().await.champions == [1]).await;
    assert!(site.store.model(store::Version(1)).await.unwrap().metrics["temperature"].as_f64().unwrap() > 0.0);
    // The round began after that hour: it has been dealt with.
    let hour = |hours: i64| {
        sqlx::query(
            "insert into drift_hours (version, hour, predictions, expected_accuracy, profile, changes, alarms)
            values (1, date_trunc('hour', now()) - $1 * interval '1 hour', 500, 0.8, '{}', '{}', '{unknown}')",
        )
        .bind(hours)
    };
    hour(3).execute(&site.pool).await.unwrap();
    site.label(400..420).await;
    until("the metric", async || trainer.get("/metrics").1.contains("labelstream_new_labels 20")).await;
    assert_eq!(site.registry().await.verdicts.len(), 1);
    sqlx::query("update rounds set started_at = started_at - interval '1 day'").execute(&site.pool).await.unwrap();
    until("a round", async || site.registry().await.verdicts.len() == 2).await;
    assert_eq!(site.last_round().await["trigger"], "drift");
    trainer.signal(Signal::SIGTERM);
    assert_eq!(trainer.exit_code().await, Some(0));

    // What a trainer sees when it starts.
    sqlx::query(
        "insert into picks (text, way, probability, version, prediction, score, classified_at)
        select text, 'audit', 0.01, (select version from deployments order by id desc limit 1), label, 0.9, now()
        from labels limit 50",
    )
    .execute(&site.pool)
    .await
    .unwrap();
    let mut trainer = site.trainer("again", &["--min-new-labels", "0"]);
    trainer.until_ready().await;
    for gauge in [r#"labelstream_accuracy{bound="estimate"} 1.0"#, r#"labelstream_accuracy{bound="low"} 0.9"#] {
        until(gauge, async || trainer.get("/metrics").1.contains(gauge)).await;
    }
}

/// Everything that `train` can be told, said to the service: the candidate is what `train` would
/// make.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_trains_as_train_does_with_several_processes_and_a_figure_of_its_own() {
    let site = Site::new().await;
    let (base, events) = (site.small_network(), site.path("events").display().to_string());
    site.label(0..400).await;
    let flags = [
        ["--base", &base],
        ["--epochs", "2"],
        ["--max-length", "16"],
        ["--class-weights", "balanced"],
        ["--label-smoothing", "0.1"],
        ["--layer-decay", "0.9"],
        ["--freeze", "1"],
        ["--patience", "3"],
        ["--best-by", "macro-f1"],
        ["--gate-by", "macro-f1"],
        ["--data-parallel", "2"],
        ["--tensorboard", &events],
    ];
    let mut trainer = site.trainer("trainer", &[&["--once"], flags.as_flattened()].concat());
    assert_eq!(trainer.exit_code().await, Some(0), "{}", trainer.log());
    let round = site.last_round().await;
    let settings = &round["parameters"]["settings"];
    let told = ["class_weights", "label_smoothing", "layer_decay", "freeze", "patience", "best_by"];
    let told = told.map(|name| settings[name].to_string());
    assert_eq!(told, ["\"balanced\"", "0.1", "0.9", "1", "3", "\"macro-f1\""]);
    assert_eq!(round["evidence"]["policy"]["metric"], "macro-f1");
    let curve = round["evidence"]["curve"].as_array().unwrap();
    let points = |of: &str| curve.iter().filter(|point| point[of].is_f64()).count();
    assert!(points("loss") > 2 && points("accuracy") == 2, "{curve:?}");
    let file = std::fs::read_dir(site.path("events").join("round-1")).unwrap().next().unwrap().unwrap();
    let written = std::fs::read(file.path()).unwrap();
    assert!(written.windows(10).any(|bytes| bytes == b"train/loss"), "no loss in the event file");
    assert!(trainer.log().contains("a copy trains too"), "{}", trainer.log());
    assert_eq!(round["verdict"], "accepted", "{round}");
}

/// A migration of the next version, or an analyst's column, makes the plans of running sessions
/// old.
#[tokio::test(flavor = "multi_thread")]
async fn columns_that_come_and_change_under_a_running_trainer_do_not_end_it() {
    let site = Site::new().await;
    let mut trainer = site.trainer("trainer", &[&LINEAR[..], &["--min-new-labels", "300"]].concat());
    trainer.until_ready().await;
    site.label(0..299).await;
    for turn in 0..10 {
        let kind = if turn % 2 == 0 { "varchar(90)" } else { "text" };
        let change = format!(
            "alter table labels add column note_{turn} text; alter table rounds add column note_{turn} text;
            alter table round_requests add column note_{turn} text; alter table models add column note_{turn} text;
            alter table classes alter column name type {kind}"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(&site.pool).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    site.label(299..300).await;
    until("a champion", async || !site.registry().await.champions.is_empty()).await;
    trainer.until_ready().await;
    trainer.signal(Signal::SIGTERM);
    assert_eq!(trainer.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_come_in_over_http_with_the_token_and_as_known_classes_only() {
    let site = Site::new().await;
    let mut trainer = site.trainer("trainer", &LINEAR);
    trainer.until_ready().await;
    let post = |token, body: &str| trainer.post("/labels", token, body);
    let good = json!([{"text": "很好吃", "label": "好评", "labeled_by": "小明"}, {"review_id": "r-1", "text": "难吃", "label": "差评"}]);
    for token in [None, Some("guess"), Some("")] {
        assert_eq!(post(token, &good.to_string()).0, 401);
    }
    assert_eq!(post(Some("secret"), &good.to_string()), (200, json!({"added": 2})));
    let rows: Vec<(Option<String>, String, String, String, String)> =
        sqlx::query_as("select review_id, text, label, labeled_by, source from labels order by id")
            .fetch_all(&site.pool)
            .await
            .unwrap();
    assert_eq!(rows[0], (None, "很好吃".into(), "好评".into(), "小明".into(), "http".into()));
    assert_eq!(rows[1].0.as_deref(), Some("r-1"));

    site.store.add_class("好评").await.unwrap();
    site.store.add_class("差评").await.unwrap();
    let (status, refusal) =
        post(Some("secret"), r#"[{"text": "还行", "label": "好评"}, {"text": "还行", "label": "中评"}]"#);
    assert_eq!((status, &refusal["label"], &refusal["error_type"]), (422, &"中评".into(), &"unknown_label".into()));
    assert_eq!(refusal["known_labels"], json!(["好评", "差评"]));
    for bad in [
        "{}",
        "[{}]",
        r#"[{"label": "好评"}]"#,
        r#"[{"review_id": "nobody", "label": "好评"}]"#,
        r#"[{"text": " ", "label": "好评"}]"#,
        r#"[{"text": "a\u0000b", "label": "好评"}]"#,
        r#"[{"review_id": "1.23457E+15", "text": "好", "label": "好评"}]"#,
        r#"[{"review_id": "r-2", "text": "好", "label": "好评"}, {"review_id": "r-2", "text": "坏", "label": "差评"}]"#,
        r#"[{"review_id": "r-1", "text": "好极了", "label": "好评"}]"#,
    ] {
        assert_eq!(post(Some("secret"), bad).0, 422, "{bad}");
    }
    let (_, refusal) = post(Some("secret"), r#"[{"review_id": "r-1", "text": "好极了", "label": "好评"}]"#);
    assert!(refusal["error"].as_str().unwrap().contains("the review id `r-1` has another text, `难吃`"), "{refusal}");
    let huge = format!(r#"[{{"text": "{}", "label": "好评"}}]"#, "好".repeat(400_000));
    assert_eq!(post(Some("secret"), &huge).0, 413);
    assert_eq!(site.store.count_labels().await.unwrap(), 2, "a refused request added something");
    assert!(trainer.get("/metrics").1.contains("labelstream_label_requests_total{code=\"401\"} 3"));
}
