//! What rounds come to.

use std::path::Path;

use serde_json::{Value, json};

use crate::site::{Registry, Site};

#[tokio::test]
async fn labels_make_a_first_champion_more_of_them_a_better_one_and_nothing_new_no_round() {
    let site = Site::new().await;
    site.label(0..400).await;
    site.round(&[]).await;
    let first = site.last_round().await;
    assert_eq!((&first["verdict"], &first["trigger"]), (&"accepted".into(), &"once".into()), "{}", first["reason"]);
    assert!(first["reason"].as_str().unwrap().starts_with("the first champion"), "{}", first["reason"]);

    site.round(&[]).await;
    assert_eq!(site.registry().await.verdicts.len(), 1, "a round without a new label");

    site.label(400..4000).await;
    site.round(&[]).await;
    let second = site.last_round().await;
    assert_eq!(second["verdict"], "accepted", "{}", second["reason"]);
    assert_eq!((&second["champion"], &second["candidate"]), (&1.into(), &2.into()));
    let accuracy = |metrics: &str| second[metrics]["accuracy"].as_f64().unwrap();
    assert!(accuracy("candidate_metrics") > accuracy("champion_metrics"), "{second}");
    let held_out = second["evidence"]["held_out"].as_i64().unwrap();
    assert!((700..=900).contains(&held_out), "{held_out}");
    assert_eq!(second["labels_seen"], 4000);
    // What it gets wrong is on record, the surest first.
    let wrong = second["evidence"]["wrong"].as_array().unwrap();
    let scores: Vec<f64> = wrong.iter().map(|wrong| wrong["score"].as_f64().unwrap()).collect();
    assert!((1..=30).contains(&wrong.len()) && scores.is_sorted_by(|one, other| one >= other), "{wrong:?}");
    assert!(wrong.iter().all(|wrong| wrong["said"] != wrong["label"] && wrong["text"].is_string()), "{wrong:?}");
    assert_eq!(site.registry().await.champions, [1, 2]);
    site.every_registered_checkpoint_is_complete().await;
}

#[tokio::test]
async fn a_champion_that_cannot_be_trained_here_is_judged_and_its_successor_comes_of_the_base() {
    let site = Site::new().await;
    let composed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../classifier/tests/composed");
    for (number, family) in (1..).zip(["modernbert", "deberta_v3"]) {
        let directory = site.path(family);
        copy_with_classes(&composed.join(family), &directory, ["差评", "好评"]);
        let champion = service::register(&site.store, &site.checkpoints(), &directory).await.unwrap().model.version;
        site.promote(champion).await;
        site.label(number * 1000..(number + 1) * 1000).await;

        site.round(&["--from", "champion"]).await;
        let round = site.last_round().await;
        assert_eq!(round["verdict"], "accepted", "{}", round["reason"]);
        assert_eq!(round["champion"], champion.0);
        let accuracy = |metrics: &str| round[metrics]["accuracy"].as_f64().unwrap();
        let random = accuracy("champion_metrics");
        assert!(random > 0.0 && accuracy("candidate_metrics") > random, "{round}");
        let candidate = site.store.champion().await.unwrap().unwrap();
        assert!(candidate.version > champion && candidate.parent == Some(champion), "{candidate:?}");
    }
}

/// A checkpoint under the names of other classes.
fn copy_with_classes(from: &Path, to: &Path, classes: [&str; 2]) {
    std::fs::create_dir(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    let path = to.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["id2label"] = json!({"0": classes[0], "1": classes[1]});
    config["label2id"] = json!({classes[0]: 0, classes[1]: 1});
    std::fs::write(path, config.to_string()).unwrap();
}

#[tokio::test]
async fn a_candidate_that_is_no_better_is_rejected_and_stays_on_record() {
    let site = Site::new().await;
    site.label(0..1500).await;
    site.round(&[]).await;
    site.label(1500..1510).await;
    site.round(&[]).await;
    let round = site.last_round().await;
    assert_eq!(round["verdict"], "rejected");
    assert!(round["reason"].as_str().unwrap().contains("not shown to be better"), "{}", round["reason"]);
    let model = site.store.model(store::Version(2)).await.unwrap();
    assert_eq!((model.status, model.parent), (store::ModelStatus::Rejected, Some(store::Version(1))));
    assert_eq!(site.registry().await.champions, [1]);
    site.every_registered_checkpoint_is_complete().await;
}

#[tokio::test]
async fn a_tiny_held_out_set_is_rejected_with_the_reason() {
    let site = Site::new().await;
    site.label(0..45).await;
    site.round(&[]).await;
    let round = site.last_round().await;
    assert_eq!(round["verdict"], "rejected");
    assert!(round["reason"].as_str().unwrap().contains("held-out labels, 50 are needed"), "{}", round["reason"]);
    assert_eq!(
        site.registry().await,
        Registry { champions: vec![], models: 1, verdicts: vec![Some("rejected".to_owned())] }
    );
}

#[tokio::test]
async fn sixty_labels_make_a_first_champion_and_what_it_has_not_seen_judges_the_next() {
    let site = Site::new().await;
    let label = async |from: i64, to: i64| {
        sqlx::query(
            "insert into labels (label, text)
            select case when (n % 2 = 0) = (n % 10 > 0) then '好评' else '差评' end,
                (array['东街', '西市', '南门', '北站', '河边', '山上', '机场'])[1 + n % 7]
                || (array['米饭', '面条', '火锅', '烧烤', '蛋糕', '奶茶', '咖啡', '饺子', '包子'])[1 + n % 9]
                || (array['好吃', '难吃'])[1 + n % 2] || n
            from generate_series($1::bigint, $2::bigint - 1) as n",
        )
        .bind(from)
        .bind(to)
        .execute(&site.pool)
        .await
        .unwrap();
    };
    label(1000, 1060).await;
    site.round(&[]).await;
    let first = site.last_round().await;
    assert_eq!(first["verdict"], "accepted", "{}", first["reason"]);
    assert!(first["reason"].as_str().unwrap().contains("by cross-validation"), "{}", first["reason"]);
    let held_out = |round: &Value| round["evidence"]["held_out"].as_i64().unwrap();
    assert!((50..=60).contains(&held_out(&first)), "{first}");
    assert!(first["evidence"]["p_by_chance"].as_f64().unwrap() <= 0.05);

    // Of the 60 the champion has learned most; of the next 80 none.
    label(1060, 1140).await;
    site.round(&[]).await;
    let second = site.last_round().await;
    let left_out = second["evidence"]["cross_validated"].as_i64().unwrap();
    assert!((45..=70).contains(&left_out) && held_out(&second) < 100, "{second}");
    assert!(second["evidence"]["against_champion"].is_object(), "{second}");
}

#[tokio::test]
async fn texts_that_the_champion_doubted_do_not_judge_it_and_those_drawn_at_random_are_told_apart() {
    let site = Site::new().await;
    site.label(0..600).await;
    site.round(&[]).await;
    site.label(600..1500).await;
    sqlx::query(
        "insert into picks (text, way, probability, version, prediction, score, classified_at)
        select text, case when id % 2 = 0 then 'uncertain' else 'audit' end, case when id % 2 = 1 then 0.01 end, 1,
            '好评', 0.5, now()
        from labels where id > 600",
    )
    .execute(&site.pool)
    .await
    .unwrap();
    site.round(&[]).await;
    let round = site.last_round().await;
    let reason = round["reason"].as_str().unwrap();
    assert!(reason.contains("picked for the champion's doubt do not judge"), "{reason}");
    assert!(reason.contains("on the stream 0.") && reason.contains("texts drawn at random"), "{reason}");
    let evidence = &round["evidence"];
    let doubted = evidence["doubted"].as_i64().unwrap();
    assert!((60..=120).contains(&doubted), "{evidence}");
    assert!((60..=120).contains(&evidence["on_stream"]["champion"]["texts"].as_i64().unwrap()), "{evidence}");
}

#[tokio::test]
async fn a_candidate_that_passes_may_have_to_shadow_the_champion_first() {
    let site = Site::new().await;
    site.label(0..400).await;
    site.round(&["--shadow-first", "0.2"]).await;
    assert_eq!(site.registry().await.champions, [1], "a first champion does not wait");
    site.label(400..4000).await;
    site.round(&["--shadow-first", "0.2"]).await;
    let round = site.last_round().await;
    assert_eq!((&round["verdict"], &round["candidate"]), (&"accepted".into(), &2.into()), "{}", round["reason"]);
    assert_eq!(site.registry().await.champions, [1]);
    let (shadow, model) = site.store.shadow().await.unwrap().unwrap();
    assert_eq!((shadow.version, shadow.share, model.version), (store::Version(2), 0.2, store::Version(2)));
    site.store.promote(store::Version(2), "it did well", Some(store::Version(1))).await.unwrap();
}

#[tokio::test]
async fn a_network_that_the_linear_model_beats_gives_way_to_it() {
    let site = Site::new().await;
    site.label(0..600).await;
    let network = ["--base", "new-bert", "--epochs", "1", "--max-length", "16"];
    let mut trainer = site.trainer("trainer", &[&["--once"], &network[..]].concat());
    assert_eq!(trainer.exit_code().await, Some(0));
    let round = site.last_round().await;
    assert_eq!(round["verdict"], "accepted", "{}", round["reason"]);
    assert!(round["reason"].as_str().unwrap().contains("the linear model"), "{}", round["reason"]);
}

#[tokio::test]
async fn the_manifest_of_a_champion_has_its_round_and_golden_texts_of_every_class() {
    let site = Site::new().await;
    site.label(0..600).await;
    site.round(&[]).await;
    let champion = site.store.champion().await.unwrap().unwrap();
    assert!(champion.metrics["accuracy"].as_f64().unwrap() > 0.7, "{}", champion.metrics);
    let manifest = site.path("checkpoints").join(&champion.manifest_sha256).join("manifest.json");
    let manifest: Value = serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
    assert_eq!(manifest["round"], 1);
    let golden = manifest["golden"].as_array().unwrap();
    let of = |class: &str| golden.iter().filter(|golden| golden["label"] == class).count();
    assert_eq!((of("好评"), of("差评"), golden.len()), (3, 3, 6));
}

#[tokio::test]
async fn labels_of_an_unknown_class_wait_until_a_new_base_is_to_know_it() {
    let site = Site::new().await;
    site.label(0..600).await;
    site.round(&[]).await;
    site.store.add_class("一般").await.unwrap();
    sqlx::query(
        "insert into labels (label, text) select '一般', '还可以吧' || md5(n::text) from generate_series(1, 100) as n",
    )
    .execute(&site.pool)
    .await
    .unwrap();
    site.round(&[]).await;
    let labels: Vec<Vec<String>> =
        sqlx::query_scalar("select labels from models order by version").fetch_all(&site.pool).await.unwrap();
    assert_eq!(labels, [["好评", "差评"], ["好评", "差评"]].map(|labels| labels.map(str::to_owned).to_vec()));

    site.label(600..610).await;
    site.round(&["--from", "base", "--classes", "好评,差评,一般"]).await;
    let round = site.last_round().await;
    let third = site.store.model(store::Version(3)).await.unwrap();
    assert_eq!(third.labels, ["好评", "差评", "一般"]);
    // It is better, and whoever reads the predictions must still know of it first.
    assert_eq!(round["verdict"], "rejected");
    assert!(round["reason"].as_str().unwrap().ends_with("only a person may promote it"), "{}", round["reason"]);
    assert!(round["evidence"]["against_champion"]["p_better"].as_f64().unwrap() < 0.01);
    site.store.promote(store::Version(3), "three classes from now on", Some(store::Version(1))).await.unwrap();
}

#[tokio::test]
async fn a_round_that_fails_is_abandoned_with_its_reason_and_its_labels_are_new_again() {
    let site = Site::new().await;
    site.label(0..30).await;
    let mut trainer = site.trainer("trainer", &["--once", "--base", "new-linear", "--min-per-class", "200"]);
    assert_eq!(trainer.exit_code().await, Some(1));
    assert!(trainer.log().contains("two classes with 200 labeled texts"), "{}", trainer.log());
    let round = site.last_round().await;
    assert_eq!(round["verdict"], "abandoned");
    assert!(round["reason"].as_str().unwrap().contains("two classes"), "{}", round["reason"]);
    assert_eq!(site.store.new_labels().await.unwrap(), 30);
    assert_eq!(site.registry().await.models, 0);
}

#[tokio::test]
async fn checkpoints_that_nobody_wants_any_more_are_deleted_and_the_champion_is_not() {
    let site = Site::new().await;
    for round in 0..3 {
        site.label(round * 500..(round + 1) * 500).await;
        site.round(&["--margin", "0.5", "--keep-checkpoints", "0", "--keep-for", "0"]).await;
    }
    assert_eq!(site.registry().await.champions, [1, 2, 3]);
    let stored: Vec<String> = std::fs::read_dir(site.path("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(stored, [site.store.champion().await.unwrap().unwrap().manifest_sha256]);
}

/// No two texts have a character in common: whatever is learned, one class is answered to all.
#[tokio::test]
async fn a_collapsed_candidate_and_labels_that_contradict_each_other_are_on_record_and_in_the_log() {
    let site = Site::new().await;
    sqlx::query(
        "insert into labels (label, text)
        select case when n % 2 = 0 then '好评' else '差评' end,
            (select string_agg(chr(19968 + 6 * n + place), '' order by place) from generate_series(0, 5) as place)
        from generate_series(1, 400) as n
        union all select '好评', 'the same words' union all select '差评', 'The same words!'",
    )
    .execute(&site.pool)
    .await
    .unwrap();
    let mut trainer = site.trainer("trainer", &["--once", "--base", "new-linear"]);
    assert_eq!(trainer.exit_code().await, Some(0), "{}", trainer.log());
    let warnings = site.last_round().await["evidence"]["warnings"].to_string();
    for warning in ["2 of 402 texts (0.5 %) contradict another one", "the model has collapsed: it answers"] {
        assert!(warnings.contains(warning), "{warnings}\n{}", trainer.log());
        assert!(trainer.log().contains(warning), "{}", trainer.log());
    }
}

#[tokio::test]
async fn a_broken_file_of_golden_texts_is_found_before_anything_is_trained() {
    let site = Site::new().await;
    let golden = site.path("golden.csv");
    std::fs::write(&golden, "text,label\n好吃,好评\n\"难吃,差评\n").unwrap();
    let mut trainer = site.trainer("trainer", &["--once", "--golden", golden.to_str().unwrap()]);
    assert_eq!(trainer.exit_code().await, Some(1));
    assert!(trainer.log().contains("golden.csv: line 3: a quote opens here"), "{}", trainer.log());
    assert_eq!(site.registry().await.verdicts.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_with_an_encoder_learns_from_stored_reviews_too_and_keeps_its_vectors() {
    let site = Site::new().await;
    let encoder = site.path("encoder");
    harness::save_tiny_model(&encoder, &["a", "b", "c"], 1);
    let encoder = encoder.display().to_string();
    site.label(0..300).await;
    site.store_reviews(300..800).await;
    let mut trainer = site.trainer("trainer", &["--base", "new", "--encoder", &encoder, "--tune", "--once"]);
    assert_eq!(trainer.exit_code().await, Some(0), "{}", trainer.log());
    assert!(trainer.log().contains("the student of the tuned encoder"), "{}", trainer.log());
    assert!(trainer.log().contains("the student is compared"), "{}", trainer.log());
    let round = site.last_round().await;
    let expected = (&"accepted".into(), &encoder.clone().into());
    assert_eq!((&round["verdict"], &round["parameters"]["encoder"]), expected, "{round}");
    // A hash and 32 numbers for each text: many more than people have labeled.
    let file = std::fs::read_dir(site.path("trainer").join("embeddings")).unwrap().next().unwrap().unwrap();
    let texts = file.metadata().unwrap().len() / (32 + 4 * 32);
    assert!(texts > 400, "{texts} texts were read");
    let refused = site.trainer("other", &["--base", "new-linear", "--encoder", &encoder]).exit_code().await;
    assert_ne!(refused, Some(0), "an encoder that would help nothing");
}
