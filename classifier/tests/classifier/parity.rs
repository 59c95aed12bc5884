//! The same answers as transformers, for the checkpoints and figures of `tests/fixtures.py`.

use classifier::checkpoint::Checkpoint;
use classifier::{Classifier, Device, Precision, Prediction, Truncation};

use super::fixtures::{Expected, assert_close, fixture, fixtures};

/// What the project promises.
const TOLERANCE: f32 = 1e-4;

#[test]
fn scores_are_the_softmax_of_transformers_logits_in_the_order_of_the_texts() {
    for name in fixtures() {
        let Expected { texts, logits, .. } = Expected::of(&name);
        let softmax = |logits: &Vec<f32>| {
            let powers: Vec<f32> = logits.iter().map(|logit| logit.exp()).collect();
            powers.iter().map(|power| power / powers.iter().sum::<f32>()).collect()
        };
        let expected: Vec<Vec<f32>> = logits.iter().map(softmax).collect();
        // Many times over, so that every core has several shards.
        let many = |count: usize| (0..count).map(|index| index * 7 % texts.len());
        let classifier = Classifier::open(&fixture(&name), &Device::Cpu).unwrap();
        for count in [0, 1, 5, 500] {
            let texts: Vec<&str> = many(count).map(|index| texts[index].as_str()).collect();
            let expected: Vec<Vec<f32>> = many(count).map(|index| expected[index].clone()).collect();
            let found: Vec<Vec<f32>> = classifier.classify(&texts).unwrap().into_iter().map(|one| one.scores).collect();
            assert_close(&name, &found, &expected, TOLERANCE);
        }
    }
}

#[test]
fn texts_are_answered_together_as_alone_on_however_many_cores() {
    for name in fixtures() {
        let Expected { texts, .. } = Expected::of(&name);
        let classifier = Classifier::open(&fixture(&name), &Device::Cpu).unwrap();
        let ids = classifier.encoder().unwrap().encode(&texts).unwrap();
        // Every text behind every other one: all different, and enough for several shards a core.
        let pair = |number: usize| [&ids[number % ids.len()][..], &ids[number / ids.len()]].concat();
        let many: Vec<Vec<u32>> = (0..ids.len() * ids.len())
            .map(pair)
            .map(|ids| ids.into_iter().take(classifier.max_length()).collect())
            .collect();
        let together = classifier.classify_tokens(&many).unwrap();
        for (ids, together) in many.iter().zip(together) {
            let alone = classifier.classify_tokens(&[ids]).unwrap().remove(0);
            assert_close(&name, &[together.scores], &[alone.scores], TOLERANCE);
        }
    }
}

#[test]
fn in_8_bits_scores_are_close_to_those_of_transformers_and_nothing_else_changes() {
    for name in fixtures() {
        let Expected { texts, .. } = Expected::of(&name);
        let [exact, rounded] = [Precision::F32, Precision::Int8].map(|precision| {
            let classifier = Classifier::open_with(&fixture(&name), &Device::Cpu, Some(precision)).unwrap();
            assert_eq!(classifier.precision(), precision);
            classifier.classify(&texts).unwrap().into_iter().map(|one| one.scores).collect::<Vec<_>>()
        });
        assert_close(&name, &rounded, &exact, 0.05);
        assert_ne!(rounded, exact, "{name}: nothing was rounded");
    }
}

#[test]
fn bf16_is_for_a_gpu_and_the_cpu_computes_in_f32_where_nothing_is_asked_for() {
    let open = |precision| Classifier::open_with(&fixture("gelu"), &Device::Cpu, precision);
    assert_eq!(open(None).unwrap().precision(), Precision::F32);
    let error = open(Some(Precision::Bf16)).unwrap_err().to_string();
    assert!(error.contains("no bf16: it runs on a GPU alone"), "{error}");
}

#[test]
fn operations_are_those_of_tokens_and_of_what_is_read() {
    let classifier = Classifier::open(&fixture("gelu"), &Device::Cpu).unwrap();
    let config = Checkpoint::open(&fixture("gelu")).unwrap().config;
    let (hidden, inner) = (config.hidden_size as f64, config.intermediate_size as f64);
    let [one, two] = [[7].as_slice(), &[7, 9]].map(|lengths| classifier.operations(lengths));
    let whole = 7.0 * (8.0 * hidden * hidden + 4.0 * hidden * inner + 4.0 * 7.0 * hidden);
    let last = 7.0 * 4.0 * hidden * hidden + (4.0 * hidden * hidden + 4.0 * hidden * inner + 4.0 * 7.0 * hidden);
    assert_eq!(one, (config.num_hidden_layers - 1) as f64 * whole + last);
    assert_eq!(two, one + classifier.operations(&[9]));
}

#[test]
fn a_shorter_limit_truncates_as_transformers_does() {
    let classifier = Classifier::open(&fixture("gelu"), &Device::Cpu).unwrap();
    assert_eq!(classifier.max_length(), 64);
    let long = "的".repeat(200);
    assert_eq!(classifier.count_tokens(&[long.as_str(), "的", ""]).unwrap(), [64, 3, 2]);
    let short = classifier.clone().with_max_length(10);
    assert_eq!(short.count_tokens(&[&long]).unwrap(), [10]);
    let by_hand = classifier.classify(&["的".repeat(8)]).unwrap();
    assert_eq!(short.classify(&[&long]).unwrap(), by_hand);
    assert_eq!(classifier.clone().with_max_length(1_000).max_length(), 64);
    assert_eq!(classifier.with_max_length(0).max_length(), 2);
}

#[test]
fn a_long_text_is_refused_or_its_beginning_or_its_end_is_read() {
    let classifier = Classifier::open(&fixture("gelu"), &Device::Cpu).unwrap().with_max_length(6);
    let read = |text: &str, truncation| classifier.logits(&[(text, truncation)]).unwrap().remove(0);
    let whole = |text| read(text, Truncation::Refused).unwrap();
    assert_eq!(read("的一是了不在", Truncation::Right).unwrap(), whole("的一是了"));
    assert_eq!(read("的一是了不在", Truncation::Left).unwrap(), whole("是了不在"));
    assert_ne!(whole("的一是了"), whole("是了不在"));
    assert_eq!(read("的一是了不在", Truncation::Refused).unwrap_err().to_string(), "8");
    assert_eq!(read(&"的".repeat(1_000), Truncation::Refused).unwrap_err().to_string(), "48 or more");
    for truncation in [Truncation::Refused, Truncation::Right, Truncation::Left] {
        let texts = [("的一", truncation), ("", truncation)];
        let logits = classifier.logits(&texts).unwrap().into_iter().map(|logits| logits.unwrap());
        let expected = classifier.classify(&["的一", ""]).unwrap();
        assert_eq!(logits.map(|logits| Prediction::from_logits(&logits)).collect::<Vec<_>>(), expected);
    }
    let mixed = [("的一是了不在", Truncation::Refused), ("的一", Truncation::Refused)];
    let answers = classifier.logits(&mixed).unwrap();
    assert!(answers[0].is_err());
    assert_eq!(answers[1], Ok(whole("的一")));
}
