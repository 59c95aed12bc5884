use super::*;
use crate::labeled_rows::{Columns, read};
use proptest::prelude::*;
use std::collections::HashSet;

fn rows(pairs: &[(&str, &str)]) -> Vec<Row> {
    let row = |(index, (label, text)): (usize, &(&str, &str))| Row {
        line: index as u64 + 2,
        text: (*text).to_owned(),
        label: (*label).to_owned(),
    };
    pairs.iter().enumerate().map(row).collect()
}

fn many(count: usize) -> Vec<Row> {
    (0..count)
        .map(|index| Row {
            line: index as u64 + 2,
            text: format!("review number {index}"),
            label: if index % 4 == 0 { "1" } else { "0" }.to_owned(),
        })
        .collect()
}

#[test]
fn rows_without_text_or_label_are_dropped_and_counted() {
    let prepared =
        prepare(rows(&[("1", "good"), ("1", " \t"), ("", "bad"), ("0", "\u{200b}")]), &Options::default()).unwrap();
    assert_eq!((prepared.report.without_text, prepared.report.without_label, prepared.report.kept), (2, 1, 1));
}

#[test]
fn duplicates_and_contradictions_are_dropped_and_counted() {
    let input =
        rows(&[("1", "good"), ("1", " Good! "), ("1", "so so"), ("0", "so, so"), ("1", "so so."), ("0", "bad")]);
    let prepared = prepare(input, &Options::default()).unwrap();
    assert_eq!((prepared.report.duplicates, prepared.report.contradictions), (1, 3));
    let texts: Vec<&str> = prepared.train.iter().map(|row| row.text.as_str()).collect();
    assert_eq!(texts, ["good", "bad"]);
}

#[test]
fn the_splits_have_the_stated_shares_of_every_label() {
    let prepared = prepare(many(400), &Options::default()).unwrap();
    let shares: Vec<_> = prepared.report.labels.iter().map(|label| (label.train, label.valid, label.test)).collect();
    assert_eq!(shares, [(240, 30, 30), (80, 10, 10)]);
}

#[test]
fn a_rare_label_stands_in_every_file() {
    let mut input = many(100);
    for (index, row) in input.iter_mut().take(3).enumerate() {
        row.label = "rare".to_owned();
        row.text = format!("rare {index}");
    }
    let prepared = prepare(input, &Options::default()).unwrap();
    let rare = prepared.report.labels.iter().find(|label| label.label == "rare").unwrap();
    assert_eq!((rare.train, rare.valid, rare.test), (1, 1, 1));
}

#[test]
fn another_seed_gives_another_split_and_the_order_of_the_rows_does_not() {
    let texts = |prepared: &Prepared| prepared.test.iter().map(|row| row.text.clone()).collect::<HashSet<_>>();
    let first = prepare(many(200), &Options::default()).unwrap();
    let other = prepare(many(200), &Options { seed: 1, ..Options::default() }).unwrap();
    assert_ne!(texts(&first), texts(&other));
    let backwards = prepare(many(200).into_iter().rev().collect(), &Options::default()).unwrap();
    assert_eq!(texts(&first), texts(&backwards));
}

#[test]
fn without_validation_and_test_everything_is_for_training() {
    let prepared = prepare(many(50), &Options { valid: 0.0, test: 0.0, ..Options::default() }).unwrap();
    assert_eq!((prepared.train.len(), prepared.valid.len(), prepared.test.len()), (50, 0, 0));
}

#[test]
fn shares_that_leave_nothing_to_learn_from_are_refused() {
    for (valid, test) in [(0.5, 0.5), (1.0, 0.0), (-0.1, 0.1), (f64::NAN, 0.1)] {
        assert!(prepare(many(10), &Options { valid, test, ..Options::default() }).is_err());
    }
}

#[test]
fn nothing_left_is_an_error() {
    assert!(prepare(rows(&[("", ""), ("1", "")]), &Options::default()).is_err());
}

#[test]
fn what_is_written_reads_back() {
    let directory = tempfile::tempdir().unwrap();
    let input = rows(&[("好评", "一,\"二\"\n三"), ("差评", "四")]);
    let prepared = prepare(input, &Options::default()).unwrap();
    write(&prepared, &directory.path().join("new")).unwrap();
    let read = read(&directory.path().join("new/train_data.csv"), &Columns::default()).unwrap();
    let pairs: Vec<_> = read.iter().map(|row| (row.label.as_str(), row.text.as_str())).collect();
    assert_eq!(pairs, [("好评", "一,\"二\" 三"), ("差评", "四")]);
    assert_eq!(std::fs::read_dir(directory.path().join("new")).unwrap().count(), 3);
}

fn near_copies() -> impl Strategy<Value = Vec<Row>> {
    let text = ("[a-c好坏Ａ]{0,3}", "[ !！,.，。]{0,2}", "[a-cA-C吃]{0,2}");
    let row =
        (text, 0..3u8).prop_map(|((start, middle, end), label)| (format!("{start}{middle}{end}"), label.to_string()));
    prop::collection::vec(row, 1..120).prop_map(|pairs| {
        let row = |(index, (text, label))| Row { line: index as u64 + 2, text, label };
        pairs.into_iter().enumerate().map(row).collect()
    })
}

proptest! {
    #[test]
    fn no_text_stands_in_two_files(rows in near_copies(), seed: u64, clean: bool) {
        let options = Options { clean, valid: 0.3, test: 0.2, seed };
        let Ok(prepared) = prepare(rows, &options) else { return Ok(()) };
        let keys = |rows: &[Row]| rows.iter().map(|row| key(&row.text)).collect::<HashSet<_>>();
        let (train, valid, test) = (keys(&prepared.train), keys(&prepared.valid), keys(&prepared.test));
        prop_assert!(train.is_disjoint(&valid) && train.is_disjoint(&test) && valid.is_disjoint(&test));
    }

    #[test]
    fn every_row_is_accounted_for(rows in near_copies(), seed: u64) {
        let count = rows.len();
        let Ok(prepared) = prepare(rows, &Options { seed, ..Options::default() }) else { return Ok(()) };
        let report = &prepared.report;
        prop_assert_eq!(report.without_text + report.without_label + report.duplicates + report.contradictions + report.kept, count);
        prop_assert_eq!(prepared.train.len() + prepared.valid.len() + prepared.test.len(), report.kept);
        prop_assert!(!prepared.train.is_empty());
        let texts: HashSet<_> = prepared.train.iter().chain(&prepared.valid).chain(&prepared.test).map(|row| key(&row.text)).collect();
        prop_assert_eq!(texts.len(), report.kept);
    }
}
