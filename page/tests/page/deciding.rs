//! Operators decide which version serves; everybody sees why.

use serde_json::json;
use store::{Begun, Concluded, Conclusion, LabelsSeen, NewModel, NewRound, Outcome, Trigger};

use crate::site::{Site, Visitor};

#[tokio::test(flavor = "multi_thread")]
async fn promotions_rollbacks_shadows_and_rounds_are_done_and_on_record() {
    let site = Site::with_models().await;
    let mut visitor = site.visitor();
    let champion = async || site.storage.store.champion().await.unwrap().unwrap().version.0;
    assert_eq!(champion().await, 2);
    assert_eq!(visitor.post("/models/rollback", &[]).status, 303);
    assert_eq!(champion().await, 1);
    // Somebody else who saw the champion before it does not bring it back.
    assert_eq!(visitor.post("/models/rollback", &[("champion", "2")]).status, 422);
    assert_eq!(champion().await, 1);
    assert_eq!(visitor.post("/models/promote", &[("version", "2"), ("why", "it was better")]).status, 303);
    assert_eq!(champion().await, 2);
    let why = site.storage.store.deployments().await.unwrap()[0].why.clone();
    assert_eq!(why, "it was better (local, on the page)");
    assert_eq!(visitor.post("/models/shadow", &[("version", "1"), ("share", "25")]).status, 303);
    assert_eq!(site.storage.store.shadow().await.unwrap().unwrap().0.share, 0.25);
    let page = visitor.get("/models").body;
    assert!(page.contains("in the shadow") && page.contains("Stop the shadow"), "{page}");
    assert_eq!(visitor.post("/models/shadow/stop", &[]).status, 303);
    assert!(site.storage.store.shadow().await.unwrap().is_none());
    assert_eq!(visitor.post("/models/retrain", &[("from", "base")]).status, 303);
    assert_eq!(site.storage.store.open_request().await.unwrap().unwrap().parameters, json!({"from": "base"}));
    let page = visitor.get("/models").body;
    for change in [
        "rolled back to version 1",
        "promoted version 2",
        "let version 1 shadow 25% of the stream",
        "stopped the shadow of version 1",
        "asked for a round",
    ] {
        assert!(page.contains(&format!("<bdi>local</bdi> · <bdi>{change}</bdi>")), "{change}: {page}");
    }
    for (path, fields) in [
        ("/models/promote", &[("version", "99")][..]),
        ("/models/shadow", &[("version", "1"), ("share", "0")]),
        ("/models/retrain", &[("from", "nowhere")]),
    ] {
        assert_eq!(visitor.post(path, fields).status, 422, "{path}");
    }
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_is_asked_and_its_words_are_marked() {
    let site = Site::with_models().await;
    let mut visitor = site.visitor();
    let page = visitor.post("/ask", &[("text", "很快，好吃。太慢了")]).body;
    assert_eq!(page.matches("<article").count(), 2, "{page}");
    assert_eq!(page.matches("<meter").count(), 4);
    assert!(page.contains(">champion</span>") && page.find("v2").unwrap() < page.find("v1").unwrap());
    assert_eq!(visitor.post("/ask", &[("text", " ")]).status, 422);
    let without = Site::open().await;
    assert!(without.visitor().get("/ask").body.contains("--checkpoints"));
    without.close().await;
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_shows_its_verdict_numbers_curve_and_what_it_gets_wrong() {
    let site = Site::with_models().await;
    let store = &site.storage.store;
    let new = NewRound {
        trigger: Trigger::Command,
        parameters: json!({"base": "new"}),
        owner: "a test".to_owned(),
        lease: std::time::Duration::from_secs(60),
    };
    let Begun::Started(lease) = store.begin_round(&new).await.unwrap() else { panic!("a round runs already") };
    let running = json!({"phase": "training", "step": 30, "steps": 120, "loss": 0.5});
    assert_eq!(store.extend_lease(&lease, new.lease, &running).await.unwrap(), Outcome::Written);
    let mut visitor = site.visitor();
    let page = visitor.get("/models").body;
    assert!(page.contains("<progress max=\"100\" value=\"25\""), "{page}");
    assert!(visitor.get(&format!("/rounds/{}", lease.round)).body.contains("running"));

    let champion = store.champion().await.unwrap().unwrap();
    let seen = LabelsSeen { count: 0, last: 0 };
    let recorded = store.record_dataset(&lease, "a-fingerprint", seen, Some(champion.version)).await.unwrap();
    assert_eq!(recorded, Outcome::Written);
    let metrics = json!({
        "examples": 10, "accuracy": 0.8, "macro_f1": 0.79, "confusion": [[4, 1], [1, 4]],
        "per_class": [{"label": "好评"}, {"label": "差评"}],
    });
    let conclusion = Conclusion {
        model: NewModel {
            uri: "file:///nowhere/a".to_owned(),
            manifest_sha256: "a".repeat(64),
            labels: champion.labels.clone(),
            metrics: metrics.clone(),
            parent: Some(champion.version),
            round: Some(lease.round),
        },
        accepted: false,
        reason: "no better than the champion: p = 0.4".to_owned(),
        evidence: json!({
            "held_out": 10, "warnings": ["a class is small"],
            "wrong": [{"text": "<b>难吃</b>", "label": "差评", "said": "好评", "score": 0.91}],
            "curve": [{"step": 1, "loss": 0.7}, {"step": 50, "accuracy": 0.7}, {"step": 100, "loss": 0.2}],
        }),
        champion_metrics: Some(metrics.clone()),
        candidate_metrics: metrics,
        baseline_metrics: None,
        expected_champion: Some(champion.version),
        shadow_first: None,
    };
    let concluded = store.conclude_round(&lease, &conclusion).await.unwrap();
    assert!(matches!(concluded, Concluded::Rejected(_)), "{concluded:?}");
    let page = visitor.get(&format!("/rounds/{}", lease.round)).body;
    for shown in [
        "no better than the champion: p = 0.4",
        "a class is small",
        "&#60;b&#62;难吃&#60;/b&#62;",
        "<td class=\"number right\">4</td><td class=\"number wrong\">1</td>",
        "<polyline class=\"l0\"",
        "0.8000",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    // Another page: this one shows for some seconds what it knew.
    let models = Visitor::of(site.another().await).get("/models").body;
    assert!(models.contains("class=\"node rejected\"") && models.contains("class=\"edge\""), "{models}");
    assert_eq!(visitor.get("/rounds/99").status, 404);
    site.close().await;
}
