//! A round asked for, followed and read again. The trainer's part is played by the test, through
//! the same tables.

use std::process::Stdio;
use std::time::Duration;

use harness::until_some;
use serde_json::json;
use store::{Begun, Concluded, Conclusion, NewModel, NewRound, RoundLease, Store, Trigger};

use crate::program::*;

async fn begin(store: &Store) -> RoundLease {
    let new = NewRound {
        trigger: Trigger::Command,
        parameters: json!({"from": "base"}),
        owner: "a test".into(),
        lease: Duration::from_secs(60),
    };
    match store.begin_round(&new).await.unwrap() {
        Begun::Started(lease) => lease,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_waiting_retrain_ends_with_the_verdict_of_its_round() {
    let url = migrated_database("retrain");
    let mut retrain = labelstream(&["retrain", "--from", "base", "--wait", "--json", "--database-url", &url]);
    let retrain = retrain.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let store = block_on(Store::connect(&url, 1)).unwrap();
    let status = ["status", "--json", "--database-url", &url];
    let request = block_on(until_some("the request", async || store.open_request().await.unwrap()));
    assert_eq!(request.parameters, json!({"from": "base"}));
    assert_eq!(json(&succeed(&status))["round_requested"], true);

    let lease = block_on(begin(&store));
    let progress = json!({"phase": "training", "step": 30, "steps": 120});
    let _ = block_on(store.extend_lease(&lease, Duration::from_secs(60), &progress)).unwrap();
    let running = succeed(&["status", "--database-url", &url]);
    assert!(running.contains(&format!("round {} training 25%", lease.round)), "{running}");
    let listed = succeed(&["rounds", "list", "--database-url", &url]);
    assert!(listed.contains("command") && listed.contains("training 25%"), "{listed}");

    let conclusion = Conclusion {
        model: NewModel {
            uri: format!("file:///somewhere/{}", "a".repeat(64)),
            manifest_sha256: "a".repeat(64),
            labels: vec!["好评".into(), "差评".into()],
            metrics: json!({}),
            parent: None,
            round: Some(lease.round),
        },
        accepted: false,
        reason: "too few held-out labels".into(),
        evidence: json!({"held_out": 12}),
        champion_metrics: None,
        candidate_metrics: json!({"accuracy": 0.75, "macro_f1": 0.7}),
        baseline_metrics: Some(json!({"accuracy": 0.8125})),
        expected_champion: None,
        shadow_first: None,
    };
    assert!(matches!(block_on(store.conclude_round(&lease, &conclusion)).unwrap(), Concluded::Rejected(_)));
    let told = retrain.wait_with_output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let round = json(std::str::from_utf8(&told.stdout).unwrap());
    assert_eq!(
        (round["verdict"].as_str(), round["reason"].as_str()),
        (Some("rejected"), Some("too few held-out labels"))
    );

    let shown = succeed(&["rounds", "show", &lease.round.to_string(), "--database-url", &url]);
    for told in ["rejected", "by command", "accuracy 0.7500, macro-F1 0.7000", "0.8125", "held_out", "\"base\""] {
        assert!(shown.contains(told), "no {told:?} in {shown}");
    }
    let listed = succeed(&["rounds", "list", "--database-url", &url]);
    assert!(listed.contains("rejected") && listed.contains("0.7500") && listed.contains("0.8125"), "{listed}");
    assert!(fail(&["rounds", "show", "77", "--database-url", &url]).contains("no round 77"));
}

#[test]
fn a_round_that_is_given_up_fails_whoever_waited_for_it() {
    let url = migrated_database("given_up");
    let mut retrain = labelstream(&["retrain", "--wait", "--database-url", &url]);
    let retrain = retrain.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let store = block_on(Store::connect(&url, 1)).unwrap();
    block_on(async {
        until_some("the request", async || store.open_request().await.unwrap()).await;
        let lease = begin(&store).await;
        let _ = store.abandon_round(&lease, "the disk is full").await.unwrap();
    });
    let told = retrain.wait_with_output().unwrap();
    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stdout).contains("the disk is full"));
}
