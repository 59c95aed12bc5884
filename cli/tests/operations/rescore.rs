//! Stored reviews, labeled again by the champion.

use harness::flip_a_bit;
use store::{NextOffset, Predicted, PredictionRow, Store, Stream, Version};

use crate::program::*;

/// The predictions of a topic, in order.
fn predictions(store: &Store, topic: &str) -> Vec<Predicted> {
    let stream = Stream { pipeline: "labelstream".into(), cluster_id: cluster_id(), topic: topic.into() };
    block_on(store.predictions(&stream, 0, NextOffset(0), 1000)).unwrap()
}

#[test]
fn rescore_labels_what_older_versions_said_and_goes_on_where_it_was_stopped() {
    let url = migrated_database("rescore");
    let checkpoints = tempfile::tempdir().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let old = registered(&url, checkpoints.path(), 1, &["--promote"]);
    let new = registered(&url, checkpoints.path(), 2, &["--promote"]);
    let by = |offset: i64| Version(if offset == 4 { new } else { old });
    // 0.125 is no model's answer, so that whoever wrote a row is told by its score.
    let rows = (0..9).map(|offset| PredictionRow { score: 0.125, version: by(offset), ..prediction(offset) });
    let store = block_on(written(&url, "rescore", rows.collect(), vec![]));
    let before = predictions(&store, "rescore");

    let (checkpoints, cache) = (checkpoints.path().to_str().unwrap(), cache.path().to_str().unwrap());
    let rescore = ["rescore", "--database-url", &url, "--checkpoints", checkpoints, "--cache", cache, "--json"];
    let rescore = [&rescore[..], &["--device", "cpu", "--rate", "1000"]].concat();
    let first = json(&succeed(&[&rescore[..], &["--limit", "3"]].concat()));
    assert_eq!((&first["labeled"], &first["left"], &first["version"]), (&3.into(), &5.into(), &new.into()));
    let second = json(&succeed(&rescore));
    assert_eq!((&second["labeled"], &second["left"]), (&5.into(), &0.into()));
    assert_eq!(json(&succeed(&rescore))["labeled"], 0);

    let after = predictions(&store, "rescore");
    assert!(after.iter().all(|row| row.version == Version(new)));
    for (before, after) in before.iter().zip(&after) {
        let untouched = before.kafka_offset == 4;
        assert_eq!(after.score == 0.125, untouched, "offset {}", after.kafka_offset);
        assert_eq!(before.classified_at, after.classified_at);
    }
}

#[test]
fn rescore_keeps_to_its_rate_and_refuses_what_makes_no_sense() {
    let url = migrated_database("rescore_slowly");
    let checkpoints = tempfile::tempdir().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let (place, cache) = (checkpoints.path().to_str().unwrap(), cache.path().to_str().unwrap());
    let rescore = ["rescore", "--database-url", &url, "--checkpoints", place, "--cache", cache, "--device", "cpu"];
    assert!(fail(&rescore).contains("there is no champion"));

    let old = registered(&url, checkpoints.path(), 1, &["--promote"]);
    let new = registered(&url, checkpoints.path(), 2, &["--promote"]);
    let error = fail(&[&rescore[..], &["--older-than-version", &(new + 1).to_string()]].concat());
    assert!(error.contains(&format!("the champion is version {new}")), "{error}");
    let rows = (0..9).map(|offset| PredictionRow { version: Version(old), ..prediction(offset) });
    block_on(written(&url, "rescore_slowly", rows.collect(), vec![]));
    assert_eq!(
        json(&succeed(&[&rescore[..], &["--json", "--older-than-version", &old.to_string()]].concat()))["labeled"],
        0
    );
    let slow = json(&succeed(&[&rescore[..], &["--json", "--rate", "8"]].concat()));
    assert!(slow["labeled"] == 9 && slow["seconds"].as_f64().unwrap() >= 1.0, "{slow}");

    // A damaged copy in the cache is fetched again; a damaged checkpoint is refused.
    let damage = |directory: &str| {
        for checkpoint in std::fs::read_dir(directory).unwrap() {
            flip_a_bit(&checkpoint.unwrap().path().join("model.safetensors"));
        }
    };
    damage(cache);
    succeed(&rescore);
    damage(cache);
    damage(place);
    assert!(fail(&rescore).contains("model.safetensors"));
}
