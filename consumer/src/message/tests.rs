//! Bytes to reviews, dead letters and tombstones.

use proptest::prelude::*;

use super::*;

fn format() -> Format {
    Format {
        text_field: "text".into(),
        id_field: "review_id".into(),
        time_field: "created_at".into(),
        max_record_bytes: 262_144,
    }
}

fn record(payload: &[u8]) -> Record {
    Record { offset: 7, payload: Some(payload.to_vec()), ..Record::default() }
}

fn decode(payload: impl AsRef<[u8]>) -> Decoded {
    format().decode("reviews", 3, &record(payload.as_ref()))
}

fn review(payload: impl AsRef<[u8]>) -> Review {
    match decode(&payload) {
        Decoded::Review(review) => review,
        other => panic!("{:?} is no review but {other:?}", String::from_utf8_lossy(payload.as_ref())),
    }
}

fn reason(payload: impl AsRef<[u8]>) -> &'static str {
    match decode(payload) {
        Decoded::DeadLetter { reason, .. } => reason.code(),
        other => panic!("no dead letter but {other:?}"),
    }
}

fn time_of(json: &str) -> Option<String> {
    review(format!(r#"{{"text":"好","created_at":{json}}}"#)).created_at.map(|time| time.to_rfc3339())
}

#[test]
fn a_review_has_all_that_its_message_says() {
    let review = review(
        r#"{"review_id":"r-1","text":"很快，好吃","created_at":"2026-11-22T10:00:00Z","stars":5,"shop":{"id":[1,2]}}"#,
    );
    assert_eq!(review.review_id, "r-1");
    assert_eq!(review.text, "很快，好吃");
    assert_eq!(review.created_at.unwrap().to_rfc3339(), "2026-11-22T10:00:00+00:00");
    assert_eq!(review.attributes.as_deref(), Some(r#"{"stars":5,"shop":{"id":[1,2]}}"#));
}

#[test]
fn a_record_without_a_value_is_a_tombstone() {
    let record = Record { payload: None, key: Some(b"k".to_vec()), ..Record::default() };
    assert_eq!(format().decode("reviews", 0, &record), Decoded::Tombstone);
}

#[test]
fn every_kind_of_bad_value_has_its_reason() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let cases: [(&[u8], &str); 24] = [
        (b"", "empty_value"),
        (b" ", "not_json"),
        (b"hello", "not_json"),
        (b"{\"text\":\"a\"", "not_json"),
        (b"{\"text\":\"a\"} x", "not_json"),
        (b"{\"text\":\"a\",\"b\":}", "not_json"),
        (b"{\"text\":\"\xff\"}", "not_utf8"),
        (b"[\"text\"]", "not_an_object"),
        (b"\"text\"", "not_an_object"),
        (b"17", "not_an_object"),
        (b"null", "not_an_object"),
        (b"{}", "text_missing"),
        (b"{\"text\":null}", "text_missing"),
        (b"{\"text\":17}", "text_not_a_string"),
        (b"{\"text\":[\"a\"]}", "text_not_a_string"),
        (b"{\"text\":\"\"}", "text_empty"),
        ("{\"text\":\" \\n\\t\u{3000}\"}".as_bytes(), "text_empty"),
        (b"{\"text\":\"a\\u0000b\"}", "nul_character"),
        (b"{\"text\":\"a\",\"x\":\"\\u0000\"}", "nul_character"),
        (b"{\"text\":\"a\",\"\\u0000\":1}", "nul_character"),
        (b"{\"text\":\"\\ud83d\"}", "lone_surrogate"),
        (b"{\"text\":\"a\",\"x\":[\"\\ude00\\ud83d\"]}", "lone_surrogate"),
        (b"{\"text\":\"a\",\"review_id\":[1]}", "id_invalid"),
        (b"{\"text\":\"a\",\"review_id\":1.5}", "id_invalid"),
    ];
    for (payload, expected) in cases {
        assert_eq!(reason(payload), expected, "{}", String::from_utf8_lossy(payload));
    }
    assert_eq!(reason(format!(r#"{{"text":"{}"}}"#, "长".repeat(350_000))), "too_large");
    assert_eq!(reason(format!(r#"{{"text":"a","review_id":"{}"}}"#, "i".repeat(513))), "id_too_long");
    assert_eq!(reason(&deep), "not_an_object");
    assert_eq!(reason(format!(r#"{{"text":"a","x":{deep}}}"#)), "too_deep");
    assert_eq!(reason(format!(r#"{{"text":{deep}}}"#)), "text_not_a_string");
    assert_eq!(reason("{\"a\":".repeat(40_000)), "not_json");
}

#[test]
fn the_depth_that_is_allowed_is_allowed() {
    let nested = |depth: usize| format!(r#"{{"text":"a","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(review(nested(128)).attributes.is_some());
    assert_eq!(reason(nested(129)), "too_deep");
}

#[test]
fn what_is_not_json_is_refused_as_that_even_after_another_fault() {
    assert_eq!(reason(r#"{"text":17,"x":"#), "not_json");
    assert_eq!(reason(r#"{"text":17} trailing"#), "not_json");
}

#[test]
fn escapes_become_the_characters_they_stand_for() {
    let review = review(r#"{"text":"\u597d\ud83d\ude00\n\\u0000","x":"\ud83d\ude00 \\u0000"}"#);
    assert_eq!(review.text, "好😀\n\\u0000");
    assert_eq!(review.attributes.as_deref(), Some(r#"{"x":"\ud83d\ude00 \\u0000"}"#));
}

#[test]
fn brackets_within_strings_are_not_nesting() {
    let text = "[".repeat(1000);
    assert_eq!(review(format!(r#"{{"text":"a","x":"\"{text}"}}"#)).attributes, Some(format!(r#"{{"x":"\"{text}"}}"#)));
}

#[test]
fn an_id_is_a_string_or_an_integer_or_the_key_or_the_place() {
    let id = |json: &str, key: Option<&[u8]>| {
        let mut record = record(json.as_bytes());
        record.key = key.map(<[u8]>::to_vec);
        match format().decode("reviews", 3, &record) {
            Decoded::Review(review) => review.review_id,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(id(r#"{"text":"a","review_id":"r"}"#, Some(b"k")), "r");
    assert_eq!(id(r#"{"text":"a","review_id":12345678901234567890123}"#, None), "12345678901234567890123");
    assert_eq!(id(r#"{"text":"a","review_id":-5}"#, None), "-5");
    assert_eq!(id(r#"{"text":"a","review_id":null}"#, Some(b"k")), "k");
    assert_eq!(id(r#"{"text":"a","review_id":""}"#, Some(b"k")), "k");
    assert_eq!(id(r#"{"text":"a"}"#, Some(b"k")), "k");
    for no_id in [None, Some(&b""[..]), Some(b"\xff"), Some(b"a\0b"), Some(&[b'k'; 513])] {
        assert_eq!(id(r#"{"text":"a"}"#, no_id), "reviews/3/7");
    }
}

#[test]
fn a_time_is_rfc_3339_or_a_number_since_1970_whose_size_says_its_unit() {
    for (json, expected) in [
        (r#""1970-01-01T00:00:00Z""#, "1970-01-01T00:00:00+00:00"),
        (r#""2300-01-01T00:00:00+08:00""#, "2299-12-31T16:00:00+00:00"),
        (r#""2026-11-22T10:00:00.123""#, "2026-11-22T10:00:00.123+00:00"),
        (r#""2026-11-22 10:00:00""#, "2026-11-22T10:00:00+00:00"),
        (r#""2026-11-22""#, "2026-11-22T00:00:00+00:00"),
        ("0", "1970-01-01T00:00:00+00:00"),
        ("-1", "1969-12-31T23:59:59+00:00"),
        ("1700000000", "2023-11-14T22:13:20+00:00"),
        ("1700000000123", "2023-11-14T22:13:20.123+00:00"),
        ("1700000000123456", "2023-11-14T22:13:20.123456+00:00"),
        ("-1700000000123", "1916-02-18T01:46:39.877+00:00"),
        ("10413792000", "2300-01-01T00:00:00+00:00"),
        ("10413792000000", "2300-01-01T00:00:00+00:00"),
        ("99999999999", "5138-11-16T09:46:39+00:00"),
        ("100000000000", "1973-03-03T09:46:40+00:00"),
    ] {
        assert_eq!(time_of(json).as_deref(), Some(expected), "{json}");
    }
}

#[test]
fn a_time_that_cannot_be_understood_is_kept_as_an_attribute() {
    for json in [
        r#""yesterday""#,
        r#""""#,
        "1.5",
        "1700000000123456789",
        "9223372036854775807",
        "[1]",
        "true",
        r#""99999-01-01""#,
    ] {
        let review = review(format!(r#"{{"text":"好","created_at":{json}}}"#));
        assert_eq!(review.created_at, None, "{json}");
        assert_eq!(review.attributes, Some(format!(r#"{{"created_at":{json}}}"#)));
    }
    let review = review(r#"{"text":"好","created_at":null}"#);
    assert_eq!((review.created_at, review.attributes), (None, None));
}

#[test]
fn kafka_times_of_1970_and_2300_are_times_and_those_of_no_calendar_are_none() {
    assert_eq!(time_of_milliseconds(0).unwrap().to_rfc3339(), "1970-01-01T00:00:00+00:00");
    assert_eq!(time_of_milliseconds(10_413_792_000_000).unwrap().to_rfc3339(), "2300-01-01T00:00:00+00:00");
    assert_eq!(time_of_milliseconds(i64::MAX), None);
    assert_eq!(time_of_milliseconds(i64::MIN), None);
}

#[test]
fn of_a_field_that_stands_twice_the_last_one_counts() {
    assert_eq!(review(r#"{"text":"a","text":"b","review_id":"1","review_id":"2"}"#).text, "b");
}

#[test]
fn a_detail_holds_no_nul_and_is_no_copy_of_the_payload() {
    let row = record(b"x").into_dead_letter(Reason::NotJson, &("\0".to_owned() + &"长".repeat(1000)));
    assert!(row.detail.starts_with("\\0长") && row.detail.chars().count() == 300);
    assert_eq!(row.payload.as_deref(), Some(&b"x"[..]));
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(payload: Vec<u8>, key: Option<Vec<u8>>, offset: i64) {
        let record = Record { offset, payload: Some(payload), key, ..Record::default() };
        format().decode("reviews", 0, &record);
    }

    #[test]
    fn no_broken_json_makes_it_panic(json in json(), cut: prop::sample::Index, byte: u8) {
        let mut payload = format!(r#"{{"text":"\u597d\ud83d\ude00","x":{json}}}"#).into_bytes();
        let cut = cut.index(payload.len());
        payload[cut] = byte;
        decode(&payload);
        payload.truncate(cut);
        decode(&payload);
    }

    #[test]
    fn a_good_text_comes_out_as_it_went_in_and_attributes_are_json(text in "[^\0]*[^\0\\s][^\0]*", other in json()) {
        let payload = serde_json::json!({ "text": text, "other": other }).to_string();
        if payload.contains("\\u0000") {
            return Ok(());
        }
        let review = review(&payload);
        prop_assert_eq!(review.text, text);
        let attributes: serde_json::Value = serde_json::from_str(&review.attributes.unwrap()).unwrap();
        prop_assert_eq!(&attributes["other"], &other);
    }
}
