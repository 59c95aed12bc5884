//! Labels in, and what to label next.

use std::io::Write;
use std::process::Stdio;

use store::{PredictionRow, Store};

use crate::program::*;

/// A file that ends with the test.
fn file(suffix: &str, content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().prefix("march").suffix(suffix).tempfile().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

fn import<'a>(url: &'a str, file: &'a tempfile::NamedTempFile) -> [&'a str; 5] {
    ["labels", "import", file.path().to_str().unwrap(), "--database-url", url]
}

fn labels(store: &Store) -> Vec<store::Label> {
    block_on(store.labels_after(0, 1000)).unwrap()
}

#[test]
fn a_file_of_labels_comes_in_whole_or_not_at_all_and_says_which_line_is_wrong() {
    let url = migrated_database("import");
    let checkpoints = tempfile::tempdir().unwrap();
    registered(&url, checkpoints.path(), 1, &[]);
    let store = block_on(written(&url, "import", vec![prediction(0)], vec![]));

    let unknown = file(".csv", "review,label\n很快,好评\n一般,中评\n");
    let error = fail(&import(&url, &unknown));
    assert!(error.contains("nothing was imported: line 3: \"中评\" is no class"), "{error}");
    assert!(error.contains("好评, 差评") && error.contains("labels add-class 中评"), "{error}");
    let no_such_review = file(".csv", "review_id,label\nr-0,好评\nr-9,好评\n");
    let error = fail(&import(&url, &no_such_review));
    assert!(error.contains("line 3: no review \"r-9\""), "{error}");
    assert_eq!(labels(&store), [], "a refused file has left something behind");

    let good = file(
        ".csv",
        "\u{feff}review_id,text,label,labeled_by,labeled_at\nr-0,,差评,bo,2026-01-02T03:04:05Z\n,太慢了,差评,,\n",
    );
    let name = good.path().file_name().unwrap().to_str().unwrap();
    let told = succeed(&[&import(&url, &good)[..], &["--labeled-by", "ada"]].concat());
    assert_eq!(told, format!("imported 2 labels from {name}\n"));
    let labels = labels(&store);
    assert_eq!((labels[0].text.as_str(), labels[0].labeled_by.as_str()), ("很快，好吃", "bo"));
    assert_eq!(labels[0].labeled_at.to_rfc3339(), "2026-01-02T03:04:05+00:00");
    assert_eq!((labels[1].text.as_str(), labels[1].labeled_by.as_str()), ("太慢了", "ada"));
    assert_eq!((labels[1].review_id.as_deref(), labels[1].source.as_str()), (None, name));

    let classes = succeed(&["labels", "add-class", "中评", "--database-url", &url]);
    assert_eq!(classes, "the classes are now 中评, 好评, 差评\n");
    succeed(&import(&url, &unknown));
}

#[test]
fn what_labels_next_prints_can_be_filled_in_and_imported_and_is_not_asked_again() {
    let url = migrated_database("next");
    let uncertain = [
        ("送餐很慢，还少了一双筷子", 0.55),
        ("味道还行", 0.51),
        ("送餐很慢，还少了一双筷子！", 0.56),
        ("酒店很旧", 0.99),
    ];
    let predictions = (0..).zip(uncertain).map(|(offset, (text, score))| {
        let label = if offset == 3 { "好评" } else { "差评" };
        PredictionRow { text: text.into(), score, label: label.into(), ..prediction(offset) }
    });
    let store = block_on(written(&url, "next", predictions.collect(), vec![]));
    let next = ["labels", "next", "--database-url", &url, "--limit", "3", "--audit-share", "0"];
    let asked = succeed(&next);
    assert_eq!(
        asked.lines().collect::<Vec<_>>(),
        [
            "\u{feff}review_id,text,prediction,score,label",
            "r-1,味道还行,差评,0.510,",
            "r-3,酒店很旧,好评,0.990,",
            "r-0,送餐很慢，还少了一双筷子,差评,0.550,"
        ]
    );

    let filled = asked.replace("0.510,", "0.510,好评").replace("0.550,", "0.550,差评");
    let mut import = labelstream(&["labels", "import", "-", "--json", "--database-url", &url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    import.stdin.take().unwrap().write_all(filled.as_bytes()).unwrap();
    let told = import.wait_with_output().unwrap();
    assert_eq!(
        json(std::str::from_utf8(&told.stdout).unwrap()),
        serde_json::json!({"imported": 2, "without_label": 1})
    );
    assert_eq!(labels(&store)[0].source, "standard input");

    let lines = succeed(&[&next[..], &["--json"]].concat());
    let asked: Vec<_> = lines.lines().map(json).collect();
    assert_eq!(asked.iter().map(|review| review["review_id"].as_str().unwrap()).collect::<Vec<_>>(), ["r-2", "r-3"]);
    let filled = lines.replace("\"label\":\"\"", "\"label\":\"好评\"");
    succeed(&self::import(&url, &file(".jsonl", &filled)));
    assert_eq!(succeed(&next), "\u{feff}review_id,text,prediction,score,label\n");
}

#[test]
fn what_labels_next_prints_starts_nothing_in_a_spreadsheet_and_comes_back_unchanged() {
    let url = migrated_database("protected");
    let odd = [
        ("1234567890123456789", "=HYPERLINK(\"http://x\",\"好\")"),
        ("-1", "+86 打电话来的外卖员态度很差"),
        ("007", "'=已经有撇号的文本"),
        ("3-4", "@小明 推荐的酒店很好住"),
        ("r-5", "第一行，说味道\n=第二行，说送餐"),
        ("r-6", "\t制表符开头的一句话也行"),
        ("=r-7", "'普通的撇号不变'"),
    ];
    let predictions = (0..).zip(odd).map(|(offset, (id, text))| PredictionRow {
        review_id: id.into(),
        text: text.into(),
        score: 0.5,
        ..prediction(offset)
    });
    let store = block_on(written(&url, "protected", predictions.collect(), vec![]));
    let asked = succeed(&["labels", "next", "--database-url", &url, "--audit-share", "0"]);
    for cell in asked.trim_start_matches('\u{feff}').split([',', '\n']).map(|cell| cell.trim_matches('"')) {
        assert!(!cell.starts_with(['+', '-', '@', '\t']), "{cell:?} in {asked}");
    }
    assert!(asked.contains("'1234567890123456789,") && asked.contains("\"'=HYPERLINK"), "{asked}");
    succeed(&import(&url, &file(".csv", &asked.replace("0.500,", "0.500,好评"))));
    let mut imported: Vec<_> = labels(&store).into_iter().map(|label| (label.review_id.unwrap(), label.text)).collect();
    imported.sort();
    let mut expected = odd.map(|(id, text)| (id.to_owned(), text.to_owned()));
    expected.sort();
    assert_eq!(imported, expected);
    // Any other table is imported as it stands.
    succeed(&import(&url, &file(".csv", "text,label\n'=1,好评\n")));
    assert_eq!(labels(&store).last().unwrap().text, "'=1");
}

#[test]
fn a_review_id_that_has_another_text_in_the_database_is_refused_with_its_line() {
    let url = migrated_database("other_text");
    let store = block_on(written(&url, "other_text", vec![prediction(0)], vec![]));
    let refused = fail(&import(&url, &file(".csv", "review_id,text,label\nr-9,香,好评\nr-0,难吃,差评\n")));
    assert!(refused.contains("nothing was imported: line 3: the review id `r-0` has another text"), "{refused}");
    assert_eq!(labels(&store), []);
}

#[test]
fn what_is_shown_of_a_record_or_a_file_acts_on_no_terminal() {
    let url = migrated_database("shown");
    let letter = store::DeadLetterRow {
        kafka_offset: 0,
        record_time: None,
        reason: "not_json",
        detail: "\u{1b}[2J\u{202e}evil".into(),
        key: None,
        payload: None,
        headers: vec![],
    };
    block_on(written(&url, "shown", vec![], vec![letter]));
    let listed = succeed(&["dead-letters", "list", "--database-url", &url]);
    assert!(listed.contains("\\u001b[2J\\u202eevil"), "{listed:?}");
    let refused = fail(&import(&url, &file(".csv", "label,\u{1b}[31mtext\u{202e}\na,b\n")));
    assert!(refused.contains("\\u001b[31mtext\\u202e"), "{refused:?}");
}

#[test]
fn label_studio_gets_tasks_and_what_it_exports_is_imported_or_nothing_of_it() {
    let url = migrated_database("label_studio");
    let checkpoints = tempfile::tempdir().unwrap();
    registered(&url, checkpoints.path(), 1, &[]);
    let store = block_on(written(&url, "label-studio", vec![prediction(0)], vec![]));
    let tasks = json(&succeed(&["labels", "next", "--database-url", &url, "--label-studio"]));
    assert_eq!(tasks[0]["data"]["review_id"], "r-0");
    assert_eq!(tasks[0]["predictions"][0]["result"][0]["value"]["choices"][0], "好评");

    let export = |choice: &str| {
        let result = serde_json::json!([{"type": "choices", "value": {"choices": [choice]}}]);
        let annotation = serde_json::json!({"completed_by": {"email": "ann@example.org"}, "result": result});
        serde_json::json!([{"id": 1, "data": tasks[0]["data"], "annotations": [annotation]}]).to_string()
    };
    let unknown = file(".json", &export("中评"));
    let error = fail(&import(&url, &unknown));
    assert!(error.contains("nothing was imported") && error.contains("中评"), "{error}");
    let good = file(".json", &export("差评"));
    assert!(succeed(&import(&url, &good)).starts_with("imported 1 labels from march"));
    let labels = labels(&store);
    assert_eq!((labels[0].label.as_str(), labels[0].labeled_by.as_str()), ("差评", "ann@example.org"));
    assert_eq!((labels[0].review_id.as_deref(), labels[0].source.as_str()), (Some("r-0"), "label studio"));
    let short = file(".json", "[{\"text\": \"太慢了\", \"label\": \"差评\", \"annotation_id\": 3}]");
    succeed(&import(&url, &short));
    let broken = file(".json", "[{\"data\": {\"text\": \"\"}, \"annotations\": []}]");
    assert!(fail(&import(&url, &broken)).contains("task 1: it has no text"));
}
