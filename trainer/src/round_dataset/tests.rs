//! How labels become the dataset of a round.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn label(id: i64, review: Option<&str>, text: &str, label: &str) -> Labeled {
    Labeled {
        id,
        review_id: review.map(str::to_owned),
        text: text.to_owned(),
        label: label.to_owned(),
        labeled_at: DateTime::from_timestamp(1_700_000_000 + id, 0).unwrap(),
    }
}

/// Texts that nearly copy nobody.
fn many(count: i64, class: &str) -> Vec<Labeled> {
    let text = |id: i64| {
        format!(
            "{class}{}",
            (0..6)
                .map(|place| char::from_u32(0x4e00 + (id * 7919 + place * 104_729) as u32 % 20_000).unwrap())
                .collect::<String>()
        )
    };
    (0..count).map(|id| label(id, None, &text(id), class)).collect()
}

fn both(count: i64) -> Vec<Labeled> {
    let bad = many(count, "bad").into_iter().map(|label| Labeled { id: label.id + count, ..label });
    many(count, "good").into_iter().chain(bad).collect()
}

fn all(round: &RoundDataset) -> Vec<(&'static str, &Example)> {
    let parts = [("train", &round.dataset.train), ("valid", &round.dataset.valid), ("held out", &round.held_out)];
    parts.into_iter().flat_map(|(part, examples)| examples.iter().map(move |example| (part, example))).collect()
}

fn loose() -> Split {
    Split { held_out: 0.4, valid: 0.3, min_per_class: 0 }
}

#[test]
fn the_parts_have_the_stated_shares() {
    let round = round_dataset(&both(2000), RoundClasses::default(), &Split::default()).unwrap();
    assert_eq!(round.dataset.classes, ["bad", "good"]);
    let Counts { train, valid, held_out, .. } = round.counts;
    assert!((740..=860).contains(&held_out) && (250..=390).contains(&valid), "{train} {valid} {held_out}");
    assert_eq!(train + valid + held_out, 4000);
}

#[test]
fn the_newest_label_of_a_review_and_of_a_text_wins() {
    let mut labels = both(30);
    labels.push(label(100, Some("r"), "第一个版本的评论文字在这里", "bad"));
    labels.push(label(101, Some("r"), "第一个版本的评论文字在这里", "good"));
    labels.push(label(102, None, "别人写的完全不同的另外一句", "good"));
    labels.push(label(103, None, "别人写的，完全不同的另外一句！", "bad"));
    let round = round_dataset(&labels, RoundClasses::default(), &Split::default()).unwrap();
    let found = |text: &str| all(&round).iter().find(|(_, example)| example.text.contains(text)).unwrap().1.label;
    assert_eq!((found("第一个版本"), found("另外一句")), (1, 0));
    assert_eq!(round.counts.superseded, 2);
    assert_eq!(round.counts.labels, 64);
}

#[test]
fn a_label_that_says_it_is_older_does_not_win_by_coming_later() {
    let mut labels = both(30);
    labels.push(label(100, Some("r"), "评论文字", "bad"));
    labels.push(Labeled {
        labeled_at: DateTime::from_timestamp(0, 0).unwrap(),
        ..label(101, Some("r"), "评论文字", "good")
    });
    let round = round_dataset(&labels, RoundClasses::default(), &Split::default()).unwrap();
    assert_eq!(all(&round).iter().find(|(_, example)| example.text == "评论文字").unwrap().1.label, 0);
}

#[test]
fn labels_of_a_new_class_wait_and_are_counted() {
    let mut labels = both(30);
    labels.extend(many(25, "mixed").into_iter().map(|label| Labeled { id: label.id + 500, ..label }));
    let known = ["good".to_owned(), "bad".to_owned()];
    let classes = RoundClasses { champion: Some(&known), wanted: None };
    let round = round_dataset(&labels, classes, &Split::default()).unwrap();
    assert_eq!(round.dataset.classes, known);
    assert_eq!(round.counts.waiting, [("mixed".to_owned(), 25)].into());
    let three = [&known[..], &["mixed".to_owned()]].concat();
    let round = round_dataset(&labels, RoundClasses { wanted: Some(&three), ..classes }, &Split::default()).unwrap();
    assert_eq!((round.dataset.classes, round.counts.waiting), (three, [].into()));
}

#[test]
fn a_class_without_enough_labels_is_refused_by_name() {
    let mut labels = both(30);
    labels.extend(many(3, "mixed").into_iter().map(|label| Labeled { id: label.id + 500, ..label }));
    let three = ["good", "bad", "mixed"].map(str::to_owned);
    let wanted = RoundClasses { champion: Some(&three[..2]), wanted: Some(&three) };
    let error = round_dataset(&labels, wanted, &Split::default()).unwrap_err().to_string();
    assert!(error.contains("\"mixed\" has 3 labeled texts, 10 are needed"), "{error}");
    // A champion that knows it needs no permission; and where there is no model yet, it waits.
    round_dataset(&labels, RoundClasses { champion: Some(&three), wanted: None }, &Split::default()).unwrap();
    assert_eq!(
        round_dataset(&labels, RoundClasses::default(), &Split::default()).unwrap().dataset.classes,
        ["bad", "good"]
    );
    let error = round_dataset(&many(50, "good"), RoundClasses::default(), &Split::default()).unwrap_err().to_string();
    assert!(error.contains("two classes"), "{error}");
}

#[test]
fn the_fingerprint_is_that_of_the_dataset_and_of_nothing_else() {
    let labels = both(30);
    let print =
        |labels: &[Labeled]| round_dataset(labels, RoundClasses::default(), &Split::default()).unwrap().fingerprint;
    let mut backwards = labels.clone();
    backwards.reverse();
    assert_eq!(print(&labels), print(&backwards));
    let mut other = labels.clone();
    other[3].label = "bad".to_owned();
    assert_ne!(print(&labels), print(&other));
    assert_eq!(print(&labels).len(), 64);
}

#[test]
fn a_text_that_nearly_copies_both_sides_is_left_out() {
    // Each step changes the text a little, until the ends have nothing in common and stand on
    // different sides.
    let start: Vec<char> = "一二三四五六七八九十甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉".chars().collect();
    let other = |shift: usize| -> String { start[shift..].iter().chain(&start[..shift]).collect() };
    let labels: Vec<Labeled> =
        (0..12).map(|id| label(id as i64, None, &other(id), if id % 2 == 0 { "good" } else { "bad" })).collect();
    let round = round_dataset(&labels, RoundClasses::default(), &loose()).unwrap();
    let texts = all(&round);
    for (part, one) in &texts {
        for (other_part, other) in &texts {
            let copies = !near_copies(&[&one.text, &other.text])[1].is_empty();
            assert!(!copies || part == other_part, "{} and {}", one.text, other.text);
        }
    }
}

fn labels() -> impl Strategy<Value = Vec<Labeled>> {
    let one = ("[甲乙]{1,3}[丙丁戊]{0,12}", prop::option::of("[a-d]"), prop::bool::ANY);
    prop::collection::vec(one, 8..60).prop_map(|labels| {
        let label = |(id, (text, review, good)): (usize, (String, Option<String>, bool))| {
            label(id as i64, review.as_deref(), &text, if good { "good" } else { "bad" })
        };
        labels.into_iter().enumerate().map(label).collect()
    })
}

proptest! {
    #[test]
    fn no_text_ever_changes_its_part_and_no_near_copy_crosses(labels in labels(), first in 4_usize..60) {
        let first = first.min(labels.len());
        let Ok(before) = round_dataset(&labels[..first], RoundClasses::default(), &loose()) else { return Ok(()) };
        let Ok(after) = round_dataset(&labels, RoundClasses::default(), &loose()) else { return Ok(()) };
        let parts: HashMap<String, &str> = all(&after).into_iter().map(|(part, example)| (key(&example.text), part)).collect();
        for (part, example) in all(&before) {
            if let Some(now) = parts.get(&key(&example.text)) {
                prop_assert_eq!(&part, now, "{}", example.text);
            }
        }
        let texts = all(&after);
        let copies = near_copies(&texts.iter().map(|(_, example)| &example.text).collect::<Vec<_>>());
        for (text, earlier) in copies.iter().enumerate() {
            for earlier in earlier {
                prop_assert_eq!(texts[text].0, texts[*earlier].0);
            }
        }
    }

    #[test]
    fn every_label_is_accounted_for_and_no_text_stands_twice(labels in labels()) {
        let Ok(round) = round_dataset(&labels, RoundClasses::default(), &loose()) else { return Ok(()) };
        let Counts { labels: count, superseded, without_text, between_parts, waiting, train, valid, held_out } = &round.counts;
        prop_assert_eq!(*count, superseded + without_text + between_parts + waiting.values().sum::<usize>() + train + valid + held_out);
        let keys: HashSet<String> = all(&round).iter().map(|(_, example)| key(&example.text)).collect();
        prop_assert_eq!(keys.len(), train + valid + held_out);
    }
}
