//! What people are asked to label, and what their labels tell.

use std::io::Write as _;

use serde_json::Value;
use store::{NewLabel, PredictionRow, Store};

use crate::program::*;

fn lines(arguments: &[&str]) -> Vec<Value> {
    succeed(arguments).lines().map(json).collect()
}

fn counts(asked: &[Value]) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for pick in asked {
        *counts.entry(pick["picked"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

fn add(store: &Store, labels: impl IntoIterator<Item = (String, &'static str, &'static str)>) {
    let label = |(text, label, who): (String, &str, &str)| NewLabel {
        review_id: None,
        text: Some(text),
        label: label.to_owned(),
        labeled_by: Some(who.to_owned()),
        labeled_at: None,
        source: "test".to_owned(),
    };
    block_on(store.add_labels(&labels.into_iter().map(label).collect::<Vec<_>>())).unwrap();
}

/// A text that one word tells the class of, unlike all others.
fn text(word: &str, number: usize) -> String {
    let dishes = ["米饭", "面条", "火锅", "烧烤", "蛋糕", "奶茶", "咖啡", "饺子", "包子", "炸鸡", "寿司"];
    let shops = ["东街", "西市", "南门", "北站", "河边", "山上", "机场"];
    format!("{}的{}{word}，第{number}次来", shops[number % 7], dishes[number % 11])
}

#[test]
fn what_is_asked_is_mixed_and_what_was_drawn_tells_the_accuracy() {
    let url = migrated_database("mixed");
    // The model says good of everything, and is surer of what is good.
    let predictions = (0..200).map(|offset| {
        let number = usize::try_from(offset).unwrap();
        let (word, score) = if number % 4 == 0 { ("难吃", 0.55) } else { ("好吃", 0.95) };
        PredictionRow { text: text(word, number), score: score + number as f32 / 1e4, ..prediction(offset) }
    });
    let store = block_on(written(&url, "mixed", predictions.collect(), vec![]));
    let labels = (1_000..1_060).map(|number| {
        let (word, label) = if number % 2 == 0 { ("难吃", "差评") } else { ("好吃", "好评") };
        (text(word, number), label, "ada")
    });
    add(&store, labels);
    let next = ["labels", "next", "--database-url", &url, "--limit", "40", "--json"];
    let asked = lines(&next);
    let expected = [("audit", 8), ("disagreement", 8), ("diverse", 8), ("uncertain", 16)];
    assert_eq!(counts(&asked), expected.map(|(way, count)| (way.to_owned(), count)));
    for pick in &asked {
        let is_bad = pick["text"].as_str().unwrap().contains("难吃");
        assert_eq!(pick["probability"].as_f64(), (pick["picked"] == "audit").then_some(8.0 / 200.0));
        assert!(pick["picked"] != "disagreement" || is_bad, "{pick}");
        assert!(pick["picked"] != "uncertain" || is_bad, "{pick}");
    }
    assert_eq!(succeed(&["accuracy", "--database-url", &url, "--json"]).matches("\"accuracy\":null").count(), 1);

    let answers = asked.iter().map(|pick| {
        let text = pick["text"].as_str().unwrap().to_owned();
        let label = if text.contains("难吃") { "差评" } else { "好评" };
        (text, label, "bo")
    });
    add(&store, answers.collect::<Vec<_>>());
    let wrong =
        asked.iter().filter(|pick| pick["picked"] == "audit" && pick["text"].as_str().unwrap().contains("难吃"));
    let expected = 1.0 - wrong.count() as f64 / 8.0;
    let told = json(&succeed(&["accuracy", "--database-url", &url, "--json"]));
    let told = &told[0];
    assert_eq!((&told["version"], &told["drawn"], &told["accuracy"]["texts"]), (&1.into(), &8.into(), &8.into()));
    assert!((told["accuracy"]["value"].as_f64().unwrap() - expected).abs() < 1e-9, "{told}");
    let shown = succeed(&["accuracy", "--version", "1", "--database-url", &url]);
    assert!(shown.contains(&format!("{:.1}%", 100.0 * expected)) && shown.contains("predicted 好评"), "{shown}");

    // What was drawn and has a label is not asked again, and counts as drawn.
    let again = lines(&next);
    assert!(again.iter().all(|pick| asked.iter().all(|before| before["text"] != pick["text"])));
    let drawn = json(&succeed(&["accuracy", "--database-url", &url, "--json"]));
    assert_eq!(drawn[0]["drawn"], 16);
}

#[test]
fn with_no_model_yet_reviews_are_read_from_the_topic_and_nothing_is_committed() {
    let url = migrated_database("from_nothing");
    let brokers = KAFKA.brokers();
    let refused = run(&["labels", "next", "--database-url", &url]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--brokers"), "{refused:?}");
    let mut file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
    for number in 0..60 {
        let text =
            if number % 3 == 0 { text("好吃", number) } else { format!("酒店房间很旧，第{number}天") };
        writeln!(file, "{}", serde_json::json!({"review_id": format!("r-{number}"), "text": text})).unwrap();
    }
    writeln!(file, "{}", serde_json::json!({"review_id": "r-x", "no": "text"})).unwrap();
    let topic = "from-nothing";
    KAFKA.create_topic(topic, 3).unwrap();
    succeed(&["publish", file.path().to_str().unwrap(), "--brokers", brokers, "--topic", topic]);
    let next = ["labels", "next", "--database-url", &url, "--brokers", brokers, "--topic", topic, "--limit", "6"];
    let asked = lines(&[&next[..], &["--json"]].concat());
    assert_eq!(counts(&asked), [("diverse".to_owned(), 6)]);
    assert!(asked.iter().all(|pick| pick["prediction"].is_null() && pick["probability"].is_null()), "{asked:?}");
    let hotels = asked.iter().filter(|pick| pick["text"].as_str().unwrap().contains("酒店")).count();
    assert!((1..6).contains(&hotels), "{hotels} of 6 are about hotels");

    // Filled in, the table is imported, and the next one has other reviews.
    let table = succeed(&next);
    let first = table.lines().nth(1).unwrap();
    assert!(first.ends_with(",,,"), "no prediction and no score: {first}");
    let filled: Vec<String> =
        table.lines().map(|line| if line.ends_with(',') { format!("{line}好评") } else { line.to_owned() }).collect();
    let mut to_import = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
    to_import.write_all(filled.join("\n").as_bytes()).unwrap();
    succeed(&["labels", "import", to_import.path().to_str().unwrap(), "--database-url", &url]);
    let others = succeed(&next);
    assert!(table.lines().skip(1).all(|line| !others.contains(line)), "{others}");
    assert_eq!(others.lines().count(), 7);
}

#[test]
fn labels_that_models_contradict_are_suspects_and_agreement_is_told() {
    let url = migrated_database("suspects");
    let store = block_on(Store::connect(&url, 1)).unwrap();
    let label = |number: usize| {
        let word = ["难吃", "好吃"][number % 2];
        let is_wrong = [20, 41].contains(&number);
        (text(word, number), if (number % 2 == 1) == is_wrong { "差评" } else { "好评" }, "ada")
    };
    add(&store, (0..200).map(label));
    add(&store, [(text("难吃", 0), "差评", "bo"), (text("好吃", 1), "差评", "bo")]);
    add(&store, [(text("好吃", 1), "好评", "bo")]);
    let suspects = ["labels", "suspects", "--database-url", &url];
    let found = lines(&[&suspects[..], &["--limit", "2", "--json"]].concat());
    let mut texts: Vec<&str> = found.iter().map(|suspect| suspect["text"].as_str().unwrap()).collect();
    texts.sort_unstable();
    let mut expected = [text("难吃", 20), text("好吃", 41)];
    expected.sort();
    assert_eq!(texts, expected);
    assert_eq!(found[0]["nearest"].as_array().unwrap().len(), 2);
    assert_ne!(found[0]["given"], found[0]["claimed"]);
    let table = succeed(&suspects);
    assert!(table.starts_with("review_id,text,given,claimed,probability,nearest,label\n"), "{table}");

    let mut file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
    writeln!(file, "text,label").unwrap();
    (0..200).map(label).for_each(|(text, label, _)| writeln!(file, "{text},{label}").unwrap());
    let of_file = lines(&["labels", "suspects", "--data", file.path().to_str().unwrap(), "--limit", "2", "--json"]);
    assert_eq!(of_file.len(), 2);

    let agreement = json(&succeed(&["labels", "agreement", "--database-url", &url, "--json"]));
    assert_eq!((&agreement[0]["texts"], &agreement[0]["agree"]), (&2.into(), &1.0.into()));
}
