//! The registry over time: who was live, who serves what, whose files can go.

use std::time::Duration;

use store::checkpoints::CheckpointStore;
use store::{LoadStatus, PredictionRow, Store, Version};

use crate::program::*;

#[test]
fn deployments_tell_who_was_live_from_when_until_when_and_why() {
    let url = migrated_database("deployments");
    let checkpoints = tempfile::tempdir().unwrap();
    let none = succeed(&["deployments", "--database-url", &url]);
    assert!(none.contains("no version was ever live"), "{none}");
    let first = registered(&url, checkpoints.path(), 1, &["--promote"]);
    let second = registered(&url, checkpoints.path(), 2, &[]);
    succeed(&["models", "promote", &second.to_string(), "--why", "better on hotels", "--database-url", &url]);
    succeed(&["models", "rollback", "--why", "worse on tea", "--database-url", &url]);

    let told = json(&succeed(&["deployments", "--json", "--database-url", &url]));
    let told = told.as_array().unwrap();
    let versions: Vec<_> = told.iter().map(|row| row["version"].as_i64().unwrap()).collect();
    assert_eq!(versions, [first, second, first]);
    assert_eq!((told[0]["why"].as_str(), told[1]["why"].as_str()), (Some("worse on tea"), Some("better on hotels")));
    assert!(told[0]["until"].is_null());
    assert_eq!((&told[1]["until"], &told[2]["until"]), (&told[0]["from"], &told[1]["from"]));
    let newest = succeed(&["deployments", "--limit", "1", "--database-url", &url]);
    assert!(newest.contains("now") && newest.contains("worse on tea") && newest.lines().count() == 2, "{newest}");
}

#[test]
fn status_tells_what_each_consumer_serves_and_why_one_refused() {
    let url = migrated_database("serving");
    let checkpoints = tempfile::tempdir().unwrap();
    let first = registered(&url, checkpoints.path(), 1, &["--promote"]);
    let second = registered(&url, checkpoints.path(), 2, &["--promote"]);
    let store = block_on(Store::connect(&url, 1)).unwrap();
    block_on(async {
        let report = async |consumer, pipeline, version, status, reason| {
            store.report_load(consumer, pipeline, Version(version), status, reason).await.unwrap();
        };
        report("here/1", "labelstream", second, LoadStatus::Serving, None).await;
        report("there/2", "labelstream", first, LoadStatus::Serving, None).await;
        report("there/2", "labelstream", second, LoadStatus::Refused, Some("a tensor is missing")).await;
        report("elsewhere/3", "other", first, LoadStatus::Serving, None).await;
    });
    let status = succeed(&["status", "--database-url", &url]);
    assert!(status.contains(&format!("champion: version {second}")), "{status}");
    assert!(status.contains("promoted when registered"), "{status}");
    assert!(status.contains(&format!("consumer here/1 serves version {second} (")), "{status}");
    assert!(
        status.contains(&format!("consumer there/2 serves version {first}, which is not the champion")),
        "{status}"
    );
    assert!(status.contains(&format!("there/2 refused version {second}")), "{status}");
    assert!(status.contains("a tensor is missing") && !status.contains("elsewhere"), "{status}");

    let add = "insert into labels (text, label) values ('很快', '好评')";
    assert!(status.contains("labels: 0 since the last round"), "{status}");
    execute(&url, add);
    let status = json(&succeed(&["status", "--json", "--database-url", &url]));
    assert_eq!((&status["new_labels"], status["consumers"].as_array().unwrap().len()), (&1.into(), 3));
}

#[test]
fn collect_deletes_the_files_of_former_champions_beyond_those_to_keep() {
    let url = migrated_database("collect");
    let checkpoints = tempfile::tempdir().unwrap();
    let versions: Vec<i64> = (1..=4).map(|seed| registered(&url, checkpoints.path(), seed, &["--promote"])).collect();
    let place = checkpoints.path().to_str().unwrap();
    let collect = ["models", "collect", "--keep", "1", "--json", "--checkpoints", place, "--database-url", &url];
    let there = || std::fs::read_dir(place).unwrap().count();
    assert_eq!(json(&succeed(&collect))["versions"], serde_json::json!([]), "what was just registered may be in use");

    let collect = [&collect[..], &["--keep-for", "0"]].concat();
    let dry = json(&succeed(&[&collect[..], &["--dry-run"]].concat()));
    assert_eq!((&dry["versions"], &dry["deleted"], there()), (&versions[..2].into(), &false.into(), 4));
    let done = json(&succeed(&collect));
    assert_eq!((&done["versions"], &done["deleted"], there()), (&versions[..2].into(), &true.into(), 2));
    assert_eq!(json(&succeed(&collect))["versions"], serde_json::json!([]));

    let listed = succeed(&["models", "list", "--database-url", &url]);
    assert_eq!(listed.matches("collected").count(), 2, "{listed}");
    let error = fail(&["models", "promote", &versions[0].to_string(), "--database-url", &url]);
    assert!(error.contains("were collected"), "{error}");
    succeed(&["models", "rollback", "--database-url", &url]);
}

/// The interleaving of an audit: the one marks and is about to delete, the other finds the files
/// there still, uploads nothing, and clears the mark.
#[test]
fn a_checkpoint_that_is_registered_while_it_is_collected_has_its_files() {
    let url = migrated_database("collect_or_register");
    let checkpoints = tempfile::tempdir().unwrap();
    let place = checkpoints.path().to_str().unwrap();
    let version = registered(&url, checkpoints.path(), 1, &[]);
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("model");
    save_tiny_model(&directory, 1);

    let store = block_on(Store::connect(&url, 1)).unwrap();
    let files = CheckpointStore::open(place).unwrap();
    let model = block_on(store.model(Version(version))).unwrap();
    let lock = block_on(store.mark_collected(model.version)).unwrap().unwrap();

    let register = ["models", "register", directory.to_str().unwrap(), "--checkpoints", place, "--database-url", &url];
    let mut register = labelstream(&[&register[..], &["--promote"]].concat()).spawn().unwrap();
    // Long enough for it to come as far as it can; longer would change nothing.
    std::thread::sleep(Duration::from_secs(3));
    assert!(register.try_wait().unwrap().is_none(), "it waits for whoever collects");
    block_on(files.delete(&model.uri)).unwrap();
    block_on(lock.release()).unwrap();
    assert!(register.wait().unwrap().success());

    let champion = block_on(store.champion()).unwrap().unwrap();
    assert_eq!((champion.version.0, champion.collected_at), (version, None));
    let cache = tempfile::tempdir().unwrap();
    let fetched = block_on(files.fetch(&champion.uri, cache.path())).unwrap();
    assert!(fetched.join("model.safetensors").exists(), "a version that can be promoted has its files");
}

#[test]
fn a_challenger_shadows_the_champion_and_the_result_says_who_was_right() {
    let url = migrated_database("shadow");
    let checkpoints = tempfile::tempdir().unwrap();
    registered(&url, checkpoints.path(), 1, &["--promote"]);
    registered(&url, checkpoints.path(), 2, &[]);
    let shadow = |words: &[&str]| succeed(&[&["models", "shadow"], words, &["--database-url", &url]].concat());
    let none = fail(&["models", "shadow", "result", "--database-url", &url]);
    assert!(none.contains("models shadow VERSION"), "{none}");
    assert_eq!(shadow(&["2", "--share", "0.25"]), "version 2 scores 25% of the stream beside the champion\n");
    let rows = ["慢", "快", "贵", "旧"]
        .into_iter()
        .zip(0..)
        .map(|(text, offset)| PredictionRow { text: text.into(), ..prediction(offset) });
    block_on(written(&url, "shadow", rows.collect(), vec![]));
    execute(
        &url,
        "insert into shadow_rows (kafka_offset, shadow_id, champion_version, stream_id, partition, score, champion_label, label)
        select kafka_offset, 1, 1, stream_id, partition, 0.9, label, case when kafka_offset < 2 then '差评' else label end
        from prediction_rows;
        insert into labels (review_id, label) values ('r-0', '差评'), ('r-2', '好评')",
    );
    let result = json(&shadow(&["result", "--json"]));
    assert_eq!((&result["records"], &result["agreement"]), (&4.into(), &0.5.into()));
    assert_eq!(
        (&result["labeled"], &result["champion_right"], &result["challenger_right"]),
        (&2.into(), &1.into(), &2.into())
    );
    let asked = succeed(&["labels", "next", "--database-url", &url, "--audit-share", "0", "--limit", "4", "--json"]);
    let contested = asked.lines().map(json).find(|pick| pick["picked"] == "disagreement").unwrap();
    assert_eq!(contested["text"], "快");
    assert_eq!(shadow(&["stop"]), "version 2 shadows no more\n");
    assert_eq!(shadow(&["stop"]), "no version shadows\n");
    assert!(fail(&["models", "shadow", "9", "--database-url", &url]).contains("9"));
}
