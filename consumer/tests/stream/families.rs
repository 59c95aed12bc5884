//! A checkpoint of every kind, from a directory that came from elsewhere through the registry to
//! the labels in Postgres, while the stream flows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use classifier::{Classifier, Device};
use store::LoadStatus;

use crate::site::Site;

fn directories() -> Vec<PathBuf> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let ours = ["roberta", "xlm_roberta", "camembert", "electra", "ernie", "distilbert", "albert", "megatron_bert"];
    let others = ["modernbert", "deberta_v3", "qwen3"];
    let ours = ours.map(|name| home.join("bert/tests/fixtures").join(name));
    ours.into_iter().chain(others.map(|name| home.join("classifier/tests/composed").join(name))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_every_family_takes_the_stream_over_and_labels_it_as_it_does_alone() {
    let site = Site::new().await;
    let consumer = site.consume_looking(Duration::from_millis(100));
    let mut written = 0;
    for directory in directories() {
        let registered = service::register(&site.store, &site.checkpoints(), &directory).await.unwrap();
        let alone = Classifier::open(&directory, &Device::Cpu).unwrap();
        assert_eq!(registered.kind, alone.kind().to_string());
        assert!(registered.engine.starts_with(alone.engine()) && registered.engine.ends_with("texts/s here"));
        let version = registered.model.version;
        site.promote(version).await;
        site.until_reported(version, LoadStatus::Serving).await;
        site.world.publish_reviews(60);
        written += 60;
        site.world.until_written(written).await;

        let query = "select text, label, score from predictions where version = $1";
        let rows: Vec<(String, String, f32)> =
            sqlx::query_as(query).bind(version.0).fetch_all(&site.pool).await.unwrap();
        assert!(rows.len() >= 50, "{}: {} rows", directory.display(), rows.len());
        let texts: Vec<&str> = rows.iter().map(|(text, ..)| text.as_str()).collect();
        for ((text, label, score), prediction) in rows.iter().zip(alone.classify(&texts).unwrap()) {
            let (best, expected) = prediction.best();
            let same = *label == alone.classes().name(best) && (score - expected).abs() < 1e-4;
            assert!(same, "{}: {text}: {label} {score}, expected {expected}", directory.display());
        }
    }
    consumer.stop().await;
    site.world.assert_each_exactly_once().await;
}
